//! The mailbox between a virtual function and the driver of its physical function.
//!
//! One buffer of 16 words, which either side takes before it writes, and a register that tells of
//! a message, of its having been read, and of a reset of the physical function. Every request is
//! answered. What the other driver sends of its own accord says that the link may have changed, and
//! by its "clear to send" bit whether it still knows this function: if not, after a reset of its
//! own, all it was asked for is gone (82576 datasheet, 7.10.2.9; 82599 datasheet, 4.2.2.4 and
//! 7.10.2.9; the messages are those of Linux's igb and ixgbe).

use crate::common::wait_for;
use unikernel::mmio::Mmio;
use unikernel::time::now_ns;

/// How long the other driver may take to answer, however often it is asked. It runs on a host that
/// may be busy.
const ANSWER_US: u64 = 2_000_000;

/// Words of an answer that matter.
const ANSWER: usize = 3;

/// Words of the buffer.
pub(super) const WORDS: usize = 16;

/// What a request asks for: the low half of its first word, and of its answer's.
pub(super) mod request {
    /// To be known again, with nothing that was asked for before. The answer has the address.
    pub(crate) const RESET: u32 = 0x01;
    pub(crate) const SET_ADDRESS: u32 = 0x02;
    /// The number of hashes is in bits 16 to 23; two are in a word.
    pub(crate) const SET_GROUPS: u32 = 0x03;
    /// With [`ADD`].
    pub(crate) const SET_VLAN: u32 = 0x04;
    pub(crate) const SET_LONGEST: u32 = 0x05;

    pub(crate) const COUNT_SHIFT: u32 = 16;
    pub(crate) const ADD: u32 = 1 << 16;
}

/// In the first word of what comes.
mod answer {
    pub(super) const GRANTED: u32 = 1 << 31;
    pub(super) const CLEAR_TO_SEND: u32 = 1 << 29;
}

/// In the register (82576: VFMailbox, 8.14.3; 82599: VFMailbox, 8.3.5.1.6).
mod control {
    /// A message is in the buffer, or was read; both let go of the buffer.
    pub(super) const REQUEST: u32 = 1 << 0;
    pub(super) const ACKNOWLEDGE: u32 = 1 << 1;
    /// The buffer is this function's.
    pub(super) const OURS: u32 = 1 << 2;
    /// The other side left a message.
    pub(super) const MESSAGE: u32 = 1 << 4;
    /// The physical function is being reset, or was.
    pub(super) const IN_RESET: u32 = 1 << 6;
    pub(super) const WAS_RESET: u32 = 1 << 7;
    /// What reading clears, and the acknowledgement, which an answer makes superfluous.
    pub(super) const CLEARED: u32 = MESSAGE | 1 << 5 | WAS_RESET;
}

/// Where a family has it.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The register.
    pub(crate) control: usize,
    /// The buffer.
    pub(crate) buffer: usize,
}

/// What the other driver knows of this function.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Known,
    /// Nothing any more.
    Forgotten,
    /// The same, and it has answered since.
    Answered,
}

pub(super) struct Mailbox {
    registers: Mmio,
    place: Place,
    /// Bits that reading has cleared and nobody has acted on.
    seen: u32,
    /// The request that is not answered yet, by its low half, and until when it may be.
    asked: Option<(u32, u64)>,
    answer: Option<[u32; ANSWER]>,
    standing: Standing,
    is_gone: bool,
}

impl Mailbox {
    pub(super) fn new(registers: Mmio, place: Place) -> Self {
        let standing = Standing::Forgotten;
        Self { registers, place, seen: 0, asked: None, answer: None, standing, is_gone: false }
    }

    /// The other driver does what it was asked for.
    pub(super) fn is_known(&self) -> bool {
        self.standing == Standing::Known
    }

    /// The other driver knows this function no more, but is there: it is time to start over.
    pub(super) fn is_answered(&self) -> bool {
        self.standing == Standing::Answered
    }

    /// The physical function is being reset.
    pub(super) fn is_in_reset(&mut self) -> bool {
        self.look() & control::IN_RESET != 0
    }

    /// Has the other driver know this function, after a reset. The answer's first word says by
    /// [`is_granted`] whether an address follows. `None` if it does not answer.
    pub(super) async fn start_over(&mut self) -> Option<[u32; ANSWER]> {
        self.take_in();
        (self.seen, self.asked, self.standing) = (0, None, Standing::Forgotten);
        let answer = self.exchange(&[request::RESET]).await?;
        self.standing = Standing::Known;
        Some(answer)
    }

    /// Asks for something, once what was asked before is answered. `None` if this is not, or the
    /// other driver has forgotten this function.
    pub(super) async fn ask(&mut self, request: &[u32]) -> Option<[u32; ANSWER]> {
        if self.is_known() { self.exchange(request).await } else { None }
    }

    async fn exchange(&mut self, request: &[u32]) -> Option<[u32; ANSWER]> {
        let standing = self.standing;
        let mut is_posted = false;
        self.answer = None;
        wait_for(ANSWER_US, || {
            if is_posted {
                self.take_in();
                is_posted = self.asked.is_some() || self.answer.is_some();
            }
            if !is_posted {
                is_posted = self.post(request);
            }
            is_posted && self.answer.is_some() || self.is_gone || self.standing != standing
        })
        .await;
        self.asked = None;
        self.answer.take()
    }

    /// Sends a request whose answer nobody waits for. `false` if it cannot be sent now: some time
    /// after an interrupt it can.
    pub(super) fn post(&mut self, request: &[u32]) -> bool {
        self.take_in();
        // One that was lost keeps no others waiting.
        self.asked = self.asked.filter(|&(_, until)| now_ns() < until);
        // A message that comes before the buffer is ours is to be read first.
        if self.asked.is_some() || self.seen & control::MESSAGE != 0 || !self.lock() {
            return false;
        }
        if self.seen & control::MESSAGE != 0 {
            self.read();
            return false;
        }
        for (index, &word) in request.iter().enumerate() {
            self.registers.write32(self.place.buffer + 4 * index, word);
        }
        self.registers.write32(self.place.control, control::REQUEST);
        let until = now_ns() + ANSWER_US * 1000;
        (self.asked, self.answer) = (Some((request[0] & 0xffff, until)), None);
        true
    }

    /// Takes in what came with an interrupt, and looks whether a driver that has forgotten this
    /// function is there. Returns whether the link may be another.
    pub(super) fn poll(&mut self) -> bool {
        let before = self.standing;
        let came = self.take_in();
        // Each time something comes: nothing does from a driver that is away.
        if self.standing == Standing::Forgotten && (came || before == Standing::Known) {
            self.asked = None;
            self.post(&[request::RESET]);
        }
        came || self.standing != before || self.is_gone
    }

    /// The answer to the last request, if nobody has had it.
    pub(super) fn take_answer(&mut self) -> Option<[u32; ANSWER]> {
        self.answer.take()
    }

    /// Reads what came. Returns whether that was a message, or the end of a reset, of which the
    /// other driver may say nothing.
    fn take_in(&mut self) -> bool {
        let is_in_reset = self.look() & control::IN_RESET != 0;
        let was_reset = self.seen & control::WAS_RESET != 0;
        if is_in_reset || was_reset {
            self.seen &= !control::WAS_RESET;
            self.forget();
        }
        let came = self.seen & control::MESSAGE != 0 && self.lock();
        if came {
            self.read();
        }
        came || was_reset && !is_in_reset
    }

    /// Reads the message in the buffer, which is ours, and gives both back.
    fn read(&mut self) {
        let word = |index| self.registers.read32(self.place.buffer + 4 * index);
        let message: [u32; ANSWER] = core::array::from_fn(word);
        self.registers.write32(self.place.control, control::ACKNOWLEDGE);
        self.seen &= !control::MESSAGE;
        let kind = message[0] & 0xffff;
        let asked = self.asked.map(|(kind, _)| kind);
        let is_answer = asked == Some(kind);
        if is_answer {
            self.asked = None;
        }
        match (is_answer, kind) {
            // To the look whether anybody is there, or to a start that goes on by itself.
            (true, request::RESET) => {
                self.answer = Some(message);
                self.standing = match self.standing {
                    Standing::Forgotten => Standing::Answered,
                    other => other,
                };
            }
            _ if message[0] & answer::CLEAR_TO_SEND == 0 => {
                // To an acknowledgement, for one, of a function that it does not know: in the
                // buffer, where a request to be known was.
                if asked == Some(request::RESET) {
                    self.asked = None;
                }
                self.forget();
            }
            (true, _) => self.answer = Some(message),
            (false, _) => {}
        }
    }

    fn forget(&mut self) {
        self.standing = Standing::Forgotten;
    }

    /// Takes the buffer, if the other side does not have it.
    fn lock(&mut self) -> bool {
        self.registers.write32(self.place.control, control::OURS);
        self.look() & control::OURS != 0
    }

    fn look(&mut self) -> u32 {
        let now = self.registers.read32(self.place.control);
        self.is_gone = now == u32::MAX;
        if self.is_gone {
            return 0;
        }
        self.seen |= now & control::CLEARED;
        now
    }
}

/// Whether the other driver does what it was asked for.
pub(super) fn is_granted(answer: &[u32; ANSWER]) -> bool {
    answer[0] & answer::GRANTED != 0
}
