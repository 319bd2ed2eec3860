//! `cargo xtask new`: an application outside of this repository.

use std::{env, fs, path::Path};

use anyhow::{Context, Result, ensure};
use lab::system::paths;
use minijinja::{AutoEscape, Environment, context};
use serde::Deserialize;

use crate::{cli::New, ending::Ending};

/// What it is made of: each file's place, and what is put there.
const FILES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("../templates/application/Cargo.toml")),
    (".cargo/config.toml", include_str!("../templates/application/config.toml")),
    (".gitignore", include_str!("../templates/application/gitignore")),
    ("README.md", include_str!("../templates/application/README.md")),
    ("src/main.rs", include_str!("../templates/application/src/main.rs")),
    ("tests/boot.rs", include_str!("../templates/application/tests/boot.rs")),
];

/// What cargo keeps the versions of dependencies in.
const LOCK: &str = "Cargo.lock";

pub(crate) fn main(options: &New) -> Result<Ending> {
    let name = &options.name;
    let folder = &place(&env::current_dir()?, paths::checkout()).join(name);
    ensure!(
        !folder.exists(),
        "{} exists already: choose another name, or remove it, or go somewhere else",
        folder.display()
    );
    for (file, text) in render(name)? {
        let path = folder.join(file);
        let parent = path.parent().context("it lies in the application's folder")?;
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    // The versions that this checkout is built and tested with; cargo drops what is not needed.
    let lock = folder.join(LOCK);
    fs::copy(paths::checkout().join(LOCK), &lock).with_context(|| lock.display().to_string())?;
    let folder = folder.display();
    println!(
        "{folder} is an application. Now:\n\n    cd {folder}\n    cargo xtask run --forward \
         8080:80\n\nand in another terminal: curl http://127.0.0.1:8080\n"
    );
    Ok(Ending::AsAsked)
}

/// Where applications made in `here` go: there, or beside the checkout if that is in it. Inside,
/// cargo would take the checkout's configuration for the application's.
fn place<'a>(here: &'a Path, checkout: &'a Path) -> &'a Path {
    match (here.starts_with(checkout), checkout.parent()) {
        (true, Some(beside)) => beside,
        _ => here,
    }
}

/// The files with what differs between applications put in.
fn render(name: &str) -> Result<Vec<(&'static str, String)>> {
    let checkout = paths::checkout();
    let mut environment = Environment::new();
    // A string in TOML is written as in JSON, whatever is in a path.
    environment.set_auto_escape_callback(|file| match file.ends_with(".toml") {
        true => AutoEscape::Json,
        false => AutoEscape::None,
    });
    let context = context! {
        name,
        godwit => checkout.join("godwit").display().to_string(),
        xtask => checkout.join("xtask/Cargo.toml").display().to_string(),
        flags => flags(checkout)?,
    };
    FILES
        .into_iter()
        .map(|(file, text)| {
            // Only Rust has braces of its own.
            let is_plain = file.ends_with(".rs");
            let text = if is_plain {
                text.to_owned()
            } else {
                environment.render_named_str(file, text, &context)? + "\n"
            };
            Ok((file, text))
        })
        .collect()
}

/// How this checkout builds what boots, as somebody elsewhere has to.
fn flags(checkout: &Path) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Configuration {
        target: std::collections::BTreeMap<String, Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        rustflags: Vec<String>,
    }
    let path = checkout.join(".cargo/config.toml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let configuration: Configuration =
        toml::from_str(&text).with_context(|| path.display().to_string())?;
    let target = configuration.target.get(lab::build::crates::GUEST);
    let flags = &target.with_context(|| path.display().to_string())?.rustflags;
    let script = |flag: &String| match flag.split_once("=-T") {
        Some((before, script)) => format!("{before}=-T{}", checkout.join(script).display()),
        None => flag.clone(),
    };
    Ok(flags.iter().map(script).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_never_inside_of_the_checkout() {
        let place = |here| place(Path::new(here), Path::new("/src/godwit")).to_owned();
        assert_eq!(place("/src/godwit"), Path::new("/src"));
        assert_eq!(place("/src/godwit/lab/src"), Path::new("/src"));
        assert_eq!(place("/src/godwit2"), Path::new("/src/godwit2"));
    }

    #[test]
    fn the_linker_script_is_found_from_anywhere() {
        let checkout = paths::checkout();
        let flags = flags(checkout).unwrap();
        let script = format!("-Clink-arg=-T{}", checkout.join("images/pvh.ld").display());
        assert!(flags.contains(&script), "{flags:?}");
        let files = render("hello").unwrap();
        let (_, configuration) =
            files.iter().find(|(file, _)| *file == ".cargo/config.toml").unwrap();
        let table: toml::Table = toml::from_str(configuration).unwrap();
        let written = table["target"]["x86_64-unknown-none"]["rustflags"].as_array().unwrap();
        assert_eq!(written.iter().map(|flag| flag.as_str().unwrap()).collect::<Vec<_>>(), flags);
    }

    #[test]
    fn nothing_is_left_to_be_put_in() {
        for (file, text) in render("hello").unwrap() {
            assert!(!text.contains("{{") && !text.contains("{%"), "{file}:\n{text}");
            assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{file}: {text:?}");
            if file.ends_with(".toml") {
                text.parse::<toml::Table>().unwrap_or_else(|error| panic!("{file}: {error}"));
            }
        }
    }
}
