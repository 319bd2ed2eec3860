//! Raw frames, received in the memory they arrived in and sent with no stack in between.

use alloc::boxed::Box;
use core::future::poll_fn;

use super::engine::Engine;
use super::error::Error;
use super::intake::{FrameEdit, FrameFilter, Observer, Reflector, TakerId};
use super::queue::Queue;
use super::stack::Stack;
use crate::dma::{Pool, RxBuffer, TxBuffer};

/// Receives the frames that a filter accepts, instead of the stack, and sends frames of any kind.
///
/// What it receives it owns: a frame may be kept as long as it likes, or
/// [sent back](Self::reply) in the memory that it came in.
pub struct FrameSocket {
    stack: Stack,
    pool: &'static Pool,
    queue: Queue<RxBuffer>,
    id: TakerId,
}

impl FrameSocket {
    /// Takes the frames that `filter` accepts. It sees whole Ethernet frames, is called for each
    /// received one that is not reflected, and may not call the stack. Where several sockets accept
    /// a frame, the first that was bound gets it.
    ///
    /// Up to `depth` frames wait to be received; more are dropped and [counted](Self::dropped).
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn bind(stack: &Stack, filter: FrameFilter, depth: usize) -> Result<Self, Error> {
        let queue = Queue::new(depth)?;
        let (pool, id) = stack.with(|engine| {
            let device = &mut engine.pair.device;
            (device.pool(), device.intake.add_frames(filter, queue.clone()))
        });
        Ok(Self { stack: stack.clone(), pool, queue, id })
    }

    /// Waits for the next frame. One task waits at a time.
    pub async fn recv(&self) -> RxBuffer {
        poll_fn(|context| self.queue.poll_pop(context)).await
    }

    /// The next frame, if there is one.
    pub fn try_recv(&self) -> Option<RxBuffer> {
        self.queue.pop()
    }

    /// Waits for a frame, then calls `f` with each one that is there. The fast path: one wait for a
    /// batch, and `f` may send.
    pub async fn recv_each(&self, mut f: impl FnMut(RxBuffer)) {
        f(self.recv().await);
        for _ in 0..self.queue.len() {
            let Some(frame) = self.queue.pop() else { break };
            f(frame);
        }
    }

    /// Frames that were dropped because more than the socket's depth waited.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Memory to build a frame in. `None` while there is none left.
    pub fn transmit_buffer(&self) -> Option<TxBuffer> {
        self.pool.transmit_buffer()
    }

    /// Sends the first `len` bytes of `frame`, as soon as there is room for it and a link.
    ///
    /// # Errors
    /// [`Error::TooLong`] if a frame cannot have so many bytes.
    pub async fn send(&self, mut frame: TxBuffer, len: usize) -> Result<(), Error> {
        loop {
            let room = self.stack.with(|engine| {
                let device = &mut engine.pair.device;
                if len > frame.len().min(device.max_frame()) {
                    return Err(Error::TooLong);
                }
                match device.send(frame, len) {
                    Ok(()) => Ok(None),
                    Err(frame) => Ok(Some((frame, device.wait_for_room()))),
                }
            })?;
            self.stack.wake();
            let Some((unsent, mut room)) = room else { return Ok(()) };
            frame = unsent;
            room.changed().await;
        }
    }

    /// Sends the first `len` bytes of `frame` if there is room for it now. Otherwise, and if `len`
    /// is too long, it is dropped, and counted in [`Traffic`](super::Traffic). Returns whether it
    /// was sent.
    pub fn try_send(&self, frame: TxBuffer, len: usize) -> bool {
        let sent = self.stack.with(|engine| engine.pair.device.send_or_drop(frame, len));
        self.stack.wake();
        sent
    }

    /// Sends a frame in the memory that it came in, as `edit` leaves it and as
    /// [`try_send`](Self::try_send) does: with no copy and no wait. What needs no task in between
    /// is cheaper still with [`Stack::reflect`].
    pub fn reply(&self, frame: RxBuffer, edit: impl FnOnce(&mut [u8])) -> bool {
        let len = frame.len();
        let mut frame = frame.into_transmit();
        edit(&mut frame[..len]);
        self.try_send(frame, len)
    }
}

impl Drop for FrameSocket {
    fn drop(&mut self) {
        let filter = self.stack.with(|engine| engine.pair.device.intake.remove_frames(self.id));
        // The filter may have a handle of the stack.
        drop(filter);
    }
}

/// An observer's place. Dropping it drops the observer.
pub struct Observation {
    stack: Stack,
    id: TakerId,
}

impl Drop for Observation {
    fn drop(&mut self) {
        let observer = self.stack.with(|engine| engine.pair.device.intake.remove_observer(self.id));
        drop(observer);
    }
}

/// That frames are sent back. Dropping it ends that, unless a later one has taken its place.
pub struct Reflection {
    stack: Stack,
    id: TakerId,
}

impl Drop for Reflection {
    fn drop(&mut self) {
        let intake = |engine: &mut Engine| engine.pair.device.intake.remove_reflector(self.id);
        // What it has may have a handle of the stack.
        drop(self.stack.with(intake));
    }
}

impl Stack {
    /// Sends the frames that `filter` accepts back as `edit` leaves them, in the memory that they
    /// came in and in the turn that receives them: no queue, no task and no copy. Neither may call
    /// the stack. Nobody else sees these frames. A later call replaces what an earlier one has
    /// begun. Frames that there is no room for are dropped, and counted in
    /// [`Traffic::tx_dropped`](super::Traffic::tx_dropped); those of which so much memory is held
    /// that the NIC would go short in [`kept_refused`](super::Traffic::kept_refused).
    #[must_use = "it ends with what is returned"]
    pub fn reflect(&self, filter: FrameFilter, edit: FrameEdit) -> Reflection {
        let reflector = Reflector { filter, edit };
        let (id, before) = self.with(|engine| engine.pair.device.intake.set_reflector(reflector));
        drop(before);
        Reflection { stack: self.clone(), id }
    }

    /// Shows each received frame to `observer`, after those that are there, until what is returned
    /// is dropped.
    #[must_use = "the observer goes with it"]
    pub fn observe(&self, observer: Box<dyn Observer>) -> Observation {
        let id = self.with(|engine| engine.pair.device.intake.add_observer(observer));
        Observation { stack: self.clone(), id }
    }
}
