//! The QEMU tarball: the one whose digest is known here, or one that was named.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::system::{command, debian, download, paths, progress::Step};

/// The series that the patches are made for.
const SERIES: &str = "11.1";

/// Debian's tarball of the release they were written on.
const NAME: &str = "qemu_11.1.1+ds.orig.tar.xz";
const SHA256: &str = "0b1376e75dbe3e2fea4e408f8669f88a723f419f36a5b7d74cc6a4cfe07e4f5e";

/// Names another tarball of the series, for those who want that one.
const NAMED: &str = "GODWIT_QEMU";

/// A tarball that can be unpacked.
pub(super) struct Tarball {
    pub(super) path: PathBuf,
    /// Such as `11.1.1`.
    pub(super) version: String,
}

/// The one that was named; else ours, from the download cache, `$GODWIT_DOWNLOADS` or the machine's
/// Debian mirror.
pub(super) fn get() -> Result<Tarball> {
    if let Some(path) = env::var_os(NAMED).filter(|path| !path.is_empty()) {
        return named(PathBuf::from(path));
    }
    let cached = paths::cache()?.join("downloads");
    let near = [Some(cached), paths::downloads()].into_iter().flatten();
    let near = near.map(|directory| directory.join(NAME)).find(|path| path.exists());
    let path = match near {
        Some(path) => path,
        None => far()?,
    };
    let step = Step::new(format!("Checking {}", path.display()));
    let found = download::sha256(&path)?;
    if found != SHA256 {
        let path = path.display();
        bail!(
            "{path} is corrupted: remove it, and it will be downloaded again (SHA-256 {found}, \
             not {SHA256})"
        );
    }
    step.finish("intact");
    let version = version(&path).context("the name was made here")?;
    Ok(Tarball { path, version })
}

/// One that nobody here has a digest of.
fn named(path: PathBuf) -> Result<Tarball> {
    let version = version(&path)
        .with_context(|| format!("{NAMED}={} is no qemu-{SERIES}.N.tar.xz", path.display()))?;
    let step = Step::new(format!("Checking {}", path.display()));
    command::run(Command::new("xz").arg("--test").arg(&path)).with_context(|| {
        format!("{} is corrupted: remove it, and name another in {NAMED}", path.display())
    })?;
    step.finish("intact");
    Ok(Tarball { path, version })
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

/// Debian's pool keeps a source for as long as it is of a release.
fn far() -> Result<PathBuf> {
    let fetched = debian::pool_directory("qemu-system-x86")
        .and_then(|directory| download::fetch(&format!("{directory}{NAME}"), NAME));
    match fetched {
        Err(error) if !command::is_full_disk(&error) => Err(error).with_context(|| {
            format!(
                "there is no {NAME} on the Debian mirror of this machine. Put it into a directory \
                 and set GODWIT_DOWNLOADS to that, or name another tarball of QEMU {SERIES}.x in \
                 {NAMED}"
            )
        }),
        other => other,
    }
}

/// Puts it into `downloads`, for a machine without a network.
pub(super) fn fetch(downloads: &Path) -> Result<()> {
    let tarball = get()?.path;
    let place = downloads.join(tarball.file_name().context("it has a name")?);
    if !place.exists() {
        fs::copy(&tarball, &place).with_context(|| place.display().to_string())?;
    }
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
    fn a_tarball_that_was_named_has_to_be_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("qemu-11.1.2.tar.xz");
        fs::write(&path, b"not a tarball").unwrap();
        let error = format!("{:#}", named(path).err().unwrap());
        assert!(error.contains("11.1.2") && error.contains("remove it"), "{error}");
        let error = format!("{:#}", named("/x/qemu-10.0.tar.xz".into()).err().unwrap());
        assert!(error.contains(NAMED) && error.contains("qemu-10.0"), "{error}");
    }
}
