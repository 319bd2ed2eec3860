//! `cargo xtask qemu`.

use anyhow::Result;
use lab::build::qemu;

use crate::ending::Ending;

pub(crate) fn main() -> Result<Ending> {
    println!("{}", qemu::get()?.binary.display());
    Ok(Ending::AsAsked)
}
