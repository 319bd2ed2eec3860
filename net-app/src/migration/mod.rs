//! What a live migration asks of the guest: an agent for the capability of each port, and NICs that come and go in the
//! port's slot.
//!
//! One task watches one [`Port`]. The capability's interrupt is the port's hot-plug interrupt, so at each one it looks
//! at both, and at the capability first: what a NIC received before it left has to be marked as the hypervisor's present
//! state demands.
//!
//! To a virtual machine, configuration space and slots are slow: an access is an exit, and at some of them the hypervisor
//! resets a device or maps its memory, with the processor waiting. Between such steps the stack catches up with what the
//! standby has received ([`Stack::drain`](unikernel::net::Stack::drain)), or its ring would overflow.

use alloc::boxed::Box;
use core::str::FromStr;

use embassy_futures::{select::select, yield_now};
use embassy_time::{Duration, Instant, Timer};
use migrate_agent::{Agent, Event, Marker, Registers, Slice, Unusable, registers};
use unikernel::dma::{Policy, Pool};
use unikernel::net::Role;
use unikernel::nic::{Nic, Settings};
use unikernel::pci::{Bridge, Device, PciAddress, Slot, SlotEvent, Vector, VendorCapability};

use crate::app::App;

/// Offset of the vendor's id in configuration space.
const VENDOR_ID: u16 = 0;
/// How often a port is looked at without an interrupt: one may be lost.
const IDLE: Duration = Duration::from_secs(1);
/// The same while the hypervisor logs: this is how lazily MARKED is kept.
const LOGGING: Duration = Duration::from_millis(100);
/// How long after a move the recorder's check waits for a NIC.
const NIC_PATIENCE: Duration = Duration::from_secs(1);

/// How long a NIC that is about to leave still receives while its standby is in use: for a switch to have heard of that, and
/// for what it had already sent.
const STRAGGLERS: Duration = Duration::from_millis(20);

/// Starts the driver of a device.
pub type Probe = fn(Device, &'static Pool, &Settings) -> Result<Box<dyn Nic>, drivers::Error>;

/// What is around a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// A NIC of the stack's is in its slot, and which.
    pub holds: Option<Role>,
    /// It, or a bridge above it, has a migration capability.
    pub covered: bool,
}

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

/// A port with a slot, a migration capability, or both.
pub struct Port {
    app: App,
    bridge: Bridge,
    probe: Probe,
    settings: Settings,
    detach: Detach,
    slot: Option<Slot>,
    agent: Option<Agent<Capability>>,
    vector: Option<Vector>,
    place: Place,
    /// When to check what the recorder holds, at the latest.
    check_at: Option<Instant>,
}

impl Port {
    /// Takes a bridge over; `None` if there is nothing about it to watch. A NIC that comes is started by `probe` with
    /// `settings`,
    /// and leaves as `detach` says.
    pub fn new(
        app: &App,
        bridge: &Bridge,
        place: Place,
        probe: Probe,
        settings: Settings,
        detach: Detach,
    ) -> Option<Self> {
        let slot = Slot::new(bridge).unwrap_or_else(|error| {
            log::error!("slot: {error}: NICs cannot be plugged there");
            None
        });
        let agent = agent(bridge);
        let vector = match (&slot, &agent) {
            (None, None) => return None,
            (None, Some(_)) => bridge
                .enable_interrupt()
                .inspect_err(|error| log::warn!("agent: {error}: looking every so often"))
                .ok(),
            (Some(_), _) => None,
        };
        let mut port = Self {
            app: app.clone(),
            bridge: bridge.clone(),
            probe,
            settings,
            detach,
            slot,
            agent,
            vector,
            place,
            check_at: None,
        };
        if let Some(agent) = &mut port.agent {
            // Every driver there is receives through the DMA layer, which marks. With `marking=never` this is a lie,
            // and meant to be one: it is there to show what happens then.
            agent.promise(true, true);
        }
        Some(port)
    }

    /// Watches the port, for ever.
    pub async fn watch(mut self) -> ! {
        let interrupt = match (&self.slot, &self.vector) {
            (Some(slot), _) => Some(slot.interrupt()),
            (None, vector) => vector.as_ref().map(|vector| vector.interrupt.clone()),
        };
        loop {
            self.serve().await;
            if let Some(vector) = &self.vector {
                vector.interrupt.unmask();
            }
            let logging = self.agent.as_ref().is_some_and(Agent::logging);
            let timer = Timer::after(if logging { LOGGING } else { IDLE });
            match &interrupt {
                Some(interrupt) => {
                    select(interrupt.wait(), timer).await;
                }
                None => timer.await,
            }
        }
    }

    /// Deals with everything that has happened.
    async fn serve(&mut self) {
        self.poll_agent().await;
        while let Some(event) = self.slot.as_mut().and_then(Slot::poll) {
            match event {
                SlotEvent::EjectRequested if self.detach == Detach::Never => {
                    unikernel::println!("nic: asked to leave, and stays: detach=never");
                    self.slot.as_mut().expect("it has just said something").refuse();
                }
                SlotEvent::EjectRequested | SlotEvent::Removed => self.let_go().await,
                SlotEvent::Inserted => {
                    // It may be a migration that brought it, since the agent was looked at.
                    self.poll_agent().await;
                    self.take_in().await;
                }
            }
            // Powering a slot takes a while; logging may have begun meanwhile.
            self.poll_agent().await;
        }
        if self.check_at.is_some_and(|at| self.place.holds.is_some() || Instant::now() >= at) {
            self.check_at = None;
            self.app.request_check();
        }
    }

    async fn poll_agent(&mut self) {
        let Some(agent) = &mut self.agent else { return };
        let mut marker = PoolMarker(self.app.pool());
        loop {
            match agent.poll(&mut marker) {
                Event::None => break,
                Event::CatchingUp => {}
                Event::LoggingStarted { epoch, caught_up } => {
                    unikernel::println!("agent: logging on epoch={epoch} caught-up={caught_up}");
                }
                Event::LoggingStopped { epoch } => {
                    unikernel::println!("agent: logging off epoch={epoch}");
                    self.app.request_check();
                }
                Event::Moved { epoch } => {
                    unikernel::println!("agent: moved epoch={epoch}");
                    self.app.update_migration(|migration| migration.moves += 1);
                    // What the standby receives until then is not to drive out what came before the move.
                    self.app.recorder().hold_for_check();
                    self.check_at = Some(Instant::now() + NIC_PATIENCE);
                    // From the standby, if there is one; its service goes on before anything else does.
                    self.app.stack().announce();
                    self.app.stack().drain().await;
                }
            }
            // The NIC has its turn between two slices, and however often a hypervisor changes its mind.
            yield_now().await;
        }
        let (logging, epoch) = (agent.logging(), agent.epoch());
        self.app.update_migration(|migration| {
            migration.capability = true;
            migration.logging = logging;
            migration.epoch = epoch;
        });
    }

    /// Gives the slot's card up.
    async fn let_go(&mut self) {
        if let Some(role) = self.place.holds.take() {
            if self.app.stack().switch_over_from(role) {
                Timer::after(STRAGGLERS).await;
            }
            if let Some(mut nic) = self.app.stack().detach(role) {
                nic.stop();
            }
            match role {
                Role::Primary => unikernel::println!("nic: detached"),
                Role::Standby => unikernel::println!("nic: standby detached"),
            }
        }
        // An empty slot may be all that a migration waits for.
        unikernel::console::written().await;
        self.app.stack().drain().await;
        if let Some(slot) = &mut self.slot {
            slot.power_off().await;
        }
    }

    /// Takes the slot's card into use.
    async fn take_in(&mut self) {
        let Some(slot) = &mut self.slot else { return };
        if let Err(error) = slot.power_on().await {
            log::error!("slot: {error}");
            return;
        }
        self.app.stack().drain().await;
        let devices = self.bridge.attach();
        self.app.stack().drain().await;
        for device in devices {
            if !drivers::is_nic(&device) {
                log::info!("slot: {} is not a NIC, left alone", device.address());
            } else {
                self.start(device).await;
            }
        }
    }

    async fn start(&mut self, device: Device) {
        let address = device.address();
        let nic = run_driver(&self.app, device, self.probe, &self.settings);
        // Before the standby is left: its backlog is older than what the NIC receives from now on.
        self.app.stack().drain().await;
        let started = nic.and_then(|nic| take_nic(&self.app, address, nic, self.place.covered));
        if let Some((role, family)) = started {
            self.place.holds = Some(role);
            if role == Role::Primary {
                unikernel::println!("nic: attached {family}");
            }
        }
    }
}

/// Starts a NIC and gives it to the stack: what it is there, and its family. `covered`: a migration capability above it
/// tells when to mark.
///
/// `None`, and the NIC is left alone, if it has no driver or the stack has another one that is no match for it.
pub fn start(
    app: &App,
    device: Device,
    covered: bool,
    probe: Probe,
    settings: &Settings,
) -> Option<(Role, &'static str)> {
    let address = device.address();
    take_nic(app, address, run_driver(app, device, probe, settings)?, covered)
}

fn run_driver(
    app: &App,
    device: Device,
    probe: Probe,
    settings: &Settings,
) -> Option<Box<dyn Nic>> {
    probe(device, app.pool(), settings).inspect_err(|error| log::error!("nic: {error}")).ok()
}

fn take_nic(
    app: &App,
    address: PciAddress,
    nic: Box<dyn Nic>,
    covered: bool,
) -> Option<(Role, &'static str)> {
    let (family, is_logged) = (nic.family(), nic.is_logged());
    let role = match app.stack().attach(nic) {
        Ok(role) => role,
        Err(mut nic) => {
            nic.stop();
            log::warn!(
                "nic: {address} is a second NIC, left alone: it makes no pair with the first"
            );
            return None;
        }
    };
    // Nothing was received yet.
    if !covered && !is_logged {
        mark_always(app.pool());
    }
    if role == Role::Standby {
        unikernel::println!("nic: standby {family}");
    }
    Some((role, family))
}

/// Marks everything from now on, and says so once: there is no capability above the NIC.
pub fn mark_always(pool: &Pool) {
    if pool.policy() == Policy::Auto && !pool.is_marking() {
        unikernel::println!("agent: no capability above the NIC, marking always");
    }
    // Also while another bridge's agent has it marked: that one will stop.
    pool.mark_always();
}

/// Whether a bridge tells when the hypervisor logs.
pub fn has_capability(bridge: &Bridge) -> bool {
    agent(bridge).is_some()
}

/// The agent of a bridge, if it has a capability to rely on.
fn agent(bridge: &Bridge) -> Option<Agent<Capability>> {
    // What another vendor's vendor-specific capabilities mean is that vendor's business.
    if bridge.function().read16(VENDOR_ID) != registers::VENDOR {
        return None;
    }
    bridge.function().vendor_capabilities().find_map(|capability| {
        match Agent::probe(Capability(capability)) {
            Ok(agent) => Some(agent),
            // Red Hat's bridges have other capabilities as well.
            Err(Unusable::OtherKind) => None,
            Err(why) => {
                log::warn!("agent: {}: {why}: as if there were none", bridge.address());
                None
            }
        }
    })
}

/// Configuration space as the agent wants it. What lies outside the capability reads as all ones.
struct Capability(VendorCapability);

impl Registers for Capability {
    fn read8(&self, offset: u8) -> u8 {
        self.0.read8(offset).unwrap_or(u8::MAX)
    }

    fn read16(&self, offset: u8) -> u16 {
        self.0.read16(offset).unwrap_or(u16::MAX)
    }

    fn read32(&self, offset: u8) -> u32 {
        self.0.read32(offset).unwrap_or(u32::MAX)
    }

    fn write16(&mut self, offset: u8, value: u16) {
        // Refused outside the capability, which is all there is to do about it.
        let _ = self.0.write16(offset, value);
    }

    fn write32(&mut self, offset: u8, value: u32) {
        let _ = self.0.write32(offset, value);
    }
}

/// The DMA layer as the agent drives it.
struct PoolMarker(&'static Pool);

impl Marker for PoolMarker {
    fn start(&mut self) {
        self.0.start_marking();
    }

    fn catch_up(&mut self, from: u32) -> Slice {
        let slice = self.0.catch_up(from);
        Slice { pages: slice.pages, next: slice.next }
    }

    fn stop(&mut self) {
        self.0.stop_marking();
    }

    fn marked(&self) -> u64 {
        self.0.pages_marked()
    }
}

#[cfg(test)]
mod tests;
