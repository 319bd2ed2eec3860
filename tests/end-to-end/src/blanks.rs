//! A checkout, a cache and a directory for temporary files whose paths have blanks in them. What is
//! built there is, byte for byte, what is built here.

use std::{
    fs,
    path::Path,
    process::{Command, ExitStatus},
};

use anyhow::{Context, Result, ensure};
use lab::{
    build::{crates, qemu},
    guest::READY,
    system::{command, paths, scratch::Scratch},
};

use crate::{
    migrations::{completed, fresh, path, read},
    program::{logged, xtask},
    suite::{LONG, Suite},
};

/// What in a checkout is no source.
const COPY: &str = "tar --create --exclude=./target --exclude=./report --exclude=./.git . | \
                    tar --extract --directory \"$1\"";

pub(crate) fn add(suite: &mut Suite) {
    suite.test("a checkout and a cache with blanks in their paths", LONG, blanks);
}

fn blanks(log: &Path) -> Result<String> {
    let root = Scratch::new()?;
    let place = root.join("a b");
    let at = |name: &str| place.join(name);
    let (checkout, cache, temporary) = (at("godwit"), at("the cache"), at("t t"));
    for directory in [&checkout, &cache, &temporary] {
        fs::create_dir_all(directory)?;
    }
    let copy = &mut Command::new("sh");
    command::run(copy.args(["-c", COPY, "sh"]).arg(&checkout).current_dir(paths::checkout()))?;
    // QEMU is not built there, which its own build refuses, but brought.
    let qemu = qemu::get()?.binary;
    let built = qemu.ancestors().nth(2).context("it is in a directory of its own")?;
    command::run(Command::new("cp").arg("--archive").arg(built).arg(&cache))?;

    let run = |folder: &Path, arguments: &[&str]| -> Result<(ExitStatus, String)> {
        let mut cargo = crates::cargo();
        cargo.arg("xtask").args(arguments).current_dir(folder);
        cargo.env("GODWIT_CACHE", &cache).env("TMPDIR", &temporary).env_remove("CARGO_TARGET_DIR");
        let title = format!("Running cargo xtask {} there", arguments[0]);
        let last = |text: &str| text.lines().last().unwrap_or_default().to_owned();
        let status = logged(&mut cargo, log, &title, last)?;
        Ok((status, fs::read_to_string(log)?))
    };
    let there = at("there.img");
    let image = |folder: &Path| {
        let (status, said) = run(folder, &["image", "--format", "disk", "--out", path(&there)?])?;
        let image = said.lines().last().unwrap_or_default();
        ensure!(status.success() && Path::new(image).is_file(), "image ended with {status}");
        Ok(())
    };
    image(&checkout)?;
    let here = at("here.img");
    command::run(xtask()?.args(["image", "--format", "disk", "--out", path(&here)?]))?;
    ensure!(fs::read(&here)? == fs::read(&there)?, "the disk made there is another one");
    let (status, said) = run(&checkout, &["run", "--accel", "tcg", "--timeout", "30"])?;
    ensure!(status.code() == Some(124) && said.contains(READY), "run ended with {status}");
    let (status, _) = run(&checkout, &["new", "hello"])?;
    ensure!(status.success(), "new ended with {status}");
    image(&at("hello"))?;

    let (json, report) = (at("the result.json"), at("the report"));
    let options = ["migrate", "--lab", "local", "--nic", "ixgbe", "--seconds", "1"];
    let files = ["--json", path(&json)?, "--report", path(&report)?];
    let (status, _) = run(&checkout, &[&options[..], &files].concat())?;
    ensure!(status.success(), "migrate ended with {status}");
    let migration = read(&json)?;
    completed(&migration)?;
    fresh(&migration)
}
