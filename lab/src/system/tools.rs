//! Programs and libraries of the machine: found, installed, or asked for by name.

use std::{env, fmt, fs, path::PathBuf, process::Command};

use anyhow::{Error, Result, anyhow, bail};

use super::{command, lock, progress::Step};

/// Who changes what is installed, or the lists of packages, has this lock: apt has locks of its
/// own, and does not wait for that of the lists.
const APT: &str = "apt";

/// Debian's own Python, which its packages of modules belong to, whatever else `PATH` offers.
pub const PYTHON: &str = "/usr/bin/python3";

/// Something that a Debian package provides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    probe: Probe,
    /// The Debian package it comes from.
    pub package: &'static str,
}

/// How its presence is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// A program in `PATH`.
    Program(&'static str),
    /// A C library, by its pkg-config name.
    Library(&'static str),
    /// A Python module.
    PythonModule(&'static str),
}

impl Tool {
    /// A program in `PATH`, and the package that has it.
    pub const fn program(name: &'static str, package: &'static str) -> Self {
        Self { probe: Probe::Program(name), package }
    }

    /// A C library by its pkg-config name, and the package that has it.
    pub const fn library(name: &'static str, package: &'static str) -> Self {
        Self { probe: Probe::Library(name), package }
    }

    /// A module of Debian's Python, and the package that has it.
    pub const fn python_module(name: &'static str, package: &'static str) -> Self {
        Self { probe: Probe::PythonModule(name), package }
    }

    /// Whether this machine has it.
    pub fn present(&self) -> bool {
        let succeeds = |program, arguments: &[&str]| {
            command::succeeds(Command::new(program).args(arguments)).unwrap_or(false)
        };
        match self.probe {
            Probe::Program(name) => find_program(name).is_some(),
            Probe::Library(name) => succeeds("pkg-config", &["--exists", name]),
            Probe::PythonModule(name) => succeeds(PYTHON, &["-c", &format!("import {name}")]),
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.probe {
            Probe::Program(name) => f.write_str(name),
            Probe::Library(name) => write!(f, "the library {name}"),
            Probe::PythonModule(name) => write!(f, "Python's {name}"),
        }
    }
}

/// Where a program is.
pub fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        // A user's PATH on Debian lacks the administrator's programs.
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// Something is not on this machine, and cannot be put there now. With what to do.
#[derive(Debug)]
pub struct Missing(String);

impl Missing {
    /// Says so in these words.
    pub fn new(what: String) -> Self {
        Self(what)
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// Sees to it that all of `tools` are there: installs what is missing when it may.
///
/// # Errors
/// [`Missing`], with the one line to run. Where a mirror answers and they cannot be installed all
/// the same, it is another error, since then something is wrong.
pub fn require(purpose: &str, tools: &[Tool]) -> Result<()> {
    let mut missing: Vec<&Tool> = tools.iter().filter(|tool| !tool.present()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let line = install_line(&missing);
    if find_program("apt-get").is_none() {
        bail!(Missing(format!("{purpose} needs {names}, not found on {}", elsewhere(&missing))));
    }
    if !rustix::process::geteuid().is_root() {
        bail!(Missing(format!(
            "{purpose} needs {names}, not found on this machine; install with:\n    sudo {line}"
        )));
    }
    let _lock = lock::wait(APT)?;
    // Another test may have installed them while this one waited.
    missing.retain(|tool| !tool.present());
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!("{purpose} needs {names}, which could not be installed; try:\n    {line}");
    install(&missing, &what)?;
    if let Some(tool) = missing.iter().find(|tool| !tool.present()) {
        bail!("{purpose} needs {tool}; the package {} is installed but lacks it", tool.package);
    }
    Ok(())
}

/// What to do where there is no apt.
fn elsewhere(missing: &[&Tool]) -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    format!(
        "this machine ({}): install what Debian has in {}. The lab's host is made of Debian's \
         packages: in a container of Debian 12 or 13 everything works, here `run` and `image` do",
        distribution(&release),
        packages(missing).join(", ")
    )
}

/// As people call it (os-release(5)).
fn distribution(release: &str) -> String {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("not Debian", |name| name.trim_matches('"')).into()
}

fn packages(tools: &[&Tool]) -> Vec<&'static str> {
    let mut packages: Vec<_> = tools.iter().map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// The command that installs `tools`.
pub fn install_line(tools: &[&Tool]) -> String {
    format!("apt-get install --no-install-recommends {}", packages(tools).join(" "))
}

/// Installs them. What is wrong begins with `what`.
fn install(tools: &[&Tool], what: &str) -> Result<()> {
    let packages = packages(tools);
    let step = Step::new(format!("Installing {}", packages.join(" ")));
    let attempt = || {
        command::run(
            Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args([
                    "install",
                    "--yes",
                    "--no-install-recommends",
                    "-o",
                    "DPkg::Lock::Timeout=120",
                ])
                .args(&packages),
        )
    };
    // A fresh machine has no package lists, and old lists name files their mirror dropped.
    if attempt().is_err() {
        let asked = update();
        attempt().map_err(|error| in_vain(what, asked.is_ok(), &error))?;
    }
    step.finish("done");
    Ok(())
}

/// Why an installation failed. Without a network this machine only lacks something; where its
/// mirrors answer, there is something to be mended.
fn in_vain(what: &str, mirrors_answer: bool, error: &Error) -> Error {
    let what = format!("{what}\n{error:#}");
    if mirrors_answer { anyhow!(what) } else { Missing(what).into() }
}

/// `apt-get update`, when this user may. Where no mirror answers, the old lists stay.
pub fn refresh_package_lists() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        let _lock = lock::wait(APT)?;
        command::run(Command::new("apt-get").arg("update"))?;
    }
    Ok(())
}

/// The same by whoever has the lock. It fails as well where a mirror does not answer.
fn update() -> Result<()> {
    command::run(Command::new("apt-get").args(["update", "-oAPT::Update::Error-Mode=any"]))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_is_told_by_each_kind_of_probe() {
        assert!(Tool::program("sh", "dash").present());
        assert!(!Tool::program("no-such-program", "none").present());
        assert!(!Tool::library("no-such-library", "none").present());
        assert!(!Tool::python_module("no_such_module", "none").present());
    }

    #[test]
    fn other_distributions_are_called_by_name() {
        let release = "NAME=Fedora\nPRETTY_NAME=\"Fedora Linux 43 (Container Image)\"\n";
        assert_eq!(distribution(release), "Fedora Linux 43 (Container Image)");
        assert_eq!(distribution(""), "not Debian");
        let tool = Tool::program("a", "alpha");
        assert!(elsewhere(&[&tool]).contains("alpha"));
    }

    #[test]
    fn what_cannot_be_installed_is_only_missing_where_no_mirror_answers() {
        let error = |mirrors_answer| in_vain("a needs b", mirrors_answer, &anyhow!("no space"));
        assert!(error(false).is::<Missing>() && !error(true).is::<Missing>());
        for mirrors_answer in [false, true] {
            let said = error(mirrors_answer).to_string();
            assert!(said.contains("a needs b") && said.contains("no space"), "{said}");
        }
    }

    #[test]
    fn packages_are_asked_for_once() {
        let one = Tool::program("a", "alpha");
        let other = Tool::library("b", "alpha");
        assert_eq!(install_line(&[&one, &other]), "apt-get install --no-install-recommends alpha");
    }
}
