//! The service of one bridge: its capability, and the NICs that come and go in the slot below it.
//!
//! One task runs one [`BridgeService`]. The capability's interrupt is a port's hot-plug interrupt
//! as well, so at each one the task looks at both, and at the capability first: what a NIC
//! received before it left has to be marked as the hypervisor's present state demands.
//!
//! To a virtual machine, configuration space and slots are slow: an access is an exit, and at some
//! of them the hypervisor resets a device or maps its memory, with the processor waiting. Between
//! such steps the interfaces drain what their NICs have received ([`Nics::drain`]), or the rings
//! would overflow.

use alloc::vec::Vec;
use core::str::FromStr;

use embassy_futures::select::select;
use embassy_futures::yield_now;
use embassy_time::{Duration, Timer};
use unikernel::console::Hold;
use unikernel::dma::{Policy, Pool};
use unikernel::pci::{Bridge, Device, PciAddress, Slot, SlotEvent, Topology, Vector};

use crate::capability::{self, Capability, PoolMarker};
use crate::migration::{Membership, Migration};
use crate::{Agent, Event, Nics, Why};

/// How often a bridge is looked at without an interrupt: one may be lost.
const IDLE: Duration = Duration::from_secs(1);
/// The same while the hypervisor logs: this is how lazily MARKED is kept, and how late a bridge
/// without an interrupt is heard.
const LOGGING: Duration = Duration::from_millis(100);
/// The same while the NICs are quiet: there is no traffic until a change is seen.
const QUIET: Duration = Duration::from_millis(10);

/// What happens when a slot is asked for its NIC: `detach=` on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detach {
    /// It gets it.
    #[default]
    Asked,
    /// It does not: there to show what becomes of a migration then.
    Never,
}

impl FromStr for Detach {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "asked" => Ok(Self::Asked),
            "never" => Ok(Self::Never),
            _ => Err("possible values: asked, never"),
        }
    }
}

/// What the services of all bridges share.
#[derive(Clone)]
pub struct Service<N> {
    nics: N,
    pool: &'static Pool,
    migration: Migration,
    detach: Detach,
}

impl<N: Nics> Service<N> {
    /// The service of a machine whose NICs are with `nics`, and whose drivers receive into `pool`.
    /// What it learns of migration is told to `migration`.
    pub fn new(nics: N, pool: &'static Pool, migration: Migration, detach: Detach) -> Self {
        Self { nics, pool, migration, detach }
    }

    /// Takes over what enumeration found in one segment: starts its NICs, and returns the services
    /// of its bridges, each to be [run](BridgeService::run) by a task of its own.
    pub async fn take_over(&self, topology: &Topology) -> Vec<BridgeService<N>> {
        let is_covered = |address| topology.bridges_above(address).any(capability::has_capability);
        for device in &topology.devices {
            self.attach(device.clone(), is_covered(device.address())).await;
        }
        let bridges = topology.bridges.iter();
        bridges.filter_map(|bridge| self.bridge(topology, bridge)).collect()
    }

    /// The service of a bridge; `None` if it has neither a capability nor a slot.
    fn bridge(&self, topology: &Topology, bridge: &Bridge) -> Option<BridgeService<N>> {
        let slot = Slot::new(bridge).unwrap_or_else(|error| {
            log::error!("slot: {error}: NICs cannot be plugged there");
            None
        });
        let agent = capability::agent(bridge);
        let vector = match (&slot, &agent) {
            (None, None) => return None,
            (None, Some(_)) => bridge
                .enable_interrupt()
                .inspect_err(|error| log::warn!("agent: {error}: looking every so often"))
                .ok(),
            (Some(_), _) => None,
        };
        let agent = agent.map(|mut agent| {
            // Every driver there is receives through the DMA layer, which marks. With
            // `marking=never` this is a lie, and meant to be one: it is there to show what happens.
            agent.promise(true, true);
            (agent, self.migration.join())
        });
        // The nearest capability speaks for a device.
        let speaks_for = |address| {
            let above = topology.bridges_above(address);
            above.filter(|above| capability::has_capability(above)).map(Bridge::address).next()
        };
        let is_covered = agent.is_some() || speaks_for(bridge.address()).is_some();
        let below = topology.bridges.iter().filter(|other| {
            bridge.is_above(other.address())
                && !capability::has_capability(other)
                && (agent.is_none() || speaks_for(other.address()) == Some(bridge.address()))
        });
        let below = below.cloned().collect();
        let (service, bridge) = (self.clone(), bridge.clone());
        Some(BridgeService {
            service,
            bridge,
            below,
            slot,
            agent,
            vector,
            is_covered,
            told: false,
            silence: None,
        })
    }

    /// Gives a device to its driver, and marks always if nobody would tell when to.
    async fn attach(&self, device: Device, is_covered: bool) {
        let attached = self.nics.attach(device).await;
        if attached.is_some_and(|attached| !is_covered && !attached.is_logged) {
            mark_always(self.pool);
        }
    }
}

/// Marks everything from now on, and says so once: there is no capability above the NIC.
fn mark_always(pool: &Pool) {
    if pool.policy() == Policy::Auto && !pool.is_marking() {
        unikernel::println!("agent: no capability above the NIC, marking always");
    }
    // Also while another bridge's agent has it marked: that one will stop.
    pool.mark_always();
}

/// A bridge with a slot, a migration capability, or both.
pub struct BridgeService<N> {
    service: Service<N>,
    bridge: Bridge,
    /// The bridges below it whose devices no other capability speaks for.
    below: Vec<Bridge>,
    slot: Option<Slot>,
    agent: Option<(Agent<Capability>, Membership)>,
    /// The capability's interrupt, where no slot has it already.
    vector: Option<Vector>,
    /// It, or a bridge above it, has the migration capability.
    is_covered: bool,
    /// It was said that the NICs stay although they were asked for.
    told: bool,
    /// The NICs are quiet, and the console with them.
    silence: Option<Hold>,
}

impl<N: Nics> BridgeService<N> {
    /// Serves the bridge, for ever.
    pub async fn run(mut self) {
        let interrupt = match (&self.slot, &self.vector) {
            (Some(slot), _) => Some(slot.interrupt()),
            (None, vector) => vector.as_ref().map(|vector| vector.interrupt.clone()),
        };
        loop {
            self.serve().await;
            if let Some(vector) = &self.vector {
                vector.interrupt.unmask();
            }
            let timer = Timer::after(self.patience());
            match &interrupt {
                Some(interrupt) => {
                    select(interrupt.wait(), timer).await;
                }
                None => timer.await,
            }
        }
    }

    fn patience(&self) -> Duration {
        match &self.agent {
            Some((agent, _)) if agent.is_quiet() => QUIET,
            Some((agent, _)) if agent.logging() => LOGGING,
            _ => IDLE,
        }
    }

    /// Deals with everything that has happened.
    pub(crate) async fn serve(&mut self) {
        self.poll_agent().await;
        while let Some(event) = self.slot.as_mut().and_then(Slot::poll) {
            match event {
                SlotEvent::EjectRequested if self.service.detach == Detach::Never => {
                    unikernel::println!("nic: asked to leave, and stays: detach=never");
                    self.slot.as_mut().expect("it has just said something").refuse();
                }
                SlotEvent::EjectRequested | SlotEvent::Removed => self.empty_slot().await,
                SlotEvent::Inserted => {
                    // It may be a migration that brought it, since the agent was looked at.
                    self.poll_agent().await;
                    self.fill_slot().await;
                }
            }
            // Powering a slot takes a while; logging may have begun meanwhile.
            self.poll_agent().await;
        }
    }

    async fn poll_agent(&mut self) {
        let Some((agent, membership)) = &mut self.agent else { return };
        let nics = &self.service.nics;
        let mut marker = PoolMarker(self.service.pool);
        loop {
            let event = agent.poll(&mut marker);
            match event {
                Event::None => break,
                Event::CatchingUp | Event::Other { .. } => {}
                Event::LoggingStarted { epoch, caught_up } => {
                    unikernel::println!("agent: logging on epoch={epoch} caught-up={caught_up}");
                }
                Event::LoggingStopped { epoch } => {
                    unikernel::println!("agent: logging off epoch={epoch}");
                }
                Event::Moved { epoch } => unikernel::println!("agent: moved epoch={epoch}"),
                Event::Quiesced { epoch } => log::info!("agent: quiet epoch={epoch}"),
                Event::QuiesceRequested if self.service.detach == Detach::Never => {
                    if !core::mem::replace(&mut self.told, true) {
                        unikernel::println!("nic: asked to be quiet, and stays: detach=never");
                    }
                    break;
                }
                Event::QuiesceRequested => {
                    membership.update(|bridge| bridge.leaving = true);
                    let own = [&self.bridge].into_iter().chain(&self.below);
                    let buses: Vec<u8> = own.map(|bridge| *bridge.buses().start()).collect();
                    let segment = self.bridge.address().segment();
                    let below =
                        |nic: PciAddress| nic.segment() == segment && buses.contains(&nic.bus());
                    nics.release(below, Why::Quiesced).await;
                    // The acknowledgement may be all that the migration waits for. From here until
                    // there is a NIC again, nobody waits for the console.
                    self.silence = Some(unikernel::console::hold());
                    nics.drain().await;
                    agent.quiesced();
                }
            }
            membership.update(|bridge| {
                bridge.logging = agent.logging();
                bridge.epoch = agent.epoch();
                bridge.leaving &= agent.logging();
                bridge.moves += u32::from(matches!(event, Event::Moved { .. }));
            });
            // NICs and watchers have their turn between two slices, and however often a hypervisor
            // changes its mind.
            yield_now().await;
            if matches!(event, Event::Moved { .. }) {
                // From the standby, if there is one; its service goes on before anything else does.
                nics.announce();
                nics.drain().await;
            }
            if agent.take_release() {
                self.told = false;
                membership.update(|bridge| bridge.leaving = false);
                for bridge in [&self.bridge].into_iter().chain(&self.below) {
                    bridge.restore();
                    let devices = bridge.attach(&self.below);
                    nics.drain().await;
                    for device in devices {
                        self.service.attach(device, self.is_covered).await;
                    }
                }
                self.silence = None;
            }
        }
        membership.update(|bridge| {
            bridge.logging = agent.logging();
            bridge.epoch = agent.epoch();
        });
    }

    /// Gives the slot's card up.
    async fn empty_slot(&mut self) {
        if let Some((agent, membership)) = &self.agent {
            membership.update(|bridge| bridge.leaving = agent.logging());
        }
        self.service.nics.release(|nic| self.bridge.is_above(nic), Why::Detached).await;
        self.service.nics.drain().await;
        if let Some(slot) = &mut self.slot {
            slot.power_off().await;
        }
    }

    /// Takes the slot's card into use.
    async fn fill_slot(&mut self) {
        let Some(slot) = &mut self.slot else { return };
        if let Err(error) = slot.power_on().await {
            log::error!("slot: {error}");
            return;
        }
        let nics = &self.service.nics;
        nics.drain().await;
        let devices = self.bridge.attach(&self.below);
        nics.drain().await;
        for device in devices {
            self.service.attach(device, self.is_covered).await;
        }
    }
}
