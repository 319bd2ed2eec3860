//! Packages of the distribution's backports, from the mirror that this machine has its own from.
//! What this machine knows of packages stays as it is.

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
pub struct Backports(Scratch);

impl Backports {
    /// Asks the mirror what there is.
    ///
    /// # Errors
    /// This machine says neither what its release is nor where it has it from, or the mirror does
    /// not answer.
    pub fn open() -> Result<Self> {
        let release = fs::read_to_string("/etc/os-release").context("/etc/os-release")?;
        let release = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let release = release.context("this machine does not say which release it is of")?;
        let format = "$(CODENAME) $(COMPONENT) $(REPO_URI)";
        let targets = command::run(Command::new("apt-get").args([
            "indextargets",
            "--format",
            format,
            "Created-By: Packages",
        ]))?;
        let targets = String::from_utf8_lossy(&targets.stdout);
        let mirror = mirror(&targets, release)
            .with_context(|| format!("apt does not say where it gets {release} from"))?;
        let place = Scratch::new()?;
        // Where apt keeps what is under way.
        fs::create_dir_all(place.join("lists/partial"))?;
        let source = format!("deb [signed-by={KEYS}] {mirror} {release}-backports main\n");
        fs::write(place.join("sources.list"), source)?;
        let step = Step::new(format!("Asking for {release}-backports"));
        let opened = Self(place);
        command::run(opened.apt().arg("update"))?;
        step.finish("done");
        Ok(opened)
    }

    /// Downloads a package into a directory where none is.
    ///
    /// # Errors
    /// The backports do not have it, or it cannot be had.
    pub fn download(&self, package: &str, directory: &Path) -> Result<PathBuf> {
        debian::download_by(|| self.apt(), package, directory)
    }

    fn apt(&self) -> Command {
        let place = |name: &str| self.0.join(name).display().to_string();
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

/// Where the lines of `targets`, each a release, a component and a place, have that release from.
fn mirror<'t>(targets: &'t str, release: &str) -> Option<&'t str> {
    targets.lines().find_map(|line| line.strip_prefix(&format!("{release} main ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_the_release_itself() {
        let targets = "bookworm-security main https://b/s/\nbookworm main https://a/d/\n";
        assert_eq!(mirror(targets, "bookworm"), Some("https://a/d/"));
        assert_eq!(mirror(targets, "trixie"), None);
    }
}
