//! An address by DHCP: busybox's client asks, and runs this program to act on the answer.

use std::{env, fs, process::Command};

use anyhow::{Context, Result, ensure};

use crate::programs::{program, set_address};

/// Where the hook leaves the address for PID 1.
const LEASE: &str = "/run/lease";

/// Gets an address for an interface; returns it as `ADDRESS/LENGTH`.
pub(crate) fn ask(interface: &str) -> Result<String> {
    let status = Command::new(program("busybox"))
        .args(["udhcpc", "-i", interface, "-s", "/init"])
        // Ten requests, a second apart, and done; a failure when nobody answers.
        .args(["-t", "10", "-T", "1", "-q", "-n"])
        .status()
        .context("start busybox")?;
    ensure!(status.success(), "udhcpc found no address ({status})");
    fs::read_to_string(LEASE).context("udhcpc's answer was not acted on")
}

/// What busybox runs with the answer in environment variables (busybox `networking/udhcp/dhcpc.c`).
pub(crate) fn hook() {
    if env::args().nth(1).as_deref() != Some("bound") {
        return;
    }
    if let Err(error) = bound() {
        println!("linux: failed: {error:#}");
    }
}

fn bound() -> Result<()> {
    let value = |name| env::var(name).with_context(|| format!("udhcpc did not say its {name}"));
    let address = format!("{}/{}", value("ip")?, value("mask")?);
    let router = env::var("router").ok();
    let router = router.as_deref().and_then(|routers| routers.split(' ').next());
    set_address(&value("interface")?, &address, router)?;
    fs::write(LEASE, address).context(LEASE)
}
