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
    host::{self, HostLab},
    local::{self, LocalLab},
    migration::{Lab, Machine},
    nested::{
        NestedLab,
        host::{HostNic, Setup, VirtualHost},
    },
    parts::{Accelerator, HostKernel},
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

/// Listening ports of the segment, for each machine.
struct Ports {
    /// Of each NIC.
    nics: [Vec<PathBuf>; 2],
    standbys: Option<[PathBuf; 2]>,
}

impl Ports {
    fn of(script: &Script, listen: impl Fn(String) -> Result<PathBuf>) -> Result<Self> {
        let nics = |machine: Machine| {
            let names =
                (0..script.nics).map(|index| format!("{}-{machine}", interface_name(index)));
            names.map(&listen).collect::<Result<Vec<PathBuf>>>()
        };
        let standby = |machine: Machine| listen(format!("nic-standby-{machine}"));
        let [source, destination] = MACHINES;
        let nics = [nics(source)?, nics(destination)?];
        let has_standby = script.pair().standby;
        let standbys =
            if has_standby { Some([standby(source)?, standby(destination)?]) } else { None };
        Ok(Self { nics, standbys })
    }

    fn standby(&self) -> Option<[&Path; 2]> {
        self.standbys.as_ref().map(|[source, destination]| [&**source, &**destination])
    }
}

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
    Ok(match &parts.place {
        Place::Nested { kernel, initramfs, .. } => {
            let ports = Ports::of(script, listen)?;
            Box::new(start_nested(script, parts, kernel, initramfs, segment, &ports)?)
        }
        Place::Local { guest, initramfs, model, destination, .. } => {
            let ports = Ports::of(script, listen)?;
            Box::new(LocalLab::new(&local::Setup {
                qemu: &parts.qemu,
                model: model.as_deref(),
                guest,
                initramfs: initramfs.as_deref(),
                nic: script.nic,
                segment: &ports.nics,
                pair: script.pair(),
                standby: ports.standby(),
                destination: destination.as_ref(),
                logs: &script.logs,
            })?)
        }
        Place::Host { guest, machines } => Box::new(HostLab::new(&host::Setup {
            qemu: &parts.machines,
            guest,
            machines,
            segment: &listen(machines.source.clone())?,
            pair: script.pair(),
            logs: &script.logs,
        })?),
    })
}

fn start_nested(
    script: &Script,
    parts: &LabParts,
    kernel: &HostKernel,
    initramfs: &Path,
    segment: &Segment,
    ports: &Ports,
) -> Result<NestedLab> {
    let step = Step::new("Booting the lab's host");
    let [source, destination] = &ports.nics;
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
        standby: ports.standby(),
        is_unprepared: false,
        memory_mib: HOST_MEMORY_MIB,
        console_log: &script.logs.join(HOST_LOG),
    })?;
    let ready = host.wait_ready(HOST_BOOT)?;
    let has = format!("{} NICs bound to vfio-pci", ready.nics.len());
    let log = script.logs.join("qemu.log");
    let lab = NestedLab::new(host, ready, script.nics, script.pair(), &log)?;
    step.finish(has);
    Ok(lab)
}
