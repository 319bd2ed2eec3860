//! How large images are, held to what they were: a figure that depends on the compiler alone.
//! `cargo xtask bench size` shows all of them.

use std::path::Path;

use anyhow::{Result, ensure};
use lab::bench::size;

use crate::suite::{MINUTES, Suite};

/// An application's folder, and the bytes that its image loads. What makes it smaller is written
/// here as well, or the next change could lose it again.
const IMAGES: [(&str, u64); 2] = [("net-app", 1_017_522), ("examples/http", 864_182)];
/// What another compiler may make of it, and small changes add up to, in hundredths.
const ROOM: u64 = 2;

pub(crate) fn add(suite: &mut Suite) {
    for (folder, expected) in IMAGES {
        suite.test(&format!("size of an image: {folder}"), MINUTES, move |_| {
            let size = size::of(folder)?;
            check(size, expected)?;
            Ok(format!("{size} bytes, expected {expected}"))
        });
    }
}

fn check(size: u64, expected: u64) -> Result<()> {
    let room = expected * ROOM / 100;
    ensure!(
        (expected - room..=expected + room).contains(&size),
        "{size} bytes are loaded, and not about the {expected} of {}: `cargo xtask bench size`",
        Path::new(file!()).display(),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hundredths_are_the_room() {
        assert!(check(510_000, 500_000).is_ok() && check(490_000, 500_000).is_ok());
        assert!(check(510_001, 500_000).is_err() && check(489_999, 500_000).is_err());
    }
}
