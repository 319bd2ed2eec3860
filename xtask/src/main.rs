//! `cargo xtask`: builds, boots, migrates and tests Godwit.

mod bench;
mod book;
mod clean;
mod cli;
mod compare;
mod demo;
mod doctor;
#[cfg(test)]
mod documented;
mod ending;
mod examples;
mod fetch;
mod fuzz;
mod image;
mod kubevirt;
mod libvirt;
mod migrate;
mod names;
mod new;
mod proxmox;
mod qemu;
mod run;
mod sbom;
mod soak;
mod test;

use std::{
    env,
    process::{ExitCode, Termination},
};

use anyhow::{Result, ensure};
use clap::{CommandFactory, Parser};
use cli::Command;
use ending::Ending;
use lab::{
    hardware::Take,
    runner,
    system::{
        command,
        detail::{self, Detail},
        paths, scratch, signals,
    },
};

fn main() -> ExitCode {
    let line = cli::Cli::parse();
    detail::show(match (line.quiet, line.verbose) {
        (true, _) => Detail::Quiet,
        (false, false) => Detail::Steps,
        (false, true) => Detail::Commands,
    });
    let command = line.command;
    let result = run(&command);
    signals::unless_ending();
    let error = match result {
        Ok(ending) => return ending.report(),
        Err(error) => error,
    };
    eprintln!("error: {error:#}");
    if command::is_full_disk(&error) {
        let cache = paths::cache().unwrap_or_default();
        eprintln!(
            "A disk is full: free some space on it, or set GODWIT_CACHE to a directory on another \
             disk (the cache is {}, temporary files are in {})",
            cache.display(),
            env::temp_dir().display()
        );
    }
    let status = ending::status_of(&error);
    if let Some(path) = command.json()
        && let Err(more) = ending::write_error(path, &format!("{error:#}"), status)
    {
        eprintln!("error: {}: {more}", path.display());
    }
    ExitCode::from(status)
}

/// Guests run at full speed, and the tool's own programs at all, on their own architecture only.
fn check_machine(architecture: &str) -> Result<()> {
    ensure!(
        architecture == "x86_64",
        "this machine is {architecture}, and what boots is x86_64: use a machine, or a virtual \
         one, with x86_64 Linux. `cargo test -p unikernel -p drivers -p migrate-agent` works here"
    );
    Ok(())
}

fn run(command: &Command) -> Result<Ending> {
    check_machine(env::consts::ARCH)?;
    signals::end_cleanly()?;
    // What processes that were killed have left.
    scratch::sweep()?;
    if let Some(path) = command.json() {
        ending::begin_json(path)?;
    }
    match command {
        Command::Demo(options) => demo::main(options),
        Command::Test(options) => test::main(options),
        Command::Run(options) => run::main(options),
        Command::New(options) => new::main(options),
        Command::Migrate(options) => migrate::main(options),
        Command::Soak(options) => soak::main(options),
        Command::Completions(options) => Ok(completions(options)),
        Command::Compare(options) => compare::main(options),
        Command::Image(options) => image::main(options),
        Command::Book(options) => book::main(options),
        Command::Bench(options) => bench::main(options),
        Command::Fuzz(options) => fuzz::main(options),
        Command::LibvirtXml(options) => libvirt::main(options),
        Command::KubevirtVm(options) => kubevirt::main(options),
        Command::ProxmoxQm(options) => proxmox::main(options),
        Command::Qemu(options) => qemu::main(options),
        Command::Doctor(options) => doctor::main(options),
        Command::Fetch(options) => fetch::main(options),
        Command::Clean(options) => clean::main(options),
        Command::Hold(options) => hold(options),
    }
}

fn hold(options: &cli::Hold) -> Result<Ending> {
    let take = if options.take { Take::Even } else { Take::Spare };
    runner::hold(&options.directory, options.nic.as_deref().map(|nic| (nic, take)))?;
    Ok(Ending::AsAsked)
}

/// For `xtask`, which a shell can be told stands for `cargo xtask`: what comes after `cargo` is
/// completed by cargo's own.
fn completions(options: &cli::Completions) -> Ending {
    let mut command = cli::Cli::command().bin_name("xtask");
    clap_complete::generate(options.shell, &mut command, "xtask", &mut std::io::stdout());
    Ending::AsAsked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_architecture_is_told_what_works_there() {
        assert!(check_machine("x86_64").is_ok());
        let error = check_machine("aarch64").unwrap_err().to_string();
        assert!(error.contains("aarch64") && error.contains("cargo test"), "{error}");
    }
}
