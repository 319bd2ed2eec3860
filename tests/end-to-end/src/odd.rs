//! Machines that are put together, or treated, in ways that only some hosts do.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{
    addresses::ECHO_PORT,
    build::application,
    guest::{Forward, Guest, READY, clients::free_port, machine},
    parts::{Accelerator, NicModel},
};

use crate::{
    monitor::Monitor,
    suite::{MINUTES, Suite},
};

pub(crate) fn add(suite: &mut Suite) {
    suite.test("a NIC on a second root bus", MINUTES, far_nic);
    suite.test("a machine without a NIC says what it has, and what to do", MINUTES, no_nic);
    suite.test("the power button ends connections and the machine", MINUTES, power_button);
}

/// The unikernel on a machine that is put together from these options.
fn boot(log: &Path, options: &str) -> Result<Guest> {
    let qemu = machine::qemu_with(NicModel::E1000e)?;
    let mut line = machine::command_line(&qemu, Accelerator::Tcg, 128, &application::ours()?, "");
    line.extend(options.split_whitespace().map(str::to_owned));
    Guest::start(line, None, log)
}

/// As on every host with two processors, and with `<controller type='pci'
/// model='pcie-expander-bus'>` of libvirt.
fn far_nic(log: &Path) -> Result<String> {
    let options = "-device pxb-pcie,id=far,bus=pcie.0,bus_nr=32 \
                   -device pcie-root-port,id=below,bus=far,chassis=9 \
                   -netdev user,id=net -device e1000e,bus=below,netdev=net,romfile=";
    let mut guest = boot(log, options)?;
    Ok(format!("`{}`", guest.wait_for(READY)?))
}

fn no_nic(log: &Path) -> Result<String> {
    let mut guest = boot(log, "-device virtio-rng-pci")?;
    let said = guest.wait_for("godwit: no NIC: ")?;
    for text in ["1af4:1005 at 0000:00:", "docs/drivers.md"] {
        ensure!(said.contains(text), "{text:?} is missing in {said:?}");
    }
    Ok(String::new())
}

fn power_button(log: &Path) -> Result<String> {
    let forward = Forward { host: free_port()?, guest: ECHO_PORT };
    let monitor = Monitor::new()?;
    let options = monitor.options();
    let mut guest = Guest::boot_with(NicModel::E1000e, log, "", &[forward], &options)?;
    guest.wait_for(READY)?;
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, forward.host))?;
    client.set_read_timeout(Some(Duration::from_secs(60)))?;
    client.write_all(b"still there?")?;
    let mut answer = [0; 12];
    client.read_exact(&mut answer).context("the echo")?;
    let _conversation = monitor.execute("system_powerdown")?;
    let rest = client.read(&mut answer).context("the connection was not closed in order")?;
    ensure!(rest == 0, "{rest} bytes that nobody has sent");
    let (status, console) = guest.wait_for_end()?;
    ensure!(status.success(), "the machine ended with {status}");
    for text in ["godwit: the power button was pressed", "godwit: switched off"] {
        ensure!(console.contains(text), "it does not say {text:?}");
    }
    Ok(String::new())
}
