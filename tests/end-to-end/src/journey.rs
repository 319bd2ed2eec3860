//! One TCP connection through all that a network does: a router whose link is narrower, a gateway
//! with another MAC, a DHCP server that refuses, a link that flaps, and a warm migration.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpStream},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use lab::{
    build::{application, qemu},
    choices::{Bridge, Chipset, GuestKind, QemuKind},
    console::Console,
    guest::{NETDEV, READY},
    init::Channel,
    local::{LocalLab, Setup},
    migration::{Lab, Machine, Pair, Role},
    parts::NicModel,
    qmp::{Capability, Migrate, MigrateSetCapabilities, Qmp, SetLink},
    segment::Segment,
    source::{Listens, cable, stream},
    system::{command, process::Guard},
};

use crate::{
    dhcp_server::DhcpServer,
    namespace::ip,
    narrow::Narrow,
    suite::{MINUTES, Suite},
    tap::Tap,
};

const TAP: &str = "godwit-journey";
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 2);
const ECHO_PORT: u16 = 7;
/// Another station than the gateway has at first.
const MOVED: &str = "02:00:00:00:80:01";
/// Of the lease, in seconds: it is renewed after half of it (RFC 2131, 4.4.5).
const LEASE: u32 = 12;
/// For anything to have its effect, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What comes back after each event before the next one.
const STRETCH: u64 = 1 << 20;
/// Bytes that are written at a time, and how long it is until the next.
const PIECE: usize = 16 * 1024;
const PAUSE: Duration = Duration::from_millis(2);

/// Warm, without a standby.
const PAIR: Pair = Pair {
    standby: false,
    capability: true,
    chipset: Chipset::Q35,
    bridge: Bridge::PcieRootPort,
    qemu: QemuKind::Patched,
    guest: GuestKind::Godwit,
    native: false,
};

pub(crate) fn add(suite: &mut Suite) {
    let name = "a connection lasts through router, gateway, DHCP, link and migration";
    suite.test(name, MINUTES, journey);
}

fn journey(log: &Path) -> Result<String> {
    let tap = Tap::new(TAP, &format!("{GATEWAY}/24"))?;
    command::run(&mut ip(&format!("route add 255.255.255.255/32 dev {TAP}")))?;
    let narrow = Narrow::new(TAP)?;
    let dhcp = DhcpServer::start(GATEWAY, GUEST, LEASE)?;
    let mut road = Road::new(&tap, log)?;

    let talk = Talk::default();
    let connect = || Ok(TcpStream::connect_timeout(&(GUEST, ECHO_PORT).into(), PATIENCE)?);
    let stream = narrow.space.run(connect).context("the echo service")?;
    thread::scope(|scope| {
        let writer = scope.spawn(|| talk.write(&stream));
        let reader = scope.spawn(|| talk.read(&stream));
        let events = road.events(&dhcp, &talk);
        talk.end();
        if events.is_err() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let ends = [writer, reader].map(|side| side.join().map_err(|_| anyhow!("panicked"))?);
        // What a side says is often the reason of what did not happen.
        for end in ends {
            match &events {
                Ok(_) => end?,
                Err(what) => end.with_context(|| format!("{what:#}"))?,
            }
        }
        events
    })?;
    let [sent, back] = [&talk.sent, &talk.back].map(|count| count.load(Relaxed));
    ensure!(sent == back, "{sent} bytes were sent, and {back} came back");
    Ok(format!("{} MiB there and back", sent >> 20))
}

/// What goes over the connection, and comes back.
#[derive(Default)]
struct Talk {
    sent: AtomicU64,
    back: AtomicU64,
    is_over: AtomicBool,
}

/// The byte at this place of what is sent.
fn byte(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

impl Talk {
    fn write(&self, mut stream: &TcpStream) -> Result<()> {
        while !self.is_over.load(Relaxed) {
            let sent = self.sent.load(Relaxed);
            let piece: Vec<u8> = (sent..sent + PIECE as u64).map(byte).collect();
            stream.write_all(&piece).context("to the guest")?;
            self.sent.store(sent + PIECE as u64, Relaxed);
            thread::sleep(PAUSE);
        }
        Ok(stream.shutdown(Shutdown::Write)?)
    }

    fn read(&self, mut stream: &TcpStream) -> Result<()> {
        let mut piece = [0; PIECE];
        loop {
            let len = stream.read(&mut piece).context("from the guest")?;
            let back = self.back.load(Relaxed);
            let is_right = piece[..len].iter().zip(back..).all(|(&piece, at)| piece == byte(at));
            ensure!(is_right, "other bytes than were sent came back after {back}");
            if len == 0 {
                return Ok(());
            }
            self.back.store(back + len as u64, Relaxed);
        }
    }

    fn end(&self) {
        self.is_over.store(true, Relaxed);
    }

    /// Waits for more than what may have been on the way.
    fn flows(&self, after: &str) -> Result<()> {
        let wanted = self.sent.load(Relaxed) + STRETCH;
        until(|| Ok(self.back.load(Relaxed) >= wanted))
            .with_context(|| format!("after {after}, nothing comes back any more"))
    }
}

fn until(mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition()? {
        if Instant::now() > deadline {
            bail!("not within {} s", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The guest on its machines, and its way to the router.
struct Road {
    lab: LocalLab,
    console: Console,
    source: Qmp,
    append: String,
    _cable: Guard,
    _segment: Segment,
    _sockets: tempfile::TempDir,
}

impl Road {
    fn new(tap: &Tap, log: &Path) -> Result<Self> {
        let qemu = qemu::get()?;
        let sockets = tempfile::Builder::new().prefix("godwit-journey-").tempdir()?;
        let segment = Segment::start(None)?;
        let listen = |port: &str| -> Result<PathBuf> {
            let path = sockets.path().join(port);
            segment.listen(port, &path)?;
            Ok(path)
        };
        let router = stream("router", &listen("router")?, Listens::Peer);
        let cable = cable(&qemu, [NETDEV, "router"], [&tap.netdev(), &router])?;
        let mut lab = LocalLab::new(&Setup {
            qemu: &qemu,
            model: None,
            guest: &application::ours()?,
            initramfs: None,
            nic: NicModel::E1000e,
            segment: &[vec![listen("source")?], vec![listen("destination")?]],
            pair: PAIR,
            standby: None,
            destination: None,
            logs: &log.with_extension("machines"),
        })?;
        let console = lab.channel(Machine::Source, Channel::Console)?;
        let console = Console::listen("the guest", console, log)?;
        let append = "recorder=0".to_owned();
        lab.start(
            Machine::Source,
            &lab.profile().arguments(Machine::Source, Role::Boots, &append),
        )?;
        let source = monitor(&lab, Machine::Source)?;
        console.wait_for_line(0, READY, PATIENCE, |line| line.text.contains(READY))?;
        Ok(Self {
            lab,
            console,
            source,
            append,
            _cable: cable,
            _segment: segment,
            _sockets: sockets,
        })
    }

    /// All that happens to it, one after the other.
    fn events(&mut self, dhcp: &DhcpServer, talk: &Talk) -> Result<()> {
        talk.flows("the connection was made, across a narrower link")?;

        // Linux does not tell anybody by itself.
        command::run(&mut ip(&format!("link set dev {TAP} address {MOVED}")))?;
        talk.flows("the gateway has another MAC")?;

        let (refused, _) = dhcp.answers();
        dhcp.refuse();
        until(|| Ok(dhcp.answers().0 > refused)).context("no renewal was refused")?;
        let (_, granted) = dhcp.answers();
        until(|| Ok(dhcp.answers().1 > granted)).context("nothing was granted after that")?;
        talk.flows("the lease was refused, and granted again")?;

        for up in [false, true] {
            self.source.execute(&SetLink { name: "net0".into(), up })?;
            thread::sleep(Duration::from_secs(2));
        }
        talk.flows("the link flapped")?;

        self.migrate()?;
        talk.flows("the guest was moved")
    }

    fn migrate(&mut self) -> Result<()> {
        let lab = &mut self.lab;
        let arguments = lab.profile().arguments(Machine::Destination, Role::Incoming, &self.append);
        lab.start(Machine::Destination, &arguments)?;
        let mut destination = monitor(lab, Machine::Destination)?;
        for monitor in [&mut self.source, &mut destination] {
            let capabilities = ["events", "return-path"]
                .map(|name| Capability { capability: name.into(), state: true });
            monitor.execute(&MigrateSetCapabilities { capabilities: capabilities.into() })?;
        }
        self.source.execute(&Migrate { uri: lab.profile().streams.reached[1].clone() })?;
        let resumed = destination.wait_event("RESUME", PATIENCE)?;
        resumed.context("the destination does not run")?;
        ensure!(self.console.death().is_none(), "the guest died");
        lab.stop(Machine::Source)
    }
}

fn monitor(lab: &LocalLab, machine: Machine) -> Result<Qmp> {
    Qmp::connect(machine.name(), lab.channel(machine, Channel::Qmp)?)
}
