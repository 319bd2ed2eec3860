//! `cargo xtask`: builds, boots, migrates and tests Godwit.

mod cli;
mod command;
mod demo;
mod doctor;
mod download;
mod image;
mod migrate;
mod paths;
mod progress;
mod qemu;
mod run;
mod test;
mod tools;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let result = match cli::Cli::parse().command {
        cli::Command::Demo(options) => demo::main(&options),
        cli::Command::Test(options) => test::main(&options),
        cli::Command::Run(options) => run::main(&options),
        cli::Command::Migrate(options) => migrate::main(&options),
        cli::Command::Image(options) => image::main(&options),
        cli::Command::Bench(_) => Err(anyhow::anyhow!("`bench` is not available yet")),
        cli::Command::Qemu => qemu::main(),
        cli::Command::Doctor => doctor::main(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
