//! `cargo xtask fetch`.

use std::fs;

use anyhow::Result;
use lab::build::fetch;

use crate::{cli::Fetch, ending::Ending};

pub(crate) fn main(options: &Fetch) -> Result<Ending> {
    fetch::fetch(&options.directory)?;
    println!("{}", fetch::instructions(&fs::canonicalize(&options.directory)?));
    Ok(Ending::AsAsked)
}
