//! Building our own crates for other targets.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use anyhow::{Context, Result, bail};

use crate::system::{command, paths, progress::Step, tools};

/// What runs without an operating system.
pub const GUEST: &str = "x86_64-unknown-none";
const FIRMWARE: &str = "x86_64-unknown-uefi";
const STATIC: &str = "x86_64-unknown-linux-musl";

/// The package that firmware starts from a disk, and what it is built for.
pub const LOADER: (&str, &str) = ("uefi-loader", FIRMWARE);

/// Package and program.
const IXGBE_MODEL: &str = "ixgbe-model";

/// Package and library.
const INSTRUCTIONS: &str = "instructions";

/// Package and program, as well.
const XTASK: &str = "xtask";

/// What is built for, besides this machine.
pub const TARGETS: [&str; 2] = [GUEST, STATIC];

/// The commit that this checkout is of, with `-dirty` where files differ from it. Empty where that
/// cannot be told.
pub fn revision() -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(paths::checkout());
    git.args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]);
    let said = git.output().ok().filter(|output| output.status.success());
    said.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Builds what firmware starts from a disk: the path of the UEFI application.
pub fn loader() -> Result<PathBuf> {
    let program = program("uefi-loader", "uefi-loader", FIRMWARE, "Building the disk's loader")?;
    Ok(program.with_extension("efi"))
}

/// Builds PID 1 of the lab's host, statically linked.
pub fn lab_init() -> Result<PathBuf> {
    program("lab-init", "lab-init", STATIC, "Building the lab's init")
}

/// Builds the model of the 82599, for this machine.
pub fn ixgbe_model() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    once(&BUILT, || {
        let step = Step::new("Building the model of the 82599");
        let arguments = ["build", "--release", "--quiet", "--package", IXGBE_MODEL];
        command::run(cargo().args(arguments).current_dir(paths::checkout()))?;
        step.finish("done");
        Ok(paths::target().join("release").join(IXGBE_MODEL))
    })
}

/// Builds the plugin that counts a guest's instructions, for this machine's QEMU.
pub fn instructions() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    once(&BUILT, || {
        let step = Step::new("Building the counter of instructions");
        let arguments = ["build", "--release", "--quiet", "--package", INSTRUCTIONS];
        command::run(cargo().args(arguments).current_dir(paths::checkout()))?;
        step.finish("done");
        Ok(paths::target().join("release").join(format!("lib{INSTRUCTIONS}.so")))
    })
}

/// Builds PID 1 of Linux as a guest, statically linked.
pub fn linux_guest() -> Result<PathBuf> {
    program("lab-init", "linux-guest", STATIC, "Building the Linux guest's init")
}

/// Builds the image that does one thing to the kernel it runs on; the path of its PVH ELF.
///
/// # Errors
/// It does not build.
pub fn boot_check() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    once(&BUILT, || {
        let what = ["--package", "unikernel", "--example", "boot-check"];
        Ok(release(&what, GUEST, "Building the kernel's check")?.join("examples/boot-check"))
    })
}

/// Builds the command-line tool itself, as `cargo xtask` does.
///
/// # Errors
/// It does not build.
pub fn xtask() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    once(&BUILT, || {
        let arguments = ["build", "--quiet", "--package", XTASK];
        command::run(cargo().args(arguments).current_dir(paths::checkout()))?;
        Ok(paths::target().join("debug").join(XTASK))
    })
}

fn program(package: &str, name: &str, target: &str, title: &str) -> Result<PathBuf> {
    Ok(release(&["--package", package, "--bin", name], target, title)?.join(name))
}

/// Builds something of ours for a target; the directory with what was built.
fn release(what: &[&str], target: &str, title: &str) -> Result<PathBuf> {
    release_in(paths::checkout(), what, target, title)?;
    Ok(paths::target().join(target).join("release"))
}

/// Builds something for a target, by the configuration of the folder.
pub(super) fn release_in(folder: &Path, what: &[&str], target: &str, title: &str) -> Result<()> {
    require_target(target)?;
    let step = Step::new(title);
    command::run(
        cargo()
            .args(["build", "--release", "--quiet", "--target", target])
            .args(["--config", &without_places(target, folder)?])
            .args(what)
            .current_dir(folder),
    )?;
    step.finish("done");
    Ok(())
}

/// A setting for cargo by which what is built does not tell where: the same sources make the same
/// file in any folder, and for anybody. It is added to the folder's own settings.
fn without_places(target: &str, folder: &Path) -> Result<String> {
    let home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => env::home_dir().context("no home directory: set CARGO_HOME")?.join(".cargo"),
    };
    // Whatever has other flags is built anew, so all that lies in the checkout has the same. An
    // application elsewhere may have the checkout in it: the last that fits is taken.
    let elsewhere = (!folder.starts_with(paths::checkout())).then_some((folder, "/application"));
    let places = std::iter::once((home.as_path(), "/cargo")).chain(elsewhere);
    let places = places.chain([(paths::checkout(), "/godwit")]);
    let flag = |(from, to): (&Path, &str)| format!("--remap-path-prefix={}={to}", from.display());
    // A list of strings is written in TOML as it is in Rust.
    Ok(format!("target.{target}.rustflags={:?}", places.map(flag).collect::<Vec<_>>()))
}

/// What was built before, or is built now: whatever needs it may ask, and tests do so many times,
/// some at the same time.
pub(super) fn once(
    built: &Mutex<Option<PathBuf>>,
    build: impl FnOnce() -> Result<PathBuf>,
) -> Result<PathBuf> {
    let mut built = built.lock().expect("no build panics");
    match &*built {
        Some(path) => Ok(path.clone()),
        None => Ok(built.insert(build()?).clone()),
    }
}

/// The cargo that started this tool.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.env("CARGO_TERM_COLOR", "never");
    command
}

/// Whether rustc has the standard library of `target`.
pub fn has_target(target: &str) -> Result<bool> {
    let output = command::run(
        Command::new("rustc")
            .args(["--print", "target-libdir", "--target", target])
            .current_dir(paths::checkout()),
    )?;
    Ok(Path::new(String::from_utf8_lossy(&output.stdout).trim()).exists())
}

/// Adds what rustc lacks for `target`.
///
/// # Errors
/// It cannot be added.
pub fn require_target(target: &str) -> Result<()> {
    if has_target(target)? {
        return Ok(());
    }
    let remedy = format!("add it with `rustup target add {target}`");
    if tools::find_program("rustup").is_none() {
        bail!("this Rust toolchain lacks the target {target}; {remedy}");
    }
    let step = Step::new(format!("Adding the Rust target {target}"));
    command::run(
        Command::new("rustup").args(["target", "add", target]).current_dir(paths::checkout()),
    )
    .context(remedy)?;
    step.finish("done");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_checkout_is_built_with_the_same_flags() {
        let flags = |folder: &Path| without_places(GUEST, folder).unwrap();
        let (ours, checkout) = (flags(&paths::checkout().join("net-app")), paths::checkout());
        assert_eq!(ours, flags(&checkout.join("examples/echo")));
        assert_eq!(ours, flags(checkout));
        assert!(ours.contains(&format!("--remap-path-prefix={}=/godwit", checkout.display())));
        let other = flags(Path::new("/an/application"));
        assert!(other.contains("--remap-path-prefix=/an/application=/application"), "{other}");
    }
}
