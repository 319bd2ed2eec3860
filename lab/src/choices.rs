//! What people choose on the command line, and read in a result by the same names.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// When the NIC leaves the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Just before switchover
    Warm,
    /// At migration start, a virtio-net standby taking over
    Failover,
    /// At migration start, nothing taking over
    Cold,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Warm, Self::Failover, Self::Cold];
}

/// The machine type of both machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Chipset {
    /// PCI Express
    #[default]
    Q35,
    /// Conventional PCI (i440FX)
    Pc,
}

impl Chipset {
    /// QEMU's name of the root bus.
    #[must_use]
    pub fn root_bus(self) -> &'static str {
        match self {
            Self::Q35 => "pcie.0",
            Self::Pc => "pci.0",
        }
    }

    /// The slot of the root bus that the first bridge gets, behind the chipset's own devices.
    #[must_use]
    pub fn first_slot(self) -> usize {
        match self {
            Self::Q35 => 1,
            Self::Pc => 2,
        }
    }
}

/// The bridge that the NIC is below: it has the capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Bridge {
    /// A PCI Express root port
    PcieRootPort,
    /// A conventional bridge
    PciBridge,
    /// A bridge from PCI Express to conventional PCI
    PciePciBridge,
}

/// Where to cancel a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CancelAt {
    /// Right after it was started
    Setup,
    /// While memory is being copied
    Warmup,
    /// Once the guest was asked to quiesce the NIC
    Quiesce,
    /// Once the NIC is quiet, with the guest stopped for the switchover
    Quiesced,
}

impl CancelAt {
    /// The guest has been asked for its NIC by then.
    #[must_use]
    pub fn is_late(self) -> bool {
        matches!(self, Self::Quiesce | Self::Quiesced)
    }
}

/// When the guest marks what the NIC wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Marking {
    /// While the hypervisor logs
    Auto,
    /// All the time
    Always,
    /// Never, to see what is lost then
    Never,
}

/// What is driven at the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TrafficKind {
    /// Numbered datagrams
    Udp,
    /// Stock iperf3, one connection
    Tcp,
    /// One connection whose bytes the guest sends back: each is compared with what was sent, and
    /// all are summed up
    Echo,
    /// The service's own client, run over and over: a command line
    Client,
}

/// The QEMU that runs the machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum QemuKind {
    /// With the series of this repository
    #[default]
    Patched,
    /// The distribution's: the guest marks always, and whoever migrates takes the NIC and gives the
    /// other
    Stock,
    /// The same with the newer one of the distribution's backports
    Backports,
}

impl QemuKind {
    /// Whether it has the series of this repository.
    #[must_use]
    pub fn is_patched(self) -> bool {
        self == Self::Patched
    }
}

/// Where the two machines of a migration run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LabKind {
    /// Under KVM inside an emulated host, with VFIO
    Nested,
    /// On this machine in software, without passthrough hardware
    Local,
    /// Under KVM on this machine, each with one of its NICs
    Host,
}

/// Whose time the figures are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ClockKind {
    /// The emulated host's, which counts its instructions: the same however busy this machine is
    Virtual,
    /// This machine's
    Real,
}

/// What runs in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// The unikernel
    Godwit,
    /// Linux, with its own drivers of NIC and standby
    Linux,
}

macro_rules! display_as_on_the_command_line {
    ($($choice:ty),*) => {$(
        impl fmt::Display for $choice {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let value = self.to_possible_value().expect("no value is left out");
                f.pad(value.get_name())
            }
        }
    )*};
}

display_as_on_the_command_line!(
    Strategy,
    Chipset,
    Bridge,
    CancelAt,
    Marking,
    TrafficKind,
    QemuKind,
    LabKind,
    ClockKind,
    GuestKind
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_has_the_words_of_the_command_line() {
        fn check<T: ValueEnum + Serialize + fmt::Display>() {
            for value in T::value_variants() {
                assert_eq!(serde_json::to_value(value).unwrap(), value.to_string());
            }
        }
        check::<Strategy>();
        check::<Chipset>();
        check::<Bridge>();
        check::<CancelAt>();
        check::<Marking>();
        check::<TrafficKind>();
        check::<QemuKind>();
        check::<LabKind>();
        check::<ClockKind>();
        check::<GuestKind>();
    }
}
