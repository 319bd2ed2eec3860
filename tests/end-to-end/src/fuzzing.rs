//! What the guest reads of strangers, given to a fuzzer for a while.

use std::fmt::Write;

use anyhow::{Result, ensure};
use lab::fuzz::Fuzzer;

use crate::suite::{LONG, Suite};

/// For each reader.
const SECONDS: u32 = 60;
/// Inputs that the slowest gets through on a busy machine.
const FEW: u64 = 100;

pub(crate) fn add(suite: &mut Suite) {
    suite.test("no input that a fuzzer finds does harm", LONG, |_| fuzz());
}

fn fuzz() -> Result<String> {
    let fuzzer = Fuzzer::build()?;
    let mut said = String::new();
    for target in fuzzer.targets()? {
        let run = fuzzer.run(&target, SECONDS)?;
        ensure!(run.inputs >= FEW, "{target}: only {} inputs in {SECONDS} s", run.inputs);
        write!(said, "{target} {}, ", run.inputs)?;
    }
    Ok(said + "inputs read")
}
