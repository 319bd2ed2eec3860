//! Packages of the distribution's backports, or of a later release of it, from the mirror that this
//! machine has its own from. What this machine knows of packages stays as it is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{command, debian, progress::Step, scratch::Scratch};

/// The distribution's keys, which backports are signed with as well.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Lists of packages apart from this machine's.
#[derive(Debug)]
pub struct Backports {
    place: Scratch,
    /// As apt names them.
    name: String,
}

impl Backports {
    /// Asks the mirror what there is.
    ///
    /// # Errors
    /// This machine says neither what its release is nor where it has it from, or the mirror does
    /// not answer.
    pub fn open() -> Result<Self> {
        let release = release()?;
        Self::listed(&format!("{release}-backports"), &[])
    }

    /// The same of a release that need not be this machine's, with all that it has itself.
    ///
    /// # Errors
    /// As those of [`Backports::open`].
    pub fn of(release: &str) -> Result<Self> {
        Self::listed(&format!("{release}-backports"), &[release])
    }

    fn listed(name: &str, others: &[&str]) -> Result<Self> {
        let mirror = mirror_of(&release()?)?;
        let place = Scratch::new()?;
        // Where apt keeps what is under way.
        fs::create_dir_all(place.join("lists/partial"))?;
        let line = |name: &&str| format!("deb [signed-by={KEYS}] {mirror} {name} main\n");
        let sources: String = others.iter().chain([&name]).map(line).collect();
        fs::write(place.join("sources.list"), sources)?;
        fs::write(place.join("status"), "")?;
        let step = Step::new(format!("Asking for {name}"));
        let opened = Self { place, name: name.into() };
        command::run(opened.apt().arg("update"))?;
        step.finish("done");
        Ok(opened)
    }

    /// These packages and all that they need, on a machine where nothing is installed.
    ///
    /// # Errors
    /// There is no such package, or something that one needs is not in these lists.
    pub fn with_needed(&self, packages: &[&str]) -> Result<Vec<String>> {
        let mut apt = self.apt();
        apt.arg(format!("-oDir::State::status={}", self.place.join("status").display()));
        apt.args(["--simulate", "--no-install-recommends", "--target-release", &self.name]);
        let said = command::run(apt.arg("install").args(packages))?.stdout;
        Ok(to_be_installed(&String::from_utf8_lossy(&said)))
    }

    /// Downloads packages into a directory where none is, those of backports where there are.
    ///
    /// # Errors
    /// One is in none of the lists, or it cannot be had.
    pub fn download_all(&self, packages: &[String], directory: &Path) -> Result<()> {
        let step = Step::new(format!("Downloading {} packages of {}", packages.len(), self.name));
        let mut apt = self.apt();
        apt.args(["--target-release", &self.name, "download"]).args(packages);
        command::run(apt.current_dir(directory))?;
        step.finish("done");
        Ok(())
    }

    /// Downloads a package into a directory where none is.
    ///
    /// # Errors
    /// The backports do not have it, or it cannot be had.
    pub fn download(&self, package: &str, directory: &Path) -> Result<PathBuf> {
        debian::download_by(|| self.apt(), package, directory)
    }

    fn apt(&self) -> Command {
        let place = |name: &str| self.place.join(name).display().to_string();
        let options = [
            ("Dir::Etc::sourcelist", place("sources.list")),
            ("Dir::Etc::sourceparts", "-".into()),
            ("Dir::State::lists", place("lists")),
            ("Dir::Cache::pkgcache", String::new()),
            ("Dir::Cache::srcpkgcache", String::new()),
            ("APT::Sandbox::User", "root".into()),
        ];
        let mut apt = Command::new("apt-get");
        apt.args(options.map(|(name, value)| format!("-o{name}={value}")));
        apt
    }
}

/// This machine's.
fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("/etc/os-release")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.map(str::to_owned).context("this machine does not say which release it is of")
}

/// Where this machine has its release from.
fn mirror_of(release: &str) -> Result<String> {
    let format = "$(CODENAME) $(COMPONENT) $(REPO_URI)";
    let targets = command::run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ]))?;
    let targets = String::from_utf8_lossy(&targets.stdout);
    let mirror = mirror(&targets, release);
    mirror
        .map(str::to_owned)
        .with_context(|| format!("apt does not say where it gets {release} from"))
}

/// The packages that `apt-get --simulate install` would install.
fn to_be_installed(said: &str) -> Vec<String> {
    let lines = said.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_once(' '));
    lines.map(|(name, _)| name.to_owned()).collect()
}

/// Where the lines of `targets`, each a release, a component and a place, have that release from.
fn mirror<'t>(targets: &'t str, release: &str) -> Option<&'t str> {
    targets.lines().find_map(|line| line.strip_prefix(&format!("{release} main ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_installed_is_told_from_the_rest() {
        let said = "NOTE: only a simulation\nInst libc6 (2.41-12 Debian:13 [amd64])\nInst \
                    libvirt0 (12.9.0-1~bpo13+1 [amd64]) []\nConf libc6 (2.41-12 [amd64])\n";
        assert_eq!(to_be_installed(said), ["libc6", "libvirt0"]);
    }

    #[test]
    fn the_mirror_is_that_of_the_release_itself() {
        let targets = "bookworm-security main https://b/s/\nbookworm main https://a/d/\n";
        assert_eq!(mirror(targets, "bookworm"), Some("https://a/d/"));
        assert_eq!(mirror(targets, "trixie"), None);
    }
}
