//! What was said last, for a crash to say again: the console it went to may not have been read, and
//! what the level of `log=` kept off it is nowhere else.

use heapless::Deque;

/// The last lines, as many as have room in so many bytes.
pub(super) struct Recent<const BYTES: usize> {
    bytes: Deque<u8, BYTES>,
    /// The first byte is the start of a line: nothing was dropped in front of it.
    is_whole: bool,
}

impl<const BYTES: usize> Recent<BYTES> {
    pub(super) const fn new() -> Self {
        Self { bytes: Deque::new(), is_whole: true }
    }

    /// Adds a part of a line, or the end of it with its newline. What is oldest goes.
    pub(super) fn write(&mut self, text: &[u8]) {
        for &byte in text {
            if self.bytes.is_full() {
                self.is_whole = self.bytes.pop_front() == Some(b'\n');
            }
            // There is room now.
            let _ = self.bytes.push_back(byte);
        }
    }

    /// All lines that are there from their start, the oldest first, in pieces.
    pub(super) fn pieces(&self) -> [&[u8]; 2] {
        let (front, back) = self.bytes.as_slices();
        if self.is_whole {
            return [front, back];
        }
        let after = |bytes: &[u8]| bytes.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
        match (after(front), after(back)) {
            (Some(at), _) => [&front[at..], back],
            (None, Some(at)) => [&back[at..], &[]],
            (None, None) => [&[], &[]],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn said(recent: &Recent<16>) -> String {
        String::from_utf8(recent.pieces().concat()).unwrap()
    }

    #[test]
    fn the_last_whole_lines_stay() {
        let mut recent = Recent::<16>::new();
        recent.write(b"one\n");
        recent.write(b"two, ");
        recent.write(b"half\n");
        assert_eq!(said(&recent), "one\ntwo, half\n");
        // One line goes, and no more than that.
        recent.write(b"three\n");
        assert_eq!(said(&recent), "two, half\nthree\n");
        recent.write(b"f\n");
        assert_eq!(said(&recent), "three\nf\n");
    }

    #[test]
    fn a_line_that_is_too_long_leaves_nothing_but_what_follows() {
        let mut recent = Recent::<16>::new();
        recent.write(b"one\na line that is far too long");
        assert_eq!(said(&recent), "");
        recent.write(b"\nshort\n");
        assert_eq!(said(&recent), "short\n");
    }

    #[test]
    fn whatever_is_said_no_line_is_cut() {
        let mut recent = Recent::<16>::new();
        for number in 0..100 {
            recent.write(std::format!("{number}\n").as_bytes());
            let said = said(&recent);
            let first = said.lines().next().unwrap().parse::<u32>().unwrap();
            let all = (first..=number).map(|n| std::format!("{n}\n")).collect::<String>();
            assert_eq!(said, all);
            assert!(first == 0 || all.len() + 3 > 16, "{all:?} is less than there is room for");
        }
    }
}
