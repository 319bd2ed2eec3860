//! `cargo xtask image`.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result, bail};

use crate::{
    build,
    cli::{Image, ImageFormat},
};

pub(crate) fn main(options: &Image) -> Result<ExitCode> {
    let built = match options.format {
        ImageFormat::Elf => build::guest()?,
        ImageFormat::Disk => bail!(
            "`--format disk` is not available yet; `--format elf` makes a kernel for QEMU's -kernel"
        ),
    };
    let path = match &options.out {
        None => built,
        Some(out) => {
            fs::copy(&built, out).with_context(|| format!("cannot write {}", out.display()))?;
            out.clone()
        }
    };
    println!("{}", path.display());
    Ok(ExitCode::SUCCESS)
}
