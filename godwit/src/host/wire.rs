//! Two machines on a wire, for tests of what talks to another machine.

use std::boxed::Box;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::rc::Rc;
use std::vec::Vec;

use unikernel::dma::{Policy, Pool, RxBuffer, TxBuffer, fake};
use unikernel::irq::{self, Interrupt};
use unikernel::nic::{Capabilities, Link, LocalBoxFuture, Nic, ResetError, Statistics};

use super::Hardware;

/// The hardware of two machines whose NICs are the ends of a wire, and the memory of each:
/// [`run`](super::run) both, in one task. Their station addresses are `02:00:00:00:00:00` and
/// `02:00:00:00:00:01`; the wire loses nothing.
///
/// # Panics
/// There are no more interrupts: a process has some dozens.
pub fn wired_machines() -> [(&'static Pool, Hardware); 2] {
    let interrupts = [0; 2].map(|_| irq::allocate().expect("an interrupt"));
    let wire = Wire::default();
    [0, 1].map(|number| {
        let pool = fake::pool(1 << 20, Policy::Auto);
        let (wire, interrupts) = (wire.clone(), interrupts.clone());
        let nic = Box::new(End { pool, number, wire, interrupts });
        (pool, Hardware { nics: std::vec![nic], roots: Vec::new() })
    })
}

/// One end of a wire.
struct End {
    pool: &'static Pool,
    number: u8,
    wire: Wire,
    interrupts: [Interrupt; 2],
}

/// What is on its way to each end.
type Wire = Rc<[RefCell<VecDeque<Vec<u8>>>; 2]>;

impl End {
    fn inbox(&self) -> &RefCell<VecDeque<Vec<u8>>> {
        &self.wire[usize::from(self.number)]
    }
}

impl Nic for End {
    fn family(&self) -> &'static str {
        "wire"
    }
    fn mac(&self) -> [u8; 6] {
        [2, 0, 0, 0, 0, self.number]
    }
    fn link(&self) -> Link {
        Link { up: true, speed: 1000, full_duplex: true }
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { max_frame: 1514, ..Capabilities::default() }
    }
    fn receive(&mut self) -> Option<RxBuffer> {
        let stream = self.pool.receive_stream()?;
        let frame = self.inbox().borrow_mut().pop_front()?;
        self.pool.device().write(stream.device_address(), &frame);
        stream.receive(&fake::completed(), frame.len()).ok()
    }
    fn transmit_ready(&mut self) -> bool {
        true
    }
    fn transmit(&mut self, frame: TxBuffer, len: usize, _: Option<NonZeroU16>) {
        let other = usize::from(1 - self.number);
        self.wire[other].borrow_mut().push_back(frame[..len].to_vec());
        self.interrupts[other].trigger();
    }
    fn flush(&mut self) {}
    fn arm(&mut self) -> bool {
        self.inbox().borrow().is_empty()
    }
    fn interrupt(&self) -> Interrupt {
        self.interrupts[usize::from(self.number)].clone()
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
