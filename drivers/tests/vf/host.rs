//! The driver of the physical function, on the host, as its virtual function sees it: through the
//! mailbox. It does what Linux's igb and ixgbe do, and insists on what they do.

use crate::family::{EVERY_GROUP_REQUEST, MAILBOX};
use crate::intel::model::{Filters, State};

/// Where a family has the mailbox.
pub(crate) struct Place {
    pub(crate) control: usize,
    pub(crate) buffer: usize,
}

const REQUEST: u32 = 1 << 0;
const ACKNOWLEDGE: u32 = 1 << 1;
const OURS: u32 = 1 << 2;
const THEIRS: u32 = 1 << 3;
const MESSAGE: u32 = 1 << 4;
const READ: u32 = 1 << 5;
pub(crate) const IN_RESET: u32 = 1 << 6;
pub(crate) const WAS_RESET: u32 = 1 << 7;

const GRANTED: u32 = 1 << 31;
const REFUSED: u32 = 1 << 30;
const CLEAR_TO_SEND: u32 = 1 << 29;
const PING: u32 = 0x100;

// What the physical function has for this one: beyond what this one can reach, and gone with what
// resets it.
const KNOWN: usize = 0x10_0000;
pub(crate) const LONGEST: usize = 0x10_0004;
pub(crate) const VLAN_FILTER: (usize, u32) = (0x10_0008, 0);
const VERSION: usize = 0x10_0010;
const EVERY_GROUP: usize = 0x10_000c;
pub(crate) const VLANS: usize = 0x11_0000;
const MTA: usize = 0x5200;
const RAL0: usize = 0x5400;
const RAH0: usize = 0x5404;

/// It is ixgbe.
pub(crate) const HAS_VERSIONS: bool = EVERY_GROUP_REQUEST != 6;

/// How it behaves.
pub(crate) struct Host {
    /// Does not answer: its interface is down.
    pub(crate) is_silent: bool,
    /// Leaves the choice of an address to the virtual function.
    pub(crate) gives_no_address: bool,
    /// Refuses requests of this kind.
    pub(crate) refuses: u32,
    /// Has the buffer for so many looks of the virtual function.
    pub(crate) is_busy: u32,
    /// Forgets this function at the next request of this kind, instead of granting it.
    pub(crate) forgets_at: u32,
    /// Answers so many acknowledgements of a function that it does not know in the moment in which
    /// that asks to be known: the request is overwritten.
    pub(crate) overwrites: u32,
    /// Grants frames to every group: Linux's ixgbe does not unless it is told to trust a function.
    pub(crate) trusts: bool,
    /// Requests, by what they ask for.
    pub(crate) requests: Vec<u32>,
    /// The newest version of requests that it knows.
    pub(crate) newest: u32,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            is_silent: false,
            gives_no_address: false,
            refuses: 0,
            is_busy: 0,
            forgets_at: 0,
            overwrites: 0,
            trusts: true,
            requests: Vec::new(),
            newest: 4,
        }
    }
}

impl State {
    /// The host does what this function asks for.
    pub(crate) fn is_known(&self) -> bool {
        self.get(KNOWN) != 0
    }

    pub(crate) fn host_filters(&self) -> Filters {
        Filters {
            broadcasts: self.is_known(),
            every_group: self.get(EVERY_GROUP) != 0,
            every_station: false,
            strips: self.has(VLAN_FILTER),
        }
    }

    /// Says that the link may be another.
    pub(crate) fn ping(&mut self) {
        let known = if self.is_known() { CLEAR_TO_SEND } else { 0 };
        self.send(&[PING | known]);
    }

    /// The driver of the physical function resets it, and announces it; then, when `is_up`, that
    /// it is back. All that was asked for is gone.
    pub(crate) fn reset_physical(&mut self, is_up: bool) {
        self.own.is_silent = !is_up;
        self.set(KNOWN, 0);
        self.ping();
        let control = self.get(MAILBOX.control) & !(IN_RESET | WAS_RESET);
        self.set(MAILBOX.control, control | if is_up { WAS_RESET } else { IN_RESET });
        self.ping();
    }

    /// The same without a word: its message found the buffer taken.
    pub(crate) fn end_reset_silently(&mut self) {
        self.own.is_silent = false;
        let control = self.get(MAILBOX.control) & !(IN_RESET | MESSAGE);
        self.set(MAILBOX.control, control | WAS_RESET);
        self.raise_mailbox();
    }

    /// The driver forgets this function, and says so; nothing is reset.
    pub(crate) fn forget_function(&mut self) {
        self.set(KNOWN, 0);
        self.ping();
    }

    fn send(&mut self, words: &[u32]) {
        let control = self.get(MAILBOX.control);
        if control & OURS != 0 {
            // It tries again, and would find the buffer free; here it gives up.
            return;
        }
        for (index, &word) in words.iter().enumerate() {
            self.set(MAILBOX.buffer + 4 * index, word);
        }
        self.set(MAILBOX.control, control | MESSAGE);
        self.raise_mailbox();
    }

    fn answer(&mut self) {
        let word = |index: usize| self.get(MAILBOX.buffer + 4 * index);
        let [head, first, second] = [0, 1, 2].map(word);
        let kind = head & 0xffff;
        self.own.requests.push(kind);
        if self.own.is_silent {
            return;
        }
        if kind == 1 && self.own.overwrites != 0 {
            self.own.overwrites -= 1;
            return self.send(&[REFUSED]);
        }
        self.set(MAILBOX.control, self.get(MAILBOX.control) | READ);
        if kind == self.own.forgets_at {
            self.own.forgets_at = 0;
            self.set(KNOWN, 0);
        }
        if kind == 1 {
            // What was asked for before is gone with the reset that came before this.
            self.set(KNOWN, 1);
            let has_address = !self.own.gives_no_address;
            let verdict = if has_address { GRANTED } else { REFUSED };
            if !has_address {
                self.set(RAH0, 0);
            }
            let address =
                if has_address { [self.get(RAL0), self.get(RAH0) & 0xffff] } else { [0; 2] };
            return self.send(&[kind | verdict, address[0], address[1]]);
        }
        if !self.is_known() {
            return self.send(&[kind | REFUSED]);
        }
        if kind == self.own.refuses {
            return self.send(&[kind | REFUSED | CLEAR_TO_SEND]);
        }
        match kind {
            2 => {
                self.set(RAL0, first);
                self.set(RAH0, 1 << 31 | second);
            }
            3 => self.set_groups(head >> 16 & 0xff),
            4 => {
                assert_eq!(head >> 16 & 0xff, 1, "added");
                self.set(VLAN_FILTER.0, 1);
                self.set(VLANS + 4 * (first as usize >> 5), 1 << (first & 31));
            }
            // Linux's 82599 and its oldest virtual functions do not agree on how to receive them.
            5 if HAS_VERSIONS && self.get(VERSION) < 2 && first > 1518 => {
                return self.send(&[kind | REFUSED | CLEAR_TO_SEND]);
            }
            5 => self.set(LONGEST, first),
            6 if !HAS_VERSIONS => self.set(EVERY_GROUP, 1),
            _ if HAS_VERSIONS => return self.answer_more(kind, first),
            _ => panic!("no request: {kind:#x}"),
        }
        self.send(&[head & 0xffff | GRANTED | CLEAR_TO_SEND]);
    }

    /// What only ixgbe knows.
    fn answer_more(&mut self, kind: u32, value: u32) {
        let grants = match kind {
            8 if value <= self.own.newest => {
                self.set(VERSION, value);
                true
            }
            12 => self.get(VERSION) >= 3,
            8 => false,
            _ => panic!("no request: {kind:#x}"),
        };
        if kind == 12 && grants {
            assert_eq!(value, 2, "every group");
            self.set(EVERY_GROUP, self.own.trusts.into());
            let mode = if self.own.trusts { 2 } else { 1 };
            return self.send(&[kind | GRANTED | CLEAR_TO_SEND, mode]);
        }
        let verdict = if grants { GRANTED } else { REFUSED };
        self.send(&[kind | verdict | CLEAR_TO_SEND]);
    }

    fn set_groups(&mut self, count: u32) {
        assert!(count <= 30, "{count} groups in a buffer for 30");
        (0..128).for_each(|word| self.set(MTA + 4 * word, 0));
        for index in 0..count as usize {
            let pair = self.get(MAILBOX.buffer + 4 * (1 + index / 2));
            let hash = (pair >> (16 * (index % 2)) & 0xfff) as usize;
            let word = MTA + 4 * (hash >> 5);
            self.set(word, self.get(word) | 1 << (hash & 31));
        }
    }

    pub(crate) fn read_mailbox(&mut self, offset: usize) -> Option<u32> {
        if offset != MAILBOX.control {
            return None;
        }
        let mut control = self.get(offset);
        self.set(offset, control & !(MESSAGE | READ | WAS_RESET));
        if self.faults.stays_in_reset {
            control |= IN_RESET;
        }
        Some(control)
    }

    pub(crate) fn write_mailbox(&mut self, offset: usize, value: u32) -> bool {
        let in_buffer = (MAILBOX.buffer..MAILBOX.buffer + 64).contains(&offset);
        assert!(!in_buffer || self.get(MAILBOX.control) & OURS != 0, "a buffer of somebody else's");
        if offset != MAILBOX.control {
            return false;
        }
        let mut control = self.get(offset) & !OURS;
        if value & OURS != 0 && control & THEIRS == 0 {
            let is_busy = self.own.is_busy != 0;
            self.own.is_busy = self.own.is_busy.saturating_sub(1);
            control |= if is_busy { 0 } else { OURS };
        }
        self.set(offset, control);
        assert_ne!(value & (REQUEST | ACKNOWLEDGE), REQUEST | ACKNOWLEDGE, "one or the other");
        if value & REQUEST != 0 {
            self.answer();
        }
        true
    }
}
