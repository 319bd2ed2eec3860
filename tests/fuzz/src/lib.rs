//! What the guest reads that others wrote, each reader as a function of any bytes: none of them may
//! panic, hang, leak, or break what it promises.
//!
//! `cargo test -p fuzz` runs the inputs that are kept, and changed ones, in some seconds; `cargo
//! xtask fuzz` has libFuzzer look for others.
#![forbid(unsafe_code)]

mod boot;
mod capture;
mod cards;
mod link;
mod packets;
mod seeds;
mod services;
mod stack;
mod steps;
mod store;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Something that reads.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it is called.
    pub name: &'static str,
    /// Reads an input.
    ///
    /// Panics if that does any harm.
    pub read: fn(&[u8]),
    /// Inputs that get far.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All there are.
pub const TARGETS: [Target; 11] = [
    Target { name: "frames", read: stack::frames, seeds: seeds::frames },
    Target { name: "advertisements", read: stack::advertisements, seeds: seeds::advertisements },
    Target { name: "dhcp", read: stack::dhcp, seeds: seeds::dhcp },
    Target { name: "dns", read: stack::dns, seeds: seeds::dns },
    Target { name: "iperf3", read: services::iperf3, seeds: services::iperf3_seeds },
    Target { name: "http", read: services::http, seeds: services::http_seeds },
    Target { name: "resp", read: store::read, seeds: store::seeds },
    Target { name: "command-line", read: boot::command_line, seeds: boot::command_lines },
    Target { name: "acpi", read: boot::acpi, seeds: boot::tables },
    Target { name: "pci", read: cards::read, seeds: cards::seeds },
    Target { name: "pcapng", read: capture::write, seeds: capture::seeds },
];

impl Target {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// Where the inputs are that once did harm.
    pub fn corpus(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }

    /// The inputs that are kept: those that get far, and those that once did harm.
    ///
    /// # Errors
    /// The latter cannot be read.
    pub fn inputs(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut inputs = (self.seeds)();
        let folder = self.corpus();
        if folder.exists() {
            let mut files: Vec<_> =
                fs::read_dir(folder)?.map(|file| Ok(file?.path())).collect::<io::Result<_>>()?;
            files.sort();
            for file in files {
                inputs.push(fs::read(file)?);
            }
        }
        Ok(inputs)
    }
}
