//! The patched QEMU, built once and kept in the cache.

mod build;
mod firmware;
mod kept;
mod lock;
mod python;
mod recipe;
mod source;
mod tree;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
pub use build::{SPACE_MIB, TOOLS, free_mib};
pub use firmware::PACKAGES;
pub use kept::{Kept, Passed, is_passed};
pub use lock::lock;
use recipe::Recipe;

use crate::{
    parts::Qemu,
    system::{debian, paths, scratch::Scratch},
};

/// Builds that are kept: of this checkout, and of others, or of other states of the patches.
const KEPT: usize = 4;

/// The patched QEMU, built now if need be.
pub fn get() -> Result<Qemu> {
    let recipe = Recipe::read()?;
    let cache = paths::cache()?;
    if let Some(built) = recipe.built(&cache) {
        return Ok(built);
    }
    let _lock = lock::wait(&cache)?;
    if let Some(built) = recipe.built(&cache) {
        return Ok(built);
    }
    paths::remove_all(debian::versions_in(&cache, build::SCRATCH_PREFIX))?;
    build::build(&recipe, &cache)?;
    forget_oldest(&cache)?;
    recipe.built(&cache).context("the QEMU just built is not in the cache")
}

/// Keeps the cache bounded.
fn forget_oldest(cache: &Path) -> Result<()> {
    let mut builds: Vec<_> = debian::versions_in(cache, recipe::INSTALLED_PREFIX)
        .into_iter()
        .map(|place| Ok((fs::metadata(&place)?.modified()?, place)))
        .collect::<Result<_>>()?;
    builds.sort();
    paths::remove_all(builds.into_iter().rev().skip(KEPT).map(|(_, place)| place))?;
    Ok(())
}

/// The patched QEMU and the series' own tests: a unit test, and one that finds the QEMU to test in
/// `QTEST_QEMU_BINARY`.
pub fn with_tests() -> Result<(Qemu, [PathBuf; 2])> {
    let qemu = get()?;
    let tests = Recipe::read()?.built_tests(&paths::cache()?);
    Ok((qemu, tests.context("the QEMU just built is not in the cache")?))
}

/// Puts what a build takes from elsewhere into `downloads`, for a machine without a network.
pub fn fetch(downloads: &Path) -> Result<()> {
    source::fetch(downloads)?;
    python::fetch(downloads, &Scratch::new()?)
}

/// Removes all from the cache but what this checkout would use: what it frees, in bytes.
pub fn clean() -> Result<u64> {
    let (recipe, cache) = (Recipe::read()?, paths::cache()?);
    let _idle = lock()?;
    let ours = recipe.kept(&cache);
    let others = debian::versions_in(&cache, recipe::INSTALLED_PREFIX);
    let leftovers = debian::versions_in(&cache, build::SCRATCH_PREFIX);
    let old = others.into_iter().filter(|place| Some(place) != ours.as_ref());
    let kept = Some(cache.join(kept::PLACE)).filter(|place| place.exists());
    paths::remove_all(old.chain(leftovers).chain(kept))
}

/// What a patched QEMU is kept as: its version, and the digest of what it was built of. Empty for
/// another one.
pub fn name(qemu: &Qemu) -> String {
    let places = qemu.binary.ancestors().skip(1).filter_map(Path::file_name);
    let mut names = places.map(|name| name.to_string_lossy());
    let ours = names.find(|name| name.starts_with(recipe::INSTALLED_PREFIX));
    ours.map_or(String::new(), |name| name[recipe::INSTALLED_PREFIX.len()..].to_owned())
}

/// Whether the patched QEMU is there without building it.
pub fn built() -> Result<Option<Qemu>> {
    Ok(Recipe::read()?.built(&paths::cache()?))
}
