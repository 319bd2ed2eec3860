//! A client: what it asks for, and what it is answered.

use alloc::vec::Vec;
use core::cell::RefCell;

use godwit::io::{Read, Write};
use godwit::time::Instant;

use crate::bounds::{BATCH, MAX_BUFFER, MIN_BUFFER, USUAL_INPUT, USUAL_REPLIES};
use crate::commands::{self, Next};
use crate::database::Database;
use crate::failure::Failure;
use crate::reply::Replies;
use crate::request::{self, Broken};

/// Answers the requests of one client until it goes, or says what nobody understands.
///
/// All requests that have arrived are carried out before their replies are written, in one go.
///
/// # Errors
/// The stream's.
pub async fn serve<S: Read + Write>(
    mut stream: S,
    database: &RefCell<Database>,
    takes_writes: impl Fn() -> bool,
) -> Result<(), S::Error> {
    let mut replies = Replies::default();
    let Some(_seat) = Seat::take(database) else {
        replies.fail(Failure::Clients);
        return stream.write_all(replies.bytes()).await;
    };
    let mut input = Input::default();
    let mut room = None;
    loop {
        let state = answer(&mut input, &mut database.borrow_mut(), takes_writes(), &mut replies);
        let reads_on = matches!(state, State::Waiting);
        let is_large = replies.capacity() > USUAL_REPLIES
            || input.capacity() > USUAL_INPUT
            || (reads_on && input.next_capacity() > USUAL_INPUT);
        if is_large && room.is_none() {
            room = Large::take(database);
            if room.is_none() {
                replies = Replies::default();
                replies.fail(Failure::NoRoom);
                return stream.write_all(replies.bytes()).await;
            }
        }
        stream.write_all(replies.bytes()).await?;
        replies.clear();
        match state {
            State::Batch => {}
            State::Waiting => {
                if input.next_capacity() <= USUAL_INPUT {
                    input.fit();
                    room = None;
                }
                if !input.read(&mut stream).await? {
                    return Ok(());
                }
            }
            State::Ended => return Ok(()),
        }
    }
}

/// Why there are no more replies for now.
enum State {
    /// There are many already.
    Batch,
    /// The next request is not there, or not all of it.
    Waiting,
    /// There will be none.
    Ended,
}

/// Carries out what has arrived.
fn answer(
    input: &mut Input,
    database: &mut Database,
    takes_writes: bool,
    replies: &mut Replies,
) -> State {
    database.store.advance(Instant::now());
    while replies.bytes().len() < BATCH {
        let (request, len) = match request::parse(input.data()) {
            Ok(Some(request)) => request,
            Ok(None) if !input.is_full() => return State::Waiting,
            Ok(None) => {
                replies.fail(Broken::TooLong);
                return State::Ended;
            }
            Err(broken) => {
                replies.fail(broken);
                return State::Ended;
            }
        };
        match commands::execute(database, &request.words, takes_writes, replies) {
            Next::Quit => return State::Ended,
            // A browser that was made to send a form here: what follows is no request of a user's.
            Next::Unknown if request.is_inline => return State::Ended,
            Next::Request | Next::Unknown => input.consume(len),
        }
    }
    State::Batch
}

/// A client's place among those there may be.
struct Seat<'a>(&'a RefCell<Database>);

impl<'a> Seat<'a> {
    fn take(database: &'a RefCell<Database>) -> Option<Self> {
        let mut shared = database.borrow_mut();
        if shared.clients == shared.bounds.clients {
            return None;
        }
        shared.clients += 1;
        Some(Self(database))
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().clients -= 1;
    }
}

/// The same among the large ones.
struct Large<'a>(&'a RefCell<Database>);

impl<'a> Large<'a> {
    fn take(database: &'a RefCell<Database>) -> Option<Self> {
        let mut shared = database.borrow_mut();
        if shared.large == shared.bounds.large {
            return None;
        }
        shared.large += 1;
        Some(Self(database))
    }
}

impl Drop for Large<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().large -= 1;
    }
}

/// What has arrived and is not answered yet.
#[derive(Default)]
struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    fn data(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn is_full(&self) -> bool {
        self.end - self.start == MAX_BUFFER
    }

    fn consume(&mut self, len: usize) {
        self.start += len;
    }

    fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// How large the buffer is that it reads into next.
    fn next_capacity(&self) -> usize {
        let waiting = self.end - self.start;
        if waiting < MIN_BUFFER { MIN_BUFFER } else { (waiting * 2).min(MAX_BUFFER) }
    }

    /// Makes the buffer as large as that.
    fn fit(&mut self) {
        let len = self.next_capacity();
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        self.buffer.resize(len, 0);
        self.buffer.shrink_to(len);
    }

    /// Waits for more; there is room for it. Says whether any came.
    async fn read<S: Read>(&mut self, stream: &mut S) -> Result<bool, S::Error> {
        self.fit();
        let read = stream.read(&mut self.buffer[self.end..]).await?;
        self.end += read;
        Ok(read > 0)
    }
}

#[cfg(test)]
mod tests;
