//! Instructions that a frame costs the guest, counted and not measured: how busy this machine is
//! does not matter.
//!
//! A case is sent batches: first empty ones, of a marker alone, then as many with frames before
//! the marker. What is executed for the second series and not for the first is what the frames
//! cost; boot, idle, interrupts and the marker are in neither. The first series is what a batch
//! costs, however long it is.

mod boot;
mod cases;
mod connection;
mod counts;
mod layers;
mod marker;
mod tcp;
mod wire;

use std::{path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use self::{
    cases::Driver,
    layers::{LAYERS, Symbols},
};
use crate::{
    addresses::GUEST,
    build::{application::Application, crates, qemu},
    guest::{Guest, READY, Wire},
    parts::NicModel,
    system::{paths, progress::Step, scratch::Scratch},
};

pub use boot::boot;
pub use cases::{CASES, Case};
pub use layers::Cost;

/// Batches of each series.
const BATCHES: u32 = 200;
/// Frames of a full one: with the marker, fewer than the driver hands on in one turn.
const BATCH: u32 = 32;
/// Batches of either kind that do not count: neighbours are found, tables grow.
const WARM_UP: u32 = 10;
/// After the answer to a marker, until the guest sleeps.
const PAUSE: Duration = Duration::from_millis(1);
/// Functions in the table.
const FUNCTIONS: usize = 24;
/// What is measured if nothing is chosen.
const NICS: [NicModel; 1] = [NicModel::E1000e];

/// Instructions that a case costs with a NIC.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    /// A frame.
    pub frame: Cost,
    /// A batch without frames: interrupt, turn, the marker, and what the guest does meanwhile.
    pub batch: f64,
}

/// Counts all cases, or those of these names, with each of these NICs, or with the one of most
/// figures.
///
/// # Errors
/// There is no case of a name, the patched QEMU cannot be built, or a guest does not do what it
/// should.
pub fn run(nics: &[NicModel], names: &[String]) -> Result<Value> {
    let all = || CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
    for name in names {
        ensure!(CASES.iter().any(|case| case.name == name), "no case {name}, but {}", all());
    }
    let is_chosen = |case: &&Case| names.is_empty() || names.iter().any(|name| name == case.name);
    let nics = if nics.is_empty() { &NICS[..] } else { nics };
    let mut results = Vec::new();
    for &nic in nics {
        for case in CASES.iter().filter(is_chosen) {
            let step = Step::new(format!("Counting {} with {nic}", case.name));
            let counted = count(case, nic).with_context(|| format!("{} with {nic}", case.name))?;
            step.finish("done");
            print!("{}", table(case, nic, &counted));
            results.push(json(case, nic, &counted));
        }
    }
    Ok(results.into())
}

/// Counts one case.
///
/// # Errors
/// As those of [`run`].
pub fn count(case: &Case, nic: NicModel) -> Result<Counted> {
    let folder = paths::checkout().join(case.application);
    let image = Application::find(Some(&folder))?.build()?;
    let mut machine = Machine::start(&image, nic, case.name, case.append)?;
    machine.guest.wait_for(READY)?;
    let Machine { guest, counter, wire } = &mut machine;

    let mut driver = Driver::new(case, wire)?;
    let mut series = |batches: u32, frames: u32| {
        for _ in 0..batches {
            driver.batch(wire, frames)?;
            thread::sleep(PAUSE);
        }
        counter.now()
    };
    series(WARM_UP, BATCH)?;
    let begin = series(WARM_UP, 0)?;
    let empty = series(BATCHES, 0)?;
    let full = series(BATCHES, BATCH)?;
    guest.ensure_running()?;
    let (full, empty) = (full.since(&empty), empty.since(&begin));
    ensure!(full.total() > empty.total(), "nothing was counted");
    let frame = Symbols::of(&image, LAYERS)?.cost(&full.over(&empty), f64::from(BATCHES * BATCH));
    Ok(Counted { frame, batch: empty.total() as f64 / f64::from(BATCHES) })
}

/// A machine whose instructions are counted, and its wire.
struct Machine {
    guest: Guest,
    counter: counts::Counter,
    wire: wire::Wire,
}

impl Machine {
    /// Starts it. `name` is the log's.
    fn start(image: &Path, nic: NicModel, name: &str, append: &str) -> Result<Self> {
        // The plugin is written against its interface, which other versions of QEMU do not have.
        let (qemu, plugin) = (qemu::get()?, crates::instructions()?);
        let logs = paths::target().join("bench-logs");
        std::fs::create_dir_all(&logs)?;
        let sockets = Scratch::new()?;
        let (counts, frames) = (sockets.join("counts"), sockets.join("wire"));
        let (counter, wire) = (counts::Listener::new(&counts)?, wire::Listener::new(&frames)?);
        let plugin = format!("file={},counts={}", plugin.display(), counts.display());
        let options = ["-icount", "shift=0", "-plugin", &plugin].map(str::to_owned);
        let append = format!("ip={}/24 {append}", GUEST.ip);
        let log = logs.join(format!("instructions-{name}-{nic}.log"));
        let wires = Wire::Socket(&frames);
        let guest = Guest::boot_image(&qemu, image, &wires, nic, &log, &append, &options)?;
        Ok(Self { guest, counter: counter.accept()?, wire: wire.accept()? })
    }
}

fn table(case: &Case, nic: NicModel, counted: &Counted) -> String {
    let Counted { frame, batch } = counted;
    let mut text = format!(
        "{} with {nic}: {:.0} instructions a frame; {batch:.0} a batch\n",
        case.name, frame.total
    );
    for (layer, count) in &frame.layers {
        text += &format!("  {count:>8.1}  {layer}\n");
    }
    text += "  by function, with what is inlined into it\n";
    for (function, count) in frame.functions.iter().take(FUNCTIONS) {
        let name: String = function.chars().take(110).collect();
        text += &format!("  {count:>8.1}  {name}\n");
    }
    text + "\n"
}

fn json(case: &Case, nic: NicModel, counted: &Counted) -> Value {
    let Counted { frame, batch } = counted;
    json!({
        "case": case.name, "nic": nic.to_string(), "frame": frame.total, "batch": batch,
        "layers": frame.layers,
        "functions": frame.functions, "lines": frame.lines,
    })
}
