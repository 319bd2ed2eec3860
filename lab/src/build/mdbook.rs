//! mdBook, which makes a book of pages in Markdown: built when first needed, into the cache.

use std::{
    env, fs, iter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::crates;
use crate::system::{command, debian, lock, paths, progress::Step};

/// The book's own program, and the one that draws its diagrams; the versions as they are pinned.
const PROGRAMS: [(&str, &str, &[&str]); 2] = [
    ("mdbook", "0.5.4", &["--no-default-features", "--features", "search"]),
    ("mdbook-mermaid", "0.17.1", &[]),
];

/// What there is in the cache of them.
const TOOLS: &str = "tools";

/// The folder of the versions that are wanted here.
fn names() -> String {
    PROGRAMS.map(|(name, version, _)| format!("{name}-{version}")).join("-")
}

/// Removes other versions from the cache: what it frees, in bytes.
///
/// # Errors
/// Something cannot be removed.
pub fn clean() -> Result<u64> {
    let all = debian::versions_in(&paths::cache()?.join(TOOLS), "");
    paths::remove_all(all.into_iter().filter(|place| !place.ends_with(names())))
}

/// Both programs, of the versions that are wanted here.
#[derive(Debug)]
pub struct MdBook {
    directory: PathBuf,
}

impl MdBook {
    /// Builds what is not there yet.
    ///
    /// # Errors
    /// The registry of crates cannot be reached, or something does not build.
    pub fn get() -> Result<Self> {
        let directory = paths::cache()?.join(TOOLS).join(names());
        let _lock = lock::wait("mdbook")?;
        for (name, version, features) in PROGRAMS {
            if directory.join("bin").join(name).exists() {
                continue;
            }
            let step = Step::new(format!("Building {name} {version}"));
            let mut install = crates::cargo();
            install.args(["install", "--locked", "--quiet", "--version"]);
            install.arg(format!("={version}")).args(features).arg("--root").arg(&directory);
            // What the two have in common is built once.
            let target = directory.join("target");
            command::run(install.arg("--target-dir").arg(&target).arg(name)).with_context(|| {
                format!(
                    "{name} {version} cannot be built; without a network, copy {} from a machine \
                     that made the book",
                    directory.display()
                )
            })?;
            step.finish("done");
        }
        let target = directory.join("target");
        if target.exists() {
            fs::remove_dir_all(target)?;
        }
        Ok(Self { directory })
    }

    /// Makes a book of the folder with `book.toml`, in `output`.
    ///
    /// # Errors
    /// A page that the summary names is missing, or mdBook complains of something else.
    pub fn build(&self, folder: &Path, output: &Path) -> Result<()> {
        command::run(self.program("mdbook-mermaid")?.arg("install").arg(folder))?;
        command::run(self.program("mdbook")?.arg("build").arg("-d").arg(output).arg(folder))?;
        Ok(())
    }

    /// mdBook starts the other one by its name.
    fn program(&self, name: &str) -> Result<Command> {
        let bin = self.directory.join("bin");
        let mut program = Command::new(bin.join(name));
        let usual = env::var_os("PATH").unwrap_or_default();
        program.env("PATH", env::join_paths(iter::once(bin).chain(env::split_paths(&usual)))?);
        Ok(program)
    }
}
