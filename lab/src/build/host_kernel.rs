//! The kernel of the lab's virtual host: the distribution's package, unpacked but not installed.

use std::{
    cmp::Reverse,
    fs,
    path::{Path, PathBuf},
};

use crate::parts::HostKernel;
use anyhow::{Context, Result, bail, ensure};

use crate::system::{command, debian, download, paths};

/// The series the lab is developed with: Debian 12 has it as a backport, Debian 13 as its own.
const SERIES: &str = "linux-image-6.12.";
/// How the names of those begin that were given as a package's file.
const GIVEN: &str = "given-";

/// The kernel to use: the given one, else one in the cache, else the newest apt has.
pub fn get(given: Option<&Path>) -> Result<HostKernel> {
    match given {
        Some(path) => from_path(path).with_context(|| format!("--host-kernel {}", path.display())),
        None => distributions(),
    }
}

/// The newest of the distribution's kernels that were downloaded before.
pub fn cached() -> Result<Option<HostKernel>> {
    debian::versions_in(&directory()?, SERIES).pop().map(|tree| in_tree(&tree)).transpose()
}

/// Removes all but the newest of them from the cache, and those that were given as a package's
/// file: what it frees, in bytes.
pub fn clean() -> Result<u64> {
    clean_in(&directory()?)
}

fn clean_in(directory: &Path) -> Result<u64> {
    let mut trees = debian::versions_in(directory, SERIES);
    trees.pop();
    paths::remove_all(trees.into_iter().chain(debian::versions_in(directory, GIVEN)))
}

fn directory() -> Result<PathBuf> {
    Ok(paths::cache()?.join("host-kernel"))
}

fn distributions() -> Result<HostKernel> {
    if let Some(kernel) = cached()? {
        return Ok(kernel);
    }
    let directory = directory()?;
    let names = names()?;
    let mut failure = None;
    for name in &names {
        let tree = directory.join(name);
        match debian::unpack_package(name, &tree) {
            Ok(()) => return in_tree(&tree),
            // The index may name what the mirror has dropped; a full disk will not pass.
            Err(error) if command::is_full_disk(&error) => return Err(error),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.expect("there was a name to try")).context(
        "the lab's host needs a kernel; give one with --host-kernel PATH if the mirror has none",
    )
}

/// The packages that have such a kernel, the newest first.
pub(super) fn names() -> Result<Vec<String>> {
    let mut names: Vec<String> = debian::package_names(SERIES)?
        .into_iter()
        .filter(|name| {
            // Variants: -cloud-amd64 and -rt-amd64; cloud has no VFIO.
            name.strip_prefix(SERIES)
                .and_then(|rest| rest.strip_suffix("-amd64"))
                .is_some_and(|version| !version.contains('-'))
        })
        .collect();
    names.sort_by_key(|name| Reverse(debian::version_key(name)));
    ensure!(
        !names.is_empty(),
        "apt knows no package {SERIES}*-amd64 for the lab's host; run `apt-get update`, or give a \
         kernel with --host-kernel PATH"
    );
    Ok(names)
}

fn from_path(path: &Path) -> Result<HostKernel> {
    let path = fs::canonicalize(path)?;
    if path.is_dir() {
        return in_tree(&path);
    }
    if path.extension().is_some_and(|extension| extension == "deb") {
        let name = path.file_stem().and_then(|stem| stem.to_str()).context("file name")?;
        let digest = &download::sha256(&path)?[..12];
        let tree = directory()?.join(format!("{GIVEN}{name}-{digest}"));
        if !tree.exists() {
            debian::unpack(&path, &tree)?;
        }
        return in_tree(&tree);
    }
    let release = release_of(&path).context(
        "neither a .deb, nor a directory, nor named vmlinuz-RELEASE, which tells its modules",
    )?;
    let boot = path.parent().context("a kernel lies in a directory")?;
    // As on a running system, where the image is in /boot and the modules in /lib.
    let modules = [boot.join("../lib/modules"), boot.join("lib/modules")]
        .map(|directory| directory.join(&release))
        .into_iter()
        .find(|directory| directory.is_dir())
        .with_context(|| format!("no modules: ../lib/modules/{release} is missing"))?;
    Ok(HostKernel { image: path, modules })
}

/// The kernel in a directory that a package was unpacked to.
fn in_tree(tree: &Path) -> Result<HostKernel> {
    let boot = tree.join("boot");
    let image = fs::read_dir(&boot)
        .with_context(|| boot.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| release_of(path).is_some());
    let Some(image) = image else { bail!("there is no vmlinuz-RELEASE in {}", boot.display()) };
    let release = release_of(&image).expect("it was found by its release");
    // /lib is a link to /usr/lib since Debian 12, and newer packages use the latter.
    let modules: Option<PathBuf> = ["lib", "usr/lib"]
        .map(|lib| tree.join(lib).join("modules").join(&release))
        .into_iter()
        .find(|directory| directory.is_dir());
    let modules =
        modules.with_context(|| format!("no lib/modules/{release} in {}", tree.display()))?;
    Ok(HostKernel { image, modules })
}

fn release_of(image: &Path) -> Option<String> {
    Some(image.file_name()?.to_str()?.strip_prefix("vmlinuz-")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_found_where_packages_put_it() {
        for lib in ["lib", "usr/lib"] {
            let tree = tempfile::tempdir().unwrap();
            fs::create_dir_all(tree.path().join("boot")).unwrap();
            fs::write(tree.path().join("boot/vmlinuz-6.12.1"), "").unwrap();
            assert!(from_path(tree.path()).is_err(), "without modules");
            fs::create_dir_all(tree.path().join(lib).join("modules/6.12.1")).unwrap();
            let kernel = from_path(tree.path()).unwrap();
            assert!(kernel.modules.ends_with("lib/modules/6.12.1"), "{kernel:?}");
            if lib == "lib" {
                let kernel = from_path(&tree.path().join("boot/vmlinuz-6.12.1")).unwrap();
                assert!(kernel.modules.is_dir());
            }
        }
    }

    #[test]
    fn the_newest_kernel_stays_when_the_cache_is_cleaned() {
        let cache = tempfile::tempdir().unwrap();
        let newest = "linux-image-6.12.100+deb12-amd64";
        for name in ["linux-image-6.12.99+deb12-amd64", newest, "given-linux-image-6.1-0123"] {
            fs::create_dir(cache.path().join(name)).unwrap();
        }
        clean_in(cache.path()).unwrap();
        let left: Vec<_> = fs::read_dir(cache.path()).unwrap().map(|e| e.unwrap()).collect();
        assert!(left.len() == 1 && left[0].file_name() == newest, "{left:?}");
    }

    #[test]
    fn what_is_no_kernel_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = format!("{:#}", get(Some(file.path())).unwrap_err());
        assert!(
            error.contains(file.path().to_str().unwrap()) && error.contains("vmlinuz"),
            "{error}"
        );
    }
}
