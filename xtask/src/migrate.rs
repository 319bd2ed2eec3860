//! `cargo xtask migrate`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use lab::{
    migration::{self, Outcome},
    parts::NicModel,
    report,
    result::Migration,
};

use crate::{
    cli::{CancelAt, Guest, LabKind, LabNic, Marking, Migrate, Strategy, Traffic},
    lab_parts::{self, LabParts},
    rehearsal::{self, Kind, Script},
    tools::{self, Tool},
};

/// What the fastest of the NICs has, in bits a second. More would only fill the source's memory.
const FASTEST: u64 = 10_000_000_000;

pub(crate) fn main(options: &Migrate) -> Result<ExitCode> {
    let directory = &options.report;
    let script = script(options, directory)?;
    if script.traffic == Kind::Tcp {
        tools::require("TCP traffic", &[Tool::program("iperf3", "iperf3")])?;
    }
    let parts = match options.lab {
        LabKind::Local => lab_parts::prepare_local(script.nic)?,
        _ => lab_parts::prepare(&options.host)?,
    };
    let mut result = rehearsal::run(&script, &parts)?;
    let compared = if options.compare { compare(&script, &mut result, &parts) } else { Ok(()) };
    let page = publish(&result, directory, options.json.as_deref())?;
    if result.integrity.stale > 0 {
        println!(
            "{} of {} frames are STALE on arrival{}",
            result.integrity.stale,
            result.integrity.buffers_checked,
            if options.marking == Marking::Never {
                ": without marking, the hypervisor does not know what the NIC wrote"
            } else {
                ""
            }
        );
    }
    println!("{}", page.display());
    // Only now: what was measured before is shown all the same.
    compared?;
    let as_asked = as_asked(&result, !options.cancel_at.is_empty(), options.marking);
    Ok(if as_asked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether every migration ended as it should, and nothing is stale that the guest was to mark.
fn as_asked(result: &Migration, cancelled: bool, marking: Marking) -> bool {
    let expected = if cancelled { Outcome::Cancelled } else { Outcome::Completed };
    let others: Vec<_> = result.second.as_deref().into_iter().chain(&result.comparisons).collect();
    let runs = result.runs();
    runs.iter().all(|run| run.outcome == expected)
        && others.iter().all(|other| other.outcome == Outcome::Completed)
        && (marking == Marking::Never
            || runs.into_iter().chain(others).all(|run| run.integrity.stale == 0))
}

/// The same with the strategies that the script does not have.
fn compare(script: &Script, result: &mut Migration, parts: &LabParts) -> Result<()> {
    use migration::Strategy;
    for strategy in [Strategy::Warm, Strategy::Failover, Strategy::Cold] {
        if strategy == script.strategy {
            continue;
        }
        let name = format!("{strategy:?}").to_lowercase();
        eprintln!("The same with `--strategy {name}`, to compare:");
        let script = Script {
            strategy,
            standby: strategy == Strategy::Failover,
            rate: result.traffic.paced_bits_per_s.map(|rate| rate as u64),
            // Cold has no NIC in its warm-up, and nothing to measure.
            saturated_warmup: strategy != Strategy::Cold,
            logs: script.logs.join(&name),
            ..script.clone()
        };
        let other = rehearsal::run(&script, parts)
            .with_context(|| format!("`--strategy {name}`, to compare"))?;
        result.comparisons.push(other);
    }
    Ok(())
}

/// Prints the table and writes the report. Returns the path of the page.
pub(crate) fn publish(
    result: &Migration,
    directory: &Path,
    json: Option<&Path>,
) -> Result<PathBuf> {
    println!("\n{}", report::table(result));
    if let Some(second) = &result.second {
        println!("The same guest, migrated again:\n\n{}", report::table(second));
    }
    if let Some(path) = json {
        report::write_json(path, result)?;
    }
    report::write(directory, result)
}

fn script(options: &Migrate, directory: &Path) -> Result<Script> {
    if options.lab == LabKind::Host {
        bail!("`--lab host` is not available yet; `--lab nested` and `local` are");
    }
    if options.guest == Guest::Linux {
        bail!("`--guest linux` is not available yet; `--guest godwit` is");
    }
    let detaches = |at: &CancelAt| matches!(at, CancelAt::Detach | CancelAt::Detached);
    if options.strategy != Strategy::Warm && options.cancel_at.iter().any(detaches) {
        bail!("`--cancel-at detach` goes with `--strategy warm`: the others detach at the start");
    }
    if options.strategy == Strategy::Cold && !options.cancel_at.is_empty() {
        bail!("`--cancel-at` goes with `warm` and `failover`: cold has no warm-up to cancel in");
    }
    if options.strategy == Strategy::Cold && options.standby {
        bail!("`--strategy cold` has no standby; with one, it is `--strategy failover`");
    }
    if options.transfer > 0 && options.traffic != Traffic::Echo {
        bail!("`--transfer` goes with `--traffic echo`");
    }
    let rate = options.rate.map(|megabits| (megabits * 1e6) as u64);
    if rate.is_some_and(|rate| !(1..=FASTEST).contains(&rate)) {
        bail!("`--rate` is in Mbit/s, more than 0 and at most {}", FASTEST / 1_000_000);
    }
    Ok(Script {
        nic: model(options.lab, options.nic)?,
        strategy: match options.strategy {
            Strategy::Warm => migration::Strategy::Warm,
            Strategy::Failover => migration::Strategy::Failover,
            Strategy::Cold => migration::Strategy::Cold,
        },
        standby: options.standby,
        times: options.times,
        marking: match options.marking {
            Marking::Auto => "auto",
            Marking::Always => "always",
            Marking::Never => "never",
        }
        .into(),
        traffic: match options.traffic {
            Traffic::Udp => Kind::Udp,
            Traffic::Tcp => Kind::Tcp,
            Traffic::Echo => Kind::Echo { least: options.transfer.saturating_mul(1_000_000) },
        },
        rate,
        measure: Duration::from_secs(options.seconds.into()),
        cancel_at: options.cancel_at.iter().copied().map(cancel_at).collect(),
        append: options.append.clone(),
        pcap: options.pcap.clone(),
        saturated_warmup: options.compare && options.strategy != Strategy::Cold,
        logs: directory.join("logs"),
    })
}

fn cancel_at(at: CancelAt) -> migration::CancelAt {
    match at {
        CancelAt::Setup => migration::CancelAt::Setup,
        CancelAt::Warmup => migration::CancelAt::Warmup,
        CancelAt::Detach => migration::CancelAt::Detach,
        CancelAt::Detached => migration::CancelAt::Detached,
    }
}

/// The model of the lab's NICs, if that lab can have it.
pub(crate) fn model(lab: LabKind, nic: LabNic) -> Result<NicModel> {
    match (lab, nic) {
        (_, LabNic::E1000e) => Ok(NicModel::E1000e),
        (LabKind::Local, LabNic::Igb) => bail!(
            "`--nic igb` goes with `--lab nested`: QEMU's has virtual functions in its slot, which cannot be detached"
        ),
        (_, LabNic::Igb) => Ok(NicModel::Igb),
        (LabKind::Local, LabNic::Ixgbe) => Ok(NicModel::Ixgbe),
        (_, LabNic::Ixgbe) => bail!(
            "`--nic ixgbe` goes with `--lab local`: QEMU, which is the other lab's host, has no model of one"
        ),
    }
}
