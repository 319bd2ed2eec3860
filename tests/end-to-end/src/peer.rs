//! A Linux guest at the other end of a NIC's wire, and a record of what goes over the wire.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{
    guest::{
        Guest, Wire, clients,
        linux::{self, LinuxGuest},
        machine,
    },
    parts::{Accelerator, NicModel},
    qmp::{ObjectAdd, ObjectDel, Qmp, SetLink},
    source::{Listens, stream},
};
use tempfile::TempDir;

use crate::options::Kernel;

/// For a command, in software on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const WIRE: &str = "wire";
const ROUTER: &str = "router";
const RECORD: &str = "record";
/// With another station address than the machine's at the other end.
const NIC: &str = "virtio-net-pci,bus=pcie.0,netdev=port,mac=52:54:00:67:6f:99,romfile=";

/// The Linux guest. One other machine at a time is on its wire.
pub(crate) struct Peer {
    /// Before the files it uses.
    _guest: Guest,
    shell: UnixStream,
    qmp: Qmp,
    wire: PathBuf,
    _files: (LinuxGuest, TempDir),
}

impl Peer {
    /// Boots it with `address` and, on the same wire, a router that advertises the IPv6 `prefix`.
    pub(crate) fn boot(kernel: Kernel, log: &Path, address: &str, prefix: &str) -> Result<Self> {
        let linux = LinuxGuest::prepare_with_busybox(kernel)?;
        let qemu = machine::qemu()?;
        let directory = tempfile::Builder::new().prefix("godwit-peer-").tempdir()?;
        let place = |name: &str| directory.path().join(name);
        let listen = |path: &Path| format!("{},server=on,wait=off", path.display());
        let (wire, shell, qmp) = (place("wire"), place("shell"), place("qmp"));

        let mut line = linux.command_line(&qemu, Accelerator::Tcg, address, "");
        line.extend(["-chardev".into(), format!("socket,id=shell,path={}", listen(&shell))]);
        line.extend(["-device", "isa-serial,chardev=shell,index=1"].map(str::to_owned));
        line.extend(["-qmp".into(), format!("unix:{}", listen(&qmp))]);
        let router = format!("user,id={ROUTER},ipv4=off,ipv6-prefix={prefix},ipv6-prefixlen=64");
        for (id, netdev) in [(WIRE, stream(WIRE, &wire, Listens::Qemu)), (ROUTER, router)] {
            line.extend(["-netdev".into(), netdev]);
            line.extend(["-netdev".into(), format!("hubport,id=hub-{id},hubid=0,netdev={id}")]);
        }
        line.extend(["-netdev", "hubport,id=port,hubid=0", "-device", NIC].map(str::to_owned));
        let mut guest = Guest::start(line, None, log)?;
        guest.wait_for(linux::READY)?;
        let connect =
            |path: &Path| UnixStream::connect(path).with_context(|| path.display().to_string());
        let shell = connect(&shell)?;
        shell.set_read_timeout(Some(PATIENCE))?;
        let qmp = Qmp::connect("peer", connect(&qmp)?)?;
        Ok(Self { _guest: guest, shell, qmp, wire, _files: (linux, directory) })
    }

    /// Boots the unikernel at the other end of the wire. It need not be ready.
    pub(crate) fn boot_other(&self, nic: NicModel, log: &Path, append: &str) -> Result<Guest> {
        Guest::boot_on(&Wire::Socket(&self.wire), nic, log, append, &[])
    }

    /// Runs a command line. Returns what it printed.
    pub(crate) fn run(&mut self, command: &str) -> Result<String> {
        writeln!(self.shell, "{command}")?;
        let mut said = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let len =
                self.shell.read(&mut piece).with_context(|| format!("{command}: no answer"))?;
            ensure!(len > 0, "{command}: the peer is gone");
            said.extend(&piece[..len]);
            let text = String::from_utf8_lossy(&said);
            let Some(text) = text.strip_suffix('\n') else { continue };
            if let Some((before, status)) = text.rsplit_once("\nstatus ") {
                ensure!(status == "0", "in the peer, `{command}` failed ({status}): {before}");
                return Ok(before.to_owned());
            }
        }
    }

    /// Runs its iperf3 against a server; what was received in bits a second.
    pub(crate) fn iperf3(&mut self, server: &str, arguments: &str) -> Result<f64> {
        let said = self.run(&format!("iperf3 --client {server} --json --bytes 4M {arguments}"))?;
        clients::iperf3_rate(said.as_bytes())
    }

    /// Connects the router, which would take part in what is not its business, or disconnects it.
    pub(crate) fn set_router(&mut self, up: bool) -> Result<()> {
        self.qmp.execute(&SetLink { name: ROUTER.into(), up }).map(drop)
    }

    /// Records what goes over the wire meanwhile, in a file.
    pub(crate) fn record<T>(
        &mut self,
        file: &Path,
        meanwhile: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.qmp.execute(&ObjectAdd {
            qom_type: "filter-dump".into(),
            id: RECORD.into(),
            netdev: WIRE.into(),
            file: file.display().to_string(),
        })?;
        let result = meanwhile(self);
        self.qmp.execute(&ObjectDel { id: RECORD.into() })?;
        result
    }
}
