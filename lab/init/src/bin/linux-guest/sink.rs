//! The other end of the paced UDP source, as a Linux program is written: one blocking socket.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use godwit_probe::{
    HEADERS, Header, PORT, REPORT_INTERVAL_MS, REPORT_MAGIC, Report, Sequence, Timing, VERSION,
};
use zerocopy::IntoBytes;

const REPORT_INTERVAL: Duration = Duration::from_millis(REPORT_INTERVAL_MS);

/// What was received of the current stream.
struct Source {
    address: SocketAddr,
    stream: u32,
    sequence: Sequence,
    timing: Timing,
    packets: u64,
    bytes: u64,
}

/// The socket, before anything is served.
pub(crate) fn bind() -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).context("the sink's port")?;
    // Reports go on when nothing comes.
    socket.set_read_timeout(Some(REPORT_INTERVAL))?;
    Ok(socket)
}

/// Receives and reports, for ever.
pub(crate) fn serve(socket: &UdpSocket) -> Result<()> {
    let start = Instant::now();
    let mut due = start + REPORT_INTERVAL;
    let mut source: Option<Source> = None;
    let mut datagram = [0; 2048];
    loop {
        match socket.recv_from(&mut datagram) {
            Ok((len, address)) => count(&mut source, address, &datagram[..len], start),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // An ICMP error about a report.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error).context("the sink"),
        }
        if Instant::now() < due {
            continue;
        }
        due = Instant::now() + REPORT_INTERVAL;
        if let Some(source) = &source {
            // A report that is lost costs nothing.
            let _ = socket.send_to(report(source, start).as_bytes(), source.address);
        }
    }
}

fn count(source: &mut Option<Source>, address: SocketAddr, payload: &[u8], start: Instant) {
    let Some(header) = Header::parse(payload) else { return };
    let stream = header.stream.get();
    let source = match source {
        Some(source) if source.stream == stream => source,
        _ => source.insert(Source {
            address,
            stream,
            sequence: Sequence::new(),
            timing: Timing::default(),
            packets: 0,
            bytes: 0,
        }),
    };
    source.address = address;
    let seq = header.seq.get();
    source.sequence.receive(seq);
    source.packets += 1;
    if Timing::is_timed(seq) {
        let now = start.elapsed().as_micros() as u64;
        source.timing.note(now, header.sent_ns.get(), source.packets);
    }
    source.bytes += (payload.len() + HEADERS) as u64;
}

fn report(source: &Source, start: Instant) -> Report {
    let gap = source.sequence.longest_gap();
    Report {
        magic: REPORT_MAGIC.into(),
        version: VERSION.into(),
        stream: source.stream.into(),
        guest_ms: (start.elapsed().as_millis() as u64).into(),
        packets: source.packets.into(),
        bytes: source.bytes.into(),
        highest_seq: source.sequence.highest().into(),
        missing: source.sequence.missing().into(),
        reordered: source.sequence.reordered().into(),
        gap_first: gap.first.into(),
        gap_length: gap.length.into(),
        latency: source.timing.latency(),
        jitter: source.timing.jitter(),
        waypoints: source.timing.waypoints(),
        ..Report::default()
    }
}
