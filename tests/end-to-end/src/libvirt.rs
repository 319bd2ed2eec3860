//! What libvirt itself says of the domain that the tool writes for it, and does with it.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::{
    addresses::{ECHO_PORT, GATEWAY, GUEST, MAC},
    migration::{NICS, STANDBY},
    system::{
        command,
        tools::{self, Tool},
    },
};

use crate::{
    libvirtd::{BRIDGE, Daemon, Pair},
    migrations::path,
    program::xtask,
    suite::{LONG, MINUTES, Suite},
};

/// libvirt's schemas come with the first, and what reads them with the second.
const TOOLS: [Tool; 2] = [
    Tool::program("virt-xml-validate", "libvirt-clients"),
    Tool::program("xmllint", "libxml2-utils"),
];

/// The domain, which a guest's console is named after.
const NAME: &str = "godwit";
/// What a migration may send, in MiB/s: with all at once, there is hardly a warm-up.
const BANDWIDTH: &str = "2";
/// Frames received while QEMU was logging, for a check to count.
const FRAMES: u64 = 500;
/// Datagrams at a time, and how often, of as many bytes: each dirties a page, and QEMU has to send
/// more than that.
const BURST: u32 = 2;
const PAUSE: Duration = Duration::from_millis(10);
const LENGTH: usize = 1200;
/// The discard port: of what comes, the flight recorder knows.
const DISCARD: u16 = 9;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn add(suite: &mut Suite) {
    suite.test("libvirt's schema has libvirt-xml's domain", MINUTES, validated);
    suite.test("virsh migrate to another libvirt and back", LONG, |log| migrated(log, Standby::No));
    suite.test("virsh migrate to another libvirt and back, with a standby", LONG, |log| {
        migrated(log, Standby::Yes)
    });
}

fn validated(log: &Path) -> Result<String> {
    tools::require("this test", &TOOLS)?;
    let name = "a <b> & 'c'";
    let mut tool = xtask()?;
    tool.args(["libvirt-xml", "--nic", "0000:03:00.1", "--mac", "52:54:00:67:6f:01"]);
    tool.args(["--name", name, "--append", "ip=10.0.2.15/24 log=debug"]);
    let domain = String::from_utf8(command::run(&mut tool)?.stdout)?;
    let is_valid = |domain: &str| {
        let file = log.with_extension("xml");
        fs::write(&file, domain)?;
        let output = Command::new("virt-xml-validate").args([path(&file)?, "domain"]).output()?;
        fs::write(log, [output.stdout, output.stderr].concat())?;
        Ok::<_, anyhow::Error>(output.status.success())
    };
    // That it refuses what libvirt does not know, be it libvirt's own or QEMU's.
    for (known, unknown) in [
        ("<teaming type='transient'", "<teaming type='passing'"),
        ("<qemu:property name='x-dirty-log' type='bool'", "<qemu:property name='x-dirty-log'"),
        ("bus='0x03'", "bus='3rd'"),
    ] {
        let (before, after) = domain.split_once(known).with_context(|| format!("no {known}"))?;
        let is_refused = !is_valid(&format!("{before}{unknown}{after}"))?;
        ensure!(is_refused, "{unknown} is said to be valid: the test cannot fail");
    }
    ensure!(is_valid(&domain)?, "{}", fs::read_to_string(log)?);
    Ok(String::new())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standby {
    No,
    Yes,
}

impl Standby {
    /// A network of each, since both tests may run at a time.
    fn network(self) -> &'static str {
        match self {
            Self::No => "godwit-libvirt",
            Self::Yes => "godwit-teaming",
        }
    }
}

/// A guest that libvirt has started, there and back while it is under load.
fn migrated(log: &Path, standby: Standby) -> Result<String> {
    let mut tool = xtask()?;
    tool.args(["libvirt-xml", "--nic", "0000:03:00.0", "--mac", MAC, "--bridge", BRIDGE]);
    let append = format!("ip={}/24 gw={GATEWAY}", GUEST.ip);
    tool.args(["--name", NAME, "--mem", "64", "--append", &append]);
    let domain = String::from_utf8(command::run(&mut tool)?.stdout)?;
    let domain = emulated(&domain, standby)?;
    let pair = Pair::start(standby.network())?;
    let [one, other] = &pair.daemons;
    let of = |daemon: &Daemon| {
        let text = domain.replace(CONSOLE, path(&daemon.console())?);
        daemon.file("domain.xml", &text)
    };
    let kept = move_to_and_fro(one, other, of, standby);
    // What both said, whatever became of it.
    let said = pair.daemons.each_ref().map(|daemon| {
        let console = fs::read_to_string(daemon.console()).unwrap_or_default();
        format!("{console}\n{}\n", daemon.log(NAME))
    });
    fs::write(log, said.concat())?;
    kept
}

fn move_to_and_fro(
    one: &Daemon,
    other: &Daemon,
    domain: impl Fn(&Daemon) -> Result<std::path::PathBuf>,
    standby: Standby,
) -> Result<String> {
    one.virsh(&["create", path(&domain(one)?)?])?;
    wait_for(one, "godwit: ready")?;
    if standby == Standby::Yes {
        wait_for(one, "nic: now using e1000e")?;
    }
    let load = Load::start()?;
    let (mut said, mut shortest) = (Vec::new(), Duration::MAX);
    for (from, to) in [(one, other), (other, one)] {
        // The second time there is one from before.
        let _ = fs::remove_file(to.console());
        let file = domain(to)?;
        let begun = Instant::now();
        from.virsh(&[
            "migrate",
            "--live",
            "--bandwidth",
            BANDWIDTH,
            "--migrateuri",
            "tcp://127.0.0.1",
            "--xml",
            path(&file)?,
            NAME,
            &to.uri(),
        ])?;
        let took = begun.elapsed();
        shortest = shortest.min(took);
        let checked = wait_for(to, "recorder: checked ")?;
        ensure!(checked.ends_with(" stale 0"), "{checked}");
        let logging = wait_for(to, "recorder: while-logging ")?;
        let frames: u64 = logging.rsplit(' ').next().unwrap_or_default().trim().parse()?;
        ensure!(frames >= FRAMES, "only {frames} frames were received while QEMU was logging");
        wait_for(to, "nic: attached e1000e")?;
        let left = fs::read_to_string(from.console())?;
        let at = |what: &str| left.rfind(what).with_context(|| format!("no {what:?}:\n{left}"));
        ensure!(at("agent: logging on")? < at("nic: quiesced")?, "{left}");
        said.push(format!(
            "{:.1} s, {}",
            took.as_secs_f64(),
            checked.trim_start_matches("recorder: ")
        ));
    }
    let silent = load.end()?;
    // Without a NIC in the warm-up it would have been for all of it.
    ensure!(silent < shortest / 2, "the connection was silent for {silent:?} of {shortest:?}");
    Ok(format!(
        "{}; a connection was silent for {} ms at most",
        said.join("; "),
        silent.as_millis()
    ))
}

/// Waits for a line of a guest's console.
fn wait_for(daemon: &Daemon, what: &str) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let console = fs::read_to_string(daemon.console()).unwrap_or_default();
        let whole = console.rsplit_once('\n').map_or("", |(whole, _)| whole);
        if let Some(line) = whole.lines().rfind(|line| line.contains(what)) {
            return Ok(line.trim_end().to_owned());
        }
        ensure!(Instant::now() < deadline, "the guest did not say {what:?}:\n{console}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// In the domain, where its console is to go.
const CONSOLE: &str = "CONSOLE";

/// The domain that the tool writes, on a machine without KVM or a NIC to pass through: QEMU's
/// e1000e is where that is, below a port that takes it for one whose writes are in no log.
fn emulated(domain: &str, standby: Standby) -> Result<String> {
    let (nic, pair) = (NICS[0], STANDBY);
    let mut text = domain.to_owned();
    let mut put = |from: &str, to: &str, what: &str| {
        let (before, rest) = text.split_once(from).with_context(|| format!("no {from}"))?;
        let (_, after) = rest.split_once(to).with_context(|| format!("no {to}"))?;
        text = format!("{before}{what}{after}");
        Ok::<_, anyhow::Error>(())
    };
    put("<domain type='kvm'", "", "<domain type='qemu'")?;
    // The same machine on both sides.
    put("<name>", "", "<uuid>00000000-0000-4000-8000-0000006f6477</uuid>\n  <name>")?;
    put("<cpu mode='host-passthrough'/>", "", "<cpu><model>qemu64</model></cpu>")?;
    let log = format!("<serial type='pty'><log file='{CONSOLE}'/></serial>");
    put("<serial type='pty'/>", "", &log)?;
    let interface = format!(
        "<interface type='bridge'>
      <source bridge='{BRIDGE}'/>
      <mac address='{MAC}'/>
      <model type='e1000e'/>
      <alias name='{nic}'/>
      <rom enabled='no'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </interface>"
    );
    put("<hostdev", "</hostdev>", &interface)?;
    let unlogged = "<qemu:property name='x-dirty-log-all-unlogged' type='bool' value='true'/>";
    put("<qemu:frontend>", "", &format!("<qemu:frontend>{unlogged}"))?;
    if standby == Standby::No {
        put("<interface type='bridge'>", "</interface>", "")?;
        return Ok(text);
    }
    // libvirt lets only a hostdev be one of a pair.
    let paired = format!(
        "<qemu:override>
    <qemu:device alias='{nic}'>
      <qemu:frontend>
        <qemu:property name='failover_pair_id' type='string' value='{pair}'/>
      </qemu:frontend>
    </qemu:device>"
    );
    put("<qemu:override>", "", &paired)?;
    Ok(text)
}

/// Datagrams for the flight recorder, and a connection whose bytes have to come back.
struct Load {
    stop: Arc<AtomicBool>,
    datagrams: Option<JoinHandle<()>>,
    echo: Option<JoinHandle<Result<Duration>>>,
}

impl Load {
    fn start() -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect((GUEST.ip, DISCARD))?;
        let mut stream = TcpStream::connect((GUEST.ip, ECHO_PORT))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let ends = stop.clone();
        let datagrams = thread::spawn(move || {
            let mut number = 0_u32;
            while !ends.load(Relaxed) {
                for _ in 0..BURST {
                    number += 1;
                    // One that is refused or lost is no matter.
                    let _ = socket.send(&number.to_be_bytes().repeat(LENGTH / 4));
                }
                thread::sleep(PAUSE);
            }
        });
        let ends = stop.clone();
        let echo = thread::spawn(move || {
            let (mut longest, mut number) = (Duration::ZERO, 0_u32);
            while !ends.load(Relaxed) {
                number += 1;
                let block = number.to_be_bytes().repeat(LENGTH / 4);
                let sent = Instant::now();
                stream.write_all(&block)?;
                let mut back = vec![0; block.len()];
                stream.read_exact(&mut back).context("the connection's other end")?;
                ensure!(back == block, "block {number} came back as something else");
                longest = longest.max(sent.elapsed());
                thread::sleep(Duration::from_millis(5));
            }
            Ok(longest)
        });
        Ok(Self { stop, datagrams: Some(datagrams), echo: Some(echo) })
    }

    /// Returns how long nothing came back, at most.
    fn end(mut self) -> Result<Duration> {
        self.stop.store(true, Relaxed);
        let (datagrams, echo) = (self.datagrams.take(), self.echo.take());
        let ended = datagrams.and_then(|datagrams| datagrams.join().ok());
        ended.context("the datagrams' thread panicked")?;
        echo.and_then(|echo| echo.join().ok()).context("the echo's thread panicked")?
    }
}

/// After a failure too, the threads end: they keep the network that they are in.
impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}
