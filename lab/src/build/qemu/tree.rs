//! QEMU's source and a build directory beside it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, bail};

use super::{
    python,
    recipe::{CONFIGURE, DEVICES, DEVICES_PATH},
    source::Tarball,
};
use crate::system::{command, progress::Step};

/// Both, in one directory.
pub(super) struct Tree {
    root: PathBuf,
    version: String,
}

impl Tree {
    /// The one in `root`, which is there already or is to be made.
    pub(super) fn at(root: &Path, version: &str) -> Self {
        Self { root: root.into(), version: version.into() }
    }

    pub(super) fn source(&self) -> PathBuf {
        self.root.join("source")
    }

    pub(super) fn build(&self) -> PathBuf {
        self.root.join("build")
    }

    pub(super) fn unpack(&self, tarball: &Tarball) -> Result<()> {
        let step = Step::new("Unpacking QEMU");
        let source = self.source();
        fs::create_dir(&source)?;
        command::run(
            Command::new("tar")
                .arg("--extract")
                .arg("--file")
                .arg(&tarball.path)
                .arg("--directory")
                .arg(&source)
                .args(["--strip-components=1", "--no-same-owner"]),
        )
        .with_context(|| format!("cannot unpack {}", tarball.path.display()))?;
        step.finish("done");
        Ok(())
    }

    pub(super) fn apply(&self, patch: &Path) -> Result<()> {
        let patched = self.patch(patch, &["--forward"]);
        patched.with_context(|| {
            format!(
                "the patch {} does not apply to QEMU {}; put another release of that series into \
                 the download cache, or bring the patch up to date",
                patch.display(),
                self.version
            )
        })
    }

    /// Takes back what [`Tree::apply`] did last.
    pub(super) fn revert(&self, patch: &Path) -> Result<()> {
        self.patch(patch, &["--reverse"])
    }

    fn patch(&self, patch: &Path, how: &[&str]) -> Result<()> {
        command::run(
            Command::new("patch")
                .args(["--strip=1", "--batch", "--reject-file=-"])
                .args(how)
                .arg("--input")
                .arg(patch)
                .current_dir(self.source()),
        )?;
        Ok(())
    }

    /// Adds what the build needs besides the patches. `configure` wants firmware to be there that
    /// distributions leave out of their tarballs, also if it is not to be installed, once there are
    /// tools (`bzip2`, `dtc`) to unpack or make it with; nothing is built from what is put there.
    pub(super) fn complete(&self) -> Result<()> {
        let source = self.source();
        let write = |path: &str, text: &str| {
            let path = source.join(path);
            // What is newer than a build is built again.
            if fs::read_to_string(&path).is_ok_and(|there| there == text) {
                return Ok(());
            }
            fs::write(&path, text).with_context(|| path.display().to_string())
        };
        write(DEVICES_PATH, DEVICES)?;
        write("pc-bios/dtb/meson.build", "# No device trees.\n")?;
        let list = source.join("pc-bios/meson.build");
        let list = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
        for name in firmware_images(&list) {
            let name = format!("pc-bios/{name}.bz2");
            if !source.join(&name).exists() {
                write(&name, "")?;
            }
        }
        Ok(())
    }

    /// Makes the build directory, with these options besides those that ours is made with.
    pub(super) fn configure(&self, more: &[&str]) -> Result<()> {
        let venv = python::environment(&self.root)?;
        let step = Step::new("Configuring QEMU");
        fs::create_dir(self.build())?;
        command::run(
            Command::new(self.source().join("configure"))
                .arg(format!("--python={}", venv.join("bin/python").display()))
                .args(CONFIGURE)
                .args(more)
                .current_dir(self.build()),
        )?;
        step.finish("done");
        Ok(())
    }

    /// Runs ninja, whose lines begin with `[done/total]`.
    pub(super) fn compile(&self, targets: &[&str]) -> Result<()> {
        let version = &self.version;
        let mut step = Step::new(format!("Building QEMU {version}, once, which takes minutes"));
        let mut ninja = Command::new("ninja")
            .args(targets)
            .env("NINJA_STATUS", "[%f/%t] ")
            .env("LC_ALL", command::LOCALE)
            .current_dir(self.build())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start ninja")?;
        let stdout = ninja.stdout.take().context("standard output")?;
        let stderr = ninja.stderr.take().context("standard error")?;
        // Both pipes are drained, or ninja would wait for the fuller one.
        let errors = thread::spawn(move || std::io::read_to_string(stderr).unwrap_or_default());
        let mut said = String::new();
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if let Some((done, total)) = parse_progress(&line) {
                step.set(done, total);
            }
            said.push_str(&line);
            said.push('\n');
        }
        let status = ninja.wait()?;
        if !status.success() {
            said.push_str(&errors.join().unwrap_or_default());
            bail!(
                "QEMU {version} does not build (ninja: {status})\n{}",
                command::reason(&said, 20)
            );
        }
        step.finish("done");
        Ok(())
    }
}

/// The UEFI images in a list of meson's.
fn firmware_images(list: &str) -> impl Iterator<Item = &str> {
    list.split('\'').filter(|name| name.starts_with("edk2-") && name.ends_with(".fd"))
}

/// `(3, 1491)` for `[3/1491] Compiling …`.
fn parse_progress(line: &str) -> Option<(u64, u64)> {
    let (done, total) = line.strip_prefix('[')?.split_once(']')?.0.split_once('/')?;
    Some((done.parse().ok()?, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_ninja() {
        assert_eq!(parse_progress("[3/1491] Compiling C object"), Some((3, 1491)));
        assert_eq!(parse_progress("ninja: no work to do."), None);
        assert_eq!(parse_progress("[x/y]"), None);
    }

    #[test]
    fn firmware_is_named_by_mesons_list() {
        let list =
            "fds = [\n  'edk2-arm-code.fd',\n  'edk2-x86_64-code.fd',\n]\n'edk2-licenses.txt',";
        let images: Vec<_> = firmware_images(list).collect();
        assert_eq!(images, ["edk2-arm-code.fd", "edk2-x86_64-code.fd"]);
    }

    #[test]
    fn a_patch_that_does_not_apply_is_named_with_the_version() {
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::at(directory.path(), "11.1.9");
        fs::create_dir(tree.source()).unwrap();
        fs::write(tree.source().join("file"), "one\n").unwrap();
        let patch = directory.path().join("0001-change.patch");
        fs::write(&patch, "--- a/file\n+++ b/file\n@@ -1 +1 @@\n-two\n+three\n").unwrap();
        let error = format!("{:#}", tree.apply(&patch).unwrap_err());
        assert!(error.contains("0001-change.patch") && error.contains("11.1.9"), "{error}");
    }
}
