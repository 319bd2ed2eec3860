//! The patched QEMU, built once and kept in the cache.

mod build;
mod source;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use crate::parts::Qemu;
use anyhow::{Context, Result};
pub use build::{SPACE_MIB, TOOLS, free_mib};
use sha2::{Digest, Sha256};

use crate::system::{debian, paths};

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

/// Whether the patched QEMU is there without building it.
pub fn built() -> Result<Option<Qemu>> {
    Ok(Recipe::read()?.built(&paths::cache()?))
}

/// What, besides its version, makes a QEMU ours.
pub struct Recipe {
    /// In the order to apply them.
    patches: Vec<PathBuf>,
    /// Of the patches and the way it is configured.
    digest: String,
}

impl Recipe {
    fn read() -> Result<Self> {
        let directory = paths::checkout().join("qemu/patches");
        let mut patches: Vec<PathBuf> = fs::read_dir(&directory)
            .with_context(|| directory.display().to_string())?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
            .collect();
        patches.sort();
        let mut hash = Sha256::new();
        for patch in &patches {
            hash.update(fs::read(patch).with_context(|| patch.display().to_string())?);
        }
        for argument in build::CONFIGURE {
            hash.update(argument);
        }
        let digest = format!("{:x}", hash.finalize())[..12].to_owned();
        Ok(Self { patches, digest })
    }

    /// Where a build of this version belongs.
    fn place(&self, cache: &Path, version: &str) -> PathBuf {
        cache.join(format!("{INSTALLED_PREFIX}{version}-{}", self.digest))
    }

    /// The newest that was built by this recipe. A place exists only complete.
    fn built(&self, cache: &Path) -> Option<Qemu> {
        let place = debian::versions_in(cache, INSTALLED_PREFIX)
            .into_iter()
            .rfind(|path| path.to_string_lossy().ends_with(&format!("-{}", self.digest)))?;
        Some(Qemu { binary: place.join(build::BINARY), data: vec![place.join(build::DATA)] })
    }
}

const INSTALLED_PREFIX: &str = "qemu-";
