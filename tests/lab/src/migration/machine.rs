//! The two machines of a migration, and what QEMU is told about them.

use crate::init::{Channel, GUEST_IMAGE};
use anyhow::Result;
use serde_json::{Map, Value};
use std::fmt;
use std::os::unix::net::UnixStream;

/// Memory of a machine in the nested lab. What a guest does not use, QEMU reads on both sides to see that it is zero, and
/// emulated processors take a second for 256 MiB of that.
pub(crate) const MEMORY_MIB: u32 = 64;

/// One of the two machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Machine {
    /// Where the guest is at first.
    Source,
    /// Where it goes.
    Destination,
}

impl Machine {
    /// Its name in the lab.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
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

    /// The stream to a machine's monitor or console. It stays the same over restarts of the machine.
    fn channel(&self, machine: Machine, channel: Channel) -> Result<UnixStream>;

    /// What the QEMUs said last, and how they ended: for errors.
    fn said(&mut self) -> String;

    /// Whether the place itself still answers. If not, what fails in it says nothing about the guest.
    fn answers(&mut self) -> bool {
        true
    }

    /// Compares the memory of both machines, which are stopped, page by page of what the source's NIC wrote. Asked for
    /// where [`Profile::compares`] says so.
    fn compare(&mut self) -> Result<Comparison> {
        anyhow::bail!("this lab does not know what its NICs write")
    }
}

/// Memory just after the switchover, against what a NIC wrote on the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Pages the NIC wrote.
    pub written: u64,
    /// Those of them that are not on the destination as they are on the source.
    pub stale: u64,
}

/// What differs between labs in QEMU's command line.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Machine, accelerator, processor and memory, as options.
    pub hardware: String,
    /// The guest's kernel, by its path in the lab.
    pub kernel: String,
    /// Where the destination listens for the migration.
    pub uri: String,
    /// The source's NIC.
    pub source_nic: Device,
    /// The destination's NIC.
    pub destination_nic: Device,
    /// The lab can tell what the NIC wrote: the destination waits for [`Lab::compare`] before it runs.
    pub compares: bool,
}

impl Profile {
    /// The lab inside the virtual host: real KVM and real vfio-pci. `nics` are PCI addresses in that host.
    pub fn nested(nics: [&str; 2]) -> Self {
        let nic = |address: &str| Device::new("vfio-pci", &[("host", address.into())]);
        Self {
            hardware: format!("-M q35 -accel kvm -cpu host -m {MEMORY_MIB}"),
            kernel: GUEST_IMAGE.into(),
            uri: "unix:/run/migration".into(),
            source_nic: nic(nics[0]),
            destination_nic: nic(nics[1]),
            compares: false,
        }
    }

    /// QEMU's arguments for `machine` with the guest's command line `append`.
    pub fn arguments(&self, machine: Machine, append: &str) -> Vec<String> {
        let mut arguments: Vec<String> = [
            "-nodefaults -no-user-config -display none -no-reboot",
            &self.hardware,
            // Native PCIe hot-plug: the guest, not ACPI, runs the slot.
            "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
            // Write-protects memory in pieces of 256 KiB as they are sent, not all of it at once: after that, the guest's
            // first write to each page traps, and so many traps in a row would be felt as a dip in throughput.
            "-global migration.x-clear-bitmap-shift=6",
            &format!("-device pcie-root-port,id={PORT},slot=1,chassis=1,x-migration-capability=on"),
        ]
        .iter()
        .flat_map(|part| part.split(' '))
        .map(str::to_owned)
        .collect();
        let nic = match machine {
            Machine::Source => &self.source_nic,
            Machine::Destination => &self.destination_nic,
        };
        arguments.extend(nic.backend.iter().cloned());
        arguments.extend(["-device".into(), nic.argument()]);
        if machine == Machine::Destination {
            arguments.extend(["-incoming".into(), self.uri.clone()]);
            if self.compares {
                arguments.push("-S".into());
            }
        }
        arguments.extend(["-kernel".into(), self.kernel.clone(), "-append".into(), append.into()]);
        arguments
    }
}

/// Id of the root port above the NIC.
pub(super) const PORT: &str = "rp0";
/// Id of the NIC.
pub(super) const NIC: &str = "nic0";

/// A device that sits below the root port.
#[derive(Clone, Debug)]
pub struct Device {
    properties: Map<String, Value>,
    /// Options it refers to.
    backend: Vec<String>,
}

impl Device {
    /// A device of `driver` with these properties.
    pub fn new(driver: &str, properties: &[(&str, Value)]) -> Self {
        let all = [("driver", driver.into()), ("id", NIC.into()), ("bus", PORT.into())];
        let properties = all.iter().chain(properties);
        let properties = properties.map(|(name, value)| ((*name).into(), value.clone())).collect();
        Self { properties, backend: Vec::new() }
    }

    /// The same with options that it refers to.
    #[must_use]
    pub fn with_backend(self, options: &[&str]) -> Self {
        Self { backend: options.iter().map(|&option| option.into()).collect(), ..self }
    }

    /// As `-device` takes it: JSON, which needs no escaping rules.
    fn argument(&self) -> String {
        Value::Object(self.properties.clone()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_has_its_own_nic_and_only_one_listens() {
        let profile = Profile::nested(["0000:01:00.0", "0000:02:00.0"]);
        let source = profile.arguments(Machine::Source, "ip=10.0.2.15/24 marking=auto");
        let destination = profile.arguments(Machine::Destination, "ip=10.0.2.15/24 marking=auto");
        let nic = source.iter().find(|a| a.contains("vfio-pci")).unwrap();
        assert!(
            nic.contains("\"host\":\"0000:01:00.0\"") && nic.contains("\"bus\":\"rp0\""),
            "{nic}"
        );
        assert!(destination.iter().any(|a| a.contains("\"host\":\"0000:02:00.0\"")));
        assert!(!source.contains(&"-incoming".into()));
        assert_eq!(source.iter().filter(|a| a.contains("x-migration-capability=on")).count(), 1);
        assert!(source.windows(2).any(|w| w == ["-append", "ip=10.0.2.15/24 marking=auto"]));
        assert!(destination.windows(2).any(|w| w == ["-incoming", "unix:/run/migration"]));
    }
}
