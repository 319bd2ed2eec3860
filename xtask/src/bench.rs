//! `cargo xtask bench`.

use std::fs;

use anyhow::{Context, Result, ensure};
use lab::bench::{dma, instructions, native, nic, size};
use lab::parts::NicModel;
use serde_json::{Map, Value};

use crate::{
    cli::{Bench, BenchName},
    ending::Ending,
};

pub(crate) fn main(options: &Bench) -> Result<Ending> {
    use BenchName::{Boot, Dma, Instructions, Native, Nic, Size};
    let all = [Size, Dma, Native, Boot, Instructions, Nic];
    let names = if options.names.is_empty() { &all[..] } else { &options.names };
    let mut results = Map::new();
    for name in names {
        let (key, result) = match name {
            BenchName::Dma => ("dma", dma::run()?),
            BenchName::Native => ("native", native::run()?),
            BenchName::Size => ("size", size::run()?),
            BenchName::Boot => {
                ensure!(options.nic.len() < 2, "`bench boot` takes one `--nic`");
                let nic = options.nic.first().copied().unwrap_or(NicModel::E1000e);
                ("boot", instructions::boot(nic)?)
            }
            BenchName::Instructions => {
                ("instructions", instructions::run(&options.nic, &options.case)?)
            }
            BenchName::Nic => {
                ("nic", nic::run(&options.nic, options.rounds, options.host.kernel())?)
            }
        };
        results.insert(key.into(), result);
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&Value::from(results))?;
        fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    Ok(Ending::AsAsked)
}
