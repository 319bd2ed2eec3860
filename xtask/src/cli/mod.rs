//! The command line. Scripts depend on it: flags are added, never renamed.

mod common;
mod guest;
mod house;
mod migration;

use std::path::Path;

use clap::{Parser, Subcommand};

pub(crate) use self::{
    guest::{Image, ImageFormat, KubevirtVm, LibvirtXml, New, ProxmoxQm, Run},
    house::{Bench, BenchName, Book, Clean, Completions, Doctor, Fetch, Fuzz, Numbers, Qemu, Test},
    migration::{Compare, Demo, Hold, Migrate, Soak},
};
use crate::{ending::STATUSES, examples};

/// Builds, boots, live-migrates and tests the Godwit unikernel.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
#[command(after_help = STATUSES)]
pub(crate) struct Cli {
    /// Show no progress: what came out, warnings and errors only
    #[arg(long, short, global = true, conflicts_with = "verbose", display_order = 900)]
    pub(crate) quiet: bool,
    /// Show the command line of each program that is started, the machines' QEMUs included
    #[arg(long, short, global = true, display_order = 901)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(after_help = examples::DEMO)]
    /// Live-migrate the unikernel with its passthrough NIC, from nothing, and draw the throughput
    Demo(Demo),
    #[command(after_help = examples::TEST)]
    /// Everything that CI runs; ends in a line `N passed, N failed`
    Test(Test),
    /// Boot the unikernel on this machine
    #[command(after_help = examples::RUN)]
    Run(Run),
    /// Make an application of one's own, outside of this repository
    New(New),
    /// One live migration, with every choice open
    #[command(after_help = examples::MIGRATE)]
    Migrate(Migrate),
    /// Migrate a guest over and over, under mixed traffic, while things happen that a seed chooses
    #[command(after_help = examples::SOAK)]
    Soak(Soak),
    /// Two results of `demo` or `migrate` side by side
    #[command(after_help = examples::COMPARE)]
    Compare(Compare),
    /// Build the bootable image
    #[command(after_help = examples::IMAGE)]
    Image(Image),
    /// Make a book of the documentation, and check every link in it
    Book(Book),
    /// Measure, and compare with others
    #[command(after_help = examples::BENCH)]
    Bench(Bench),
    /// Give what the guest reads of strangers to a fuzzer
    #[command(after_help = examples::FUZZ)]
    Fuzz(Fuzz),
    /// Print a libvirt domain with a passthrough NIC and its standby, as a teaming pair that
    /// migrates warm
    LibvirtXml(LibvirtXml),
    /// Print a VirtualMachine for KubeVirt, which boots the image of `image --format oci`
    #[command(after_help = examples::KUBEVIRT_VM)]
    KubevirtVm(KubevirtVm),
    /// Print the command that makes a machine of `image --format disk` on a Proxmox host
    #[command(after_help = examples::PROXMOX_QM)]
    ProxmoxQm(ProxmoxQm),
    /// Build, or show where, the patched QEMU is
    Qemu(Qemu),
    /// What this machine can do, and what to do about the rest
    Doctor(Doctor),
    /// Fill a directory with all that comes from elsewhere, for a machine without a network
    Fetch(Fetch),
    /// Print what a shell completes the command line with: `alias xtask='cargo xtask'`, then
    /// `source <(cargo xtask completions bash)`
    Completions(Completions),
    /// Remove what earlier runs have left in the cache, and where temporary files are
    Clean(Clean),
    /// Hold a NIC until standard input ends: what `migrate --destination` runs on the other machine
    #[command(hide = true)]
    Hold(Hold),
}

impl Command {
    /// Where the result is to be written, for scripts.
    pub(crate) fn json(&self) -> Option<&Path> {
        match self {
            Self::Demo(options) => options.json.as_deref(),
            Self::Migrate(options) => options.json.as_deref(),
            Self::Soak(options) => options.json.as_deref(),
            Self::Bench(options) => options.json.as_deref(),
            Self::Doctor(options) => options.json.as_deref(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// What `--help` gives as examples is what the tool takes.
    #[test]
    fn every_example_is_understood() {
        let mut count = 0;
        for line in examples::ALL.iter().flat_map(|text| text.lines()) {
            let Some(line) = line.trim().strip_prefix("cargo xtask ") else { continue };
            let line = line.split_once("  ").map_or(line, |(line, _)| line);
            let line = line.split_once(" | ").map_or(line, |(line, _)| line);
            let words = shlex::split(line).unwrap_or_else(|| panic!("{line}: no words"));
            let words = ["xtask".to_owned()].into_iter().chain(words);
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            count += 1;
        }
        assert!(count > 10, "{count}");
        assert!(Cli::try_parse_from(["xtask", "demo", "-q", "-v"]).is_err());
    }
}
