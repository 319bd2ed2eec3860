//! `cargo xtask clean`.

use anyhow::Result;
use lab::{
    build::{host_kernel, mdbook, qemu},
    system::{debian, paths, scratch},
};

use crate::{cli::Clean, ending::Ending};

pub(crate) fn main(options: &Clean) -> Result<Ending> {
    let cache = paths::cache()?;
    let freed = if options.all {
        let _idle = qemu::lock()?;
        paths::remove_all([cache.clone()])?
    } else {
        qemu::clean()? + host_kernel::clean()? + mdbook::clean()? + debian::clean()?
    };
    println!("{} MiB less in the cache {}", freed >> 20, cache.display());
    println!("{} directories less of runs that were killed", scratch::sweep()?);
    Ok(Ending::AsAsked)
}
