//! Migrations in machines whose bridges are arranged otherwise than the lab's: many of them, a
//! switch, and bridges below bridges.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    shapes::says,
    suite::{MINUTES, Suite},
};
use anyhow::{Context, Result, ensure};
use lab::{
    addresses::HTTP_PORT,
    build::{application, qemu},
    guest::{
        Guest, READY,
        clients::{free_port, request},
        machine,
    },
    parts::Accelerator,
    qmp::{Migrate, Qmp, QomGet, QueryMigrate},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Properties of a bridge with the capability. An emulated NIC stands for a passthrough one.
const CAPABILITY: &str = "x-dirty-log=on,x-dirty-log-all-unlogged=on";

/// Bridges, and the NICs below the last one.
#[derive(Clone, Copy)]
struct Arrangement {
    name: &'static str,
    /// As options, in their order, without the capability's properties.
    bridges: fn() -> Vec<String>,
    /// Whether the capability is in each of them, else in the first only.
    each: bool,
    /// Where each NIC is on its bus.
    nics: &'static [&'static str],
}

const ARRANGEMENTS: [Arrangement; 4] = [
    // One more than a table of sixteen would hold.
    Arrangement {
        name: "the last of seventeen ports",
        bridges: || (1..=17).map(|n| format!("pcie-root-port,chassis={n},addr={n:#x}")).collect(),
        each: true,
        nics: &[""],
    },
    Arrangement {
        name: "a switch",
        bridges: || {
            [
                "pcie-root-port,chassis=1",
                "x3130-upstream,bus=b0",
                "xio3130-downstream,bus=b1,chassis=2",
            ]
            .map(str::to_owned)
            .into()
        },
        each: true,
        nics: &[""],
    },
    Arrangement {
        name: "a bridge below two others, of which the first has the capability",
        bridges: || {
            [
                "pcie-root-port,chassis=1",
                "pcie-pci-bridge,bus=b0",
                "pci-bridge,bus=b1,addr=1,chassis_nr=2",
            ]
            .map(str::to_owned)
            .into()
        },
        each: false,
        nics: &[",addr=1"],
    },
    Arrangement {
        name: "the same bridge as another",
        bridges: || vec!["pci-bridge,chassis_nr=1,addr=3".to_owned()],
        each: true,
        nics: &[",addr=1", ",addr=2"],
    },
];

pub(crate) fn add(suite: &mut Suite) {
    for arrangement in ARRANGEMENTS {
        let name = format!("a NIC below {} moves", arrangement.name);
        suite.test(&name, MINUTES, move |log| migrates(log, arrangement));
    }
}

/// A machine, its monitor, and the ports of this machine where its status page is.
struct Machine {
    guest: Guest,
    monitor: Qmp,
    /// For each of its NICs.
    http: Vec<u16>,
    /// How many bridges have the capability: the first ones.
    capabilities: usize,
}

impl Machine {
    fn start(log: &Path, arrangement: Arrangement, monitor: &Path, more: &[&str]) -> Result<Self> {
        let (qemu, image) = (qemu::get()?, application::ours()?);
        let mut line = machine::command_line(&qemu, Accelerator::Tcg, 64, &image, "recorder=0");
        let mut add = |name: &str, value: String| line.extend([name.into(), value]);
        let bridges = (arrangement.bridges)();
        let capabilities = if arrangement.each { bridges.len() } else { 1 };
        for (index, bridge) in bridges.iter().enumerate() {
            let capability = if index < capabilities { CAPABILITY } else { "x-dirty-log=off" };
            add("-device", format!("{bridge},id=b{index},{capability}"));
        }
        let mut http = Vec::new();
        let last = bridges.len() - 1;
        for (index, address) in arrangement.nics.iter().enumerate() {
            let port = free_port()?;
            add("-netdev", format!("user,id=net{index},hostfwd=tcp:127.0.0.1:{port}-:{HTTP_PORT}"));
            add("-device", format!("e1000e,netdev=net{index},bus=b{last}{address},romfile="));
            http.push(port);
        }
        add("-qmp", format!("unix:{},server=on,wait=off", monitor.display()));
        line.extend(more.iter().map(|&option| option.into()));
        let guest = Guest::start(line, None, log)?;
        // QEMU makes the socket before anything of the guest runs.
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(monitor) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        Ok(Self { guest, monitor: Qmp::connect("guest", stream)?, http, capabilities })
    }

    /// A number that a bridge shows.
    fn figure(&mut self, bridge: usize, property: &str) -> Result<u64> {
        let path = format!("/machine/peripheral/b{bridge}");
        let value = self.monitor.execute(&QomGet { path, property: property.into() })?;
        value.as_u64().with_context(|| format!("{property} of bridge {bridge} is {value}"))
    }

    /// Waits for the guest to have acknowledged what each bridge says.
    fn acknowledges(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for bridge in 0..self.capabilities {
            loop {
                let [epoch, ack] = ["dirty-log-epoch", "dirty-log-ack"];
                let (epoch, ack) = (self.figure(bridge, epoch)?, self.figure(bridge, ack)?);
                if epoch == ack {
                    break;
                }
                self.guest.ensure_running()?;
                let late = Instant::now() > deadline;
                ensure!(!late, "bridge {bridge} is at {epoch}, and {ack} is acknowledged");
                thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }
}

fn migrates(log: &Path, arrangement: Arrangement) -> Result<String> {
    let sockets = tempfile::Builder::new().prefix("godwit-ports-").tempdir()?;
    let socket = |name: &str| -> PathBuf { sockets.path().join(name) };
    let mut source = Machine::start(log, arrangement, &socket("source"), &[])?;
    source.guest.wait_for(READY)?;
    source.acknowledges().context("before the migration")?;

    let uri = format!("unix:{}", socket("migration").display());
    let arrives = log.with_extension("destination");
    let mut destination =
        Machine::start(&arrives, arrangement, &socket("destination"), &["-incoming", &uri])?;
    source.monitor.execute(&Migrate { uri })?;
    if destination.monitor.wait_event("RESUME", PATIENCE)?.is_none() {
        let how = source.monitor.execute(&QueryMigrate {})?;
        anyhow::bail!("it does not run there; the source says {how:?}");
    }
    drop(source);
    destination.acknowledges().context("after the migration")?;
    // It says so once it has acknowledged it.
    let expected = destination.capabilities;
    says(&mut destination.guest, "agent: moved", expected)?;
    for (index, &port) in destination.http.iter().enumerate() {
        let answer = request(port, "GET", "/", None).with_context(|| format!("NIC {index}"))?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "the answer by NIC {index} was {answer:?}");
    }
    Ok(String::new())
}
