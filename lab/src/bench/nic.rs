//! Godwit and Linux take turns on the same model of a NIC, in software emulation, with the same
//! client.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    rounds::{Rounds, Sample, rounded},
    systems::{System, Systems},
    udp::{self, Range},
};
use crate::{
    addresses::IPERF3_PORT,
    build::crates,
    guest::{Forward, Net, Wire, clients, nic as wires},
    parts::NicModel,
    result::Facts,
    system::{paths, processors::ProcessorTime, progress::Step, scratch::Scratch},
};

/// One of each family that has hardware.
const NICS: [NicModel; 4] = [NicModel::E1000, NicModel::E1000e, NicModel::Igb, NicModel::Ixgbe];
/// Seconds of each TCP run, and before them those that do not count.
const TCP: [&str; 4] = ["--time", "4", "--omit", "1"];

/// Measures each of these NICs so often, or one of each family. Linux is this kernel, or the
/// distribution's.
///
/// # Errors
/// One of the guests does not boot, or receives nothing.
pub fn run(nics: &[NicModel], rounds: u32, kernel: Option<&Path>) -> Result<Value> {
    let nics = if nics.is_empty() { &NICS[..] } else { nics };
    if nics.iter().any(|nic| nic.is_process()) {
        // Now, not in the middle of a measurement.
        crates::ixgbe_model()?;
    }
    let logs = paths::target().join("bench-logs");
    let systems = Systems::prepare(kernel, &logs)?;
    let (qemu, linux) = systems.versions();
    let Facts { processor, processors, .. } = Facts::of_this_machine();
    println!(
        "{qemu}, software emulation (TCG), on {processors} processors ({processor}); \
         Linux {linux}\n\
         {rounds} rounds in turns; medians, in parentheses lowest and highest\n"
    );
    let mut results = Vec::new();
    for nic in nics {
        let started = ProcessorTime::now();
        let measured = measure(&systems, *nic, rounds)?;
        let others =
            started.zip(ProcessorTime::now()).and_then(|(start, end)| end.others_since(start));
        print!("{}", measured.table(&nic.to_string()));
        if let Some(others) = others {
            println!("others took {:.0} % of the processors", others * 100.0);
        }
        println!();
        let mut result = measured.json();
        result.insert("nic".into(), nic.to_string().into());
        result.insert("taken_by_others".into(), others.map_or(Value::Null, rounded));
        results.push(Value::from(result));
    }
    Ok(json!({
        "qemu": qemu, "accelerator": "tcg", "linux": linux, "processor": processor,
        "processors": processors, "udp_payload": udp::PAYLOAD, "nics": results,
    }))
}

fn measure(systems: &Systems, nic: NicModel, rounds: u32) -> Result<Rounds> {
    let mut step = Step::new(format!("Measuring {nic}"));
    let mut all = Vec::new();
    let steps = u64::from(rounds) * 2;
    for round in 0..rounds {
        let mut samples = [Sample::default(); 2];
        // Who goes first takes turns as well.
        let mut order = [System::Godwit, System::Linux];
        order.rotate_left(round as usize % 2);
        for (index, system) in order.into_iter().enumerate() {
            step.set(u64::from(round) * 2 + index as u64, steps);
            samples[system as usize] = sample(systems, system, nic)
                .with_context(|| format!("{} with {nic}", system.name()))?;
        }
        all.push(samples);
    }
    step.finish("done");
    Ok(Rounds(all))
}

fn sample(systems: &Systems, system: System, nic: NicModel) -> Result<Sample> {
    let port = clients::free_port()?;
    let forward = Forward { host: port, guest: IPERF3_PORT };
    let user = Wire::Netdev(wires::backend(&Net::User, &[forward])?);
    let (running, boot) = systems.boot(system, nic, &user)?;
    let tcp_receive = clients::iperf3(port, &TCP)?;
    let tcp_send = clients::iperf3_after_another(port, &[&TCP[..], &["--reverse"]].concat())?;
    drop(running);

    let directory = Scratch::new()?;
    let socket = directory.join("nic");
    let range = Range::start(&socket)?;
    let (mut running, _) = systems.boot(system, nic, &Wire::Socket(Path::new(&socket)))?;
    let paced = range.best_paced()?;
    let flood = range.flood();
    // One that receives nothing is slow; one that is gone has crashed.
    running.ensure_running().context("under the flood")?;
    Ok(Sample {
        tcp_receive,
        tcp_send,
        udp_best_paced: paced.received,
        udp_flood: flood.received,
        udp_offered: flood.offered,
        boot: boot.as_secs_f64(),
    })
}
