//! The book, as mdBook makes it.

use std::path::Path;

use anyhow::{Result, ensure};
use lab::system::{command, scratch::Scratch};

use crate::{
    program::xtask,
    suite::{LONG, Suite},
};

pub(crate) fn add(suite: &mut Suite) {
    suite.test("the book is made, and no link in it leads nowhere", LONG, made);
}

/// The command fails by itself where a link leads nowhere.
fn made(log: &Path) -> Result<String> {
    let directory = Scratch::new()?;
    let book = directory.join("book");
    let output = command::run(xtask()?.arg("book").arg("--out").arg(&book))?;
    std::fs::write(log, &output.stderr)?;
    for page in ["index.html", "docs/first.html", "docs/warm.svg", "qemu/README.html"] {
        ensure!(book.join(page).is_file(), "there is no {page}");
    }
    Ok(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned())
}
