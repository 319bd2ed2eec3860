//! The Python packages that building QEMU takes: these files and no others.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::system::{command, paths, progress::Step, tools};

/// What they are, with their digests.
const REQUIREMENTS: &str = include_str!("python.txt");
/// Where they are in `$GODWIT_DOWNLOADS`, once [`fetch`] has put them there.
const FOLDER: &str = "python";

/// An environment that has them, in `scratch`.
pub(super) fn environment(scratch: &Path) -> Result<PathBuf> {
    let step = Step::new("Installing Python packages for QEMU's build");
    let venv = pip(scratch, |pip| {
        pip.arg("install");
        if let Some(near) = paths::downloads().map(|downloads| downloads.join(FOLDER))
            && near.is_dir()
        {
            pip.arg("--no-index").arg("--find-links").arg(near);
        }
    })?;
    step.finish("done");
    Ok(venv)
}

/// Puts them into `downloads`, for a machine without a network.
pub(super) fn fetch(downloads: &Path, scratch: &Path) -> Result<()> {
    pip(scratch, |pip| {
        pip.arg("download").arg("--dest").arg(downloads.join(FOLDER));
    })?;
    Ok(())
}

/// Has pip do that with all of them, in an environment that is returned.
fn pip(scratch: &Path, what: impl FnOnce(&mut Command)) -> Result<PathBuf> {
    let (venv, list) = (scratch.join("python"), scratch.join("python.txt"));
    fs::write(&list, REQUIREMENTS).with_context(|| list.display().to_string())?;
    command::run(Command::new(tools::PYTHON).args(["-m", "venv"]).arg(&venv))?;
    let mut pip = Command::new(venv.join("bin/pip"));
    what(&mut pip);
    pip.args(["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]);
    pip.args(["--require-hashes", "--requirement"]).arg(&list);
    command::run(&mut pip).with_context(|| {
        let names = REQUIREMENTS.lines().filter_map(|line| Some(line.split_once(" --hash")?.0));
        let names = names.collect::<Vec<_>>().join(", ");
        format!("building QEMU needs {names} from Python's package index")
    })?;
    Ok(venv)
}
