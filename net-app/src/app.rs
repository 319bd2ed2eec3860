//! What the services share.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer};
use unikernel::dma::Pool;
use unikernel::net::{Observation, Stack, Traffic};

use crate::recorder::{Recorder, Report};

/// How often rates are taken.
const RATE_INTERVAL: Duration = Duration::from_secs(1);

/// The application's state. A handle, cheap to clone.
#[derive(Clone)]
pub struct App(Rc<Shared>);

struct Shared {
    stack: Stack,
    pool: &'static Pool,
    recorder: Recorder,
    _observation: Observation,
    migration: Cell<Migration>,
    rates: Cell<Rates>,
    check: Signal<NoopRawMutex, ()>,
}

/// What is known of live migration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Migration {
    /// A bridge above a NIC has the capability.
    pub capability: bool,
    /// The hypervisor is logging.
    pub logging: bool,
    /// EPOCH last acknowledged.
    pub epoch: u32,
    /// Migrations this guest has been through since it booted.
    pub moves: u32,
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
    /// Bits sent a second.
    pub tx_bits: u64,
}

impl App {
    /// The state of an application on `stack`, whose frames `recorder` gets from now on.
    pub fn new(stack: Stack, pool: &'static Pool, recorder: Recorder) -> Self {
        let _observation = stack.observe(alloc::boxed::Box::new(recorder.clone()));
        let (migration, rates) = (Cell::default(), Cell::default());
        let check = Signal::new();
        Self(Rc::new(Shared { stack, pool, recorder, _observation, migration, rates, check }))
    }

    /// The network.
    pub fn stack(&self) -> &Stack {
        &self.0.stack
    }

    /// The DMA memory.
    pub fn pool(&self) -> &'static Pool {
        self.0.pool
    }

    /// The flight recorder.
    pub fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    /// What is known of live migration.
    pub fn migration(&self) -> Migration {
        self.0.migration.get()
    }

    /// Changes what is known of live migration.
    pub fn update_migration(&self, f: impl FnOnce(&mut Migration)) {
        let mut migration = self.0.migration.get();
        f(&mut migration);
        self.0.migration.set(migration);
    }

    /// Traffic of the last full second.
    pub fn rates(&self) -> Rates {
        self.0.rates.get()
    }

    /// Checks every frame the recorder holds, and says on the console what it found. Scripts read these lines.
    pub async fn check_integrity(&self) -> Report {
        let report = self.recorder().check().await;
        let dma = self.pool().statistics();
        unikernel::println!(
            "dma: marked {} caught-up {} received {}",
            dma.pages_marked,
            dma.pages_caught_up,
            dma.buffers_received
        );
        unikernel::println!("recorder: while-logging {}", report.while_logging);
        unikernel::println!("recorder: checked {} stale {}", report.checked, report.stale);
        report
    }

    /// Has [`check_on_request`](Self::check_on_request) check the frames. It does not wait for the end.
    pub fn request_check(&self) {
        self.0.check.signal(());
    }

    #[cfg(test)]
    pub(crate) fn check_is_requested(&self) -> bool {
        self.0.check.signaled()
    }

    /// Checks integrity whenever that is requested, for ever.
    pub async fn check_on_request(&self) -> ! {
        loop {
            self.0.check.wait().await;
            self.check_integrity().await;
        }
    }

    /// Says on the console when the network is up, and again whenever the address changes. For ever; scripts read it.
    pub async fn announce(&self) -> ! {
        let mut announced = None;
        let mut announced6 = Vec::new();
        let mut watcher = self.stack().watcher();
        loop {
            let lease = self.stack().lease();
            let nic = self.stack().with_nic(|nic| (nic.family(), nic.mac()));
            if let (Some(lease), Some((family, mac))) = (lease, nic)
                && self.stack().link().up
                && announced != Some(lease.address)
            {
                announced = Some(lease.address);
                unikernel::println!(
                    "godwit: ready ip={} nic={family} mac={}",
                    lease.address,
                    Mac(mac)
                );
            }
            // Others than the link-local one, which needs nobody to say it.
            let addresses: Vec<_> = self.stack().ipv6_addresses().into_iter().skip(1).collect();
            for address in addresses.iter().filter(|address| !announced6.contains(*address)) {
                unikernel::println!("godwit: ip6={address}");
            }
            announced6 = addresses;
            watcher.changed().await;
        }
    }

    /// Takes the rates, for ever.
    pub async fn measure_rates(&self) -> ! {
        let (mut then, mut before) = (Instant::now(), self.stack().traffic());
        loop {
            Timer::after(RATE_INTERVAL).await;
            let (now, traffic) = (Instant::now(), self.stack().traffic());
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

/// A station address as people write it.
pub(crate) struct Mac(pub(crate) [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
