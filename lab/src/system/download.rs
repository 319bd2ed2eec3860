//! Files from elsewhere: looked for near, then far, and never left half in the cache.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::{command, paths, progress::Step, scratch::Scratch};

/// apt's own downloader: on every Debian machine, and it knows that machine's proxy and keys.
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

/// Downloads `url` into the cache's `downloads` as `name`.
pub fn fetch(url: &str, name: &str) -> Result<PathBuf> {
    let directory = paths::cache()?.join("downloads");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let scratch = Scratch::within(&directory, ".incoming-")?;
    let partial = scratch.join(name);
    let mut step = Step::new(format!("Downloading {name}"));
    let mut child = Command::new(APT_HELPER)
        .args(["-o", "APT::Sandbox::User=root", "download-file", url])
        .arg(&partial)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {APT_HELPER} to download {url}"))?;
    while child.try_wait()?.is_none() {
        step.message(format_args!("{} MiB", size(&partial) >> 20));
        thread::sleep(Duration::from_millis(100));
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "cannot download {url}\n{}",
            command::tail(&String::from_utf8_lossy(&output.stderr), 3)
        );
    }
    let bytes = size(&partial);
    let kept = directory.join(name);
    fs::rename(&partial, &kept).with_context(|| kept.display().to_string())?;
    step.finish(format_args!("{} MiB", bytes >> 20));
    Ok(kept)
}

/// The SHA-256 of a file, in lower-case hexadecimal.
pub fn sha256(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    File::open(path)
        .and_then(|mut file| io::copy(&mut file, &mut hash))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(format!("{:x}", hash.finalize()))
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
