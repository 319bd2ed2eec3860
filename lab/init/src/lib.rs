//! What the lab and the `init` of its virtual host say to each other.
//!
//! JSON lines over the virtio-serial port [`CONTROL_PORT`]: [`Request`]s in, [`Report`]s out.
//!
//! ```text
//! lab                                   init
//!  |                                      |  mounts, modules, taps, NICs bound to vfio-pci
//!  |  <--------------------------- Ready  |  (or Failed, and the host turns itself off)
//!  |  Spawn { machine, arguments } ---->  |
//!  |  <------------------------- Spawned  |  QMP and console on the machine's own ports
//!  |  <-------------------------- Output  |  each line QEMU prints
//!  |  <-------------------------- Exited  |
//! ```
#![forbid(unsafe_code)]

pub mod system;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The virtio-serial port of this protocol.
pub const CONTROL_PORT: &str = "control";

/// Where the initramfs keeps QEMU.
pub const QEMU: &str = "/bin/qemu-system-x86_64";

/// Where the initramfs keeps QEMU's firmware and ROMs.
pub const QEMU_DATA: &str = "/share/qemu";

/// Where the initramfs keeps the guest's image.
pub const GUEST_IMAGE: &str = "/guest/image";

/// Where it keeps the one that a Linux guest starts with.
pub const GUEST_INITRAMFS: &str = "/guest/initramfs";

/// Where an initramfs keeps the programs it was given.
pub const PROGRAMS: &str = "/bin";

/// The file descriptor at which a machine finds its tap.
pub const TAP_FD: i32 = 10;

/// Modules to load, in this order: a path and its parameters a line.
pub const MODULE_LIST: &str = "/lib/modules.list";

/// On the host's command line: its NICs stay with its own drivers, as on a machine that nobody has
/// prepared.
pub const UNPREPARED: &str = "lab.unprepared";

/// A machine's virtio-serial ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The monitor, in QMP.
    Qmp,
    /// The first serial port.
    Console,
}

impl Channel {
    /// The name of the port of `machine`, and of its link in [`CHANNELS`].
    pub fn port(self, machine: &str) -> String {
        match self {
            Self::Qmp => format!("{machine}.qmp"),
            Self::Console => format!("{machine}.console"),
        }
    }
}

/// Directory of links from a virtio-serial port's name to its device.
pub const CHANNELS: &str = "/run/channels";

/// From the lab to `init`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Start QEMU with these arguments, its monitor and first serial port on the machine's ports.
    Spawn {
        /// `source` or `destination`.
        machine: String,
        /// QEMU's command line without the program.
        arguments: Vec<String>,
        /// The tap it is to have open as [`TAP_FD`], one of those reported.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tap: Option<String>,
    },
    /// Start a program of the host's own, as people do on theirs. What it says and how it ends is
    /// reported as that of a machine of this name.
    Run {
        /// The name.
        machine: String,
        /// The program and its arguments.
        command: Vec<String>,
    },
    /// Interrupt a program, as Ctrl-C does.
    Interrupt {
        /// Its name.
        machine: String,
    },
    /// End a machine's QEMU at once. Its `Exited` follows.
    Kill {
        /// The machine.
        machine: String,
    },
}

/// From `init` to the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// The host is up.
    Ready {
        /// NICs bound to vfio-pci, in the order of their addresses.
        nics: Vec<Nic>,
        /// Processors that run.
        processors: usize,
        /// A tap for each virtio NIC, in the order of those.
        taps: Vec<String>,
    },
    /// A machine runs.
    Spawned {
        /// The machine.
        machine: String,
    },
    /// QEMU said something.
    Output {
        /// The machine.
        machine: String,
        /// One line of QEMU's standard output or error.
        line: String,
    },
    /// A machine's QEMU is gone.
    Exited {
        /// The machine.
        machine: String,
        /// How, in words.
        status: String,
        /// Whether QEMU ended of its own accord and without an error.
        success: bool,
    },
    /// Something could not be done.
    Failed {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
}

/// A virtual function that the host is to have, as the kernel's command line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualFunction {
    /// Station address of the physical function.
    pub physical: String,
    /// The one to give to the virtual function; without, that is left to whoever uses it.
    pub mac: Option<String>,
}

impl VirtualFunction {
    /// The key on the kernel's command line.
    pub const KEY: &str = "lab.vf=";

    /// All that a command line has.
    ///
    /// # Errors
    /// A value that is none.
    pub fn all_in(line: &str) -> anyhow::Result<Vec<Self>> {
        let values = line.split_ascii_whitespace().filter_map(|word| word.strip_prefix(Self::KEY));
        values.map(|value| Self::parse(value).with_context(|| value.to_owned())).collect()
    }

    fn parse(value: &str) -> Option<Self> {
        let (physical, mac) = value.split_once('/')?;
        let mac = (!mac.is_empty()).then(|| mac.into());
        Some(Self { physical: physical.into(), mac })
    }
}

impl fmt::Display for VirtualFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/{}", Self::KEY, self.physical, self.mac.as_deref().unwrap_or_default())
    }
}

/// A NIC that a machine can be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// PCI address in the host, as `vfio-pci,host=` takes it.
    pub address: String,
    /// PCI vendor and device, `8086:10d3`.
    pub id: String,
    /// Its IOMMU group.
    pub iommu_group: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_functions_are_found_on_a_command_line() {
        let mac = |last| format!("52:54:00:67:6f:{last:02x}");
        let functions = [
            VirtualFunction { physical: mac(0xa0), mac: Some(mac(1)) },
            VirtualFunction { physical: mac(0xa1), mac: None },
        ];
        let line = format!("quiet {} {} panic=-1", functions[0], functions[1]);
        assert_eq!(VirtualFunction::all_in(&line).unwrap(), functions);
        assert!(VirtualFunction::all_in("quiet").unwrap().is_empty());
        assert!(VirtualFunction::all_in("lab.vf=x").is_err());
    }

    #[test]
    fn messages_survive_the_wire() {
        let request = Request::Spawn {
            machine: "source".into(),
            arguments: vec!["-M".into()],
            tap: Some("tap0".into()),
        };
        let line = serde_json::to_string(&request).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);
    }
}
