//! Where a rehearsal is held: the lab, whose NICs are ports of the segment.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;

use super::{
    parts::{LabParts, Place},
    script::Script,
};
use crate::{
    addresses::{MACS, OTHER_MACS, interface_name},
    local::{self, LocalLab},
    migration::{Lab, Machine},
    nested::{
        NestedLab,
        host::{HostNic, Setup, VirtualHost},
    },
    parts::Accelerator,
    segment::Segment,
    system::progress::Step,
};

/// The console of the lab's host, in the logs.
pub(super) const HOST_LOG: &str = "host.log";
/// What its processors were doing, if it stopped to answer.
pub(super) const HOST_STATE: &str = "host.state";
/// Memory of the virtual host: two guests, their QEMUs, page tables for all of it, the initramfs.
const HOST_MEMORY_MIB: u32 = 4096;
/// The emulated host boots in 10 to 30 s on a quiet machine.
const HOST_BOOT: Duration = Duration::from_secs(300);

/// The machines, in the order in which the lab has their NICs.
const MACHINES: [Machine; 2] = [Machine::Source, Machine::Destination];

/// Starts the lab that the script asks for, with its ports on the segment. `directory` is for
/// sockets.
pub(super) fn start_lab(
    script: &Script,
    parts: &LabParts,
    segment: &Segment,
    directory: &Path,
) -> Result<Box<dyn Lab>> {
    let listen = |port: String| {
        let path = directory.join(&port);
        segment.listen(&port, &path)?;
        Ok::<_, anyhow::Error>(path)
    };
    let nics = |machine: Machine| {
        let ports = (0..script.nics).map(|index| format!("{}-{machine}", interface_name(index)));
        ports.map(listen).collect::<Result<Vec<PathBuf>>>()
    };
    let nics = [nics(MACHINES[0])?, nics(MACHINES[1])?];
    let pair = script.pair();
    let standbys = if pair.standby {
        let [source, destination] = MACHINES.map(|machine| format!("nic-standby-{machine}"));
        Some([listen(source)?, listen(destination)?])
    } else {
        None
    };
    let standby = standbys.as_ref().map(|[source, destination]| [&**source, &**destination]);
    let (kernel, initramfs) = match &parts.place {
        Place::Nested { kernel, initramfs, .. } => (kernel, initramfs),
        Place::Local { guest, model } => {
            return Ok(Box::new(LocalLab::new(&local::Setup {
                qemu: &parts.qemu,
                model: model.as_deref(),
                guest,
                nic: script.nic,
                segment: &nics,
                pair,
                standby,
                logs: &script.logs,
            })?));
        }
    };
    let step = Step::new("Booting the lab's host");
    let [source, destination] = &nics;
    let models = [
        (source, script.nic, MACS, false),
        match script.destination_nic {
            Some(other) => (destination, other, OTHER_MACS, true),
            None => (destination, script.nic, MACS, false),
        },
    ];
    let nics: Vec<HostNic<'_>> = models
        .into_iter()
        .flat_map(|(segments, model, macs, guest_chooses)| {
            std::iter::zip(macs, segments).map(move |(mac, segment)| HostNic {
                model,
                mac,
                segment,
                guest_chooses,
            })
        })
        .collect();
    let mut host = VirtualHost::start(&Setup {
        qemu: &parts.qemu,
        kernel: &kernel.image,
        initramfs,
        accelerator: Accelerator::Tcg,
        clock: segment.clock().clone(),
        nics: &nics,
        standby,
        is_unprepared: false,
        memory_mib: HOST_MEMORY_MIB,
        console_log: &script.logs.join(HOST_LOG),
    })?;
    let ready = host.wait_ready(HOST_BOOT)?;
    let has = format!("{} NICs bound to vfio-pci", ready.nics.len());
    let log = script.logs.join("qemu.log");
    let lab = NestedLab::new(host, ready, script.nics, pair, &log)?;
    step.finish(has);
    Ok(Box::new(lab))
}
