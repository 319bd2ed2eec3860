//! `cargo xtask fuzz`.

use anyhow::Result;
use lab::fuzz::Fuzzer;

use crate::{cli::Fuzz, ending::Ending};

pub(crate) fn main(options: &Fuzz) -> Result<Ending> {
    let fuzzer = Fuzzer::build()?;
    let all = fuzzer.targets()?;
    let names = if options.names.is_empty() { &all } else { &options.names };
    for name in names {
        let run = fuzzer.run(name, options.seconds)?;
        println!("{name}: {} inputs, {} places reached", run.inputs, run.coverage);
    }
    Ok(Ending::AsAsked)
}
