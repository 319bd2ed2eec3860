//! The 82599 model as a process of its own.
#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use ixgbe_model::{Model, Options, Peer};

/// A model of Intel's 82599 for QEMU's vfio-user-pci.
#[derive(Parser)]
struct Arguments {
    /// Where to listen for QEMU.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Where the peer listens that has the other end of the wire (QEMU: -netdev stream,server=on).
    #[arg(long, value_name = "PATH", required_unless_present = "listen")]
    connect: Option<PathBuf>,
    /// Where to listen for the peer (QEMU: -netdev stream,server=off).
    #[arg(long, value_name = "PATH", conflicts_with = "connect")]
    listen: Option<PathBuf>,
    /// Where to listen for commands: a line of JSON each.
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Be a virtual function (8086:10ed) of one, which the host has.
    #[arg(long)]
    virtual_function: bool,
    /// Address of the port.
    #[arg(long, default_value = "52:54:00:67:6f:01", value_parser = mac)]
    mac: [u8; 6],
}

fn main() -> ExitCode {
    log::set_logger(&Console).expect("the first logger");
    log::set_max_level(log::LevelFilter::Warn);
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let peer = match (arguments.connect, arguments.listen) {
        (Some(path), _) => Peer::Connect(path),
        (None, Some(path)) => Peer::Listen(path),
        (None, None) => unreachable!("clap asks for one of them"),
    };
    let model = Model::start(Options {
        socket: arguments.socket,
        peer,
        mac: arguments.mac,
        control: arguments.control,
        virtual_function: arguments.virtual_function,
        may_exit: true,
    })?;
    model.wait();
    Ok(())
}

fn mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16))
        .collect::<Result<_, _>>()
        .with_context(|| format!("{text}: an address is six hexadecimal bytes with colons"))?;
    bytes.try_into().ok().with_context(|| format!("{text}: an address has six bytes"))
}

/// Warnings and errors, to standard error.
struct Console;

impl log::Log for Console {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            eprintln!("ixgbe-model: {}", record.args());
        }
    }

    fn flush(&self) {}
}
