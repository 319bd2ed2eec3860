//! What a QEMU of ours is made by, and where in the cache it is kept.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{
    parts::Qemu,
    system::{debian, paths},
};

/// Within a finished place.
pub(super) const BINARY: &str = "bin/qemu-system-x86_64";
pub(super) const DATA: &str = "share/qemu";
/// The series' own test, there and in the build.
pub(super) const QTEST: &str = "libexec/pci-dirty-log-test";
pub(super) const QTEST_TARGET: &str = "tests/qtest/pci-dirty-log-test";

/// How the names of such places begin.
pub(super) const INSTALLED_PREFIX: &str = "qemu-";

/// `godwit` names the list of [`DEVICES`]. The tarball may have no firmware, and nothing is to come
/// from elsewhere behind our back.
pub(super) const CONFIGURE: &[&str] = &[
    "--target-list=x86_64-softmmu",
    "--without-default-features",
    "--without-default-devices",
    "--with-devices-x86_64=godwit",
    "--enable-tcg",
    "--enable-plugins",
    "--enable-kvm",
    "--enable-slirp",
    "--enable-vhost-kernel",
    "--enable-vhost-net",
    "--disable-install-blobs",
    "--disable-docs",
    "--disable-tools",
    "--disable-guest-agent",
    "--disable-debug-info",
    "--disable-download",
    "--disable-werror",
];

/// The devices that this QEMU is built with, and where its source is to have the list.
pub(super) const DEVICES: &str = include_str!("../../../../qemu/godwit.mak");
pub(super) const DEVICES_PATH: &str = "configs/devices/x86_64-softmmu/godwit.mak";

/// The series, and behind it what only the lab's own host needs.
const PATCHES: [&str; 2] = ["qemu/patches", "qemu/lab"];

/// What, besides its version, makes a QEMU ours.
pub(super) struct Recipe {
    /// In the order to apply them.
    pub(super) patches: Vec<PathBuf>,
    /// Of the patches and the way it is configured.
    digest: String,
}

impl Recipe {
    pub(super) fn read() -> Result<Self> {
        let mut patches = Vec::new();
        for directory in PATCHES.map(|directory| paths::checkout().join(directory)) {
            patches.extend(patches_in(&directory)?);
        }
        let mut hash = Sha256::new();
        for patch in &patches {
            hash.update(fs::read(patch).with_context(|| patch.display().to_string())?);
        }
        for argument in CONFIGURE {
            hash.update(argument);
        }
        hash.update(DEVICES);
        hash.update(QTEST_TARGET);
        let digest = format!("{:x}", hash.finalize())[..12].to_owned();
        Ok(Self { patches, digest })
    }

    /// Where a build of this version belongs.
    pub(super) fn place(&self, cache: &Path, version: &str) -> PathBuf {
        cache.join(format!("{INSTALLED_PREFIX}{version}-{}", self.digest))
    }

    /// The newest that was built by this recipe. A place exists only complete.
    pub(super) fn built(&self, cache: &Path) -> Option<Qemu> {
        let place = self.kept(cache)?;
        Some(Qemu { binary: place.join(BINARY), data: vec![place.join(DATA)] })
    }

    /// The series' test, of the same build.
    pub(super) fn built_test(&self, cache: &Path) -> Option<PathBuf> {
        Some(self.kept(cache)?.join(QTEST))
    }

    pub(super) fn kept(&self, cache: &Path) -> Option<PathBuf> {
        debian::versions_in(cache, INSTALLED_PREFIX)
            .into_iter()
            .rfind(|path| path.to_string_lossy().ends_with(&format!("-{}", self.digest)))
    }
}

/// In the order to apply them.
fn patches_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut patches: Vec<PathBuf> = fs::read_dir(directory)
        .with_context(|| directory.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
        .collect();
    patches.sort();
    Ok(patches)
}
