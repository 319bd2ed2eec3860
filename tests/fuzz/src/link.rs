//! A stack at the other end of whose wire is an input, in time that the input lets pass.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use etherparse::SlicedPacket;
use godwit::time::{Duration, Instant};
use unikernel::dma::{Policy, Pool, RxBuffer, TxBuffer, fake};
use unikernel::irq::{self, Interrupt};
use unikernel::net::{Config, Stack};
use unikernel::nic::{Capabilities, Checksums, Link, LocalBoxFuture, Nic, ResetError, Statistics};

/// The station address of the stack's NIC.
pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
const POOL: usize = 1 << 20;
const MAX_FRAME: usize = 1514;
/// Turns of the stack that a step has.
const TURNS: u32 = 8;
/// Slots that a stack without a frame on the way may hold.
const FREE: &str = "every buffer is given back";

thread_local! {
    /// Pools live for ever, so that there is one.
    static MEMORY: &'static Pool = fake::pool(POOL, Policy::Auto);
}

/// What is on the wire, each way, and whether it is plugged in.
#[derive(Default)]
struct Wire {
    to_stack: RefCell<VecDeque<Vec<u8>>>,
    from_stack: RefCell<VecDeque<Vec<u8>>>,
    is_unplugged: Cell<bool>,
}

/// A NIC that says that it has checked all sums, so that whatever comes gets far, or none.
struct WireNic {
    pool: &'static Pool,
    wire: Rc<Wire>,
    interrupt: Interrupt,
    offloads: bool,
}

impl Nic for WireNic {
    fn family(&self) -> &'static str {
        "fuzz"
    }
    fn mac(&self) -> [u8; 6] {
        MAC
    }
    fn link(&self) -> Link {
        let up = !self.wire.is_unplugged.get();
        Link { up, speed: 1000, full_duplex: true }
    }
    fn capabilities(&self) -> Capabilities {
        let sums = Checksums { ipv4: self.offloads, tcp: self.offloads, udp: self.offloads };
        Capabilities {
            max_frame: MAX_FRAME,
            receive_checksums: sums,
            transmit_checksums: sums,
            segmentation: None,
        }
    }
    fn receive(&mut self) -> Option<RxBuffer> {
        if self.wire.is_unplugged.get() {
            self.wire.to_stack.borrow_mut().clear();
        }
        let stream = self.pool.receive_stream()?;
        let frame = self.wire.to_stack.borrow_mut().pop_front()?;
        self.pool.device().write(stream.device_address(), &frame);
        stream.receive(&fake::completed(), frame.len()).ok()
    }
    fn transmit_ready(&mut self) -> bool {
        true
    }
    fn transmit(&mut self, frame: TxBuffer, len: usize, segment: Option<NonZeroU16>) {
        assert!(len <= MAX_FRAME && segment.is_none(), "a frame that was not asked for");
        if !self.wire.is_unplugged.get() {
            self.wire.from_stack.borrow_mut().push_back(frame[..len].to_vec());
        }
    }
    fn flush(&mut self) {}
    fn arm(&mut self) -> bool {
        self.wire.to_stack.borrow().is_empty()
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
        Statistics::default()
    }
}

/// What happens at the other end of the wire.
pub(crate) struct World {
    stack: Stack,
    wire: Rc<Wire>,
    now: Instant,
    /// When it began.
    start: Instant,
}

impl World {
    /// Has `test` done with a stack and the tasks that `program` has on it.
    ///
    /// # Panics
    /// The stack keeps buffers, or sends frames that are none.
    pub(crate) fn run<P: Future<Output = ()>>(
        config: Config,
        offloads: bool,
        program: impl FnOnce(Stack) -> P,
        test: impl FnOnce(&mut Self, Pin<&mut P>),
    ) {
        let pool = MEMORY.with(|pool| *pool);
        let free = pool.statistics().slots_free;
        let wire = Rc::new(Wire::default());
        let stack = Stack::new(pool, config);
        let interrupt = irq::allocate().expect("one for each thread");
        let nic = WireNic { pool, wire: wire.clone(), interrupt, offloads };
        assert!(stack.attach(Box::new(nic)).is_ok(), "it has none");
        let start = Instant::from_secs(1);
        let mut world = Self { stack, wire, now: start, start };
        {
            let mut program = Box::pin(program(world.stack.clone()));
            test(&mut world, program.as_mut());
        }
        drop(world);
        assert_eq!(pool.statistics().slots_free, free, "{FREE}");
    }

    /// Puts a frame on the wire, as much of it as a NIC takes.
    pub(crate) fn send(&self, frame: &[u8]) {
        if frame.len() >= 14 {
            let frame = frame[..frame.len().min(MAX_FRAME)].to_vec();
            self.wire.to_stack.borrow_mut().push_back(frame);
        }
    }

    /// What the stack has sent, in order.
    ///
    /// # Panics
    /// It is no frame of ours.
    pub(crate) fn take(&self) -> Vec<Vec<u8>> {
        let frames: Vec<_> = self.wire.from_stack.borrow_mut().drain(..).collect();
        for frame in &frames {
            assert_eq!(frame[6..12], MAC, "from somebody else: {frame:x?}");
            if let Err(error) = SlicedPacket::from_ethernet(frame) {
                panic!("{error}: {frame:x?}");
            }
        }
        frames
    }

    /// Pulls the cable out, or plugs it in.
    pub(crate) fn toggle_link(&self) {
        self.set_link(self.wire.is_unplugged.get());
    }

    pub(crate) fn set_link(&self, up: bool) {
        self.wire.is_unplugged.set(!up);
    }

    /// Lets time pass. Says whether the program has ended.
    pub(crate) fn pass<P: Future>(&mut self, time: Duration, mut program: Pin<&mut P>) -> bool {
        let mut has_ended = false;
        for _ in 0..TURNS {
            self.stack.turn_at(self.now);
            self.now += time / TURNS;
            if !has_ended {
                let mut context = Context::from_waker(Waker::noop());
                has_ended = matches!(program.as_mut().poll(&mut context), Poll::Ready(_));
            }
        }
        has_ended
    }

    /// Time since it began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// The stack.
    pub(crate) fn stack(&self) -> &Stack {
        &self.stack
    }
}

/// The time that the low bits of a control byte let pass.
pub(crate) fn time_of(control: u8) -> Duration {
    const TIMES: [u64; 8] = [4, 50, 300, 1_000, 5_000, 30_000, 120_000, 700_000];
    Duration::from_millis(TIMES[usize::from(control & 7)])
}
