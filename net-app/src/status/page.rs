//! What the status page says.

use alloc::format;
use alloc::string::{String, ToString};

use godwit::State;
use godwit::dma::Policy;
use godwit::time::Instant;
use serde::Serialize;

use crate::app::App;

/// `/status.json`.
#[derive(Serialize)]
struct Status {
    uptime_ms: u64,
    nic: Option<Nic>,
    address: Option<String>,
    gateway: Option<String>,
    connections: usize,
    traffic: Traffic,
    rates: Rates,
    memory: Memory,
    dma: Dma,
    recorder: Recorder,
    migration: Migration,
}

#[derive(Serialize)]
struct Memory {
    heap: usize,
    heap_free: usize,
}

#[derive(Serialize)]
struct Nic {
    family: &'static str,
    mac: String,
    link_up: bool,
    link_mbit_per_s: u32,
    missed: u64,
    no_buffer: u64,
    bad_checksum: u64,
    bad_frame: u64,
    other_vlan: u64,
    interrupts: u64,
}

#[derive(Serialize)]
struct Traffic {
    rx_frames: u64,
    rx_bytes: u64,
    tx_frames: u64,
    tx_bytes: u64,
    tx_dropped: u64,
    kept_refused: u64,
    reassembled: u64,
    reassembly_abandoned: u64,
    handshakes_evicted: u64,
    connections_deferred: u64,
}

#[derive(Serialize)]
struct Rates {
    rx_frames_per_s: u64,
    rx_bits_per_s: u64,
    tx_frames_per_s: u64,
    tx_bits_per_s: u64,
}

#[derive(Serialize)]
struct Dma {
    policy: &'static str,
    marking: bool,
    pages_marked: u64,
    pages_caught_up: u64,
    buffers_received: u64,
    slots: u32,
    slots_free: u32,
}

#[derive(Serialize)]
struct Recorder {
    held: usize,
    held_while_logging: usize,
    capacity: usize,
    crc: &'static str,
}

#[derive(Serialize)]
struct Migration {
    /// `running`, `warm_up`, `leaving` or `arrived`, as in `/metrics`.
    state: &'static str,
    capability: bool,
    logging: bool,
    epoch: u32,
    moves: u32,
}

impl Status {
    fn of(app: &App) -> Self {
        let (interface, link) = (app.interface(), app.interface().link());
        let nic = interface.nic().zip(interface.nic_statistics()).map(|(nic, counters)| Nic {
            family: nic.family,
            mac: nic.mac.to_string(),
            link_up: link.up,
            link_mbit_per_s: link.speed,
            missed: counters.missed,
            no_buffer: counters.no_buffer,
            bad_checksum: counters.bad_checksum,
            bad_frame: counters.bad_frame,
            other_vlan: counters.other_vlan,
            interrupts: counters.interrupts,
        });
        let lease = interface.ipv4();
        let (traffic, rates) = (interface.traffic(), app.rates());
        let (pool, migration) = (app.system().pool(), app.system().migration().facts());
        let (dma, heap) = (pool.statistics(), app.system().heap());
        let (held, held_while_logging) = app.recorder().held();
        Self {
            uptime_ms: Instant::now().as_millis(),
            nic,
            address: lease.map(|lease| lease.address.to_string()),
            gateway: lease.and_then(|lease| lease.gateway).map(|gateway| gateway.to_string()),
            connections: interface.connections(),
            traffic: Traffic {
                rx_frames: traffic.rx_frames,
                rx_bytes: traffic.rx_bytes,
                tx_frames: traffic.tx_frames,
                tx_bytes: traffic.tx_bytes,
                tx_dropped: traffic.tx_dropped,
                kept_refused: traffic.kept_refused,
                reassembled: traffic.reassembled,
                reassembly_abandoned: traffic.reassembly_abandoned,
                handshakes_evicted: traffic.handshakes_evicted,
                connections_deferred: traffic.connections_deferred,
            },
            rates: Rates {
                rx_frames_per_s: rates.rx_frames,
                rx_bits_per_s: rates.rx_bits,
                tx_frames_per_s: rates.tx_frames,
                tx_bits_per_s: rates.tx_bits,
            },
            memory: Memory { heap: heap.size, heap_free: heap.free },
            dma: Dma {
                policy: match pool.policy() {
                    Policy::Auto => "auto",
                    Policy::Always => "always",
                    Policy::Never => "never",
                },
                marking: pool.is_marking(),
                pages_marked: dma.pages_marked,
                pages_caught_up: dma.pages_caught_up,
                buffers_received: dma.buffers_received,
                slots: dma.slots,
                slots_free: dma.slots_free,
            },
            recorder: Recorder {
                held,
                held_while_logging,
                capacity: app.recorder().capacity(),
                crc: app.recorder().crc_name(),
            },
            migration: Migration {
                state: match app.system().migration().state() {
                    State::Running => "running",
                    State::WarmUp => "warm_up",
                    State::Leaving => "leaving",
                    State::Arrived { .. } => "arrived",
                },
                capability: migration.capability,
                logging: migration.logging,
                epoch: migration.epoch,
                moves: migration.moves,
            },
        }
    }
}

/// The status for programs.
pub(super) fn json(app: &App) -> String {
    serde_json::to_string(&Status::of(app)).expect("numbers and names are JSON")
}

/// The status for people.
pub(super) fn html(app: &App) -> String {
    [HEAD, &rows(app), FOOT].concat()
}

/// The rows of its table, which change.
pub(super) fn rows(app: &App) -> String {
    let status = Status::of(app);
    let nic = match &status.nic {
        Some(nic) if nic.link_up => {
            format!("{} {}, {} Mbit/s", nic.family, nic.mac, nic.link_mbit_per_s)
        }
        Some(nic) => format!("{} {}, no link", nic.family, nic.mac),
        None => "none".into(),
    };
    let marking = match (status.dma.policy, status.dma.marking) {
        ("never", _) => "never: received pages can be lost in a migration",
        (_, true) => "on",
        (_, false) => "bypassed: nobody is logging",
    };
    let Migration { state, capability, epoch, moves, .. } = status.migration;
    let migration = match (capability, state) {
        (false, _) => "the hypervisor does not tell".into(),
        (true, "warm_up") => format!("warm-up, epoch {epoch}"),
        (true, "leaving") => format!("about to leave, epoch {epoch}"),
        (true, _) => format!("none, epoch {epoch}, moved {moves} times"),
    };
    let rows = [
        ("up for", duration(status.uptime_ms)),
        ("NIC", nic),
        ("address", status.address.unwrap_or_else(|| "none yet".into())),
        ("receiving", rate(status.rates.rx_bits_per_s, status.rates.rx_frames_per_s)),
        ("sending", rate(status.rates.tx_bits_per_s, status.rates.tx_frames_per_s)),
        ("TCP connections", status.connections.to_string()),
        ("migration", migration),
        ("marking", marking.into()),
        (
            "pages marked",
            format!("{}, and {} caught up", status.dma.pages_marked, status.dma.pages_caught_up),
        ),
        ("DMA slots", format!("{} of {} free", status.dma.slots_free, status.dma.slots)),
        (
            "recorder",
            format!(
                "{} frames of at most {}, {} from while logging",
                status.recorder.held, status.recorder.capacity, status.recorder.held_while_logging
            ),
        ),
    ];
    let rows = rows.iter().map(|(name, value)| format!("<tr><th>{name}<td>{value}\n"));
    rows.collect()
}

const HEAD: &str = include_str!("head.html");

const FOOT: &str = include_str!("foot.html");

fn duration(ms: u64) -> String {
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{hours}:{minutes:02}:{seconds:02}")
}

fn rate(bits_per_s: u64, frames_per_s: u64) -> String {
    let tenths = bits_per_s / 100_000;
    format!("{}.{} Mbit/s, {frames_per_s} frames/s", tenths / 10, tenths % 10)
}
