//! `cargo xtask image`.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use clap::ValueEnum;
use lab::{
    build::{application::Application, crates},
    system::paths,
};

use crate::{
    cli::{Image, ImageFormat},
    ending::Ending,
    sbom::{self, Program},
};

pub(crate) fn main(options: &Image) -> Result<Ending> {
    let application = options.app.find()?;
    let kernel = application.build()?;
    let path = match options.format {
        ImageFormat::Elf => {
            ensure!(options.append.is_empty(), "--append is for what has no loader of its own");
            match &options.out {
                None => kernel,
                Some(out) => {
                    fs::copy(&kernel, out).with_context(|| cannot_write(out))?;
                    out.clone()
                }
            }
        }
        ImageFormat::Disk | ImageFormat::Iso | ImageFormat::Oci => {
            let loader = crates::loader()?;
            let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
            let (loader, program) = (read(&loader)?, read(&kernel)?);
            let line = &options.append;
            let image = match options.format {
                ImageFormat::Iso => images::iso(&loader, &program, line)?,
                ImageFormat::Oci => {
                    images::container_disk(&images::disk(&loader, &program, line)?)?
                }
                _ => images::disk(&loader, &program, line)?,
            };
            let name = options.format.to_possible_value().context("every format has a name")?;
            let usual = || kernel.with_extension(name.get_name());
            let out = options.out.clone().unwrap_or_else(usual);
            fs::write(&out, image).with_context(|| cannot_write(&out))?;
            out
        }
    };
    if let Some(bill) = &options.sbom {
        write_bill(bill, &application, options.format)?;
    }
    println!("{}", path.display());
    Ok(Ending::AsAsked)
}

/// What boots by firmware has our loader in it.
fn write_bill(path: &Path, application: &Application, format: ImageFormat) -> Result<()> {
    let (folder, package) = application.package_in();
    let mut programs = vec![Program { folder, package, target: crates::GUEST }];
    if format != ImageFormat::Elf {
        let (package, target) = crates::LOADER;
        programs.push(Program { folder: paths::checkout(), package, target });
    }
    let bill = serde_json::to_string_pretty(&sbom::of(&programs)?)?;
    fs::write(path, bill + "\n").with_context(|| cannot_write(path))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
