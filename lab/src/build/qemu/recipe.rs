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
/// QEMU in a build.
pub(super) const QEMU_TARGET: &str = "qemu-system-x86_64";
/// The series' own tests in a build, whose source lies at the same place: what decides on dirty
/// tracking, which takes no machine, and everything else.
pub(super) const TESTS: [&str; 2] =
    ["tests/unit/test-vfio-dirty-tracking", "tests/qtest/pci-dirty-log-test"];

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

/// Where a finished place has one of [`TESTS`].
pub(super) fn kept_test(target: &str) -> PathBuf {
    Path::new("libexec").join(target.rsplit('/').next().unwrap_or(target))
}

/// The devices that this QEMU is built with, and where its source is to have the list.
pub(super) const DEVICES: &str = include_str!("../../../../qemu/godwit.mak");
pub(super) const DEVICES_PATH: &str = "configs/devices/x86_64-softmmu/godwit.mak";

/// The series.
const SERIES: &str = "qemu/patches";
/// What only the lab's own host needs, to be applied after it.
const LAB: &str = "qemu/lab";

/// What, besides its version, makes a QEMU ours.
pub(super) struct Recipe {
    /// In the order to apply them.
    pub(super) patches: Vec<PathBuf>,
    /// Of the patches and the way it is configured.
    digest: String,
}

impl Recipe {
    pub(super) fn read() -> Result<Self> {
        let mut patches = series()?;
        patches.extend(patches_in(LAB)?);
        let mut hash = Sha256::new();
        for patch in &patches {
            hash.update(fs::read(patch).with_context(|| patch.display().to_string())?);
        }
        for argument in CONFIGURE {
            hash.update(argument);
        }
        hash.update(DEVICES);
        for test in TESTS {
            hash.update(test);
        }
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

    /// The series' tests, of the same build.
    pub(super) fn built_tests(&self, cache: &Path) -> Option<[PathBuf; TESTS.len()]> {
        let place = self.kept(cache)?;
        Some(TESTS.map(|target| place.join(kept_test(target))))
    }

    pub(super) fn kept(&self, cache: &Path) -> Option<PathBuf> {
        debian::versions_in(cache, INSTALLED_PREFIX)
            .into_iter()
            .rfind(|path| path.to_string_lossy().ends_with(&format!("-{}", self.digest)))
    }
}

/// The patches of the series, in the order to apply them.
pub(super) fn series() -> Result<Vec<PathBuf>> {
    patches_in(SERIES)
}

fn patches_in(folder: &str) -> Result<Vec<PathBuf>> {
    let directory = paths::checkout().join(folder);
    let mut patches: Vec<PathBuf> = fs::read_dir(&directory)
        .with_context(|| directory.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
        .collect();
    patches.sort();
    Ok(patches)
}
