//! The QEMU tarball: any release of the series the patches are made for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::system::{command, debian, download, paths, progress::Step};

/// The series, and its releases in the order they are asked for: first the one the patches were
/// written on, then the newer before the older.
const SERIES: &str = "11.1";
const RELEASES: [u32; 6] = [1, 5, 4, 3, 2, 0];

/// Digests of tarballs that were seen to build.
const KNOWN: &[(&str, &str)] = &[(
    "qemu_11.1.1+ds.orig.tar.xz",
    "0b1376e75dbe3e2fea4e408f8669f88a723f419f36a5b7d74cc6a4cfe07e4f5e",
)];

/// A tarball that can be unpacked.
pub(super) struct Tarball {
    pub(super) path: PathBuf,
    /// Such as `11.1.1`.
    pub(super) version: String,
}

/// Looks in the download cache, then asks the machine's Debian mirror, then upstream.
pub(super) fn get() -> Result<Tarball> {
    let tarball = match near()? {
        Some(found) => found,
        None => far()?,
    };
    check(&tarball.path)?;
    Ok(tarball)
}

/// The newest tarball in the cache or in `$GODWIT_DOWNLOADS`.
fn near() -> Result<Option<Tarball>> {
    let cached = paths::cache()?.join("downloads");
    let mut found: Vec<Tarball> = [Some(cached), paths::downloads()]
        .into_iter()
        .flatten()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter_map(|path| Some(Tarball { version: version(&path)?, path }))
        .collect();
    found.sort_by_key(|tarball| debian::version_key(&tarball.version));
    Ok(found.pop())
}

/// `11.1.1` for Debian's `qemu_11.1.1+ds.orig.tar.xz` and upstream's `qemu-11.1.1.tar.xz`.
fn version(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let rest = name.strip_prefix("qemu_").or_else(|| name.strip_prefix("qemu-"))?;
    let rest = rest.strip_suffix(".tar.xz")?;
    let release = rest.strip_prefix(SERIES)?.strip_prefix('.')?;
    let digits = release.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0 && matches!(&release[digits..], "" | "+ds.orig" | "+dfsg.orig"))
        .then(|| format!("{SERIES}.{}", &release[..digits]))
}

fn far() -> Result<Tarball> {
    let mut asked = Vec::new();
    let pool = debian::pool_directory("qemu-system-x86");
    let debian = pool.iter().flat_map(|directory| {
        RELEASES.map(|release| {
            let name = format!("qemu_{SERIES}.{release}+ds.orig.tar.xz");
            (format!("{directory}{name}"), name)
        })
    });
    let upstream = RELEASES.map(|release| {
        let name = format!("qemu-{SERIES}.{release}.tar.xz");
        (format!("https://download.qemu.org/{name}"), name)
    });
    for (url, name) in debian.chain(upstream) {
        match download::fetch(&url, &name) {
            Ok(path) => {
                let version = version(&path).expect("the name was made here");
                return Ok(Tarball { path, version });
            }
            Err(error) if command::is_full_disk(&error) => return Err(error),
            Err(error) => asked.push(format!("{error:#}")),
        }
    }
    bail!(
        "no tarball of QEMU {SERIES}.x: neither the Debian mirror of this machine nor \
         download.qemu.org has one that could be downloaded. Put one \
         (qemu-{SERIES}.1.tar.xz) into a directory and set GODWIT_DOWNLOADS to it. The \
         first answer was:\n{}",
        asked.first().map_or("nothing was asked", String::as_str)
    )
}

/// Finds out that a tarball is damaged before anything is made of it.
fn check(path: &Path) -> Result<()> {
    let step = Step::new(format!("Checking {}", path.display()));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let known = KNOWN.iter().find(|(known, _)| *known == name);
    let remedy =
        || format!("{} is corrupted: remove it, and it will be downloaded again", path.display());
    if let Some((_, expected)) = known {
        let found = download::sha256(path)?;
        if found != *expected {
            bail!("{} (SHA-256 {found}, not {expected})", remedy());
        }
    } else {
        command::run(Command::new("xz").arg("--test").arg(path)).with_context(remedy)?;
    }
    step.finish("intact");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_from_names() {
        let version = |name| version(Path::new(name));
        assert_eq!(version("/x/qemu_11.1.1+ds.orig.tar.xz").as_deref(), Some("11.1.1"));
        assert_eq!(version("qemu-11.1.12.tar.xz").as_deref(), Some("11.1.12"));
        for other in ["qemu-11.10.1.tar.xz", "qemu-11.1.0-rc2.tar.xz", "qemu-11.1.1.tar.xz.sig"] {
            assert_eq!(version(other), None, "{other}");
        }
    }

    #[test]
    fn a_damaged_tarball_is_named_with_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["qemu_11.1.1+ds.orig.tar.xz", "qemu-11.1.2.tar.xz"] {
            let path = directory.path().join(name);
            fs::write(&path, b"not a tarball").unwrap();
            let error = format!("{:#}", check(&path).unwrap_err());
            assert!(error.contains(name) && error.contains("remove it"), "{error}");
        }
    }
}
