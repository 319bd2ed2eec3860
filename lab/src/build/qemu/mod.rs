//! The patched QEMU, built once and kept in the cache.

mod build;
mod recipe;
mod source;

use std::{
    fs::{self, File},
    path::PathBuf,
};

use anyhow::{Context, Result};
pub use build::{SPACE_MIB, TOOLS, free_mib};
use recipe::Recipe;

use crate::{
    parts::Qemu,
    system::{debian, paths},
};

/// The patched QEMU, built now if need be.
pub fn get() -> Result<Qemu> {
    let recipe = Recipe::read()?;
    let cache = paths::cache()?;
    if let Some(built) = recipe.built(&cache) {
        return Ok(built);
    }
    // One build at a time; and whoever holds the lock may clear away what a killed one left.
    let lock_path = cache.join("qemu.lock");
    let lock = File::create(&lock_path).with_context(|| lock_path.display().to_string())?;
    if lock.try_lock().is_err() {
        eprintln!("Waiting for another build of QEMU to end ...");
        lock.lock().with_context(|| lock_path.display().to_string())?;
    }
    if let Some(built) = recipe.built(&cache) {
        return Ok(built);
    }
    for leftover in debian::versions_in(&cache, build::SCRATCH_PREFIX) {
        fs::remove_dir_all(&leftover).with_context(|| leftover.display().to_string())?;
    }
    build::build(&recipe, &cache)?;
    recipe.built(&cache).context("the QEMU just built is not in the cache")
}

/// The patched QEMU and the series' own test of it: a program that finds the QEMU to test in
/// `QTEST_QEMU_BINARY`.
pub fn with_test() -> Result<(Qemu, PathBuf)> {
    let qemu = get()?;
    let test = Recipe::read()?.built_test(&paths::cache()?);
    Ok((qemu, test.context("the QEMU just built is not in the cache")?))
}

/// Whether the patched QEMU is there without building it.
pub fn built() -> Result<Option<Qemu>> {
    Ok(Recipe::read()?.built(&paths::cache()?))
}
