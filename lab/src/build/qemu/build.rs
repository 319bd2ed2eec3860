//! From tarball and patches to a place in the cache.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    python,
    recipe::{BINARY, CONFIGURE, DATA, DEVICES, DEVICES_PATH, QTEST, QTEST_TARGET, Recipe},
    source,
};
use crate::system::{command, debian, progress::Step, scratch::Scratch, tools, tools::Tool};

/// Builds happen in directories of this prefix in the cache.
pub(super) const SCRATCH_PREFIX: &str = ".qemu-build-";

/// What a build takes at its largest, and what is left of it.
pub const SPACE_MIB: u64 = 2048;

/// The packages that have the firmware: that of the machine, and that of devices.
pub const PACKAGES: [&str; 2] = ["seabios", "qemu-system-data"];

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
    tools::require("building QEMU", TOOLS)?;
    check_space(cache)?;
    let tarball = source::get()?;
    let scratch = Scratch::within(cache, SCRATCH_PREFIX)?;
    let source = scratch.join("source");
    unpack(&tarball.path, &source)?;
    for patch in &recipe.patches {
        apply(patch, &source, &tarball.version)?;
    }
    complete(&source)?;
    let build = scratch.join("build");
    configure(&source, &build, &python::environment(&scratch)?)?;
    compile(&build, &tarball.version)?;

    let place = scratch.join("place");
    let binary = place.join(BINARY);
    for (program, built) in [(&binary, "qemu-system-x86_64"), (&place.join(QTEST), QTEST_TARGET)] {
        fs::create_dir_all(program.parent().expect("it is in a directory of the place"))?;
        command::run(Command::new("strip").arg("-o").arg(program).arg(build.join(built)))?;
    }
    gather_firmware(&source, &scratch.join("packages"), &place.join(DATA))?;
    // What cannot even print its version must not be kept.
    command::run(Command::new(&binary).arg("--version"))?;
    let kept = recipe.place(cache, &tarball.version);
    fs::rename(&place, &kept).with_context(|| kept.display().to_string())
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

fn unpack(tarball: &Path, source: &Path) -> Result<()> {
    let step = Step::new("Unpacking QEMU");
    fs::create_dir(source)?;
    command::run(
        Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(tarball)
            .arg("--directory")
            .arg(source)
            .args(["--strip-components=1", "--no-same-owner"]),
    )
    .with_context(|| format!("cannot unpack {}", tarball.display()))?;
    step.finish("done");
    Ok(())
}

fn apply(patch: &Path, source: &Path, version: &str) -> Result<()> {
    command::run(
        Command::new("patch")
            .args(["--strip=1", "--forward", "--batch", "--reject-file=-", "--input"])
            .arg(patch)
            .current_dir(source),
    )
    .with_context(|| {
        format!(
            "the patch {} does not apply to QEMU {version}; put another release of that series \
             into the download cache, or bring the patch up to date",
            patch.display()
        )
    })?;
    Ok(())
}

/// Adds what the build needs besides the patches. `configure` wants firmware to be there that
/// distributions leave out of their tarballs, also if it is not to be installed, once there are
/// tools (`bzip2`, `dtc`) to unpack or make it with; nothing is built from what is put there.
fn complete(source: &Path) -> Result<()> {
    let write = |path: &str, text: &str| {
        let path = source.join(path);
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

/// The UEFI images in a list of meson's.
fn firmware_images(list: &str) -> impl Iterator<Item = &str> {
    list.split('\'').filter(|name| name.starts_with("edk2-") && name.ends_with(".fd"))
}

fn configure(source: &Path, build: &Path, venv: &Path) -> Result<()> {
    let step = Step::new("Configuring QEMU");
    fs::create_dir(build)?;
    command::run(
        Command::new(source.join("configure"))
            .arg(format!("--python={}", venv.join("bin/python").display()))
            .args(CONFIGURE)
            .current_dir(build),
    )?;
    step.finish("done");
    Ok(())
}

/// Runs ninja, whose lines begin with `[done/total]`.
fn compile(build: &Path, version: &str) -> Result<()> {
    let mut step = Step::new(format!("Building QEMU {version}"));
    let mut ninja = Command::new("ninja")
        .args(["qemu-system-x86_64", QTEST_TARGET])
        .env("NINJA_STATUS", "[%f/%t] ")
        .env("LC_ALL", command::LOCALE)
        .current_dir(build)
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
        bail!("QEMU {version} does not build (ninja: {status})\n{}", command::reason(&said, 20));
    }
    step.finish("done");
    Ok(())
}

/// `(3, 1491)` for `[3/1491] Compiling …`.
fn parse_progress(line: &str) -> Option<(u64, u64)> {
    let (done, total) = line.strip_prefix('[')?.split_once(']')?.0.split_once('/')?;
    Some((done.parse().ok()?, total.parse().ok()?))
}

/// Puts firmware and ROMs into `data`: the tarball's own if it has them (Debian's has none), else
/// the distribution's, installed or not.
fn gather_firmware(source: &Path, packages: &Path, data: &Path) -> Result<()> {
    fs::create_dir_all(data)?;
    for name in crate::initramfs::FIRMWARE {
        let package = PACKAGES[usize::from(!name.starts_with("bios"))];
        let unpacked = packages.join(package);
        let places = |root: &Path| {
            ["usr/share/seabios", "usr/share/qemu"].map(|directory| root.join(directory).join(name))
        };
        let mut candidates = vec![source.join("pc-bios").join(name)];
        candidates.extend(places(Path::new("/")));
        candidates.extend(places(&unpacked));
        let mut found = candidates.iter().find(|path| path.is_file());
        if found.is_none() {
            debian::unpack_package(package, &unpacked)
                .with_context(|| format!("QEMU needs {name} from the package {package}"))?;
            found = candidates.iter().find(|path| path.is_file());
        }
        let found = found.with_context(|| format!("the package {package} has no {name}"))?;
        fs::copy(found, data.join(name)).with_context(|| found.display().to_string())?;
    }
    Ok(())
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
        fs::write(directory.path().join("file"), "one\n").unwrap();
        let patch = directory.path().join("0001-change.patch");
        fs::write(&patch, "--- a/file\n+++ b/file\n@@ -1 +1 @@\n-two\n+three\n").unwrap();
        let error = format!("{:#}", apply(&patch, directory.path(), "11.1.9").unwrap_err());
        assert!(error.contains("0001-change.patch") && error.contains("11.1.9"), "{error}");
    }
}
