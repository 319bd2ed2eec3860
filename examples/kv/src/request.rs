//! From bytes to requests.

use alloc::vec::Vec;
use core::fmt;

use redis_protocol::resp2::decode::decode_range;
use redis_protocol::resp2::types::RangeFrame;

/// Most words of a request, as Redis has it.
const MAX_WORDS: i64 = 1024 * 1024;
/// Longest head of a request: `*`, a number, and the end of the line.
const MAX_HEAD: usize = 32;

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    /// The command and its arguments. Empty if the client asks for nothing.
    pub(crate) words: Vec<&'a [u8]>,
    /// It came as a line of text, as people type it.
    pub(crate) is_inline: bool,
}

/// What cannot be understood, so that nothing behind it can either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The number of words is none.
    Count,
    /// A word does not begin with `$`.
    Word,
    /// The length of a word is none.
    Length,
    /// It is longer than the buffer.
    TooLong,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "ERR Protocol error: invalid multibulk length",
            Self::Word => "ERR Protocol error: expected '$'",
            Self::Length => "ERR Protocol error: invalid bulk length",
            Self::TooLong => "ERR Protocol error: too big request",
        })
    }
}

/// The request that `data` begins with, and its length. `None` if its end is yet to come.
///
/// # Errors
/// It is no request.
pub(crate) fn parse(data: &[u8]) -> Result<Option<(Request<'_>, usize)>, Broken> {
    match data.first() {
        None => Ok(None),
        Some(b'*') => parse_array(data),
        Some(_) => Ok(parse_line(data)),
    }
}

/// Words one after another, each with its length: `*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`.
///
/// The library would read it as a whole, too, but also arrays within arrays, as deep as the stack
/// is not.
fn parse_array(data: &[u8]) -> Result<Option<(Request<'_>, usize)>, Broken> {
    let Some(end) = data.iter().take(MAX_HEAD).position(|&byte| byte == b'\n') else {
        return if data.len() < MAX_HEAD { Ok(None) } else { Err(Broken::Count) };
    };
    let head = data[1..end].strip_suffix(b"\r").ok_or(Broken::Count)?;
    let count = integer(head).filter(|&count| count <= MAX_WORDS).ok_or(Broken::Count)?;
    let (mut words, mut at) = (Vec::new(), end + 1);
    for _ in 0..count {
        match data.get(at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(_) => return Err(Broken::Word),
        }
        let rest = &data[at..];
        match decode_range(rest) {
            Ok(Some((RangeFrame::BulkString((start, end)), len))) => {
                words.push(&rest[start..end]);
                at += len;
            }
            Ok(None) => return Ok(None),
            Ok(Some(_)) | Err(_) => return Err(Broken::Length),
        }
    }
    Ok(Some((Request { words, is_inline: false }, at)))
}

/// A line with words between blanks: `GET k`.
fn parse_line(data: &[u8]) -> Option<(Request<'_>, usize)> {
    let end = data.iter().position(|&byte| byte == b'\n')?;
    let words = data[..end].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    Some((Request { words: words.collect(), is_inline: true }, end + 1))
}

/// A number as Redis writes it.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    // `i64::from_str` takes a plus sign.
    if text.first() == Some(&b'+') {
        return None;
    }
    core::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(data: &[u8]) -> Vec<&[u8]> {
        parse(data).expect("a request").expect("a whole one").0.words
    }

    #[test]
    fn a_request_is_whole_only_with_its_last_byte() {
        let data = b"*2\r\n$3\r\nGET\r\n$5\r\na\r\nb \r\n*1\r\n";
        for len in 0..24 {
            assert_eq!(parse(&data[..len]), Ok(None), "{len}");
        }
        let (request, len) = parse(data).unwrap().unwrap();
        assert_eq!(request.words, [&b"GET"[..], b"a\r\nb "]);
        assert_eq!((len, request.is_inline), (24, false));
    }

    #[test]
    fn a_line_is_a_request() {
        let (request, len) = parse(b" SET  k v\r\nGET k\r\n").unwrap().unwrap();
        assert_eq!(request.words, [&b"SET"[..], b"k", b"v"]);
        assert_eq!((len, request.is_inline), (11, true));
        assert_eq!(parse(b"GET k"), Ok(None));
    }

    #[test]
    fn nothing_is_a_request_too() {
        assert!(words(b"*0\r\n").is_empty());
        assert!(words(b"*-1\r\n").is_empty());
        assert!(words(b"\r\n").is_empty());
        assert_eq!(words(b"*1\r\n$0\r\n\r\n"), [b""]);
    }

    #[test]
    fn what_is_broken_is_named() {
        assert_eq!(parse(b"*x\r\n"), Err(Broken::Count));
        assert_eq!(parse(b"*1\n"), Err(Broken::Count));
        assert_eq!(parse(b"*1048577\r\n"), Err(Broken::Count));
        assert_eq!(parse(&[b'*'; 100]), Err(Broken::Count));
        assert_eq!(parse(b"*1\r\n:1\r\n"), Err(Broken::Word));
        assert_eq!(parse(b"*1\r\n$x\r\n"), Err(Broken::Length));
        assert_eq!(parse(b"*1\r\n$-1\r\n"), Err(Broken::Length));
        assert_eq!(parse(b"*1\r\n$-2\r\n"), Err(Broken::Length));
        assert_eq!(parse(b"*1\r\n$18446744073709551615\r\n"), Err(Broken::Length));
        // Waits for more, and the buffer is full before that comes.
        assert_eq!(parse(b"*1\r\n$9223372036854775807\r\n"), Ok(None));
    }

    #[test]
    fn arrays_within_arrays_are_not_followed() {
        assert_eq!(parse(&b"*1\r\n".repeat(100_000)), Err(Broken::Word));
    }
}
