//! From tarball and patches to a place in the cache.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use super::{
    firmware,
    recipe::{BINARY, DATA, QEMU_TARGET, Recipe, TESTS, kept_test},
    source,
    tree::Tree,
};
use crate::system::{command, scratch::Scratch, tools, tools::Tool};

/// Builds happen in directories of this prefix in the cache.
pub(super) const SCRATCH_PREFIX: &str = ".qemu-build-";

/// What a build takes at its largest, and what is left of it.
pub const SPACE_MIB: u64 = 2048;

/// What a build needs of the machine.
pub const TOOLS: &[Tool] = &[
    Tool::program("gcc", "gcc"),
    Tool::program("make", "make"),
    Tool::program("ninja", "ninja-build"),
    Tool::program("pkg-config", "pkg-config"),
    Tool::program("flex", "flex"),
    Tool::program("bison", "bison"),
    Tool::program("patch", "patch"),
    Tool::program("strip", "binutils"),
    Tool::program("tar", "tar"),
    Tool::program("xz", "xz-utils"),
    Tool::python_module("ensurepip", "python3-venv"),
    Tool::library("glib-2.0", "libglib2.0-dev"),
    Tool::library("slirp", "libslirp-dev"),
    Tool::library("zlib", "zlib1g-dev"),
];

/// Builds and puts the result into the cache, complete or not at all.
pub(super) fn build(recipe: &Recipe, cache: &Path) -> Result<()> {
    require(cache)?;
    let tarball = source::get()?;
    let scratch = Scratch::within(cache, SCRATCH_PREFIX)?;
    let tree = Tree::at(&scratch, &tarball.version);
    tree.unpack(&tarball)?;
    for patch in &recipe.patches {
        tree.apply(patch)?;
    }
    tree.complete()?;
    tree.configure(&[])?;
    tree.compile(&[&[QEMU_TARGET], &TESTS[..]].concat())?;

    let place = scratch.join("place");
    let binary = place.join(BINARY);
    let tests = TESTS.map(|target| (place.join(kept_test(target)), target));
    for (program, target) in [(binary.clone(), QEMU_TARGET)].into_iter().chain(tests) {
        fs::create_dir_all(program.parent().expect("it is in a directory of the place"))?;
        let built = tree.build().join(target);
        command::run(Command::new("strip").arg("-o").arg(program).arg(built))?;
    }
    let packages = scratch.join("packages");
    firmware::gather(firmware::OURS, &tree.source(), &packages, &place.join(DATA))?;
    // What cannot even print its version must not be kept.
    command::run(Command::new(&binary).arg("--version"))?;
    let kept = recipe.place(cache, &tarball.version);
    fs::rename(&place, &kept).with_context(|| kept.display().to_string())
}

/// Sees to it that there are the tools for a build, and space, in a place where QEMU can be built.
pub(super) fn require(cache: &Path) -> Result<()> {
    let is_refused = |c: char| c.is_whitespace() || c == ':';
    ensure!(
        !cache.to_string_lossy().contains(is_refused),
        "QEMU cannot be built in the cache {}: its `configure` takes no path with a blank or a \
         colon in it. Set GODWIT_CACHE to a directory without",
        cache.display()
    );
    tools::require("building QEMU", TOOLS)?;
    check_space(cache)
}

fn check_space(cache: &Path) -> Result<()> {
    let free = free_mib(cache)?;
    ensure!(
        free >= SPACE_MIB,
        "building QEMU takes {SPACE_MIB} MiB, but the disk of the cache {} has {free} MiB left: \
         free some, or set GODWIT_CACHE to a directory on another disk",
        cache.display()
    );
    Ok(())
}

/// What is left on the disk of `directory`.
pub fn free_mib(directory: &Path) -> Result<u64> {
    let space = rustix::fs::statvfs(directory).with_context(|| directory.display().to_string())?;
    Ok((space.f_bavail * space.f_frsize) >> 20)
}
