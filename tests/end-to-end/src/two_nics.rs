//! Guests with two passthrough NICs, each below a port of its own, which migrate together.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use lab::result::{Interface, Migration};

use crate::{
    migrations::{check, completed, fresh, migrate},
    options::Kernel,
    suite::{LONG, MINUTES, Suite},
};

/// The part of what is sent to the first interface that each other one is sent.
const PART_OF_OTHERS: f64 = 0.1;
/// Of the phase in which both are to receive, which the second may miss the beginning of.
const SECONDS: [&str; 2] = ["--seconds", "3"];

pub(crate) fn add_local(suite: &mut Suite, kernel: Kernel) {
    let run = |log: &Path, kernel, marking| {
        let arguments = ["--lab", "local", "--nic", "ixgbe", "--nics", "2", "--marking", marking];
        migrate(log, kernel, &[&arguments[..], &SECONDS].concat())
    };
    suite.test("migrate --lab local --nic ixgbe --nics 2", LONG, move |log| {
        let migration = run(log, kernel, "auto")?;
        completed(&migration)?;
        let remark = flowing(&migration)?;
        for interface in &migration.interfaces {
            let (stale, written) = pages(interface)?;
            ensure!(stale == 0, "{stale} of {written} pages of {} stale", interface.name);
        }
        // Each names itself in what it says of its link.
        let console = log.with_extension("report").join("logs/source.log");
        let said = fs::read_to_string(&console).with_context(|| console.display().to_string())?;
        ensure!(said.contains("nic1: link up"), "nic1 said nothing of its link");
        Ok(format!("{}; {remark}", fresh(&migration)?))
    });
    let name = "migrate --lab local --nic ixgbe --nics 2 --marking never loses writes of both";
    suite.test(name, LONG, move |log| {
        let migration = run(log, kernel, "never")?;
        completed(&migration)?;
        let (frames, checked) = check(&migration)?;
        ensure!(frames > 0, "0 of {checked} frames stale without marking: the test cannot fail");
        let mut remark = format!("{frames} of {checked} frames");
        for interface in &migration.interfaces {
            let (stale, written) = pages(interface)?;
            let name = &interface.name;
            ensure!(stale > 0, "0 of {written} pages of {name} stale: the test cannot fail");
            remark += &format!(", {stale} of {written} pages of {name}");
        }
        Ok(remark + " stale")
    });
}

pub(crate) fn add_nested(suite: &mut Suite, kernel: Kernel) {
    suite.alone("migrate --nics 2", MINUTES, move |log| {
        let migration = migrate(log, kernel, &[&["--nics", "2"][..], &SECONDS].concat())?;
        completed(&migration)?;
        let remark = flowing(&migration)?;
        Ok(format!("{}; {remark}", fresh(&migration)?))
    });
}

/// Checks that both interfaces received at least half of what they were sent once all was over, and
/// says how long they received nothing.
fn flowing(migration: &Migration) -> Result<String> {
    let [first, second] = &migration.interfaces[..] else {
        anyhow::bail!("the result has {} interfaces", migration.interfaces.len());
    };
    let traffic = &migration.traffic;
    let (bits, length) = traffic
        .paced_bits_per_s
        .zip(traffic.ip_length)
        .context("the traffic is no paced datagrams")?;
    let time = migration.phases.last().map_or(0.0, |after| after.end_ms - after.start_ms) / 1000.0;
    let sent = bits / 8.0 / length as f64 * time;
    for (interface, part) in [(first, 1.0), (second, PART_OF_OTHERS)] {
        let (name, received) = (&interface.name, interface.received_after);
        ensure!(
            received as f64 > sent * part / 2.0,
            "{name} received {received} datagrams afterwards, of {:.0}",
            sent * part
        );
    }
    Ok(format!("gaps of {:.0} and {:.0} ms", first.service_gap_ms, second.service_gap_ms))
}

/// Stale pages of an interface's NIC, and how many it wrote.
fn pages(interface: &Interface) -> Result<(u64, u64)> {
    let counts = interface.pages_stale.zip(interface.pages_written);
    let (stale, written) = counts.context("nobody compared the machines' memory")?;
    ensure!(written > 0, "the NIC of {} wrote no page", interface.name);
    Ok((stale, written))
}
