//! `cargo xtask test`: everything that CI runs.

mod errors;
mod guest;
mod host;
mod linux;
mod local;
mod moves;
mod nested;
mod pair;
mod peer;
mod refusal;
mod soak;
mod standby;
mod suite;
mod wire;

use std::process::ExitCode;

use anyhow::Result;
use suite::Suite;

use crate::cli::Test;

pub(crate) fn main(options: &Test) -> Result<ExitCode> {
    let mut suite = Suite::new(options.filter.clone())?;
    host::add(&mut suite);
    errors::add(&mut suite);
    guest::add(&mut suite);
    pair::add(&mut suite);
    linux::add(&mut suite, &options.host);
    wire::add(&mut suite, &options.host);
    soak::add(&mut suite);
    local::add(&mut suite, &options.host);
    refusal::add_local(&mut suite, &options.host);
    if !options.quick {
        nested::add(&mut suite, &options.host);
        refusal::add_nested(&mut suite, &options.host);
        standby::add(&mut suite, &options.host, options.long);
    }
    Ok(suite.finish())
}
