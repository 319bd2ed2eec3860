//! A primary and a standby in one machine: what a move between them does to connections.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::{
    addresses::{HTTP_PORT, MAC},
    build::application,
    guest::{Guest, READY, clients::free_port, machine},
    parts::Accelerator,
    qmp::{DeviceDel, Qmp, SetLink},
};
use pcap_file::pcapng::{Block, PcapNgReader};

use crate::suite::{MINUTES, Suite};

/// Known datagrams in the guest's recorder, and the payload of each.
const DATAGRAMS: u32 = 3000;
const PAYLOAD: usize = 1200;
/// Pause between two pieces of the download, so that it spans all moves.
const PIECE: usize = 4 << 10;
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) fn add(suite: &mut Suite) {
    suite.test("connections across moves between a primary and a standby", MINUTES, moves);
}

/// Boots the guest, with a monitor at the socket `monitor`.
fn boot(log: &Path, http: u16, monitor: &Path) -> Result<Guest> {
    let qemu = machine::qemu()?;
    let mut line = machine::command_line(&qemu, Accelerator::Tcg, 128, &application::ours()?, "");
    let mut add = |options: [&str; 2]| line.extend(options.map(str::to_owned));
    // Native hot-plug is what the guest knows.
    add(["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]);
    for (port, slot) in [("rp0", 1), ("rp1", 2)] {
        add(["-device", &format!("pcie-root-port,id={port},slot={slot}")]);
    }
    let forward = format!("127.0.0.1:{http}-:{HTTP_PORT}");
    let user = format!("user,id=u0,hostfwd=tcp:{forward},hostfwd=udp:{forward}");
    for netdev in [
        user.as_str(),
        "hubport,id=hu,hubid=0,netdev=u0",
        "hubport,id=h0,hubid=0",
        "hubport,id=h1,hubid=0",
    ] {
        add(["-netdev", netdev]);
    }
    let standby =
        format!("virtio-net-pci,id=standby0,bus=rp1,netdev=h1,mac={MAC},failover=on,romfile=");
    // It stays away until the guest has taken the standby.
    let primary =
        format!("e1000e,id=nic0,bus=rp0,netdev=h0,mac={MAC},failover_pair_id=standby0,romfile=");
    add(["-device", &standby]);
    add(["-device", &primary]);
    add(["-qmp", &format!("unix:{},server=on,wait=off", monitor.display())]);
    Guest::start(line, None, log)
}

fn moves(log: &Path) -> Result<String> {
    let http = free_port()?;
    let directory = tempfile::Builder::new().prefix("godwit-pair-").tempdir()?;
    let socket = directory.path().join("qmp");
    let mut guest = boot(log, http, &socket)?;
    guest.wait_for(READY)?;
    let stream = UnixStream::connect(&socket).context("the guest's monitor")?;
    let mut monitor = Qmp::connect("guest", stream)?;
    guest.wait_for("nic: standby virtio")?;
    guest.wait_for("nic: now using e1000e")?;
    fill_recorder(http)?;

    let done = Arc::new(AtomicBool::new(false));
    let reader = thread::spawn({
        let done = done.clone();
        move || read_until(http, &done)
    });
    for _ in 0..2 {
        thread::sleep(Duration::from_secs(1));
        monitor.execute(&SetLink { name: "nic0".into(), up: false })?;
        wait_for_last(&guest, "nic: now using virtio")?;
        thread::sleep(Duration::from_secs(1));
        monitor.execute(&SetLink { name: "nic0".into(), up: true })?;
        wait_for_last(&guest, "nic: now using e1000e")?;
    }
    thread::sleep(Duration::from_millis(500));
    monitor.execute(&DeviceDel { id: "nic0".into() })?;
    wait_for_last(&guest, "nic: detached")?;
    done.store(true, Ordering::Relaxed);
    let (bytes, datagrams) = reader.join().ok().context("the download panicked")??;
    ensure!(datagrams > DATAGRAMS / 2, "only {datagrams} of {DATAGRAMS} datagrams were recorded");
    let moved = guest.console().matches("nic: now using").count();
    ensure!(moved >= 6, "only {moved} moves");
    Ok(format!("{moved} moves, {bytes} bytes read meanwhile, all right"))
}

/// Reads the capture, again and again, until told to end. Returns how many bytes came, and the
/// datagrams in the first one.
fn read_until(port: u16, done: &AtomicBool) -> Result<(usize, u32)> {
    let (mut bytes, mut first) = (0, None);
    while first.is_none() || !done.load(Ordering::Relaxed) {
        let capture = download(port)?;
        bytes += capture.len();
        let datagrams = check(&capture)?;
        first = first.or(Some(datagrams));
    }
    Ok((bytes, first.unwrap_or(0)))
}

/// Waits until `text` is the last thing about NICs on the console.
fn wait_for_last(guest: &Guest, text: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let console = guest.console();
        let last = console.lines().rfind(|line| line.starts_with("nic: "));
        if last.is_some_and(|line| line.trim_end() == text) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the guest did not say {text:?} but {last:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn payload(number: u32) -> Vec<u8> {
    let mut payload: Vec<u8> = (0..PAYLOAD).map(|i| (i as u32 * 31 + number) as u8).collect();
    payload[..4].copy_from_slice(&number.to_be_bytes());
    payload
}

/// Sends datagrams that nobody wants but the recorder.
fn fill_recorder(port: u16) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    for number in 0..DATAGRAMS {
        // A guest that is not there for a moment refuses what was sent to it before.
        let _ = socket.send_to(&payload(number), (Ipv4Addr::LOCALHOST, port));
        if number % 16 == 0 {
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

/// The capture, read slowly.
fn download(port: u16) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let request = "GET /capture.pcapng HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut piece) = (Vec::new(), vec![0; PIECE]);
    loop {
        match stream.read(&mut piece).context("the download broke")? {
            0 => break,
            len => answer.extend(&piece[..len]),
        }
        thread::sleep(PAUSE);
    }
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no HTTP answer")?;
    let is_chunked = answer[..body].windows(7).any(|word| word.eq_ignore_ascii_case(b"chunked"));
    let body = answer.split_off(body + 4);
    if is_chunked { dechunk(&body) } else { Ok(body) }
}

/// RFC 9112, section 7.1.
fn dechunk(mut body: &[u8]) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").context("a chunk without end")?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end])?, 16)?;
        if size == 0 {
            return Ok(whole);
        }
        let data = body.get(end + 2..end + 2 + size).context("a chunk cut off")?;
        whole.extend(data);
        body = body.get(end + 2 + size + 2..).context("a chunk cut off")?;
    }
}

/// Goes through a pcapng file to its end. Returns how many datagrams were in it, all as they were
/// sent.
fn check(capture: &[u8]) -> Result<u32> {
    let mut capture = PcapNgReader::new(capture)?;
    let mut found = 0;
    while let Some(block) = capture.next_block() {
        let Block::EnhancedPacket(packet) = block? else { continue };
        let frame = packet.data;
        let is_ours = frame.len() == 14 + 20 + 8 + PAYLOAD && frame[23] == 17;
        if is_ours {
            let number = u32::from_be_bytes([frame[42], frame[43], frame[44], frame[45]]);
            ensure!(frame[42..] == payload(number), "datagram {number} is not what was sent");
            found += 1;
        }
    }
    Ok(found)
}
