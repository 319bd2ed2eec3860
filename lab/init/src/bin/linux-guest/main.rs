//! PID 1 of Linux as a guest, to compare with: brings the NIC up with its own driver, and serves
//! what Godwit serves, iperf3 and the sink of the probe protocol.
//!
//! `GUEST_IP=ADDRESS/LENGTH` and, if there is a gateway, `GUEST_GW=ADDRESS` on the kernel's command
//! line are handed to PID 1 as environment variables. With `GUEST_IP=dhcp` busybox asks for both.
//! If there is a second serial port, busybox runs the commands that come in by it.
#![forbid(unsafe_code)]

mod dhcp;
mod network;
mod programs;
mod shell;
mod sink;

use std::{
    env, fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab_init::system;
use network::{Changes, Interface};
use programs::{ip, program, set_address};
use rustix::system::{RebootCommand, reboot};

/// For a driver to find its NIC, and for the NIC to find its link.
const PATIENCE: Duration = Duration::from_secs(30);
const IPERF3_PORT: u16 = 5201;

fn main() {
    if std::process::id() != 1 {
        return dhcp::hook();
    }
    if let Err(error) = run() {
        println!("linux: failed: {error:#}");
    }
    rustix::fs::sync();
    let _ = reboot(RebootCommand::PowerOff);
}

fn run() -> Result<()> {
    system::mount_all()?;
    system::load_modules()?;
    let address = env::var("GUEST_IP").context("GUEST_IP is not on the kernel's command line")?;
    let gateway = env::var("GUEST_GW").ok().filter(|gateway| !gateway.is_empty());
    let changes = Changes::listen().context("netlink")?;
    let nic = wait_for("a network interface of a PCI device", Interface::to_use)?;
    let (name, driver) = (nic.name()?, nic.driver()?);
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "set", name, "up"])?;
    wait_for("a link", || nic.has_link().then_some(()))?;
    let address = if address == "dhcp" {
        dhcp::ask(name)?
    } else {
        set_address(name, &address, gateway.as_deref())?;
        address
    };
    let sink = sink::bind()?;
    shell::serve()?;
    serve_iperf3();
    wait_for("iperf3 server", || is_listening(IPERF3_PORT).then_some(()))?;
    println!("linux: ready ip={address} nic={driver}");
    thread::spawn(move || network::attend(&changes, &address, gateway.as_deref()));
    sink::serve(&sink)
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "no {what} within {} s", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(5));
    }
}

/// A server that is started again if it ends.
fn serve_iperf3() {
    thread::spawn(|| {
        loop {
            let ended =
                Command::new(program("iperf3")).arg("--server").stdout(Stdio::null()).status();
            println!("linux: iperf3 ended: {ended:?}");
            thread::sleep(Duration::from_secs(1));
        }
    });
}

/// Whether somebody listens on a TCP port: a line of /proc/net/tcp has the local address, the
/// remote one and the state, all in hexadecimal (Linux Documentation/networking/proc_net_tcp.rst);
/// 0A is LISTEN.
fn is_listening(port: u16) -> bool {
    let local = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().any(|table| {
        let table = fs::read_to_string(table).unwrap_or_default();
        table.lines().any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            fields.next().is_some_and(|address| address.ends_with(&local))
                && fields.nth(1) == Some("0A")
        })
    })
}
