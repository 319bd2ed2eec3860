//! What the services of an interface share.

use alloc::rc::Rc;
use core::cell::Cell;

use godwit::net::Traffic;
use godwit::time::{Duration, Instant, Timer};
use godwit::{Interface, System};

use godwit::recorder::Recorder;

use crate::phases::Phases;

/// How often rates are taken.
const RATE_INTERVAL: Duration = Duration::from_secs(1);

/// An interface, and what is known of it. A handle, cheap to clone.
#[derive(Clone)]
pub struct App(Rc<Shared>);

struct Shared {
    system: System,
    interface: Interface,
    recorder: Recorder,
    rates: Cell<Rates>,
    phases: Phases,
}

/// Traffic of the last full interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Frames received a second.
    pub rx_frames: u64,
    /// Bits received a second, Ethernet headers included.
    pub rx_bits: u64,
    /// Frames sent a second.
    pub tx_frames: u64,
    /// Bits sent a second, Ethernet headers included.
    pub tx_bits: u64,
}

impl App {
    /// Of an interface whose frames are in `recorder`.
    pub fn new(system: System, interface: Interface, recorder: Recorder) -> Self {
        let (rates, phases) = (Cell::default(), Phases::default());
        Self(Rc::new(Shared { system, interface, recorder, rates, phases }))
    }

    /// The machine.
    pub fn system(&self) -> &System {
        &self.0.system
    }

    /// The network.
    pub fn interface(&self) -> &Interface {
        &self.0.interface
    }

    /// The flight recorder.
    pub fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    /// Phases of migrations.
    pub fn phases(&self) -> &Phases {
        &self.0.phases
    }

    /// Traffic of the last full second.
    pub fn rates(&self) -> Rates {
        self.0.rates.get()
    }

    /// Takes the rates, for ever.
    pub async fn measure_rates(&self) {
        let traffic = || self.0.interface.traffic();
        let (mut then, mut before) = (Instant::now(), traffic());
        loop {
            Timer::after(RATE_INTERVAL).await;
            let (now, traffic) = (Instant::now(), traffic());
            self.0.rates.set(Rates::between(before, traffic, now - then));
            (then, before) = (now, traffic);
        }
    }
}

impl Rates {
    fn between(before: Traffic, after: Traffic, time: Duration) -> Self {
        let per_second = |before: u64, after: u64, unit: u64| {
            (after - before) * unit * 1_000_000 / time.as_micros().max(1)
        };
        Self {
            rx_frames: per_second(before.rx_frames, after.rx_frames, 1),
            rx_bits: per_second(before.rx_bytes, after.rx_bytes, 8),
            tx_frames: per_second(before.tx_frames, after.tx_frames, 1),
            tx_bits: per_second(before.tx_bytes, after.tx_bytes, 8),
        }
    }
}
