//! Native hot-plug: the slot below a root port or a switch's downstream port (6.7, 7.5.3.9 to
//! 7.5.3.11).
//!
//! ```text
//!            ┌────────────── Inserted ──────────────┐
//!            │                                      ▼ power_on()
//!        ┌───┴────┐   gone    ┌──────┐ pressed, ┌───────┐
//!        │ Absent │◀──────────│ Idle │─────────▶│ InUse │
//!        └────────┘           └──────┘ Inserted └───┬───┘
//!            ▲                   ▲ power_off()      │ pressed: EjectRequested
//!            │               ┌───┴─────┐            │
//!            └── Removed ────│ Leaving │◀───────────┘
//!                            └─────────┘
//! ```
//!
//! [`Slot::poll`] turns the status register into events. Events coalesce in hardware, so decisions
//! rest on levels (is a card there?) wherever there is one, and on edges only for the button.
//!
//! A human has five seconds to take the press of an attention button back (6.7.1.5). Godwit does
//! not wait for that: its slots belong to a hypervisor, which presses the button when it wants the
//! card and has its own way to give it back.

use super::registers::{VENDOR_ID, express, id};
use super::{Bridge, Error, Function, PciAddress, Vector};
use crate::irq::Interrupt;
use bitflags::bitflags;
use embassy_time::{Duration, Instant, Timer};

bitflags! {
    /// Slot Capabilities (7.5.3.9).
    #[derive(Clone, Copy)]
    struct Features: u32 {
        const POWER_CONTROLLER = 1 << 1;
        const HOT_PLUG_CAPABLE = 1 << 6;
        const NO_COMMAND_COMPLETED = 1 << 18;
    }

    /// Slot Control (7.5.3.10).
    #[derive(Clone, Copy)]
    struct Control: u16 {
        const BUTTON_ENABLE = 1 << 0;
        const PRESENCE_ENABLE = 1 << 3;
        const INTERRUPT_ENABLE = 1 << 5;
        const ATTENTION_ON = 0b01 << 6;
        const ATTENTION_OFF = 0b11 << 6;
        const POWER_LED_ON = 0b01 << 8;
        const POWER_LED_BLINK = 0b10 << 8;
        const POWER_LED_OFF = 0b11 << 8;
        const POWER_OFF = 1 << 10;
        const LINK_ENABLE = 1 << 12;
    }

    /// Slot Status (7.5.3.11).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Status: u16 {
        const BUTTON_PRESSED = 1 << 0;
        const POWER_FAULT = 1 << 1;
        const LATCH_CHANGED = 1 << 2;
        const PRESENCE_CHANGED = 1 << 3;
        const COMMAND_COMPLETED = 1 << 4;
        const PRESENT = 1 << 6;
        const LINK_CHANGED = 1 << 8;
        /// The bits that stay set until they are written back.
        const EVENTS = 0b1_0001_1111;
    }
}

const INDICATORS_AND_POWER: u16 = 0b11 << 6 | 0b11 << 8 | 1 << 10;

/// A command may take this long (6.7.3.2); so may a link to come up, and a card to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between looks. Virtual ports are ready at the first one.
const PAUSE: Duration = Duration::from_millis(1);
/// Vendor id of a function that asks for a configuration request to be retried later (2.3.2).
const RETRY: u16 = 0x0001;
/// Rounds of reading and clearing events in one poll, should a port never run dry.
const ROUNDS: usize = 8;

/// What happened in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotEvent {
    /// There is a card that is not in use: [`Slot::power_on`] it, then [`Bridge::attach`].
    Inserted,
    /// The card is asked to leave: stop its drivers, then [`Slot::power_off`]; or [`Slot::refuse`].
    EjectRequested,
    /// The card in use went without asking: drop its drivers, then [`Slot::power_off`].
    Removed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Card {
    /// None, or one that has not been announced yet.
    Absent,
    /// There, but powered off until the button is pressed or it is replaced.
    Idle,
    /// There and powered.
    InUse,
    /// There and powered, asked to leave.
    Leaving,
}

/// The hot-plug controller of a slot.
pub struct Slot {
    bridge: Bridge,
    express: u16,
    features: Features,
    reports_link: bool,
    vector: Vector,
    card: Card,
    /// A command was written and its completion not seen yet.
    commanded: bool,
}

impl Slot {
    /// Takes over the slot below `bridge`; `Ok(None)` when it has none that is hot-plug capable.
    ///
    /// A card that firmware found and powered is in use from the start; one that is there without
    /// power, or whose eject was requested before, is announced by the first [`Slot::poll`].
    ///
    /// # Errors
    /// [`Error::NoInterrupt`] if the port has none for its events.
    pub fn new(bridge: &Bridge) -> Result<Option<Self>, Error> {
        let function = bridge.function();
        let Some(capability) = function.capability(id::EXPRESS) else { return Ok(None) };
        let express = capability.offset;
        let capabilities = function.read16(express + express::CAPABILITIES);
        if !bridge.is_port() || capabilities & express::SLOT_IMPLEMENTED == 0 {
            return Ok(None);
        }
        let features = function.read32(express + express::SLOT_CAPABILITIES);
        let features = Features::from_bits_truncate(features);
        if !features.contains(Features::HOT_PLUG_CAPABLE) {
            return Ok(None);
        }
        let link = function.read32(express + express::LINK_CAPABILITIES);
        let reports_link = link & express::LINK_CAPABILITIES_ACTIVE_REPORTING != 0;
        let vector = bridge.enable_interrupt()?;
        let mut slot = Self {
            bridge: bridge.clone(),
            express,
            features,
            reports_link,
            vector,
            card: Card::Absent,
            commanded: false,
        };
        // Changes from before are over; the level is read after they are cleared, so that none gets
        // lost. A press of the button is still to be answered.
        slot.clear(slot.status() & Status::EVENTS & !Status::BUTTON_PRESSED);
        let powered = !features.contains(Features::POWER_CONTROLLER)
            || !slot.control().contains(Control::POWER_OFF);
        if powered && slot.status().contains(Status::PRESENT) {
            slot.card = Card::InUse;
        }
        slot.enable_events();
        Ok(Some(slot))
    }

    /// The port above the slot.
    pub fn bridge(&self) -> &Bridge {
        &self.bridge
    }

    /// Raised when [`Slot::poll`] has something to look at; the port shares it with its
    /// vendor-specific capability.
    pub fn interrupt(&self) -> Interrupt {
        self.vector.interrupt.clone()
    }

    /// Whether a card is powered and in use, though it may have been asked to leave.
    #[cfg(test)]
    pub(crate) fn is_in_use(&self) -> bool {
        matches!(self.card, Card::InUse | Card::Leaving)
    }

    /// Reads and acknowledges what happened. Call it again until it returns `None`.
    pub fn poll(&mut self) -> Option<SlotEvent> {
        // Handles given out from now on wait for what comes after this look.
        self.vector.interrupt.take();
        let mut events = Status::empty();
        let mut status = self.status();
        for _ in 0..ROUNDS {
            let new = status & Status::EVENTS;
            if new.is_empty() {
                break;
            }
            // Only what was read is cleared: a bit set since stays for the next round. The port
            // signals again only once no event is left.
            self.clear(new);
            self.commanded &= !new.contains(Status::COMMAND_COMPLETED);
            events |= new;
            status = self.status();
        }
        self.vector.interrupt.unmask();
        if events.contains(Status::POWER_FAULT) {
            log::error!("pci: {}: power fault in the slot", self.bridge.address());
        }
        self.decide(status.contains(Status::PRESENT), events)
    }

    fn decide(&mut self, present: bool, events: Status) -> Option<SlotEvent> {
        let pressed = events.contains(Status::BUTTON_PRESSED);
        let swapped = events.contains(Status::PRESENCE_CHANGED);
        let link_lost = events.contains(Status::LINK_CHANGED) && !self.link_is_active();
        let (card, event) = match self.card {
            Card::Absent if present => (Card::Idle, Some(SlotEvent::Inserted)),
            Card::Idle if present && (pressed || swapped) => {
                (Card::Idle, Some(SlotEvent::Inserted))
            }
            Card::Absent | Card::Idle if !present => (Card::Absent, None),
            // Also when there is a card again: it is another one, or has lost its state. The next
            // poll announces it.
            Card::InUse | Card::Leaving if !present || swapped || link_lost => {
                (Card::Absent, Some(SlotEvent::Removed))
            }
            Card::InUse if pressed => (Card::Leaving, Some(SlotEvent::EjectRequested)),
            // Pressing again would take the request back, were there a human: see the module.
            unchanged => (unchanged, None),
        };
        self.card = card;
        event
    }

    /// Powers a card on and waits until it answers.
    ///
    /// # Errors
    /// [`Error::PowerFailed`] if it does not in time. The slot is off again then with its attention
    /// indicator on, and the card stays unused until it is replaced or the button pressed.
    pub async fn power_on(&mut self) -> Result<(), Error> {
        self.command(Control::POWER_LED_BLINK | Control::ATTENTION_OFF).await;
        if self.comes_up().await {
            self.command(Control::POWER_LED_ON | Control::ATTENTION_OFF).await;
            self.card = Card::InUse;
            return Ok(());
        }
        let off = Control::POWER_OFF | Control::POWER_LED_OFF;
        self.command(off | Control::ATTENTION_ON).await;
        self.card = Card::Idle;
        Err(Error::PowerFailed(self.bridge.address()))
    }

    /// Keeps a card that was asked to leave. The next request is an event again.
    pub fn refuse(&mut self) {
        if self.card == Card::Leaving {
            self.card = Card::InUse;
        }
    }

    /// Powers the slot off. The functions below must have been quiesced, unless they are gone.
    pub async fn power_off(&mut self) {
        let off = Control::POWER_OFF | Control::POWER_LED_OFF;
        self.command(off | Control::ATTENTION_OFF).await;
        // A card that was asked to leave may stay where it is; it is not news.
        self.card = if self.card == Card::Leaving { Card::Idle } else { Card::Absent };
    }

    /// Waits for the link, then for an answer. A physical card is owed 100 ms in between (6.6.1);
    /// behind a virtual port it is ready at once, and one that is not says so or stays silent.
    async fn comes_up(&self) -> bool {
        let address =
            PciAddress::new(self.bridge.address().segment(), *self.bridge.buses().start(), 0, 0);
        let card = Function::new(self.bridge.function().host().clone(), address);
        let present = || self.status().contains(Status::PRESENT);
        wait_for(|| self.link_is_active() || !present()).await;
        let answers = || !matches!(card.read16(VENDOR_ID), u16::MAX | RETRY);
        wait_for(|| answers() || !present()).await;
        present() && self.link_is_active() && answers()
    }

    /// Writes power and indicators, which is one command however much it changes, and waits until
    /// it is carried out; before that, for one still under way (6.7.3.2).
    async fn command(&mut self, command: Control) {
        let keep = self.control().bits() & !INDICATORS_AND_POWER;
        self.completed().await;
        self.write_control(keep | command.bits());
        self.completed().await;
    }

    async fn completed(&mut self) {
        if !self.commanded {
            return;
        }
        if !wait_for(|| self.status().contains(Status::COMMAND_COMPLETED)).await {
            log::warn!("pci: {}: slot command did not complete", self.bridge.address());
        }
        self.clear(self.status() & Status::COMMAND_COMPLETED);
        self.commanded = false;
    }

    fn write_control(&mut self, control: u16) {
        // Left over from before: it must not pass for this command's.
        self.clear(self.status() & Status::COMMAND_COMPLETED);
        self.function().write16(self.express + express::SLOT_CONTROL, control);
        self.commanded = !self.features.contains(Features::NO_COMMAND_COMPLETED);
    }

    fn enable_events(&mut self) {
        let mut enable =
            Control::BUTTON_ENABLE | Control::PRESENCE_ENABLE | Control::INTERRUPT_ENABLE;
        enable.set(Control::LINK_ENABLE, self.reports_link);
        self.write_control(self.control().bits() | enable.bits());
    }

    /// True as well where the port does not report it (7.5.3.6).
    fn link_is_active(&self) -> bool {
        let status = self.function().read16(self.express + express::LINK_STATUS);
        !self.reports_link || status & express::LINK_STATUS_ACTIVE != 0
    }

    fn function(&self) -> &Function {
        self.bridge.function()
    }

    fn control(&self) -> Control {
        Control::from_bits_retain(self.function().read16(self.express + express::SLOT_CONTROL))
    }

    /// A port that is itself gone has an empty slot in which nothing happens.
    fn status(&self) -> Status {
        match self.function().read16(self.express + express::SLOT_STATUS) {
            u16::MAX => Status::empty(),
            status => Status::from_bits_truncate(status),
        }
    }

    /// Acknowledges events. Sixteen bits at a time: the control register shares the double word.
    fn clear(&self, events: Status) {
        if !events.is_empty() {
            self.function().write16(self.express + express::SLOT_STATUS, events.bits());
        }
    }
}

/// Whether `condition` becomes true in time.
async fn wait_for(condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        Timer::after(PAUSE).await;
    }
}
