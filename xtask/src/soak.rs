//! `cargo xtask soak`.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use lab::{
    build::application::Application,
    choices::{LabKind, Marking, TrafficKind},
    rehearsal::{
        Script, parts,
        soak::{self, Soak},
    },
    report::Place,
};

use crate::{
    cli,
    ending::{Ending, Usage},
    migrate::check_model,
};

pub(crate) fn main(options: &cli::Soak) -> Result<Ending> {
    check_model(options.lab, options.nic).map_err(Usage::wrap)?;
    let script = script(options).map_err(Usage::wrap)?;
    // Only now: an earlier report goes.
    let place = Place::take(&options.report)?;
    let script = Script { logs: place.logs(), ..script };
    let parts = match options.lab {
        LabKind::Local => parts::prepare_local(script.nic, &script.application, script.qemu, None)?,
        _ => parts::prepare(options.host.kernel(), &script.application, script.qemu)?,
    };
    let seed = options.seed.unwrap_or_else(of_now);
    eprintln!("Seed {seed}");
    let soak = soak::run(&script, &parts, seed, &mut |round| eprintln!("{round}"))?;
    println!("{}", soak::table(&soak));
    write(&place.soak(), &soak)?;
    if let Some(path) = &options.json {
        write(path, &soak)?;
    }
    println!("{}", place.soak().display());
    Ok(match (soak.is_good(), soak.stale()) {
        (true, _) => Ending::AsAsked,
        (false, 1..) if options.marking != Marking::Never => Ending::Stale,
        (false, _) => Ending::Failed,
    })
}

/// Another one each time, short enough to be typed.
fn of_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64 % 1_000_000)
}

fn write(path: &Path, soak: &Soak) -> Result<()> {
    let text = serde_json::to_string_pretty(soak)? + "\n";
    fs::write(path, text).with_context(|| path.display().to_string())
}

fn script(options: &cli::Soak) -> Result<Script> {
    if options.lab == LabKind::Host {
        bail!("`--lab host` is not there for a soak; `nested` and `local` are");
    }
    Ok(Script {
        times: options.migrations,
        // One connection's other end is a program of this machine, and so is the time.
        traffic: TrafficKind::Echo,
        marking: options.marking,
        append: options.append.clone(),
        ..Script::of(Application::ours()?, options.nic)
    })
}
