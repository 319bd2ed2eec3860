//! A result that tests of the suite's own checks doctor.

use lab::result::Migration;
use serde_json::json;

/// The figures of one run of the demo in the lab's own time.
pub(crate) fn run() -> Migration {
    let phase = |name, start: f64, end: f64, rate: f64, packets| {
        json!({
            "name": name, "start_ms": start, "end_ms": end,
            "rx_bits_per_s": rate, "rx_packets": packets, "offered_bits_per_s": 1008e6
        })
    };
    let result = json!({
        "strategy": "warm", "marking": "auto", "nic": "e1000e", "standby": false,
        "lab": "nested", "guest": "godwit", "application": "net-app", "outcome": "completed",
        "traffic": { "kind": "udp", "paced_bits_per_s": 1008e6, "ip_length": 1428 },
        "phases": [
            phase("before", 0.0, 2000.0, 1008e6, 176_000),
            phase("warmup", 2000.0, 8000.0, 1003e6, 527_000),
            phase("gap", 8000.0, 8126.0, 0.0, 0),
            phase("after", 8126.0, 10126.0, 1008e6, 176_000)
        ],
        "migration": {
            "total_ms": 6117, "downtime_ms": 117, "ram_bytes": 20_000_000, "passes": 4,
            "warmup_bandwidth": 2_097_152, "logging_ms": 6117.0, "ack_ms": 20.0,
            "detach_ms": 5.0, "attach_ms": 9.0
        },
        "dma": {
            "pages_marked": 527_000, "pages_caught_up": 1302, "buffers_received": 703_000,
            "pages_marked_before": 0
        },
        "integrity": { "buffers_checked": 2048, "stale": 0, "while_logging": 2048 },
        "service_gap_ms": 126.0,
        "losses": { "lost": 11_100, "in_gap": 11_100, "duplicates": 0, "reordered": 0 },
        "saturated": { "before": 2585e6, "warmup": 2259e6 },
        "events": [],
        "facts": {
            "processor": "AMD EPYC", "processors": 2, "memory_mib": 24_105, "kernel": "6.18",
            "qemu": "11.1.1", "lab_clock": "virtual", "lab_restarts": 0, "unix_time": 1
        },
        "samples": [],
        "baseline": {
            "strategy": "cold", "before_bits_per_s": 1008e6, "warmup_bits_per_s": 0.0,
            "service_gap_ms": 3675.0
        }
    });
    serde_json::from_value(result).expect("a result")
}
