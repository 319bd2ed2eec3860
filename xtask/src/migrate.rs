//! `cargo xtask migrate`.

mod host;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use lab::{
    build::application::Application,
    choices::{Bridge, Chipset, ClockKind, GuestKind, LabKind, Marking, Strategy, TrafficKind},
    guest::MigrationNic,
    migration::Outcome,
    parts::NicModel,
    rehearsal::{
        self, Script,
        parts::{self, LabParts},
    },
    report::{self, Place},
    result::Migration,
    system::{
        paths,
        tools::{self, Tool},
    },
};

use crate::{
    cli::Migrate,
    ending::{Ending, Usage},
};

/// The section of the documentation that has every name in the table.
const TABLE_EXPLAINED: &str = "docs/first.md#reading-the-table";

/// What the fastest of the NICs has, in bits a second. More would only fill the source's memory.
const FASTEST: u64 = 10_000_000_000;

/// What all are offered where Linux is beside Godwit, in Mbit/s. Of much more Linux reads next to
/// nothing in the nested lab, even with its NIC, and does not give that back either.
const BESIDE_LINUX: f64 = 100.0;

pub(crate) fn main(options: &Migrate) -> Result<Ending> {
    let machines = host::machines(options).map_err(Usage::wrap)?;
    let script = script(options).map_err(Usage::wrap)?;
    if let Some(machines) = &machines {
        host::require(options, machines)?;
    }
    if script.traffic == TrafficKind::Tcp {
        tools::require("TCP traffic", &[Tool::program("iperf3", "iperf3")])?;
    }
    let parts = match machines {
        Some(machines) => parts::prepare_host(&script.application, script.qemu, machines)?,
        None => prepare(options, &script)?,
    };
    // Only now: an earlier report goes, and a build that is ended leaves no empty one.
    let place = Place::take(&options.report)?;
    let script = Script { logs: place.logs(), ..script };
    let mut result = rehearsal::run(&script, &parts)?;
    let compared =
        if options.compare { compare(options, &script, &mut result, &parts) } else { Ok(()) };
    let page = publish(&result, &place, options.json.as_deref())?;
    if let Some((stale @ 1.., checked)) = result.integrity.check() {
        println!(
            "{stale} of {checked} frames are STALE on arrival{}",
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
    Ok(ending(&result, &script))
}

/// What the script needs.
fn prepare(options: &Migrate, script: &Script) -> Result<LabParts> {
    let kernel = options.host.kernel();
    match (options.lab, script.guest) {
        (LabKind::Local, GuestKind::Godwit) => {
            let destination = options.destination.clone();
            parts::prepare_local(script.nic, &script.application, script.qemu, destination)
        }
        (LabKind::Local, GuestKind::Linux) => parts::prepare_local_linux(kernel, script.qemu),
        (_, GuestKind::Godwit) => parts::prepare(kernel, &script.application, script.qemu),
        (_, GuestKind::Linux) => parts::prepare_linux(kernel, script.qemu),
    }
}

/// Whether every migration ended as it should, and nothing is stale that the guest was to mark.
fn ending(result: &Migration, script: &Script) -> Ending {
    let is_cancelled = !script.cancel_at.is_empty();
    let expected = if is_cancelled { Outcome::Cancelled } else { Outcome::Completed };
    // Other applications may have nothing to check.
    let is_to_check = |run: &Migration| {
        let is_told = run.outcome == Outcome::Completed
            && run.strategy != Strategy::Failover
            && run.guest == GuestKind::Godwit
            && script.qemu.is_patched();
        is_told && script.application.is_ours()
    };
    let others: Vec<_> = result.second.as_deref().into_iter().chain(&result.comparisons).collect();
    let runs = result.runs();
    let all_ended = runs.iter().all(|run| run.outcome == expected)
        && others.iter().all(|other| other.outcome == Outcome::Completed);
    let mut all = runs.into_iter().chain(others);
    let is_checked = all.clone().all(|run| !is_to_check(run) || run.integrity.checked() > 0);
    let is_stale = all.any(|run| run.integrity.is_stale());
    if !is_checked {
        eprintln!("error: the guest checked no frame: whether any is stale is unknown");
    }
    match (is_stale && script.marking != Marking::Never, all_ended && is_checked) {
        (true, _) => Ending::Stale,
        (false, true) => Ending::AsAsked,
        (false, false) => Ending::Failed,
    }
}

/// The same with the strategies that the script does not have, or with those that Linux has.
fn compare(
    options: &Migrate,
    script: &Script,
    result: &mut Migration,
    parts: &LabParts,
) -> Result<()> {
    use GuestKind::{Godwit, Linux};
    use Strategy::{Cold, Failover};
    let others: Vec<(GuestKind, Strategy)> = match options.guest {
        Godwit => {
            let others = Strategy::ALL.into_iter().filter(|other| *other != script.strategy);
            others.map(|strategy| (Godwit, strategy)).collect()
        }
        Linux => vec![(Godwit, Failover), (Linux, Failover), (Linux, Cold)],
    };
    for (guest, strategy) in others {
        let which = format!("`--guest {guest} --strategy {strategy}`");
        eprintln!("The same with {which}, to compare:");
        let script = Script {
            guest,
            strategy,
            marking: if guest == Linux { Marking::Never } else { script.marking },
            standby: strategy == Failover,
            rate: result.traffic.paced_bits_per_s.map(|rate| rate as u64),
            // Cold has no NIC in its warm-up, and nothing to measure.
            saturated_warmup: strategy != Cold,
            logs: script.logs.join(format!("{guest}-{strategy}")),
            ..script.clone()
        };
        let run = || match guest {
            Godwit => rehearsal::run(&script, parts),
            Linux => rehearsal::run(&script, &prepare(options, &script)?),
        };
        result.comparisons.push(run().with_context(|| format!("{which}, to compare"))?);
    }
    Ok(())
}

/// Prints the table and writes the report. Returns the path of the page.
pub(crate) fn publish(result: &Migration, place: &Place, json: Option<&Path>) -> Result<PathBuf> {
    println!("\n{}", report::table(result));
    if let Some(second) = &result.second {
        println!("The same guest, migrated again:\n\n{}", report::table(second));
    }
    println!("What each figure is: {}", paths::checkout().join(TABLE_EXPLAINED).display());
    if let Some(path) = json {
        report::write_json(path, result)?;
    }
    report::write(place, result)
}

fn script(options: &Migrate) -> Result<Script> {
    if options.guest == GuestKind::Linux {
        check_linux(options)?;
    }
    let is_late = options.cancel_at.iter().any(|at| at.is_late());
    if options.strategy != Strategy::Warm && is_late {
        bail!(
            "`--cancel-at quiesce` and `quiesced` go with `--strategy warm`: with the others the \
             NIC leaves at the start"
        );
    }
    if options.machine == Chipset::Pc && options.bridge != Bridge::PciBridge {
        bail!("`--machine pc` has no PCI Express: it goes with `--bridge pci-bridge`");
    }
    if options.destination_nic.is_some() && options.lab != LabKind::Nested {
        bail!("`--destination-nic` goes with `--lab nested`");
    }
    let has_standby = options.standby || options.strategy == Strategy::Failover;
    if options.bridge != Bridge::PcieRootPort && (has_standby || options.strategy == Strategy::Cold)
    {
        bail!(
            "`--bridge {}` goes with `--strategy warm` without a standby: QEMU wants the NIC of a \
             pair on PCI Express, and Godwit can plug there only",
            options.bridge
        );
    }
    if options.strategy == Strategy::Cold && !options.cancel_at.is_empty() {
        bail!("`--cancel-at` goes with `warm` and `failover`: cold has no warm-up to cancel in");
    }
    if options.strategy == Strategy::Cold && options.standby {
        bail!("`--strategy cold` has no standby; with one, it is `--strategy failover`");
    }
    if !options.qemu.is_patched() {
        check_stock(options)?;
    }
    if options.nics > 1 && (has_standby || options.compare) {
        bail!(
            "`--nics {}` goes without a standby, and so without `--standby`, `--compare` and \
             `--strategy failover`: in the lab there is one for the first NIC only",
            options.nics
        );
    }
    if options.transfer > 0 && options.traffic != TrafficKind::Echo {
        bail!("`--transfer` goes with `--traffic echo`");
    }
    let beside_linux =
        (options.compare && options.guest == GuestKind::Linux).then_some(BESIDE_LINUX);
    let rate = options.rate.or(beside_linux).map(|megabits| (megabits * 1e6) as u64);
    if rate.is_some_and(|rate| !(1..=FASTEST).contains(&rate)) {
        bail!("`--rate` is in Mbit/s, more than 0 and at most {}", FASTEST / 1_000_000);
    }
    let nic = model(options);
    for nic in [nic].into_iter().chain(options.destination_nic) {
        check_model(options.lab, nic)?;
    }
    let application = match &options.image {
        Some(image) => Application::ours_built(image.clone()),
        None => options.app.find()?,
    };
    if !application.is_ours() && options.traffic == TrafficKind::Udp {
        bail!(
            "`--traffic udp` is counted by net-app itself; for {} choose `--traffic echo --port N` \
             if it sends back what it is sent there, `--traffic tcp --port N` if it serves iperf3, \
             or its own client: `--traffic client --port N --client 'curl -f \
             http://{{host}}:{{port}}'`",
            application.name
        );
    }
    if options.traffic == TrafficKind::Udp && options.port.is_some() {
        bail!("`--port` goes with `--traffic tcp`, `echo` and `client`");
    }
    let client = match (options.traffic, &options.client, options.port) {
        (TrafficKind::Client, Some(command), Some(port)) => Some((command.clone(), port)),
        (TrafficKind::Client, ..) => bail!(
            "`--traffic client` needs `--client COMMAND` and the `--port N` that it asks, as in \
             --port 80 --client 'curl -f http://{{host}}:{{port}}/'"
        ),
        (_, Some(_), _) => bail!("`--client` goes with `--traffic client`"),
        (_, None, _) => None,
    };
    if client.is_some() && rate.is_some() {
        bail!("`--rate` does not go with `--traffic client`: a client is as fast as it is");
    }
    let can_be_virtual = options.lab == LabKind::Nested && options.traffic == TrafficKind::Udp;
    if options.clock == ClockKind::Virtual && !can_be_virtual {
        bail!(
            "`--clock virtual` goes with `--lab nested --traffic udp`: all else has an end that is \
             a program of this machine, in this machine's time"
        );
    }
    let guest = if options.compare { GuestKind::Godwit } else { options.guest };
    Ok(Script {
        guest,
        application,
        clock: options.clock,
        nic,
        destination_nic: options.destination_nic,
        nics: options.nics.into(),
        strategy: options.strategy,
        standby: options.standby,
        qemu: options.qemu,
        chipset: options.machine,
        bridge: options.bridge,
        times: options.times,
        // Stock QEMU never tells the guest to, and Linux' drivers do not.
        marking: match (guest, options.qemu, options.marking) {
            (GuestKind::Linux, ..) => Marking::Never,
            (_, qemu, Marking::Auto) if !qemu.is_patched() => Marking::Always,
            (.., marking) => marking,
        },
        traffic: options.traffic,
        client,
        port: options.port,
        transfer: options.transfer.saturating_mul(1_000_000),
        rate,
        measure: Duration::from_secs(options.seconds.into()),
        warmup: options.warmup.map(|seconds| Duration::from_secs(seconds.into())),
        cancel_at: options.cancel_at.clone(),
        append: options.append.clone(),
        pcap: options.pcap.clone(),
        saturated_warmup: options.compare && options.strategy != Strategy::Cold,
        logs: PathBuf::new(),
    })
}

/// The model of the NICs, which are whatever they are on a machine of one's own.
fn model(options: &Migrate) -> NicModel {
    match options.nic {
        MigrationNic::Model(model) => model,
        MigrationNic::Functions(_) => NicModel::E1000e,
    }
}

/// Whether Linux can be the guest of that, or beside Godwit.
fn check_linux(options: &Migrate) -> Result<()> {
    match (options.compare, options.strategy) {
        (false, Strategy::Warm) => bail!(
            "`--guest linux` goes with `--strategy failover` and `cold`, since its drivers mark \
             nothing; or with `--compare`, which has both beside Godwit"
        ),
        (true, Strategy::Failover | Strategy::Cold) => {
            bail!("`--compare --guest linux` goes with `--strategy warm`, which is Godwit's")
        }
        _ => {}
    }
    if !matches!(options.traffic, TrafficKind::Udp | TrafficKind::Tcp) {
        bail!("`--guest linux` goes with `--traffic udp` and `tcp`: it serves nothing else");
    }
    if options.nics > 1 {
        bail!("`--guest linux` goes with one NIC");
    }
    if options.lab == LabKind::Host {
        bail!("`--guest linux` goes with `--lab nested` and `local`");
    }
    if options.lab == LabKind::Local && model(options) != NicModel::E1000e {
        bail!("`--guest linux --lab local` goes with `--nic e1000e`");
    }
    Ok(())
}

/// Whether the distribution's QEMU can do that.
fn check_stock(options: &Migrate) -> Result<()> {
    let (nic, qemu) = (model(options), options.qemu);
    if nic.is_process() {
        bail!("`--nic {nic}` is attached by vfio-user, which `--qemu {qemu}` does not have");
    }
    if options.strategy == Strategy::Warm && options.standby {
        bail!(
            "`--qemu {} --standby` takes the NIC at the start: it is `--strategy failover`",
            options.qemu
        );
    }
    if options.bridge != Bridge::PcieRootPort {
        bail!(
            "`--qemu {}` goes with `--bridge pcie-root-port`: Godwit can plug there only",
            options.qemu
        );
    }
    if options.compare {
        bail!("`--compare` goes with `--qemu patched`");
    }
    if options.cancel_at.iter().any(|at| at.is_late()) {
        bail!("`--cancel-at quiesce` and `quiesced` go with `--qemu patched`, which asks for that");
    }
    Ok(())
}

/// Whether that lab can have that model of a NIC.
pub(crate) fn check_model(lab: LabKind, nic: NicModel) -> Result<()> {
    match (lab, nic) {
        (LabKind::Local, NicModel::Igb) => bail!(
            "`--nic igb` goes with `--lab nested`: QEMU's has virtual functions in its slot, \
             which cannot be detached"
        ),
        (LabKind::Local, NicModel::Igbvf) => bail!(
            "`--nic igbvf` goes with `--lab nested`: a host's driver makes virtual functions, and \
             that lab has a host"
        ),
        (LabKind::Nested, nic @ (NicModel::Ixgbe | NicModel::Ixgbevf)) => bail!(
            "`--nic {nic}` goes with `--lab local`: QEMU, which is the other lab's host, has no \
             model of one"
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn linux_is_refused_what_it_cannot_do_and_stands_beside_godwit() {
        let guest = |more: &str| {
            let line = format!("xtask migrate --guest linux {more}");
            let Command::Migrate(options) = Cli::parse_from(line.split_whitespace()).command else {
                panic!()
            };
            script(&options).map(|script| script.guest).map_err(|error| error.to_string())
        };
        for wrong in [
            "",
            "--compare --strategy cold",
            "--strategy cold --traffic echo",
            "--strategy cold --nics 2",
            "--strategy cold --lab local --nic ixgbe",
        ] {
            let error = guest(wrong).unwrap_err();
            assert!(error.contains("--guest linux"), "{wrong}: {error}");
        }
        assert_eq!(guest("--strategy failover"), Ok(GuestKind::Linux));
        assert_eq!(guest("--compare"), Ok(GuestKind::Godwit));
    }

    #[test]
    fn stock_qemu_is_given_no_nic_that_is_a_process() {
        let refused = |nic: &str| {
            let line = ["xtask", "migrate", "--qemu", "stock", "--lab", "local", "--nic", nic];
            let Command::Migrate(options) = Cli::parse_from(line).command else { panic!() };
            check_stock(&options).err().map(|error| error.to_string())
        };
        assert_eq!(refused("e1000e"), None);
        for nic in ["ixgbe", "ixgbevf"] {
            let error = refused(nic).unwrap_or_default();
            assert!(error.contains(&format!("`--nic {nic}` is attached by vfio-user")), "{error}");
        }
    }
}
