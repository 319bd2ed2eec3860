//! How many clients there may be, and what each may have in memory.

use crate::reply;
use crate::store::MAX_VALUE;

/// Clients at the same time, where there is memory for so many.
pub(crate) const MAX_CLIENTS: usize = 64;
/// What a client's buffer begins with, and how far it grows.
pub(crate) const MIN_BUFFER: usize = 4 * 1024;
pub(crate) const MAX_BUFFER: usize = MAX_VALUE + MIN_BUFFER;
/// Replies are sent when there are so many bytes of them, even if there are requests left.
pub(crate) const BATCH: usize = 32 * 1024;
/// How much of a request any client may have in memory, and of replies: two batches, since a vector
/// doubles. More than either makes it a large one, of which there are fewer.
pub(crate) const USUAL_INPUT: usize = 16 * 1024;
pub(crate) const USUAL_REPLIES: usize = 2 * BATCH;

/// What a client may take of the heap, with its socket's two buffers, and half as much again while
/// a vector grows.
pub(crate) const USUAL_MEMORY: usize = (USUAL_INPUT + USUAL_REPLIES) * 3 / 2 + 32 * 1024;
/// What a large one may take beyond that.
pub(crate) const LARGE_MEMORY: usize =
    (MAX_BUFFER.next_power_of_two() + (reply::MAX + BATCH).next_power_of_two()) * 3 / 2;

/// How many clients there may be at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In all.
    pub(crate) clients: usize,
    /// With a long request or long replies in memory.
    pub(crate) large: usize,
}

impl Bounds {
    /// Those for which `memory` bytes of the heap are enough; always one of each.
    pub fn within(memory: usize) -> Self {
        let clients = (memory / USUAL_MEMORY).clamp(1, MAX_CLIENTS);
        let left = memory.saturating_sub(clients * USUAL_MEMORY);
        Self { clients, large: (left / LARGE_MEMORY).clamp(1, clients) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Replies;

    #[test]
    fn little_memory_has_room_for_few_clients_but_for_one_always() {
        let bounds = |memory| {
            let Bounds { clients, large } = Bounds::within(memory);
            (clients, large)
        };
        assert_eq!(bounds(0), (1, 1));
        assert_eq!(bounds(3 * USUAL_MEMORY), (3, 1));
        assert_eq!(bounds(MAX_CLIENTS * USUAL_MEMORY + 2 * LARGE_MEMORY), (MAX_CLIENTS, 2));
        assert_eq!(bounds(usize::MAX), (MAX_CLIENTS, MAX_CLIENTS));
        // A machine of 64 MiB with a store of 16 has all that redis-benchmark begins with.
        assert!(bounds(20 << 20).0 >= 50);
    }

    /// What vectors really take, the old one while it grows included.
    #[test]
    fn no_client_takes_more_than_is_counted_for_it() {
        let mut replies = Replies::default();
        while replies.bytes().len() < BATCH {
            replies.bulk(&[0; 100]);
        }
        assert!(replies.capacity() <= USUAL_REPLIES, "{}", replies.capacity());
        let before = replies.capacity();
        replies.begin();
        replies.bulk(&[0; reply::MAX - 100]);
        let taken = MAX_BUFFER.next_power_of_two() * 3 / 2 + replies.capacity() + before;
        assert!(taken > LARGE_MEMORY / 2 && taken <= LARGE_MEMORY, "{taken} of {LARGE_MEMORY}");
    }
}
