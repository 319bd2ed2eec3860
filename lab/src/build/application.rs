//! The application that a guest is: a cargo package on crate `godwit`, of this repository or not.

use std::{
    env,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    sync::Mutex,
};

use anyhow::{Context, Result, bail, ensure};
use object::{
    Endianness,
    elf::{FileHeader64, NoteType, PT_NOTE},
    read::elf::{FileHeader, ProgramHeader},
};
use serde::Deserialize;

use super::crates;
use crate::system::{command, paths};

/// The one that is taken when none is named.
const OURS: &str = "net-app";

/// What an application depends on.
const LIBRARY: &str = "godwit";

/// The Xen note that says where a PVH image is entered (Xen `public/elfnote.h`,
/// XEN_ELFNOTE_PHYS32_ENTRY).
const PVH_NOTE: NoteType = NoteType(18);

/// A package that can be built into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// The package's name.
    pub name: String,
    folder: PathBuf,
    /// Its one program.
    program: String,
    /// Where cargo puts what it builds of it.
    target: PathBuf,
    /// Its image, where that was built before.
    image: Option<PathBuf>,
}

/// What cargo knows of a workspace, as far as it matters here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
}

impl Application {
    /// The one in the folder that was given; else the one in the current directory, if there is
    /// one; else `net-app`.
    ///
    /// # Errors
    /// There is no application in the folder given.
    pub fn find(given: Option<&Path>) -> Result<Self> {
        if let Some(folder) = given {
            return Self::at(folder).with_context(|| format!("--app {}", folder.display()));
        }
        let here = env::current_dir()?;
        if here.join("Cargo.toml").is_file()
            && let Some(package) = Self::package(&here)?.0
            && package.dependencies.iter().any(|dependency| dependency.name == LIBRARY)
        {
            return Self::at(&here);
        }
        Self::ours()
    }

    /// `net-app`.
    ///
    /// # Errors
    /// The checkout is not as it should be.
    pub fn ours() -> Result<Self> {
        Self::at(&paths::checkout().join(OURS))
    }

    /// `net-app` as an image that was built before: what it was built of is not needed.
    #[must_use]
    pub fn ours_built(image: PathBuf) -> Self {
        Self {
            name: OURS.into(),
            folder: paths::checkout().join(OURS),
            program: OURS.into(),
            target: PathBuf::new(),
            image: Some(image),
        }
    }

    /// Whether it is `net-app`, which counts numbered datagrams.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.name == OURS && self.folder == paths::checkout().join(OURS)
    }

    /// The folder of its package, and the package's name.
    #[must_use]
    pub fn package_in(&self) -> (&Path, &str) {
        (&self.folder, &self.name)
    }

    fn at(folder: &Path) -> Result<Self> {
        let folder = fs::canonicalize(folder)
            .with_context(|| format!("there is no folder {}", folder.display()))?;
        let manifest = folder.join("Cargo.toml");
        ensure!(
            manifest.is_file(),
            "{} has no Cargo.toml: name an application's folder, or make one with \
             `cargo xtask new NAME`",
            folder.display()
        );
        let (package, target) = Self::package(&folder)?;
        let package =
            package.with_context(|| format!("{} is of no package", manifest.display()))?;
        let name = package.name;
        ensure!(
            package.dependencies.iter().any(|dependency| dependency.name == LIBRARY),
            "the package {name} does not depend on {LIBRARY}: an application does"
        );
        let mut programs = package
            .targets
            .into_iter()
            .filter(|target| target.kind.iter().any(|kind| kind == "bin"))
            .map(|target| target.name);
        let (Some(program), None) = (programs.next(), programs.next()) else {
            bail!("the package {name} has to have one program, `src/main.rs`");
        };
        Ok(Self { name, folder, program, target, image: None })
    }

    /// The package whose manifest is in `folder`, and where things are built.
    fn package(folder: &Path) -> Result<(Option<Package>, PathBuf)> {
        let output = command::run(
            crates::cargo()
                .args(["metadata", "--no-deps", "--format-version", "1"])
                .current_dir(folder),
        )?;
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).context("what `cargo metadata` says")?;
        let manifest = folder.join("Cargo.toml");
        let package =
            metadata.packages.into_iter().find(|package| package.manifest_path == manifest);
        Ok((package, metadata.target_directory))
    }

    /// Builds it; the path of its PVH ELF.
    ///
    /// # Errors
    /// It does not build, or not into something that boots.
    pub fn build(&self) -> Result<PathBuf> {
        if let Some(image) = &self.image {
            check_image(image)?;
            return Ok(image.clone());
        }
        let title = format!("Building the unikernel ({})", self.name);
        let what = ["--package", &self.name, "--bin", &self.program];
        crates::release_in(&self.folder, &what, crates::GUEST, &title)?;
        let image = self.target.join(crates::GUEST).join("release").join(&self.program);
        let bytes = fs::read(&image).with_context(|| image.display().to_string())?;
        let boots = has_pvh_note(&bytes).with_context(|| image.display().to_string())?;
        ensure!(
            boots,
            "{} is not linked as an image: the `.cargo/config.toml` of {} lacks the flags of \
             x86_64-unknown-none that `cargo xtask new` writes into one",
            image.display(),
            self.folder.display()
        );
        Ok(image)
    }
}

/// Builds `net-app`, once for all who ask; the path of its PVH ELF.
///
/// # Errors
/// It does not build.
pub fn ours() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    crates::once(&BUILT, || Application::ours()?.build())
}

/// Sees to it that a file is an image that QEMU boots by itself.
///
/// # Errors
/// It is not there, or something else.
pub fn check_image(image: &Path) -> Result<()> {
    ensure!(image.is_file(), "there is no image {}", image.display());
    let context = || image.display().to_string();
    // A disk may be large, so not all of it is read.
    let mut magic = Vec::new();
    File::open(image)
        .and_then(|image| image.take(4).read_to_end(&mut magic))
        .with_context(context)?;
    let is_elf = magic == object::elf::ELFMAG;
    ensure!(
        is_elf && has_pvh_note(&fs::read(image).with_context(context)?).unwrap_or(false),
        "{} is no image that QEMU boots by itself, which `cargo xtask image --format elf` makes; a \
         disk is booted by firmware (docs/images.md)",
        image.display()
    );
    Ok(())
}

/// Whether an ELF file says where a PVH machine enters it.
fn has_pvh_note(image: &[u8]) -> Result<bool> {
    let header = FileHeader64::<Endianness>::parse(image)?;
    let endian = header.endian()?;
    for segment in header.program_headers(endian, image)? {
        if segment.p_type(endian) != PT_NOTE {
            continue;
        }
        let Some(mut notes) = segment.notes(endian, image)? else { continue };
        while let Some(note) = notes.next()? {
            if note.name() == b"Xen" && note.n_type(endian) == PVH_NOTE {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_found_by_its_folder_and_by_nothing() {
        let ours = Application::ours().unwrap();
        assert!(ours.is_ours());
        assert_eq!(Application::find(Some(&paths::checkout().join("net-app"))).unwrap(), ours);
        // A test runs in the folder of its package, which is no application.
        assert_eq!(Application::find(None).unwrap(), ours);
        let other = Application::find(Some(&paths::checkout().join("examples/echo"))).unwrap();
        assert!(!other.is_ours() && other.name == "echo");
    }

    #[test]
    fn what_is_no_application_is_named_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        for (folder, reason) in [
            (folder.path().join("none"), "there is no folder"),
            (folder.path().into(), "has no Cargo.toml"),
            (paths::checkout().into(), "is of no package"),
            (paths::checkout().join("images"), "the package images does not depend on godwit"),
        ] {
            let error = format!("{:#}", Application::find(Some(&folder)).unwrap_err());
            assert!(error.starts_with("--app ") && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_program_of_this_machine_is_no_image() {
        let this = fs::read(env::current_exe().unwrap()).unwrap();
        assert!(!has_pvh_note(&this).unwrap());
        assert!(has_pvh_note(b"#!/bin/sh").is_err());
    }

    #[test]
    fn what_is_no_image_is_named_with_what_makes_one() {
        let said = |path: &Path| check_image(path).unwrap_err().to_string();
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("hello.disk");
        assert!(said(&disk).starts_with("there is no image "));
        fs::write(&disk, [0; 512]).unwrap();
        assert!(said(&disk).contains("image --format elf"), "{}", said(&disk));
    }
}
