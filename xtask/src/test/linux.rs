//! Linux' own drivers on the models of NICs that are ours: they judge the model.

use lab::addresses::IPERF3_PORT;
use std::path::Path;

use anyhow::{Result, ensure};
use lab::parts::{Accelerator, NicModel};

use super::suite::Suite;
use crate::{
    cli,
    guest::{self, Forward, Guest, Net, Wire, free_port},
    linux_guest::{self, DHCP, LinuxGuest},
    machine,
};

/// The address slirp gives away first, and its own.
const ADDRESS: &str = "10.0.2.15/24";
const GATEWAY: &str = "10.0.2.2";

pub(super) fn add(suite: &mut Suite, host: &cli::Host) {
    suite.test("Linux's ixgbe on the 82599 model: DHCP, iperf3 both ways", |log| ixgbe(log, host));
}

fn ixgbe(log: &Path, host: &cli::Host) -> Result<String> {
    let linux = LinuxGuest::prepare_with_busybox(host.kernel())?;
    let nic = NicModel::Ixgbe;
    let qemu = machine::qemu_with(nic)?;
    let forward = Forward { host: free_port()?, guest: IPERF3_PORT };
    let line = linux.command_line(&qemu, Accelerator::Tcg, DHCP, GATEWAY);
    let user = Wire::Netdev(guest::nic::backend(&Net::User, &[forward])?);
    let nic = guest::AttachedNic::emulated(nic, &user, linux_guest::MEMORY_MIB)?;
    let mut guest = Guest::start(line, nic, log)?;
    let ready = guest.wait_for(linux_guest::READY)?;
    ensure!(ready.ends_with(&format!("ip={ADDRESS} nic=ixgbe")), "{ready}");
    let to = guest::iperf3(forward.host, &["--time", "3"])?;
    let from = guest::iperf3_after_another(forward.host, &["--time", "3", "--reverse"])?;
    // The driver's own complaints.
    let console = guest.console();
    for complaint in ["NETDEV WATCHDOG", "Detected Tx Unit Hang", "Reset adapter", "firmware error"]
    {
        ensure!(!console.contains(complaint), "the driver says {complaint:?}");
    }
    Ok(format!("{:.0} Mbit/s to it, {:.0} from it", to / 1e6, from / 1e6))
}
