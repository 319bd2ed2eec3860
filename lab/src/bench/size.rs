//! What an image loads: code and data, without the symbols and lines that are in the file as well.
//! It depends on the compiler and on nothing else.

use std::{fs, ops::Range, path::Path};

use anyhow::{Context, Result};
use object::{
    Endianness,
    elf::{FileHeader64, PT_LOAD},
    read::elf::{FileHeader, ProgramHeader},
};
use serde_json::{Map, Value};

use crate::{build::application::Application, system::paths};

/// The applications' folders.
pub const IMAGES: [&str; 5] =
    ["net-app", "examples/http", "examples/kv", "examples/echo", "examples/reflect"];

/// Builds all, and prints a table.
///
/// # Errors
/// One does not build.
pub fn run() -> Result<Value> {
    let mut sizes = Map::new();
    for folder in IMAGES {
        let size = of(folder)?;
        println!("{folder:<20}{size:>10} bytes");
        sizes.insert(folder.into(), size.into());
    }
    println!();
    Ok(sizes.into())
}

/// Builds one, and returns how many bytes of its file are loaded.
///
/// # Errors
/// It does not build.
pub fn of(folder: &str) -> Result<u64> {
    let image = Application::find(Some(&paths::checkout().join(folder)))?.build()?;
    loaded(&image).with_context(|| image.display().to_string())
}

/// The addresses that an image has code and data at.
pub(super) fn range(image: &Path) -> Result<Range<u64>> {
    let bytes = fs::read(image)?;
    let header = FileHeader64::<Endianness>::parse(&*bytes)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, &*bytes)?;
    let loaded = || segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD);
    let start = loaded().map(|segment| segment.p_vaddr(endian)).min();
    let end = loaded().map(|segment| segment.p_vaddr(endian) + segment.p_memsz(endian)).max();
    let (start, end) = start.zip(end).context("an image that loads nothing")?;
    Ok(start..end)
}

fn loaded(image: &Path) -> Result<u64> {
    let bytes = fs::read(image)?;
    let header = FileHeader64::<Endianness>::parse(&*bytes)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, &*bytes)?;
    let loaded = segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD);
    Ok(loaded.map(|segment| segment.p_filesz(endian)).sum())
}
