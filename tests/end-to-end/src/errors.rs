//! What goes wrong on people's machines: each ends in a message that names the thing and the
//! remedy, and leaves nothing half done in the cache.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use lab::{
    build::{application, crates, qemu},
    guest::{Guest, READY, machine},
    system::{command, namespace, paths, process::Guard, tools},
};
use tempfile::TempDir;

use crate::{
    program::xtask,
    suite::{MINUTES, Skipped, Suite},
};

/// What a cache may hold after a build that came to nothing.
const LOCK: &str = "qemu.lock";

/// A release nobody has a digest of.
const TARBALL: &str = "qemu-11.1.9.tar.xz";

/// Of building QEMU.
pub(crate) fn add(suite: &mut Suite) {
    suite.test("a missing tool is named with its package", MINUTES, |log| {
        let bench = Bench::new()?;
        let path = bench.directory("bin")?;
        for tool in qemu::TOOLS.iter().map(ToString::to_string).filter(|tool| tool != "ninja") {
            if let Some(program) = tools::find_program(&tool) {
                symlink(program, path.join(tool))?;
            }
        }
        // Without apt-get even root is only told what to do.
        let build = bench.build()?.env("PATH", path).output()?;
        bench.failed(log, &build, &["building QEMU needs", "ninja", "install", "ninja-build"])
    });
    suite.test("a corrupted tarball is named", MINUTES, |log| {
        tools::require("building QEMU", qemu::TOOLS)?;
        let bench = Bench::new()?;
        fs::write(bench.downloads.join(TARBALL), "not a tarball")?;
        let build = bench.build()?.output()?;
        bench.failed(log, &build, &[TARBALL, "corrupted", "remove it"])
    });
    suite.test("a tarball that the patches do not fit is named", MINUTES, |log| {
        tools::require("building QEMU", qemu::TOOLS)?;
        let bench = Bench::new()?;
        bench.pack_tarball(1)?;
        let build = bench.build()?.output()?;
        bench.failed(log, &build, &[".patch does not apply to QEMU 11.1.9", "put another release"])
    });
    suite.test("a cache in which QEMU cannot be built is named", MINUTES, |log| {
        let mut bench = Bench::new()?;
        bench.cache = bench.directory("a b")?;
        let build = bench.build()?.output()?;
        bench.failed(log, &build, &["a b", "no path with a blank", "GODWIT_CACHE"])
    });
    suite.test("a disk too small for a build is named", MINUTES, |log| {
        tools::require("building QEMU", qemu::TOOLS)?;
        on_small_disk(log, "size=16m", &["2048 MiB", "16 MiB left", "GODWIT_CACHE"])
    });
    suite.test("a disk that fills up is named", MINUTES, |log| {
        tools::require("building QEMU", qemu::TOOLS)?;
        // Room for the bytes, but not for the files.
        on_small_disk(log, "size=4g,nr_inodes=50", &[command::FULL_DISK, "GODWIT_CACHE"])
    });
}

/// Of running the guest.
pub(crate) fn add_kvm(suite: &mut Suite) {
    suite.test("a /dev/kvm that is none ends in TCG", MINUTES, |log| {
        let mut namespace = mount_namespace()?;
        let file = tempfile::NamedTempFile::new()?;
        // On a machine without /dev/kvm there is nothing to put it over, and nothing else to
        // expect.
        namespace
            .arg("[ ! -e /dev/kvm ] || mount --bind \"$1\" /dev/kvm && shift && exec \"$@\"")
            .arg("sh")
            .arg(file.path());
        let remark = falls_back_to_tcg(log, namespace.arg(crates::xtask()?))?;
        ensure!(!remark.contains("not ready"), "the reason is QEMU's, not {remark}");
        Ok(remark)
    });
    suite.test("a KVM in which guests hang ends in TCG", MINUTES, |log| {
        let bench = Bench::new()?;
        let mut run = Guard::command(crates::xtask()?);
        run.env("PATH", bench.with_kvm("exec sleep 600")?);
        falls_back_to_tcg(log, &mut run)
    });
    suite.test("a KVM that works is used", MINUTES, |log| {
        let bench = Bench::new()?;
        let mut run = Guard::command(crates::xtask()?);
        // What matters is whether it is taken for one, not what it is.
        let qemu_in_tcg = format!(
            "for word do shift; case \"$word\" in kvm) word=tcg;; host) word=max;; esac; \
             set -- \"$@\" \"$word\"; done; exec {} \"$@\"",
            machine::qemu()?.command_line().join(" ")
        );
        run.env("PATH", bench.with_kvm(&qemu_in_tcg)?);
        let console = run_guest(log, &mut run)?;
        ensure!(!console.contains("KVM is not usable"), "said {:?}", console.lines().next());
        Ok(String::new())
    });
}

/// Runs the guest by `tool`, this very one, until it is ready. Returns what both said.
fn run_guest(log: &Path, tool: &mut Command) -> Result<String> {
    // Not while the guest is waited for.
    application::ours()?;
    tool.args(["run", "--accel", "auto", "--append", "ip=10.0.2.15/24"]);
    let mut guest = Guest::spawn(tool, log)?;
    guest.wait_for(READY)?;
    Ok(guest.console())
}

/// Says what was found wrong with KVM.
fn falls_back_to_tcg(log: &Path, tool: &mut Command) -> Result<String> {
    let console = run_guest(log, tool)?;
    let lines: Vec<&str> = console.lines().filter(|line| line.contains("KVM")).collect();
    ensure!(
        lines.len() == 1 && lines[0].ends_with("emulating in software (TCG)"),
        "said {lines:?}"
    );
    Ok(format!("`{}`", lines[0]))
}

/// Builds QEMU in a cache on a tmpfs made with `options`, and expects it to fail with `words`.
fn on_small_disk(log: &Path, options: &str, words: &[&str]) -> Result<String> {
    let mut namespace = mount_namespace()?;
    let bench = Bench::new()?;
    bench.pack_tarball(100)?;
    // What is left in the cache is copied out before the tmpfs goes.
    let script = format!(
        "mount -t tmpfs -o {options} none \"$GODWIT_CACHE\" && \"$1\" qemu; status=$?; \
         ls -A \"$GODWIT_CACHE\" > \"$2\"; exit $status"
    );
    let list = bench.root.path().join("list");
    namespace.arg(script).arg("sh").arg(crates::xtask()?).arg(&list);
    let build = bench.environment(&mut namespace).output()?;
    bench.failed(log, &build, words)?;
    let left = fs::read_to_string(&list).context("nothing was mounted")?;
    ensure!(left.trim_end() == LOCK, "left in the cache: {left:?}");
    Ok(String::new())
}

/// A shell that may mount what only it sees, to be given a script.
fn mount_namespace() -> Result<Command> {
    let make = || {
        let mut command = namespace::unshare("--mount");
        command.args(["sh", "-c"]);
        command
    };
    if !command::succeeds(make().arg("mount -t tmpfs none /mnt"))? {
        bail!(Skipped("this user may mount nothing on this machine".into()));
    }
    Ok(make())
}

/// A cache and a directory of downloads, both empty.
struct Bench {
    root: TempDir,
    cache: PathBuf,
    downloads: PathBuf,
}

impl Bench {
    fn new() -> Result<Self> {
        // On the checkout's disk, which has room for a build; /tmp may be a small one.
        let root = tempfile::Builder::new().prefix("godwit-errors-").tempdir_in(paths::target())?;
        let (cache, downloads) = (root.path().join("cache"), root.path().join("downloads"));
        let bench = Self { root, cache, downloads };
        bench.directory("cache")?;
        bench.directory("downloads")?;
        Ok(bench)
    }

    fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.path().join(name);
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// A PATH with a QEMU in front that is the one to boot on, but for what the shell does with
    /// KVM.
    fn with_kvm(&self, kvm: &str) -> Result<OsString> {
        let path = self.directory("bin")?;
        let program = path.join("qemu-system-x86_64");
        let other = machine::qemu()?.command_line().join(" ");
        let script = format!(
            "#!/bin/sh\ncase \" $* \" in\n*\" -accel kvm \"*) {kvm};;\n\
             *) exec {other} \"$@\";;\nesac\n"
        );
        fs::write(&program, script)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let rest = env::var_os("PATH").unwrap_or_default();
        Ok(env::join_paths([path].into_iter().chain(env::split_paths(&rest)))?)
    }

    /// Puts a tarball of `files` files, none of which is QEMU's, among the downloads.
    fn pack_tarball(&self, files: usize) -> Result<()> {
        let tree = self.directory("qemu")?;
        for number in 0..files {
            fs::write(tree.join(format!("file-{number}")), "")?;
        }
        let mut tar = Command::new("tar");
        tar.args(["--create", "--xz", "--file"]).arg(self.downloads.join(TARBALL));
        command::run(tar.arg("--directory").arg(self.root.path()).arg("qemu")).map(drop)
    }

    fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("GODWIT_CACHE", &self.cache)
            .env("GODWIT_DOWNLOADS", &self.downloads)
            .env("GODWIT_QEMU", self.downloads.join(TARBALL))
            .stdin(Stdio::null())
    }

    /// `cargo xtask qemu`.
    fn build(&self) -> Result<Command> {
        let mut build = xtask()?;
        self.environment(build.arg("qemu"));
        Ok(build)
    }

    /// Expects a failure with `words` in its message, and a cache with nothing in it.
    fn failed(&self, log: &Path, build: &std::process::Output, words: &[&str]) -> Result<String> {
        fs::write(log, &build.stderr)?;
        let said = String::from_utf8_lossy(&build.stderr);
        ensure!(!build.status.success(), "a build that cannot succeed did");
        for word in words {
            ensure!(said.contains(word), "the message does not say {word:?}");
        }
        let left: Vec<_> = fs::read_dir(&self.cache)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<_>>()?;
        ensure!(left.iter().all(|name| name == LOCK), "left in the cache: {left:?}");
        Ok(String::new())
    }
}
