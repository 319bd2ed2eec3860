//! Runs the application's services on this machine, on a tap device, so that stock tools can be
//! tried on them without booting anything:
//!
//! ```text
//! ip tuntap add dev godwit0 mode tap user $USER
//! ip addr add 10.9.0.1/24 dev godwit0 && ip link set godwit0 up
//! cargo run --release -p net-app --example tap -- godwit0 10.9.0.2/24 &
//! iperf3 -c 10.9.0.2; curl http://10.9.0.2/
//! ```
//!
//! The tap device stands where a NIC would be: it reads and writes the pool through device
//! addresses.

use std::num::NonZeroU16;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use godwit::cmdline::Size;
use godwit::host::Hardware;
use smoltcp::phy::{self, Device, Medium, RxToken, TunTapInterface, TxToken};
use smoltcp::time::Instant;
use unikernel::dma::{Policy, Pool, RxBuffer, TxBuffer, fake};
use unikernel::irq::{self, Interrupt};
use unikernel::net::Addressing;
use unikernel::nic::{Capabilities, Link, LocalBoxFuture, Nic, ResetError, Statistics};

/// Small, because the fake device checks every access against all of it.
const POOL: usize = 1 << 20;
const MAX_FRAME: usize = 1514;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [interface, address] = &arguments[..] else {
        eprintln!("usage: tap INTERFACE ADDR/LEN|dhcp");
        std::process::exit(2);
    };
    if let Err(error) = address.parse::<Addressing>() {
        eprintln!("{address}: {error}");
        std::process::exit(2);
    }
    let pool = fake::pool(POOL, Policy::Auto);
    let nic = Tap::open(interface, pool).unwrap_or_else(|error| {
        eprintln!("{interface}: {error} (does the tap device exist, and may you use it?)");
        std::process::exit(1);
    });
    // Like a command line, it lasts as long as the program.
    let line = format!("ip={address}").leak();
    let hardware = Hardware { nics: vec![Box::new(nic)], ..Hardware::default() };
    futures_executor::block_on(godwit::host::run(pool, line, hardware, async |system| {
        let recorder = system.recorder(Size(512 << 10));
        net_app::serve(&system, system.interface(0).await, recorder);
    }));
}

/// A NIC on a tap device.
struct Tap {
    device: TunTapInterface,
    pool: &'static Pool,
    interrupt: Interrupt,
    counters: Statistics,
    /// A frame that was read to see whether there was one.
    pending: Option<Vec<u8>>,
}

impl Tap {
    fn open(interface: &str, pool: &'static Pool) -> std::io::Result<Self> {
        let device = TunTapInterface::new(interface, Medium::Ethernet)?;
        let interrupt = irq::allocate().expect("an interrupt");
        let (fd, raised) = (device.as_raw_fd(), interrupt.clone());
        thread::spawn(move || {
            while phy::wait(fd, None).is_ok() {
                raised.trigger();
                // It is readable for as long as nobody reads it; the stack reads until it is not.
                thread::sleep(Duration::from_micros(50));
            }
        });
        Ok(Self { device, pool, interrupt, counters: Statistics::default(), pending: None })
    }

    fn read(&mut self) -> Option<Vec<u8>> {
        let (frame, _) = self.device.receive(Instant::ZERO)?;
        Some(frame.consume(<[u8]>::to_vec))
    }
}

impl Nic for Tap {
    fn family(&self) -> &'static str {
        "tap"
    }

    fn mac(&self) -> [u8; 6] {
        [0x52, 0x54, 0, 0x67, 0x6f, 0x01]
    }

    fn link(&self) -> Link {
        Link { up: true, speed: 10_000, full_duplex: true }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_frame: MAX_FRAME, ..Capabilities::default() }
    }

    fn receive(&mut self) -> Option<RxBuffer> {
        let frame = self.pending.take().or_else(|| self.read())?;
        let Some(stream) = self.pool.receive_stream() else {
            self.counters.no_buffer += 1;
            return None;
        };
        self.pool.device().write(stream.device_address(), &frame);
        self.counters.received += 1;
        stream.receive(&fake::completed(), frame.len()).ok()
    }

    fn transmit_ready(&mut self) -> bool {
        true
    }

    fn transmit(&mut self, frame: TxBuffer, len: usize, _: Option<NonZeroU16>) {
        let Ok(stream) = frame.into_stream(len) else { return };
        let Some(token) = self.device.transmit(Instant::ZERO) else { return };
        token.consume(len, |data| self.pool.device().read(stream.device_address(), data));
        self.counters.transmitted += 1;
    }

    fn flush(&mut self) {}

    fn arm(&mut self) -> bool {
        self.pending = self.pending.take().or_else(|| self.read());
        self.pending.is_none()
    }

    fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    fn accept_multicast(&mut self, _: &[[u8; 6]]) {}

    fn reset(&mut self) -> LocalBoxFuture<'_, Result<(), ResetError>> {
        Box::pin(async { Ok(()) })
    }

    fn stop(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn statistics(&mut self) -> Statistics {
        self.counters
    }
}
