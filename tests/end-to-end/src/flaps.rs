//! Every NIC through link flaps and resets under traffic, all of them at the same time: most of it
//! is waiting for links.

use std::{
    net::{Ipv4Addr, UdpSocket},
    os::unix::net::UnixStream,
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use lab::{
    addresses::{HTTP_PORT, IPERF3_PORT},
    guest::{
        Forward, Guest, NETDEV, READY,
        clients::{self, free_port},
    },
    parts::NicModel,
    qmp::{Qmp, SetLink},
    system::process::Guard,
};
use serde_json::Value;

use crate::suite::{LONG, Suite};

const NICS: [NicModel; 5] = NicModel::ALL;
const FLAPS: usize = 100;
/// A reset comes after each so many flaps: 20 in all.
const FLAPS_PER_RESET: usize = 5;
/// How long the link is down. QEMU's models then negotiate for half a second.
const DOWN: Duration = Duration::from_millis(10);
/// For a link to come back, and for what is in flight to be given back.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const POLL: Duration = Duration::from_millis(10);
/// Of the datagrams sent to the guest all the while.
const DATAGRAM: [u8; 1000] = [0x5a; 1000];
const BETWEEN_DATAGRAMS: Duration = Duration::from_millis(1);
/// Few enough frames that the flight recorder is full before anything is counted.
const APPEND: &str = "ip=10.0.2.15/24 gw=10.0.2.2 recorder=64K token=flaps";
/// What resets are asked for with.
const TOKEN: &str = "flaps";

pub(crate) fn add(suite: &mut Suite) {
    suite.test(&format!("{FLAPS} link flaps and resets of every NIC"), LONG, |log| {
        let results = thread::scope(|scope| {
            let start = |nic: NicModel| {
                let log = log.with_file_name(format!("flaps-{nic}.log"));
                (nic, scope.spawn(move || flap(nic, &log)))
            };
            // All are started before one is waited for.
            let running: Vec<_> = NICS.into_iter().map(start).collect();
            running
                .into_iter()
                .map(|(nic, flaps)| {
                    (nic, flaps.join().unwrap_or_else(|_| Err(anyhow!("panicked"))))
                })
                .collect::<Vec<_>>()
        });
        let mut remarks = Vec::new();
        for (nic, result) in results {
            remarks.push(format!("{nic} {}", result.with_context(|| nic.name())?));
        }
        Ok(remarks.join(", "))
    });
}

fn flap(nic: NicModel, log: &Path) -> Result<String> {
    let (iperf3, http) = (free_port()?, free_port()?);
    let forwards =
        [(iperf3, IPERF3_PORT), (http, HTTP_PORT)].map(|(host, guest)| Forward { host, guest });
    let directory = tempfile::Builder::new().prefix("godwit-flaps-").tempdir()?;
    let monitor = directory.path().join("qmp");
    let options = ["-qmp".into(), format!("unix:{},server=on,wait=off", monitor.display())];
    let mut guest = Guest::boot_with(nic, log, APPEND, &forwards, &options)?;
    guest.wait_for(READY)?;
    let stream = UnixStream::connect(&monitor).context("the guest's monitor")?;
    let mut qmp = Qmp::connect("guest", stream)?;

    // Enough to fill the recorder.
    clients::iperf3(iperf3, &["--time", "1"])?;
    let before = used_slots(http, |_| true)?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| send_datagrams(iperf3, &stop));
        let result = flap_and_reset(&mut guest, &mut qmp, iperf3, http);
        stop.store(true, Relaxed);
        result
    })?;
    let after = used_slots(http, |now| now == before)?;
    ensure!(after == before, "{before} DMA slots in use before, {after} after: a leak");
    let rate = clients::iperf3(iperf3, &["--time", "2"])?;
    let back = clients::iperf3(iperf3, &["--time", "2", "--reverse"])?;
    Ok(format!("{:.0}/{:.0} Mbit/s", rate / 1e6, back / 1e6))
}

/// All of them under traffic in both directions.
fn flap_and_reset(guest: &mut Guest, qmp: &mut Qmp, iperf3: u16, http: u16) -> Result<()> {
    let _sending = Guard::spawn(
        Guard::command("iperf3")
            .args(["--client", "127.0.0.1", "--port", &iperf3.to_string()])
            .args(["--reverse", "--bitrate", "20M", "--time", "3600"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
    .context("cannot start iperf3")?;
    for flap in 1..=FLAPS {
        for up in [false, true] {
            match guest.nic_model() {
                Some(model) => model.set_link(up)?,
                None => qmp.execute(&SetLink { name: NETDEV.into(), up }).map(drop)?,
            }
            let word = if up { "nic: link up" } else { "nic: link down" };
            let deadline = Instant::now() + PATIENCE;
            while guest.console().matches(word).count() < flap + usize::from(up) {
                ensure!(Instant::now() < deadline, "flap {flap}: the guest never said `{word}`");
                thread::sleep(POLL);
            }
            if !up {
                thread::sleep(DOWN);
            }
        }
        if flap % FLAPS_PER_RESET == 0 {
            reset(http).with_context(|| format!("flap {flap}"))?;
        }
    }
    Ok(())
}

/// Has the NIC reset, which may be asked for once a second.
fn reset(http: u16) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = clients::request(http, "POST", "/reset", Some(TOKEN))?;
        if answer.contains("the NIC was reset") {
            return Ok(());
        }
        let is_early = answer.starts_with("HTTP/1.1 429");
        ensure!(is_early && Instant::now() < deadline, "reset: {answer:?}");
        thread::sleep(POLL);
    }
}

fn send_datagrams(port: u16, stop: &AtomicBool) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    while !stop.load(Relaxed) {
        // Whether any of them arrives is not the question.
        let _ = socket.send_to(&DATAGRAM, (Ipv4Addr::LOCALHOST, port));
        thread::sleep(BETWEEN_DATAGRAMS);
    }
    Ok(())
}

/// Slots of the pool that are in use, once that `is_it`, or when it has not been for long. What the
/// recorder holds is not counted.
fn used_slots(http: u16, is_it: impl Fn(u64) -> bool) -> Result<u64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The connection before has to be over: its last segments are buffers too.
        thread::sleep(Duration::from_millis(500));
        let answer = clients::request(http, "GET", "/status.json", None)?;
        let Some((_, body)) = answer.split_once("\r\n\r\n") else { bail!("status: {answer:?}") };
        let status: Value = serde_json::from_str(body).context("status.json")?;
        let count =
            |pointer: &str| status.pointer(pointer).and_then(Value::as_u64).context("count");
        let free = count("/dma/slots_free")? + count("/recorder/held")?;
        let used = count("/dma/slots")?.saturating_sub(free);
        if is_it(used) || Instant::now() > deadline {
            return Ok(used);
        }
    }
}
