//! What the machine says of itself.

use godwit::time::Instant;
use godwit::{Interface, State, System};
use serde::Serialize;

/// The answer to `/api/status`.
#[derive(Serialize)]
pub(crate) struct Status {
    uptime_ms: u64,
    migration: Migration,
    nic: Option<&'static str>,
    traffic: Traffic,
}

#[derive(Serialize)]
struct Migration {
    state: &'static str,
    moves: u32,
}

#[derive(Serialize)]
struct Traffic {
    rx_frames: u64,
    rx_bytes: u64,
    tx_frames: u64,
    tx_bytes: u64,
}

impl Status {
    /// As it is now.
    pub(crate) fn of(system: &System, net: &Interface) -> Self {
        let (migration, traffic) = (system.migration(), net.traffic());
        Self {
            uptime_ms: Instant::now().as_millis(),
            migration: Migration {
                state: match migration.state() {
                    State::Running => "running",
                    State::WarmUp => "warm-up",
                    State::Leaving => "leaving",
                    State::Arrived { .. } => "arrived",
                },
                moves: migration.facts().moves,
            },
            nic: net.nic().map(|nic| nic.family),
            traffic: Traffic {
                rx_frames: traffic.rx_frames,
                rx_bytes: traffic.rx_bytes,
                tx_frames: traffic.tx_frames,
                tx_bytes: traffic.tx_bytes,
            },
        }
    }
}
