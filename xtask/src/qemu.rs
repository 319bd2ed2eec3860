//! `cargo xtask qemu`.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lab::build::qemu::{self, Kept};

use crate::{
    cli::{Numbers, Qemu},
    ending::Ending,
};

pub(crate) fn main(options: &Qemu) -> Result<Ending> {
    match options.each {
        None => println!("{}", qemu::get()?.binary.display()),
        Some(numbers) => each(numbers)?,
    }
    Ok(Ending::AsAsked)
}

/// A line for each patch, with what was run once it was there.
fn each(numbers: Numbers) -> Result<()> {
    let kept = Kept::open()?;
    let patches = kept.patches();
    let last = numbers.last.unwrap_or(patches.len());
    ensure!(
        numbers.first <= last && last <= patches.len(),
        "the series has patches 1 to {}",
        patches.len()
    );
    for count in numbers.first..=last {
        let started = Instant::now();
        let patch = &patches[count - 1];
        let passed = kept.check(count).with_context(|| patch.clone())?;
        let mut line = format!("{patch}: builds");
        for test in passed {
            ensure!(test.cases > 0, "{patch}: {} tests nothing", test.test);
            line += &format!(", {} passed of {}", test.cases, test.test);
        }
        println!("{line} ({:.0} s)", started.elapsed().as_secs_f64());
    }
    Ok(())
}
