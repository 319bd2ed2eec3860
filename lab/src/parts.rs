//! What the lab is put together from.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::ValueEnum;

/// A QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    /// The program.
    pub binary: PathBuf,
    /// Where its firmware and ROMs are, searched in this order; empty for a QEMU that knows.
    pub data: Vec<PathBuf>,
}

impl Qemu {
    /// Its command line up to the machine: the program, and where its firmware is.
    #[must_use]
    pub fn command_line(&self) -> Vec<String> {
        let mut line = vec![self.binary.display().to_string()];
        for directory in &self.data {
            line.extend(["-L".into(), directory.display().to_string()]);
        }
        line
    }

    /// Where a firmware file is.
    ///
    /// # Errors
    /// None of the data directories has it.
    pub fn firmware(&self, name: &str) -> Result<PathBuf> {
        self.data
            .iter()
            .map(|directory| directory.join(name))
            .find(|path| path.is_file())
            .with_context(|| format!("QEMU's firmware file {name} is in none of {:?}", self.data))
    }
}

/// A path in one of QEMU's options: there, a doubled comma stands for a comma.
#[must_use]
pub fn escape(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// The kernel of the virtual host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKernel {
    /// The bootable image, `vmlinuz-RELEASE`.
    pub image: PathBuf,
    /// Its modules, `lib/modules/RELEASE`.
    pub modules: PathBuf,
}

/// What carries out a machine's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// Software.
    Tcg,
    /// This machine's KVM; for the virtual host it must nest.
    Kvm,
}

/// The models of NICs. QEMU emulates all but the 82599, which is a process of its own, and a
/// virtual function, which takes a host with a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NicModel {
    /// Intel 82540EM.
    E1000,
    /// Intel 82574L.
    E1000e,
    /// Intel 82576.
    Igb,
    /// A virtual function of an Intel 82576, which a host's driver makes: in the nested lab only.
    #[value(skip)]
    Igbvf,
    /// Intel 82599.
    Ixgbe,
    /// A virtual function of an Intel 82599, and its host, in a process.
    Ixgbevf,
    /// virtio-net.
    Virtio,
}

impl NicModel {
    /// Those that a lab can pass through.
    pub const OF_LABS: [Self; 5] =
        [Self::E1000e, Self::Igb, Self::Igbvf, Self::Ixgbe, Self::Ixgbevf];
    /// All that a machine can be started with, but for virtual functions.
    pub const ALL: [Self; 5] = [Self::E1000, Self::E1000e, Self::Igb, Self::Ixgbe, Self::Virtio];

    /// Whether it is a process of its own.
    #[must_use]
    pub fn is_process(self) -> bool {
        matches!(self, Self::Ixgbe | Self::Ixgbevf)
    }

    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::E1000 => "e1000",
            Self::E1000e => "e1000e",
            Self::Igb => "igb",
            Self::Igbvf => "igbvf",
            Self::Ixgbe => "ixgbe",
            Self::Ixgbevf => "ixgbevf",
            Self::Virtio => "virtio",
        }
    }

    /// QEMU's device; of a virtual function, the one that it is part of.
    #[must_use]
    pub fn device(self) -> &'static str {
        match self {
            Self::E1000 | Self::E1000e | Self::Igb => self.name(),
            Self::Igbvf => "igb",
            Self::Ixgbe | Self::Ixgbevf => "vfio-user-pci",
            Self::Virtio => "virtio-net-pci",
        }
    }
}

impl fmt::Display for NicModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
