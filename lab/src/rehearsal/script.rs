//! What is to be rehearsed.

use std::{path::PathBuf, time::Duration};

use crate::{
    build::application::Application,
    choices::{
        Bridge, CancelAt, Chipset, ClockKind, GuestKind, Marking, QemuKind, Strategy, TrafficKind,
    },
    clock::Clock,
    migration::Pair,
    parts::NicModel,
};

/// What to rehearse.
#[derive(Debug, Clone)]
pub struct Script {
    /// What runs in the machines.
    pub guest: GuestKind,
    /// And which application of it.
    pub application: Application,
    /// What the lab's time is.
    pub clock: ClockKind,
    /// The model of the NICs.
    pub nic: NicModel,
    /// The model of the destination's, where that is another one.
    pub destination_nic: Option<NicModel>,
    /// How many each machine has, each an interface of the guest.
    pub nics: usize,
    /// When the NIC leaves.
    pub strategy: Strategy,
    /// Pair the NIC with a standby; the failover strategy does, in any case.
    pub standby: bool,
    /// What both run in.
    pub qemu: QemuKind,
    /// What both machines are.
    pub chipset: Chipset,
    /// The bridge that each NIC is below.
    pub bridge: Bridge,
    /// How often to migrate, to and fro.
    pub times: u32,
    /// What is driven at the guest.
    pub traffic: TrafficKind,
    /// The client that is run over and over, and the port it asks ([`TrafficKind::Client`]).
    pub client: Option<(String, u16)>,
    /// The guest's TCP port that traffic goes to, where it is not the one of `net-app`.
    pub port: Option<u16>,
    /// Bytes that a transfer takes at least ([`TrafficKind::Echo`]), and more as long as
    /// migrations go on.
    pub transfer: u64,
    /// The guest's policy.
    pub marking: Marking,
    /// In bits a second; measured when not given.
    pub rate: Option<u64>,
    /// Before the migration, and after it.
    pub measure: Duration,
    /// How long QEMU is kept in the warm-up, where it is not as long as the lab has it.
    pub warmup: Option<Duration>,
    /// Cancel there, one after the other, before the migration that is not.
    pub cancel_at: Vec<CancelAt>,
    /// Also measure a saturated warm-up, in a migration that is cancelled.
    pub saturated_warmup: bool,
    /// More for the guest's command line.
    pub append: String,
    /// Where every frame on the segment is recorded.
    pub pcap: Option<PathBuf>,
    /// Where logs go.
    pub logs: PathBuf,
}

impl Script {
    /// One warm migration between two NICs of a model, under datagrams at half of what the guest
    /// takes, with nothing measured before and after, and no place for logs: the least there is.
    pub fn of(application: Application, nic: NicModel) -> Self {
        Self {
            guest: GuestKind::Godwit,
            application,
            clock: ClockKind::Real,
            nic,
            destination_nic: None,
            nics: 1,
            strategy: Strategy::Warm,
            standby: false,
            qemu: QemuKind::Patched,
            chipset: Chipset::Q35,
            bridge: Bridge::PcieRootPort,
            times: 1,
            traffic: TrafficKind::Udp,
            client: None,
            port: None,
            transfer: 0,
            marking: Marking::Auto,
            rate: None,
            measure: Duration::ZERO,
            warmup: None,
            cancel_at: Vec::new(),
            saturated_warmup: false,
            append: String::new(),
            pcap: None,
            logs: PathBuf::new(),
        }
    }

    /// A clock as the script has it, at its beginning.
    pub(super) fn clock(&self) -> Clock {
        match self.clock {
            ClockKind::Virtual => Clock::stepped(),
            ClockKind::Real => Clock::real(),
        }
    }

    pub(super) fn pair(&self) -> Pair {
        let standby = self.standby || self.strategy == Strategy::Failover;
        Pair {
            standby,
            // Failover is what QEMU does without it, and Linux has no driver for it.
            capability: self.strategy != Strategy::Failover
                && self.qemu.is_patched()
                && self.guest == GuestKind::Godwit,
            chipset: self.chipset,
            bridge: self.bridge,
            qemu: self.qemu,
            guest: self.guest,
            // A pair's NIC is plugged in once the guest has its standby; cold plugs and unplugs.
            // Linux takes the default as well, and does not wait five seconds then.
            native: self.guest == GuestKind::Godwit
                && (standby || self.strategy == Strategy::Cold || !self.qemu.is_patched()),
        }
    }
}
