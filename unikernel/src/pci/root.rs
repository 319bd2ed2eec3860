//! Enumeration.

use super::bridge::on_bus;
use super::registers::HEADER_LAYOUT;
use super::{Bridge, Device, Function, HostBridge, PciAddress};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

/// A PCI segment.
#[derive(Clone)]
pub struct Root {
    host: Arc<dyn HostBridge>,
    segment: u16,
    buses: RangeInclusive<u8>,
}

/// What is in a segment.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// The bridges, each one after those above it.
    pub bridges: Vec<Bridge>,
    /// The endpoints.
    pub devices: Vec<Device>,
}

impl Topology {
    /// The bridges between a function and the host, the nearest first.
    pub fn bridges_above(&self, function: PciAddress) -> impl Iterator<Item = &Bridge> {
        let above = move |bridge: &&Bridge| bridge.buses().contains(&function.bus());
        self.bridges.iter().rev().filter(above)
    }
}

impl Root {
    /// The segment that `host` leads into.
    pub fn new(host: Arc<dyn HostBridge>, segment: u16, buses: RangeInclusive<u8>) -> Self {
        Self { host, segment, buses }
    }

    /// The segment that an entry of ACPI's MCFG table describes.
    ///
    /// # Errors
    /// [`Error::NotMappable`](super::Error::NotMappable).
    #[cfg(target_os = "none")]
    pub fn from_ecam(range: &crate::acpi::EcamRange) -> Result<Self, super::Error> {
        let host = Arc::new(super::Ecam::new(range)?);
        Ok(Self::new(host, range.segment, range.first_bus..=range.last_bus))
    }

    /// The one segment of a machine without ECAM; `None` where there is no PCI at all.
    #[cfg(target_os = "none")]
    pub fn from_ports() -> Option<Self> {
        let ports = super::ports::Ports::find()?;
        Some(Self::new(Arc::new(ports), 0, 0..=255))
    }

    /// Finds every function. Nothing below may be in use: BARs are sized, which stops decoding.
    ///
    /// Functions that cannot be used, and bridges without bus numbers, are left out and logged.
    pub fn enumerate(&self) -> Topology {
        self.walk().fold(Topology::default(), |mut all, found| {
            all.bridges.extend(found.bridges);
            all.devices.extend(found.devices);
            all
        })
    }

    /// The same a root bus at a time: what is on each, and below.
    ///
    /// A segment may have several root buses, as every machine with several processors does. Which
    /// ones, only firmware's AML says, so that each bus below no bridge is looked at. Most are
    /// empty, and looking at all of them takes a while: other tasks can have a turn after each.
    pub fn walk(&self) -> Walk<'_> {
        Walk { root: self, next: Some(*self.buses.start()), taken: Vec::new() }
    }

    /// What is on bus `first` and below. Buses that are `taken` are below the bridges of others.
    fn enumerate_from(&self, first: u8, taken: &[RangeInclusive<u8>]) -> Topology {
        let mut topology = Topology::default();
        let address = PciAddress::new(self.segment, first, 0, 0);
        let any = Function::new(self.host.clone(), address);
        let on_root = on_bus(&any, self.segment, first, 32).collect();
        self.visit(on_root, None, taken, &mut topology);
        topology
    }

    /// Bus numbers grow on the way down (`Bridge::open` sees to that), so this ends.
    fn visit(
        &self,
        functions: Vec<(Function, u8)>,
        above: Option<&Bridge>,
        others: &[RangeInclusive<u8>],
        topology: &mut Topology,
    ) {
        let windows = above.map(Bridge::windows).unwrap_or_default();
        let mut addresses = Vec::new();
        for (function, header) in functions {
            let address = function.address();
            match header & HEADER_LAYOUT {
                0 => match Device::open(function, &windows, &mut addresses) {
                    Ok(device) => topology.devices.push(device),
                    Err(error) => log::warn!("pci: {error}"),
                },
                1 => match Bridge::open(function) {
                    Some(bridge) if self.is_fresh(&bridge, others, topology) => {
                        let below = bridge.functions().collect();
                        topology.bridges.push(bridge.clone());
                        self.visit(below, Some(&bridge), others, topology);
                    }
                    _ => log::warn!("pci: {address}: bridge without usable bus numbers, skipped"),
                },
                layout => log::debug!("pci: {address}: header type {layout} is not supported"),
            }
        }
    }

    /// Whether a bridge's buses are in the segment and not another's secondary bus already: a bus
    /// that two bridges claim would be visited twice.
    fn is_fresh(
        &self,
        bridge: &Bridge,
        others: &[RangeInclusive<u8>],
        topology: &Topology,
    ) -> bool {
        let buses = bridge.buses();
        let is_same = |other: &Bridge| other.buses().start() == buses.start();
        self.buses.contains(buses.end())
            && !others.iter().any(|other| other.contains(buses.start()))
            && !topology.bridges.iter().any(is_same)
    }
}

/// Goes from root bus to root bus. See [`Root::walk`].
pub struct Walk<'a> {
    root: &'a Root,
    next: Option<u8>,
    /// The buses below each bridge so far.
    taken: Vec<RangeInclusive<u8>>,
}

impl Iterator for Walk<'_> {
    type Item = Topology;

    fn next(&mut self) -> Option<Topology> {
        let bus = self.next?;
        let found = self.root.enumerate_from(bus, &self.taken);
        if !found.bridges.is_empty() || !found.devices.is_empty() {
            log::debug!("pci: segment {}: bus {bus} is a root", self.root.segment);
        }
        self.taken.push(bus..=bus);
        self.taken.extend(found.bridges.iter().map(Bridge::buses));
        let is_free = |bus: &u8| !self.taken.iter().any(|taken| taken.contains(bus));
        self.next = (bus..=*self.root.buses.end()).find(is_free);
        Some(found)
    }
}
