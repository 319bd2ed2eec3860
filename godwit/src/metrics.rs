//! What the machine counts, in [Prometheus' text format], for whatever collects it.
//!
//! With the feature `picoserve`, [`picoserve::Metrics`](crate::picoserve::Metrics) is a response
//! with it; `net-app` and `examples/http` serve it as `/metrics`.
//!
//! ```
//! # fn example(system: &godwit::System) {
//! let text = godwit::metrics::render(system);
//! assert!(text.contains("# TYPE godwit_migrations_total counter"));
//! # }
//! ```
//!
//! What begins with `godwit_interface_` has the label `interface`, and so has what begins with
//! `godwit_nic_`: that is of the NIC in use, and starts again at zero with another.
//!
//! [Prometheus' text format]: https://prometheus.io/docs/instrumenting/exposition_formats/

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display, Write};

use embassy_time::Instant;
use unikernel::net::Traffic;
use unikernel::nic::Statistics;

use crate::{Interface, State, System};

/// Of [`render`]'s text, for HTTP's `Content-Type`.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// No label.
const NONE: Option<(&str, &str)> = None;

/// Name, help, and which of a structure's counters it is.
type Counter<T> = (&'static str, &'static str, fn(&T) -> u64);

const TRAFFIC: [Counter<Traffic>; 10] = [
    ("receive_frames", "Frames received.", |t| t.rx_frames),
    ("receive_bytes", "Bytes received, Ethernet headers included.", |t| t.rx_bytes),
    ("transmit_frames", "Frames handed to a NIC.", |t| t.tx_frames),
    ("transmit_bytes", "Bytes handed to a NIC, Ethernet headers included.", |t| t.tx_bytes),
    ("transmit_dropped", "Packets not sent: no room, no route, no neighbour.", |t| t.tx_dropped),
    ("kept_refused", "Frames not kept, since too much DMA memory is.", |t| t.kept_refused),
    ("reassembled", "Datagrams put together from fragments.", |t| t.reassembled),
    ("reassembly_abandoned", "Datagrams that lacked fragments.", |t| t.reassembly_abandoned),
    ("handshakes_evicted", "TCP handshakes given up for later ones.", |t| t.handshakes_evicted),
    ("connections_deferred", "TCP connections that had to wait.", |t| t.connections_deferred),
];

const NIC: [Counter<Statistics>; 7] = [
    ("transmit_dropped", "Frames to send that were dropped.", |s| s.transmit_dropped),
    ("missed", "Frames that the device had no descriptor or no room for.", |s| s.missed),
    ("no_buffer", "Frames dropped since the DMA pool had no buffer left.", |s| s.no_buffer),
    ("bad_checksum", "Frames dropped for a wrong checksum.", |s| s.bad_checksum),
    ("bad_frame", "Frames dropped as malformed.", |s| s.bad_frame),
    ("other_vlan", "Frames dropped as not of the interface's VLAN.", |s| s.other_vlan),
    ("interrupts", "Interrupts taken.", |s| s.interrupts),
];

/// All that the machine counts.
pub fn render(system: &System) -> String {
    let mut text = Text::default();
    text.one("uptime_seconds", "Time since the machine booted.", uptime());
    let heap = system.heap();
    text.one("heap_bytes", "Memory to allocate from.", heap.size);
    text.one("heap_free_bytes", "What of it is free.", heap.free);
    dma(&mut text, system);
    migration(&mut text, system);
    interfaces(&mut text, &system.interfaces());
    text.0
}

fn uptime() -> String {
    let millis = Instant::now().as_millis();
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

fn dma(text: &mut Text, system: &System) {
    let pool = system.pool();
    let counters = pool.statistics();
    text.one("dma_slots", "Slots of 2 KiB in the DMA pool.", counters.slots);
    text.one("dma_slots_free", "Slots nobody has at the moment.", counters.slots_free);
    text.one(
        "dma_marking",
        "Whether pages that devices write are marked.",
        pool.is_marking() as u8,
    );
    let received = ("dma_buffers_received", "Buffers received from devices.");
    text.total(received, [(NONE, counters.buffers_received)]);
    let reasons = [("completed", counters.pages_marked), ("catch_up", counters.pages_caught_up)];
    let samples = reasons.map(|(reason, pages)| (Some(("reason", reason)), pages));
    text.total(("dma_pages_marked", "Pages marked, so that the dirty log has them."), samples);
}

fn migration(text: &mut Text, system: &System) {
    let (facts, state) = (system.migration().facts(), system.migration().state());
    text.total(
        ("migrations", "Migrations since the machine booted."),
        [(NONE, facts.moves.into())],
    );
    let capability = "Whether a bridge above a NIC has the migration capability.";
    text.one("migration_capability", capability, facts.capability as u8);
    text.one("migration_logging", "Whether the hypervisor's dirty log is on.", facts.logging as u8);
    text.one("migration_epoch", "The capability's EPOCH acknowledged last.", facts.epoch);
    let is = |name, now: bool| (Some(("state", name)), u64::from(now));
    let states = [
        is("running", state == State::Running),
        is("warm_up", state == State::WarmUp),
        is("leaving", state == State::Leaving),
        is("arrived", matches!(state, State::Arrived { .. })),
    ];
    text.gauge("migration_state", "Where the machine is in a migration: 1 for that.", states);
}

fn interfaces(text: &mut Text, interfaces: &[Interface]) {
    let each = |value: &dyn Fn(&Interface) -> Option<u64>| {
        let sample = |interface: &Interface| Some((interface.name(), value(interface)?));
        interfaces.iter().filter_map(sample).collect::<Vec<_>>()
    };
    let labelled = |samples: Vec<(_, u64)>| {
        samples.into_iter().map(|(name, value)| (Some(("interface", name)), value))
    };
    let up = each(&|interface| Some(interface.link().up.into()));
    text.gauge("interface_up", "Whether frames can pass.", labelled(up));
    let speed = each(&|interface| Some(u64::from(interface.link().speed) * 1_000_000));
    text.gauge("interface_bits_per_second", "Speed of the link, 0 without one.", labelled(speed));
    let connections = each(&|interface| Some(interface.connections() as u64));
    text.gauge("interface_connections", "TCP connections that there are.", labelled(connections));
    for (name, help, counter) in TRAFFIC {
        let samples = each(&|interface| Some(counter(&interface.traffic())));
        text.total((&format!("interface_{name}"), help), labelled(samples));
    }
    for (name, help, counter) in NIC {
        let samples = each(&|interface| Some(counter(&interface.nic_statistics()?)));
        text.total((&format!("nic_{name}"), help), labelled(samples));
    }
}

/// The text so far. Names get their prefix here, and counters their suffix.
#[derive(Default)]
struct Text(String);

impl Text {
    /// What goes up and down, and there is one of.
    fn one(&mut self, name: &str, help: &str, value: impl Display) {
        self.gauge(name, help, [(NONE, value)]);
    }

    /// What goes up and down.
    fn gauge<L: Display, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Option<(&'static str, L)>, V)>,
    ) {
        self.family(name, "gauge", help, samples);
    }

    /// What only goes up. `name` is without `_total`.
    fn total<L: Display>(
        &mut self,
        (name, help): (&str, &str),
        samples: impl IntoIterator<Item = (Option<(&'static str, L)>, u64)>,
    ) {
        self.family(&format!("{name}_total"), "counter", help, samples);
    }

    fn family<L: Display, V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Option<(&'static str, L)>, V)>,
    ) {
        // Labels are names of ours, which need no escapes.
        let text = &mut self.0;
        let mut write =
            |line: fmt::Arguments<'_>| text.write_fmt(line).expect("a string takes all");
        write(format_args!("# HELP godwit_{name} {help}\n# TYPE godwit_{name} {kind}\n"));
        for (label, value) in samples {
            match label {
                Some((key, label)) => {
                    write(format_args!("godwit_{name}{{{key}=\"{label}\"}} {value}\n"));
                }
                None => write(format_args!("godwit_{name} {value}\n")),
            }
        }
    }
}
