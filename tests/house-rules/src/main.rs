//! Prints the circles between the modules of the crates in the folders given.
#![forbid(unsafe_code)]

use std::{env, path::Path, process::ExitCode};

fn main() -> anyhow::Result<ExitCode> {
    let mut found = false;
    for folder in env::args().skip(1) {
        for circle in house_rules::circles::of_crate(Path::new(&folder))? {
            println!("{folder}: {circle}");
            found = true;
        }
    }
    Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
