//! What keys have.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

/// What an item takes next to its own bytes: its place, with the room that a list which grows has
/// to spare, and the heap's overhead.
const ITEM: usize = 64;

/// The value of a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Bytes.
    Text(Box<[u8]>),
    /// Bytes in an order.
    List(List),
}

impl Value {
    /// Its type, as Redis calls it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::List(_) => "list",
        }
    }

    /// Bytes it takes, about.
    pub(super) fn cost(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::List(list) => list.0.iter().map(|item| List::cost_of(item)).sum(),
        }
    }
}

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The first item's.
    Left,
    /// The last one's.
    Right,
}

/// Items one after another.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct List(VecDeque<Box<[u8]>>);

impl List {
    /// All of them.
    pub(crate) fn items(&self) -> &VecDeque<Box<[u8]>> {
        &self.0
    }

    pub(super) fn push(&mut self, end: End, item: &[u8]) {
        match end {
            End::Left => self.0.push_front(item.into()),
            End::Right => self.0.push_back(item.into()),
        }
    }

    pub(super) fn pop(&mut self, end: End) -> Option<Box<[u8]>> {
        match end {
            End::Left => self.0.pop_front(),
            End::Right => self.0.pop_back(),
        }
    }

    /// Bytes an item takes, about.
    pub(super) fn cost_of(item: &[u8]) -> usize {
        ITEM + item.len()
    }
}
