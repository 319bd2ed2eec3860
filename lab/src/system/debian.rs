//! Packages of the machine's own Debian mirror, used without being installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{command, lock, paths, progress::Step, scratch::Scratch, tools};

/// In the versions of all packages of backports (Debian Developer's Reference, 5.11.1).
const BACKPORTS: &str = "~bpo";

/// Where in the cache packages are unpacked, in a folder for each release of a distribution: what
/// one has of a package does not run on another.
const UNPACKED: &str = "packages";

/// Where in the cache something of this machine's distribution is unpacked.
///
/// # Errors
/// There is no cache.
pub fn place(name: &str) -> Result<PathBuf> {
    Ok(paths::cache()?.join(UNPACKED).join(this_release()).join(name))
}

/// Removes from the cache what other releases had there: what it frees, in bytes.
///
/// # Errors
/// Something cannot be removed.
pub fn clean() -> Result<u64> {
    clean_in(&paths::cache()?.join(UNPACKED), &this_release())
}

fn clean_in(unpacked: &Path, release: &str) -> Result<u64> {
    let entries = fs::read_dir(unpacked).into_iter().flatten();
    let all = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths::remove_all(all.filter(|place| !place.ends_with(release)))
}

fn this_release() -> String {
    release(&fs::read_to_string("/etc/os-release").unwrap_or_default())
}

/// `debian-12`, by os-release(5). One that is not out yet has only a name.
fn release(text: &str) -> String {
    let value = |key: &str| {
        let of_key = |line: &str| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
        text.lines().find_map(of_key).map(|value| value.trim_matches(['"', '\'']).to_owned())
    };
    let version = value("VERSION_ID").or_else(|| value("VERSION_CODENAME"));
    let words = [value("ID"), version].into_iter().flatten().collect::<Vec<_>>().join("-");
    // It is a folder's name.
    if words.is_empty() || words.contains('/') { "unknown".into() } else { words }
}

/// Names of available packages that begin with `prefix`: of those that were downloaded before, or
/// else of apt's. Asks for fresh lists when there are none.
pub fn package_names(prefix: &str) -> Result<Vec<String>> {
    let near = downloaded();
    let near = near.iter().filter_map(|(name, _)| name.starts_with(prefix).then_some(name));
    let near: Vec<String> = near.cloned().collect();
    if !near.is_empty() {
        return Ok(near);
    }
    tools::require("finding packages", &[tools::Tool::program("apt-cache", "apt")])?;
    let names = || -> Result<Vec<String>> {
        let output = command::run(Command::new("apt-cache").args(["pkgnames", prefix]))?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    };
    let found = names()?;
    if !found.is_empty() {
        return Ok(found);
    }
    tools::refresh_package_lists()?;
    names()
}

/// Where in the pool the files of `package` are: a URL that ends in a slash.
pub fn pool_directory(package: &str) -> Result<String> {
    let ask = || command::run(Command::new("apt-get").args(["--print-uris", "download", package]));
    let output = ask().or_else(|_| tools::refresh_package_lists().and_then(|()| ask()))?;
    // 'http://…/pool/main/q/qemu/qemu-system-x86_….deb' NAME SIZE HASH
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| line.strip_prefix('\'')?.split_once('\'')?.0.rsplit_once('/'))
        .map(|(directory, _)| format!("{directory}/"))
        .with_context(|| format!("apt does not say where it gets {package} from"))
}

/// The packages in `$GODWIT_DOWNLOADS`: name and file.
fn downloaded() -> Vec<(String, PathBuf)> {
    paths::downloads().map_or(Vec::new(), |directory| packages_in(&directory))
}

fn packages_in(directory: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter_map(|path| Some((package_of(&path)?, path))).collect()
}

/// The file of `package` in a directory, if there is one that is not of backports: of those a
/// package has the same name.
pub fn file_in(directory: &Path, package: &str) -> Option<PathBuf> {
    packages_in(directory)
        .into_iter()
        .find(|(name, archive)| name == package && !is_of_backports(archive))
        .map(|(_, archive)| archive)
}

/// `busybox-static` for `busybox-static_1.35.0-4_amd64.deb`.
fn package_of(archive: &Path) -> Option<String> {
    let name = archive.file_name()?.to_str()?.strip_suffix(".deb")?;
    Some(name.split_once('_')?.0.to_owned())
}

/// Whether a file of a package is of backports.
fn is_of_backports(archive: &Path) -> bool {
    archive.file_name().is_some_and(|name| name.to_string_lossy().contains(BACKPORTS))
}

/// Unpacks `package` into a new directory at `directory`, all of it or nothing: the one in
/// `$GODWIT_DOWNLOADS`, or else what apt has. What somebody else has unpacked there while this
/// waited for them stays.
pub fn unpack_package(package: &str, directory: &Path) -> Result<()> {
    let _lock = lock::wait("packages")?;
    if directory.exists() {
        return Ok(());
    }
    let scratch = scratch_beside(directory)?;
    unpack(&archive(package, &scratch)?, directory)
}

/// The .deb of `package`: the one in `$GODWIT_DOWNLOADS`, or else what apt has, downloaded into an
/// empty directory.
pub fn archive(package: &str, directory: &Path) -> Result<PathBuf> {
    match paths::downloads().and_then(|downloads| file_in(&downloads, package)) {
        Some(archive) => Ok(archive),
        None => download(package, directory),
    }
}

/// Downloads what apt has of `package` into a directory where none is.
pub fn download(package: &str, directory: &Path) -> Result<PathBuf> {
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.arg("-oAPT::Sandbox::User=root");
        apt
    };
    let download = || download_by(apt, package, directory);
    // Old lists name files that the mirror has dropped.
    download().or_else(|_| tools::refresh_package_lists().and_then(|()| download()))
}

/// Downloads what an `apt-get` has of `package` into a directory where none is.
pub(super) fn download_by(
    apt: impl Fn() -> Command,
    package: &str,
    directory: &Path,
) -> Result<PathBuf> {
    let step = Step::new(format!("Downloading {package}"));
    command::run(apt().args(["download", package]).current_dir(directory))?;
    let archive = fs::read_dir(directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| package_of(path).is_some_and(|name| name == package))
        .with_context(|| format!("apt-get downloaded no file for {package}"))?;
    step.finish(format_args!("{} MiB", fs::metadata(&archive)?.len() >> 20));
    Ok(archive)
}

/// Unpacks a .deb into a new directory at `directory`, all of it or nothing.
pub fn unpack(archive: &Path, directory: &Path) -> Result<()> {
    let scratch = scratch_beside(directory)?;
    let tree = scratch.join("tree");
    command::run(Command::new("dpkg-deb").arg("--extract").arg(archive).arg(&tree))
        .with_context(|| format!("cannot unpack {}", archive.display()))?;
    if directory.exists() {
        bail!("{} came into being meanwhile; try again", directory.display());
    }
    fs::rename(&tree, directory).with_context(|| directory.display().to_string())
}

/// Where it is put together, to be moved to `directory` complete or not at all.
///
/// # Errors
/// It cannot be made.
pub fn scratch_beside(directory: &Path) -> Result<Scratch> {
    let parent = directory.parent().context("a directory in the cache")?;
    fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    Scratch::within(parent, ".incoming-")
}

/// Compares versions as dpkg does for the parts seen here: numbers by value.
pub fn version_key(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|number| !number.is_empty())
        .map(|number| number.parse().unwrap_or(u64::MAX))
        .collect()
}

/// Everything in `directory` whose name begins with `prefix`, newest version last.
pub fn versions_in(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<(Vec<u64>, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            Some((version_key(name.strip_prefix(prefix)?), entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_told_from_file_names() {
        let of = |name| package_of(Path::new(name));
        assert_eq!(of("/x/busybox-static_1.35.0-4_amd64.deb").as_deref(), Some("busybox-static"));
        assert_eq!(of("qemu_11.1.1+ds.orig.tar.xz"), None);
    }

    #[test]
    fn packages_of_backports_are_told_from_others() {
        assert!(is_of_backports(Path::new("/x/seabios_1.16.3-2~bpo12+1_all.deb")));
        assert!(!is_of_backports(Path::new("/x~bpo/seabios_1.16.2-1_all.deb")));
    }

    #[test]
    fn a_file_of_backports_is_not_that_of_the_package() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str| fs::write(directory.path().join(name), "").unwrap();
        put("seabios_1.16.3-2~bpo12+1_all.deb");
        put("seabios_1.16.2.tar.xz");
        assert_eq!(file_in(directory.path(), "seabios"), None);
        put("seabios_1.16.2-1_all.deb");
        let found = file_in(directory.path(), "seabios").unwrap();
        assert!(found.ends_with("seabios_1.16.2-1_all.deb"), "{found:?}");
    }

    #[test]
    fn another_release_meets_no_folder_of_this_one_and_clean_removes_it() {
        let twelve = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\n\
                      VERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(release(twelve), "debian-12");
        assert_eq!(release("ID=debian\nVERSION_CODENAME=forky\n"), "debian-forky");
        assert_eq!(release("ID=../x"), "unknown");
        assert_eq!(release(""), "unknown");
        assert!(place("ovmf").unwrap().ends_with(format!("packages/{}/ovmf", this_release())));

        let cache = tempfile::tempdir().unwrap();
        for name in ["debian-12", "debian-13"] {
            fs::create_dir(cache.path().join(name)).unwrap();
            fs::write(cache.path().join(name).join("file"), "four").unwrap();
        }
        assert_eq!(clean_in(cache.path(), "debian-13").unwrap(), 4);
        let left: Vec<_> = fs::read_dir(cache.path()).unwrap().collect();
        assert!(left.len() == 1 && cache.path().join("debian-13/file").exists());
        assert_eq!(clean_in(&cache.path().join("none"), "debian-13").unwrap(), 0);
    }

    #[test]
    fn versions_compare_by_value() {
        assert!(version_key("6.12.117+deb12") > version_key("6.12.99+deb12"));
        assert!(version_key("11.1.10") > version_key("11.1.9+ds"));
    }
}
