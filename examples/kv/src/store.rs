//! Keys and values, in bounded memory.

mod value;

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use foldhash::fast::FixedState;
use godwit::time::Instant;
use indexmap::IndexMap;

use crate::failure::Failure;
pub(crate) use value::{End, List, Value};

/// What a key takes next to its own bytes and its value: its place in the map, and the heap's
/// overhead.
const KEY: usize = 144;
/// The same of the time at which it goes.
const EXPIRY: usize = 96;

/// Longest text, which is about the longest request as well.
pub(crate) const MAX_VALUE: usize = 128 * 1024;

type Key = Box<[u8]>;

/// The store. Keys go when their time has come; `advance` says what time it is.
pub struct Store {
    entries: IndexMap<Key, Entry, FixedState>,
    /// The keys that will go, by when they do.
    expiring: BTreeSet<(Instant, Key)>,
    now: Instant,
    used: usize,
    limit: usize,
}

struct Entry {
    value: Value,
    expires: Option<Instant>,
}

impl Entry {
    fn cost(&self, key: &[u8]) -> usize {
        let expiry = if self.expires.is_some() { EXPIRY + key.len() } else { 0 };
        KEY + key.len() + expiry + self.value.cost()
    }
}

impl Store {
    /// An empty one, for about `limit` bytes. `seed` is what nobody outside knows: who does can
    /// choose keys that are slow to find.
    pub fn new(limit: usize, seed: u64) -> Self {
        Self {
            entries: IndexMap::with_hasher(FixedState::with_seed(seed)),
            expiring: BTreeSet::new(),
            now: Instant::MIN,
            used: 0,
            limit,
        }
    }

    /// It is `now`: what was to be gone by then is.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.now = now;
        while let Some((time, _)) = self.expiring.first()
            && *time <= now
        {
            let (_, key) = self.expiring.pop_first().expect("there was one");
            self.remove(&key);
        }
    }

    /// The time of the last [`advance`](Self::advance).
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Bytes in use, about.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Bytes there are.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number of keys that will go by themselves.
    pub(crate) fn expiring(&self) -> usize {
        self.expiring.len()
    }

    /// All keys.
    pub(crate) fn keys(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.entries.keys().map(AsRef::as_ref)
    }

    /// Up to `count` keys of a walk through all of them, and where it goes on; 0 is both its
    /// beginning and its end. A key that is there all the time is met at least once.
    ///
    /// The walk goes down: a key that is removed has its place taken by the last one, which was met
    /// before, or is met there.
    pub(crate) fn scan(&self, cursor: usize, count: usize) -> (usize, Vec<&[u8]>) {
        let len = self.entries.len();
        let end = if cursor == 0 { len } else { cursor.min(len) };
        let start = end.saturating_sub(count);
        (start, self.entries[start..end].keys().map(AsRef::as_ref).collect())
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Value> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// The value of a key that has none or a text.
    pub(crate) fn text(&self, key: &[u8]) -> Result<Option<&[u8]>, Failure> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::List(_)) => Err(Failure::WrongType),
        }
    }

    /// The value of a key that has none or a list.
    pub(crate) fn list(&self, key: &[u8]) -> Result<Option<&List>, Failure> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::List(list)) => Ok(Some(list)),
            Some(Value::Text(_)) => Err(Failure::WrongType),
        }
    }

    /// When a key will go, if it will.
    pub(crate) fn expires(&self, key: &[u8]) -> Option<Instant> {
        self.entries.get(key)?.expires
    }

    /// Gives a key a value, and a time at which it goes.
    ///
    /// # Errors
    /// [`Failure::OutOfMemory`], with everything as it was.
    pub(crate) fn set(
        &mut self,
        key: &[u8],
        value: Value,
        expires: Option<Instant>,
    ) -> Result<(), Failure> {
        let entry = Entry { value, expires };
        let freed = self.entries.get(key).map_or(0, |old| old.cost(key));
        self.used = self.with_room(entry.cost(key), freed)?;
        let old = match self.entries.get_mut(key) {
            Some(present) => core::mem::replace(present, entry).expires,
            None => self.entries.insert(key.into(), entry).and_then(|old| old.expires),
        };
        self.move_expiry(key, old, expires);
        Ok(())
    }

    /// Changes when a key goes. Says whether there is such a key.
    ///
    /// # Errors
    /// [`Failure::OutOfMemory`], with everything as it was.
    pub(crate) fn expire(&mut self, key: &[u8], expires: Option<Instant>) -> Result<bool, Failure> {
        let Some(entry) = self.entries.get_mut(key) else { return Ok(false) };
        let before = entry.cost(key);
        let old = core::mem::replace(&mut entry.expires, expires);
        let after = entry.cost(key);
        match self.with_room(after, before) {
            Ok(used) => self.used = used,
            Err(failure) => {
                self.entries[key].expires = old;
                return Err(failure);
            }
        }
        self.move_expiry(key, old, expires);
        Ok(true)
    }

    /// Takes a key away. Says whether there was one.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let Some((key, entry)) = self.entries.swap_remove_entry(key) else { return false };
        self.used -= entry.cost(&key);
        self.move_expiry(&key, entry.expires, None);
        true
    }

    /// Takes all keys away.
    pub(crate) fn clear(&mut self) {
        let hasher = self.entries.hasher().clone();
        self.entries = IndexMap::with_hasher(hasher);
        self.expiring.clear();
        self.used = 0;
    }

    /// Puts an item at an end of a key's list, which may be new. Returns how many it has then.
    ///
    /// # Errors
    /// [`Failure::WrongType`], [`Failure::OutOfMemory`], with everything as it was.
    pub(crate) fn push(&mut self, key: &[u8], end: End, item: &[u8]) -> Result<usize, Failure> {
        if self.list(key)?.is_none() {
            let mut list = List::default();
            list.push(end, item);
            self.set(key, Value::List(list), None)?;
            return Ok(1);
        }
        self.used = self.with_room(List::cost_of(item), 0)?;
        match self.entries.get_mut(key) {
            Some(Entry { value: Value::List(list), .. }) => {
                list.push(end, item);
                Ok(list.items().len())
            }
            _ => unreachable!("there is a list"),
        }
    }

    /// Takes an item from an end of a key's list. A list without items is gone.
    ///
    /// # Errors
    /// [`Failure::WrongType`].
    pub(crate) fn pop(&mut self, key: &[u8], end: End) -> Result<Option<Box<[u8]>>, Failure> {
        let list = match self.entries.get_mut(key).map(|entry| &mut entry.value) {
            None => return Ok(None),
            Some(Value::Text(_)) => return Err(Failure::WrongType),
            Some(Value::List(list)) => list,
        };
        let item = list.pop(end).expect("a list without items is gone");
        let is_empty = list.items().is_empty();
        self.used -= List::cost_of(&item);
        if is_empty {
            self.remove(key);
        }
        Ok(Some(item))
    }

    /// What is in use once `freed` bytes are free and `needed` are not.
    fn with_room(&self, needed: usize, freed: usize) -> Result<usize, Failure> {
        let used = self.used - freed + needed;
        // Whoever makes it smaller is welcome even if it is too large.
        if used <= self.limit || needed <= freed { Ok(used) } else { Err(Failure::OutOfMemory) }
    }

    fn move_expiry(&mut self, key: &[u8], old: Option<Instant>, new: Option<Instant>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.expiring.remove(&(old, key.into()));
        }
        if let Some(new) = new {
            self.expiring.insert((new, key.into()));
        }
    }
}

#[cfg(test)]
mod tests;
