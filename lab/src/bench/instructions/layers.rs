//! Which part of the guest an instruction belongs to.

use std::{collections::BTreeMap, path::Path};

use addr2line::Loader;
use anyhow::{Result, anyhow};

/// Parts of the guest, by how functions' names begin. The first of them that is in a name counts.
pub(super) type Parts = &'static [(&'static str, &'static str)];

/// Those that a frame goes through.
pub(super) const LAYERS: Parts = &[
    ("drivers::", DRIVER),
    ("unikernel::dma::", DRIVER),
    ("unikernel::mmio::", DRIVER),
    ("unikernel::net::", "glue"),
    ("unikernel::nic::", "glue"),
    ("smoltcp::", "smoltcp"),
    ("managed::", "smoltcp"),
    ("compiler_builtins::mem", "copying"),
    ("net_app::", "application"),
    ("reflect::", "application"),
    ("godwit::", "application"),
    ("unikernel::", "kernel"),
];
const DRIVER: &str = "driver and DMA layer";
const REST: &str = "the rest";

/// What something costs, in instructions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cost {
    /// All of it.
    pub total: f64,
    /// By part of the guest.
    pub layers: BTreeMap<&'static str, f64>,
    /// By function, with what was inlined into it, the most expensive first.
    pub functions: Vec<(String, f64)>,
    /// By line of the source, as `PATH:LINE`, wherever it was inlined, the most expensive first.
    pub lines: Vec<(String, f64)>,
}

/// An image with its symbols and lines, and the parts it has.
pub(super) struct Symbols {
    image: Loader,
    parts: Parts,
}

impl Symbols {
    pub(super) fn of(image: &Path, parts: Parts) -> Result<Self> {
        let loaded = Loader::new(image).map_err(|error| anyhow!("{}: {error}", image.display()));
        Ok(Self { image: loaded?, parts })
    }

    /// Adds up what instructions cost, of which each is executed so often for `per` times.
    pub(super) fn cost(&self, counts: &[(u64, i64)], per: f64) -> Cost {
        let mut cost = Cost::default();
        let mut functions: BTreeMap<String, f64> = BTreeMap::new();
        let mut lines: BTreeMap<String, f64> = BTreeMap::new();
        for &(address, count) in counts {
            let count = count as f64 / per;
            cost.total += count;
            *cost.layers.entry(self.layer(address)).or_default() += count;
            *functions.entry(self.function(address)).or_default() += count;
            *lines.entry(self.line(address)).or_default() += count;
        }
        (cost.functions, cost.lines) = (sorted(functions), sorted(lines));
        cost
    }

    fn line(&self, address: u64) -> String {
        let location = self.image.find_location(address).ok().flatten();
        let place = location.and_then(|it| Some((it.file?, it.line?)));
        place.map_or("?".into(), |(file, line)| format!("{file}:{line}"))
    }

    /// The function whose code it is, without what tells its instances apart.
    fn function(&self, address: u64) -> String {
        let name = self.image.find_symbol(address).unwrap_or("?");
        format!("{:#}", rustc_demangle::demangle(name))
    }

    /// Of the functions that are inlined into each other there, the innermost that is of a part.
    fn layer(&self, address: u64) -> &'static str {
        if let Ok(mut frames) = self.image.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                let name = frame.function.as_ref().and_then(|function| function.demangle().ok());
                if let Some(layer) = name.and_then(|name| layer_of(self.parts, &name)) {
                    return layer;
                }
            }
        }
        layer_of(self.parts, &self.function(address)).unwrap_or(REST)
    }
}

fn sorted(counts: BTreeMap<String, f64>) -> Vec<(String, f64)> {
    let mut sorted: Vec<_> = counts.into_iter().collect();
    sorted.sort_by(|one, other| other.1.total_cmp(&one.1));
    sorted
}

fn layer_of(parts: Parts, function: &str) -> Option<&'static str> {
    let found = parts.iter().filter_map(|(begin, layer)| Some((function.find(begin)?, *layer)));
    found.min_by_key(|(at, _)| *at).map(|(_, layer)| layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_that_of_the_type_and_not_of_the_trait() {
        for (name, layer) in [
            ("<drivers::intel::receive::ReceiveRing<_>>::receive", Some(DRIVER)),
            ("<unikernel::net::tokens::RxToken as smoltcp::phy::RxToken>::consume", Some("glue")),
            ("core::ptr::drop_in_place::<unikernel::dma::rx_buffer::RxBuffer>", Some(DRIVER)),
            ("unikernel::executor::run", Some("kernel")),
            ("compiler_builtins::mem::memcpy", Some("copying")),
            ("core::fmt::write", None),
        ] {
            assert_eq!(layer_of(LAYERS, name), layer, "{name}");
        }
    }
}
