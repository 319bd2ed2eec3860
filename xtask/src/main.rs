//! `cargo xtask`: builds, boots, migrates and tests Godwit.

mod bench;
mod cli;
mod demo;
mod doctor;
mod image;
mod libvirt;
mod migrate;
mod names;
mod new;
mod qemu;
mod run;
mod test;

use std::process::ExitCode;

use clap::Parser;
use lab::system::{command, paths, scratch, signals};

fn main() -> ExitCode {
    if let Err(error) = signals::end_cleanly() {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    // What processes that were killed have left.
    let _ = scratch::sweep();
    let result = match cli::Cli::parse().command {
        cli::Command::Demo(options) => demo::main(&options),
        cli::Command::Test(options) => test::main(&options),
        cli::Command::Run(options) => run::main(&options),
        cli::Command::New(options) => new::main(&options),
        cli::Command::Migrate(options) => migrate::main(&options),
        cli::Command::Image(options) => image::main(&options),
        cli::Command::Bench(options) => bench::main(&options),
        cli::Command::LibvirtXml(options) => libvirt::main(&options),
        cli::Command::Qemu => qemu::main(),
        cli::Command::Doctor => doctor::main(),
    };
    signals::unless_ending();
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            if command::is_full_disk(&error) {
                let cache = paths::cache().unwrap_or_default();
                eprintln!(
                    "A disk is full: free some space on it, or set GODWIT_CACHE to a directory on \
                     another disk (the cache is {}, temporary files are in {})",
                    cache.display(),
                    std::env::temp_dir().display()
                );
            }
            ExitCode::FAILURE
        }
    }
}
