//! Linux' own drivers on the models of NICs that are ours: they judge the model.

use std::path::Path;

use anyhow::{Result, ensure};
use lab::{
    addresses::IPERF3_PORT,
    guest::{
        AttachedNic, Forward, Guest, Net, Wire,
        clients::{self, free_port},
        linux::{self, DHCP, LinuxGuest},
        machine, nic,
    },
    parts::{Accelerator, NicModel},
};

use crate::{
    guest::TCP_FLOOR,
    options::Kernel,
    suite::{LONG, Suite},
};

/// The address slirp gives away first, and its own.
const ADDRESS: &str = "10.0.2.15/24";
const GATEWAY: &str = "10.0.2.2";

pub(crate) fn add(suite: &mut Suite, kernel: Kernel) {
    for model in [NicModel::Ixgbe, NicModel::Ixgbevf] {
        let name = format!("Linux's {model} on the 82599 model: DHCP, iperf3 both ways");
        suite.test(&name, LONG, move |log| linux_on(model, log, kernel));
    }
}

fn linux_on(model: NicModel, log: &Path, kernel: Kernel) -> Result<String> {
    let linux = LinuxGuest::prepare_with_busybox(kernel)?;
    let qemu = machine::qemu_with(model)?;
    let forward = Forward { host: free_port()?, guest: IPERF3_PORT };
    let line = linux.command_line(&qemu, Accelerator::Tcg, DHCP, GATEWAY);
    let user = Wire::Netdev(nic::backend(&Net::User, &[forward])?);
    let nic = AttachedNic::emulated(model, &user, linux::MEMORY_MIB)?;
    let mut guest = Guest::start(line, Some(nic), log)?;
    let ready = guest.wait_for(linux::READY)?;
    ensure!(ready.ends_with(&format!("ip={ADDRESS} nic={model}")), "{ready}");
    let to = clients::iperf3(forward.host, &["--time", "3"])?;
    let from = clients::iperf3_after_another(forward.host, &["--time", "3", "--reverse"])?;
    ensure!(to.min(from) >= TCP_FLOOR, "only {to:.0} bit/s to it and {from:.0} from it");
    // The driver's own complaints.
    let console = guest.console();
    for complaint in ["NETDEV WATCHDOG", "Detected Tx Unit Hang", "Reset adapter", "firmware error"]
    {
        ensure!(!console.contains(complaint), "the driver says {complaint:?}");
    }
    Ok(format!("{:.0} Mbit/s to it, {:.0} from it", to / 1e6, from / 1e6))
}
