//! Replies, as bytes that wait to be sent.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt::Display;

use redis_protocol::resp2::encode::encode_borrowed;
use redis_protocol::resp2::types::BorrowedFrame;

use crate::failure::Failure;

/// Longest reply: what a client reads slowly is kept until then.
pub(crate) const MAX: usize = 256 * 1024;

/// The replies to requests, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    bytes: Vec<u8>,
    /// Where the last one begins.
    start: usize,
    is_too_long: bool,
}

impl Replies {
    /// What is to be sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What they take of the heap.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// All has been sent.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(16 * 1024);
    }

    /// Begins the next reply.
    pub(crate) fn begin(&mut self) {
        self.start = self.bytes.len();
        self.is_too_long = false;
    }

    /// Ends it; what was written of it gives way to a failure.
    pub(crate) fn end(&mut self, result: Result<(), Failure>) {
        let result = if self.is_too_long { Err(Failure::ReplyTooLong) } else { result };
        if let Err(failure) = result {
            self.bytes.truncate(self.start);
            self.fail(failure);
        }
    }

    /// A reply that is a failure.
    pub(crate) fn fail(&mut self, failure: impl Display) {
        self.begin();
        self.error(failure);
    }

    /// `OK`, the result of what has none.
    pub(crate) fn ok(&mut self) {
        self.status("OK");
    }

    /// A word.
    pub(crate) fn status(&mut self, text: &str) {
        self.frame(&BorrowedFrame::SimpleString(text.as_bytes()));
    }

    fn error(&mut self, error: impl Display) {
        // A line's end would end the reply.
        self.frame(&BorrowedFrame::Error(&error.to_string().replace(['\r', '\n'], " ")));
    }

    /// A number.
    pub(crate) fn integer(&mut self, value: i64) {
        self.frame(&BorrowedFrame::Integer(value));
    }

    /// A number of things.
    pub(crate) fn count(&mut self, value: usize) {
        self.integer(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Bytes.
    pub(crate) fn bulk(&mut self, bytes: &[u8]) {
        self.frame(&BorrowedFrame::BulkString(bytes));
    }

    /// Bytes, or that there are none.
    pub(crate) fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        self.frame(&bytes.map_or(BorrowedFrame::Null, BorrowedFrame::BulkString));
    }

    /// The head of an array, which as many replies follow. The library wants to have them all.
    pub(crate) fn array(&mut self, len: usize) {
        self.bytes.push(b'*');
        self.bytes.extend_from_slice(len.to_string().as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// An array of bytes.
    pub(crate) fn bulks<B: AsRef<[u8]>>(&mut self, items: impl ExactSizeIterator<Item = B>) {
        self.array(items.len());
        items.for_each(|item| self.bulk(item.as_ref()));
    }

    fn frame(&mut self, frame: &BorrowedFrame<'_>) {
        let (at, len) = (self.bytes.len(), frame.encode_len(false));
        self.is_too_long |= at + len - self.start > MAX;
        if self.is_too_long {
            return;
        }
        self.bytes.resize(at + len, 0);
        encode_borrowed(&mut self.bytes[at..], frame, false).expect("as long as it said");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind() {
        let mut replies = Replies::default();
        replies.array(6);
        replies.ok();
        replies.integer(-7);
        replies.bulk(b"a\r\nb");
        replies.bulk_or_null(None);
        replies.bulks([b"x", b"y"].iter());
        replies.error("ERR a\r\nb");
        let expected = b"*6\r\n+OK\r\n:-7\r\n$4\r\na\r\nb\r\n$-1\r\n*2\r\n$1\r\nx\r\n$1\r\ny\r\n\
            -ERR a  b\r\n";
        assert_eq!(replies.bytes(), expected);
    }

    #[test]
    fn a_failure_takes_the_place_of_what_was_written() {
        let mut replies = Replies::default();
        replies.ok();
        replies.begin();
        replies.array(3);
        replies.end(Err(Failure::Syntax));
        assert_eq!(replies.bytes(), b"+OK\r\n-ERR syntax error\r\n");
    }

    #[test]
    fn a_reply_that_is_too_long_is_an_error_and_takes_no_memory() {
        let mut replies = Replies::default();
        replies.begin();
        replies.bulks((0..1000).map(|_| [0; 1000]));
        assert!(replies.bytes().len() <= MAX);
        replies.end(Ok(()));
        assert!(replies.bytes().starts_with(b"-ERR the reply is too long"));
        replies.begin();
        replies.ok();
        replies.end(Ok(()));
        assert!(replies.bytes().ends_with(b"+OK\r\n"));
    }
}
