//! `cargo xtask image`.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use clap::ValueEnum;
use lab::build::crates;

use crate::{
    cli::{Image, ImageFormat},
    ending::Ending,
};

pub(crate) fn main(options: &Image) -> Result<Ending> {
    let kernel = options.app.find()?.build()?;
    let path = match options.format {
        ImageFormat::Elf => {
            ensure!(options.append.is_empty(), "--append is for `--format disk` and `iso`");
            match &options.out {
                None => kernel,
                Some(out) => {
                    fs::copy(&kernel, out).with_context(|| cannot_write(out))?;
                    out.clone()
                }
            }
        }
        ImageFormat::Disk | ImageFormat::Iso => {
            let loader = crates::loader()?;
            let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
            let make = match options.format {
                ImageFormat::Iso => images::iso,
                _ => images::disk,
            };
            let image = make(&read(&loader)?, &read(&kernel)?, &options.append)?;
            let name = options.format.to_possible_value().context("every format has a name")?;
            let usual = || kernel.with_extension(name.get_name());
            let out = options.out.clone().unwrap_or_else(usual);
            fs::write(&out, image).with_context(|| cannot_write(&out))?;
            out
        }
    };
    println!("{}", path.display());
    Ok(Ending::AsAsked)
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
