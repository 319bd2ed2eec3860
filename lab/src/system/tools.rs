//! Programs and libraries of the machine: found, installed, or asked for by name.

use std::{env, fmt, fs, path::PathBuf, process::Command};

use anyhow::{Result, bail};

use super::{command, progress::Step};

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
/// [`Missing`], with the one line to run.
pub fn require(purpose: &str, tools: &[Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| !tool.present()).collect();
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
    install(&missing).map_err(|error| {
        Missing(format!(
            "{purpose} needs {names}, which could not be installed; try:\n    {line}\n{error:#}"
        ))
    })?;
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

fn install(tools: &[&Tool]) -> Result<()> {
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
        refresh_package_lists()?;
        attempt()?;
    }
    step.finish("done");
    Ok(())
}

/// `apt-get update`, when this user may.
pub fn refresh_package_lists() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        command::run(Command::new("apt-get").arg("update"))?;
    }
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
    fn packages_are_asked_for_once() {
        let one = Tool::program("a", "alpha");
        let other = Tool::library("b", "alpha");
        assert_eq!(install_line(&[&one, &other]), "apt-get install --no-install-recommends alpha");
    }
}
