//! `cargo xtask bench`, as scripts read it: that it measures, not what.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    migrations::{command, path},
    options::Kernel,
    suite::{LONG, Suite},
};

/// What a round has figures of.
const FIGURES: [&str; 6] =
    ["tcp_receive", "tcp_send", "udp_best_paced", "udp_flood", "udp_offered", "boot"];

pub(crate) fn add(suite: &mut Suite, kernel: Kernel) {
    suite.alone("bench dma measures", LONG, |log| {
        let result = bench(log, None, &["dma"])?;
        let ns = |name: &str| result["dma"][name]["ns"].as_f64().context(name.to_owned());
        let (without, with) = (ns("frame_received_unmarked")?, ns("frame_received_marked")?);
        ensure!(0.0 < without && without < with, "a frame takes {without} ns, marked {with} ns");
        Ok(format!("{without:.0} ns a frame, {with:.0} ns marked"))
    });
    suite.alone("bench nic compares with Linux", LONG, move |log| {
        let options = ["nic", "--nic", "e1000e", "--rounds", "1"];
        let result = bench(log, kernel, &options)?;
        let nic = &result["nic"]["nics"][0];
        for name in FIGURES {
            let of = |who: &str| nic[who][name]["median"].as_f64();
            let (godwit, linux) = of("godwit").zip(of("linux")).context(name)?;
            // Linux may report nothing of a flood.
            ensure!(godwit > 0.0 && (linux > 0.0 || name == "udp_flood"), "{name}: {nic}");
        }
        let tcp = nic["ratio"]["tcp_receive"]["median"].as_f64().context("no ratio")?;
        Ok(format!("TCP received, {tcp:.2} times what Linux does"))
    });
}

/// What it writes for scripts.
fn bench(log: &Path, kernel: Kernel, options: &[&str]) -> Result<Value> {
    let json = log.with_extension("json");
    command(log, kernel, &[&["bench"], options, &["--json", path(&json)?]].concat())?;
    Ok(serde_json::from_str(&fs::read_to_string(&json)?)?)
}
