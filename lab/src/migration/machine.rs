//! The two machines of a migration, and what QEMU is told about them.

use crate::addresses::{INTERFACES, MAC};
use crate::choices::{Bridge, Chipset, GuestKind, QemuKind};
use crate::clock::Clock;
use crate::init::{Channel, GUEST_IMAGE, GUEST_INITRAMFS, TAP_FD};
use crate::qmp::Qmp;
use anyhow::Result;
use serde_json::{Map, Value, json};
use std::fmt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Memory of a machine, in MiB: what the guest needs, and little more. What it does not use, QEMU
/// reads on both sides to see that it is zero, and emulated processors take a second for 256 MiB of
/// that.
pub(crate) fn memory(guest: GuestKind) -> u32 {
    match guest {
        GuestKind::Godwit => 64,
        GuestKind::Linux => 128,
    }
}

/// One of the two machines, named for their parts in a guest's first migration; in the next they
/// change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Machine {
    /// Where the guest is at first.
    Source,
    /// Where it goes.
    Destination,
}

/// What a machine is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To boot the guest.
    Boots,
    /// To take in a guest that migrates.
    Incoming,
}

impl Machine {
    /// Its name in the lab.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A place where two machines can run.
pub trait Lab {
    /// What QEMU is told there.
    fn profile(&self) -> &Profile;

    /// Starts a machine's QEMU. Its monitor and its first serial port are the lab's business.
    fn start(&mut self, machine: Machine, arguments: &[String]) -> Result<()>;

    /// Ends a machine's QEMU, if it still runs, and waits for its end.
    fn stop(&mut self, machine: Machine) -> Result<()>;

    /// How a machine's QEMU has ended, if it has since it was started.
    fn ended(&mut self, machine: Machine) -> Option<String>;

    /// The stream to a machine's monitor or console. It stays the same over restarts of the
    /// machine.
    fn channel(&self, machine: Machine, channel: Channel) -> Result<UnixStream>;

    /// What the QEMUs said last, and how they ended: for errors.
    fn said(&mut self) -> String;

    /// The clock that what happens there goes by.
    fn clock(&self) -> Clock {
        Clock::real()
    }

    /// Whether the place itself still answers. If not, what fails in it says nothing about the
    /// guest.
    fn answers(&mut self) -> bool {
        true
    }

    /// The time that its processors have been busy so far, where it emulates them.
    fn processors(&self) -> Option<[Duration; 2]> {
        None
    }

    /// What is known about a place that does not answer any more, at length.
    fn last_words(&mut self) -> Option<String> {
        None
    }

    /// The programs that were started, each with its name and what it was told.
    fn command_lines(&self) -> Vec<(String, Vec<String>)> {
        Vec::new()
    }

    /// Takes the link of a machine's first NIC down, or brings it up, as pulling and plugging its
    /// cable does.
    /// `monitor` is that of the machine.
    fn set_link(&mut self, _machine: Machine, _monitor: &mut Qmp, _up: bool) -> Result<()> {
        anyhow::bail!("this lab has no cables to pull")
    }

    /// Compares the memory of both machines, which are stopped, page by page: all of it, and what
    /// the NICs of the one that the guest comes from wrote. Asked for where [`Profile::compares`]
    /// says so.
    fn compare(&mut self, _from: Machine) -> Result<Comparison> {
        anyhow::bail!("this lab does not know what its NICs write")
    }
}

/// Memory just after the switchover, on the destination against the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Pages of memory, whoever writes them.
    pub memory: u64,
    /// Those of them that are not on the destination as they are on the source.
    pub differing: u64,
    /// Of what the NICs wrote on the source: a page that several wrote counts once.
    pub all: Pages,
    /// Of each.
    pub by_nic: Vec<Pages>,
}

/// Pages of memory that were compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// Those that were written.
    pub written: u64,
    /// Those of them that are not on the destination as they are on the source.
    pub stale: u64,
}

/// What differs between labs in QEMU's command line.
#[derive(Clone, Debug)]
pub struct Profile {
    /// More properties of the machine, such as `,memory-backend=ram`.
    pub machine: String,
    /// Accelerator, processor and memory, as options.
    pub hardware: String,
    /// The guest's kernel, by its path in the lab.
    pub kernel: String,
    /// What that starts with, where it is Linux.
    pub initramfs: Option<String>,
    /// What the machines send one another the guest by.
    pub streams: Streams,
    /// Each machine's NICs, in the order of the guest's interfaces.
    pub nics: [Vec<Device>; 2],
    /// The lab can tell what the NICs wrote: the destination waits for [`Lab::compare`] before it
    /// runs.
    pub compares: bool,
    /// What the first of the NICs is paired with.
    pub pair: Pair,
    /// What the standby of each machine is connected to, as `-netdev` takes it, without its id.
    pub standby: [Value; 2],
}

/// What a guest is sent by, for each machine as the one that takes it in.
#[derive(Clone, Debug)]
pub struct Streams {
    /// Where it listens.
    pub listens: [String; 2],
    /// Where the other reaches that.
    pub reached: [String; 2],
}

impl Streams {
    /// Of machines that listen at the same place, one at a time.
    pub fn at(uri: String) -> Self {
        let both = [uri.clone(), uri];
        Self { listens: both.clone(), reached: both }
    }
}

/// What a NIC is paired with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// A virtio-net standby.
    pub standby: bool,
    /// A bridge with the migration capability, as the other NICs have one too. Without it, QEMU has
    /// the NIC unplugged when migration starts.
    pub capability: bool,
    /// What both machines are.
    pub chipset: Chipset,
    /// The bridge that each NIC is below.
    pub bridge: Bridge,
    /// What the machines run in.
    pub qemu: QemuKind,
    /// What runs in them.
    pub guest: GuestKind,
    /// Native PCIe hot-plug, which Godwit has a driver for, in place of the machine's default.
    pub native: bool,
}

impl Pair {
    /// Whether whoever migrates has to take the NIC from the guest, and to give it the other: no
    /// QEMU does it for a NIC without a standby, but the patched one below such a bridge.
    pub fn is_moved_by_hand(&self) -> bool {
        !self.capability && !self.standby
    }
}

impl Profile {
    /// The lab inside the virtual host. `nics` are PCI addresses in that host, of each machine's
    /// NICs.
    pub fn nested(nics: [Vec<&str>; 2], pair: Pair) -> Self {
        let streams = Streams::at("unix:/run/migration".into());
        Self::passthrough(nics, pair, GUEST_IMAGE.into(), streams)
    }

    /// Real KVM and real vfio-pci: `nics` are PCI addresses, of each machine's NICs on its host.
    pub fn passthrough(nics: [Vec<&str>; 2], pair: Pair, kernel: String, streams: Streams) -> Self {
        let nic = |(index, address): (usize, &str)| {
            Device::new(index, "vfio-pci", &[("host", address.into())])
        };
        Self {
            // The guest has no guests of its own, whose state would be restored as well: KVM in the
            // emulated host was seen to refuse that, once in some ten migrations.
            machine: String::new(),
            hardware: format!("-accel kvm -cpu host,-svm,-vmx -m {}", memory(pair.guest)),
            kernel,
            initramfs: (pair.guest == GuestKind::Linux).then(|| GUEST_INITRAMFS.into()),
            streams,
            nics: nics.map(|addresses| addresses.into_iter().enumerate().map(nic).collect()),
            compares: false,
            pair,
            standby: [(); 2].map(|()| json!({ "type": "tap", "fd": TAP_FD.to_string() })),
        }
    }

    /// How many NICs each machine has.
    pub fn interfaces(&self) -> usize {
        self.nics[0].len()
    }

    /// QEMU's arguments for `machine` with the guest's command line `append`.
    pub fn arguments(&self, machine: Machine, role: Role, append: &str) -> Vec<String> {
        let mut arguments: Vec<String> = [
            "-nodefaults -no-user-config -display none -no-reboot",
            &format!("-M {}{}", self.pair.chipset, self.machine),
            &self.hardware,
            // Write-protects memory in pieces of 256 KiB as they are sent, not all of it at once:
            // after that, the guest's first write to each page traps, and so many traps in a row
            // would be felt as a dip in throughput.
            "-global migration.x-clear-bitmap-shift=6",
        ]
        .iter()
        .flat_map(|part| part.split(' '))
        .map(str::to_owned)
        .collect();
        if self.pair.native {
            let native = "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off";
            arguments.extend(["-global".into(), native.into()]);
        }
        let mut nics = self.nics(machine);
        for (index, nic) in nics.iter_mut().enumerate() {
            arguments.extend(["-device".into(), self.bridge(index, nic).to_string()]);
            arguments.extend(nic.backend.iter().cloned());
            if self.pair.bridge != Bridge::PcieRootPort {
                // A standard hot-plug controller has no slot 0.
                nic.properties.insert("addr".into(), "0x1".into());
            }
        }
        if self.pair.standby {
            // Before the NIC, which QEMU hides for as long as the guest does not know what a
            // standby is.
            arguments.extend(self.standby(machine));
            nics[0].properties.insert("failover_pair_id".into(), STANDBY.into());
        }
        // By hand it is plugged in when the guest has come: the machine that it left had none.
        let later = role == Role::Incoming && self.pair.is_moved_by_hand();
        for nic in nics.into_iter().filter(|_| !later) {
            arguments.extend(["-device".into(), nic.argument()]);
        }
        if role == Role::Incoming {
            arguments.extend(["-incoming".into(), self.streams.listens[machine as usize].clone()]);
            if self.compares {
                arguments.push("-S".into());
            }
        }
        arguments.extend(["-kernel".into(), self.kernel.clone(), "-append".into(), append.into()]);
        if let Some(initramfs) = &self.initramfs {
            arguments.extend(["-initrd".into(), initramfs.clone()]);
        }
        arguments
    }

    /// A machine's NICs, as they are given to a guest.
    pub(super) fn nics(&self, machine: Machine) -> Vec<Device> {
        let mut nics = self.nics[machine as usize].clone();
        if self.pair.is_moved_by_hand() {
            // Paired with nothing. It is what has QEMU migrate a machine with a VFIO device, and
            // unplug one meanwhile.
            let pair = |nic: &mut Device| {
                nic.properties.insert("failover_pair_id".into(), "none".into());
            };
            nics.iter_mut().for_each(pair);
        }
        nics
    }

    /// The bridge above a NIC. A pair's ports are functions of one device, as libvirt places them.
    fn bridge(&self, index: usize, nic: &Device) -> Value {
        let slot = index + self.pair.chipset.first_slot();
        // The second chassis is the standby's.
        let chassis = 2 * index + 1;
        let mut bridge = match self.pair.bridge {
            Bridge::PcieRootPort => json!({ "port": 8 * slot, "chassis": chassis }),
            Bridge::PciBridge => json!({ "chassis_nr": chassis }),
            Bridge::PciePciBridge => json!({}),
        };
        bridge["driver"] = self.pair.bridge.to_string().into();
        bridge["id"] = PORTS[index].into();
        bridge["bus"] = self.pair.chipset.root_bus().into();
        bridge["addr"] = format!("{slot:#x}").into();
        if self.pair.standby && index == 0 {
            bridge["multifunction"] = true.into();
        }
        if self.pair.capability {
            bridge["x-dirty-log"] = true.into();
            // Emulated, a NIC's writes are in the log; there it stands for one whose are not.
            if !nic.is_passthrough() {
                bridge["x-dirty-log-all-unlogged"] = true.into();
            }
        }
        bridge
    }

    /// The standby and what is around it.
    fn standby(&self, machine: Machine) -> Vec<String> {
        let port = json!({
            "driver": "pcie-root-port", "port": 9, "chassis": 2, "id": STANDBY_PORT,
            "bus": "pcie.0", "addr": "0x1.0x1",
        });
        let mut network = self.standby[machine as usize].clone();
        network["id"] = NETWORK.into();
        let standby = json!({
            "driver": "virtio-net-pci", "failover": true, "netdev": NETWORK, "id": STANDBY,
            "mac": MAC, "bus": STANDBY_PORT, "addr": "0x0", "romfile": "",
        });
        [("-device", port), ("-netdev", network), ("-device", standby)]
            .map(|(option, value)| [option.to_owned(), value.to_string()])
            .concat()
    }
}

/// Ids of the bridges above the NICs. These are aliases as libvirt lets a user choose them.
pub const PORTS: [&str; INTERFACES] = ["ua-port0", "ua-port1"];
/// Id of the root port above the standby.
const STANDBY_PORT: &str = "pci.2";
/// Id of the standby's network.
const NETWORK: &str = "hostua-standby0";
/// Id of the standby.
pub const STANDBY: &str = "ua-standby0";
/// Ids of the NICs.
pub const NICS: [&str; INTERFACES] = ["ua-nic0", "ua-nic1"];

/// A device that sits below its bridge.
#[derive(Clone, Debug)]
pub struct Device {
    properties: Map<String, Value>,
    /// Options it refers to.
    backend: Vec<String>,
}

impl Device {
    /// NIC `index` of a machine, a device of `driver` with these properties.
    pub fn new(index: usize, driver: &str, properties: &[(&str, Value)]) -> Self {
        let (id, bus) = (NICS[index], PORTS[index]);
        let all = [("driver", driver), ("id", id), ("bus", bus), ("addr", "0x0"), ("romfile", "")]
            .map(|(name, value)| (name, value.into()));
        let properties = all.iter().chain(properties);
        let properties = properties.map(|(name, value)| ((*name).into(), value.clone())).collect();
        Self { properties, backend: Vec::new() }
    }

    /// The same with options that it refers to.
    #[must_use]
    pub fn with_backend(self, options: &[&str]) -> Self {
        Self { backend: options.iter().map(|&option| option.into()).collect(), ..self }
    }

    /// As `device_add` takes it.
    pub(super) fn properties(&self) -> &Map<String, Value> {
        &self.properties
    }

    fn is_passthrough(&self) -> bool {
        self.properties["driver"].as_str().is_some_and(|driver| driver.starts_with("vfio"))
    }

    /// As `-device` takes it: JSON, which needs no escaping rules.
    fn argument(&self) -> String {
        Value::Object(self.properties.clone()).to_string()
    }
}

#[cfg(test)]
pub(super) mod tests;
