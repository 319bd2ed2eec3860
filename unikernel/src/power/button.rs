//! The fixed power button of ACPI (ACPI 6.5, 4.8.2.2.1 and 4.8.3.1): what `system_powerdown` of
//! QEMU, and so `virsh shutdown`, presses.

use core::future::pending;

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Timer};

use crate::acpi::PowerButton;
use crate::irq;

/// The button's bit in a status and in an enable register.
const BUTTON: u16 = 1 << 8;
/// In the control register: events come as interrupts to the system, not to firmware (SCI_EN).
const ACPI_MODE: u16 = 1 << 0;
/// How long firmware may take to hand events over (4.8.3.2.1 has no limit; Linux waits for 3 s).
const HANDOVER: Duration = Duration::from_secs(3);
const STEP: Duration = Duration::from_millis(10);
/// How often the button is looked at without an interrupt, should there be no line for that, or one
/// interrupt be lost.
const LOOK: Duration = Duration::from_secs(1);

/// The ports that a button's registers are behind.
pub trait Ports {
    /// Reads 16 bits.
    fn read(&self, port: u16) -> u16;
    /// Writes 16 bits.
    fn write(&self, port: u16, value: u16);
    /// Writes 8 bits.
    fn write_byte(&self, port: u16, value: u8);
}

/// A machine's power button.
pub struct Button<P> {
    registers: PowerButton,
    ports: P,
}

impl<P: Ports> Button<P> {
    /// The button behind these registers.
    pub fn new(registers: PowerButton, ports: P) -> Self {
        Self { registers, ports }
    }

    /// Waits until the button is pressed.
    pub async fn pressed(&self) {
        self.take_over().await;
        let line = u8::try_from(self.registers.line).ok();
        let line = line.and_then(|line| irq::legacy(line).ok());
        let mut has_interrupted = false;
        while !self.take() {
            if has_interrupted {
                // Some other event of ACPI's, which nobody here can end: without a pause it would
                // interrupt for ever.
                Timer::after(LOOK).await;
            }
            let interrupt = async {
                match &line {
                    Some(line) => {
                        line.unmask();
                        line.wait().await;
                    }
                    None => pending().await,
                }
            };
            let woken = select(interrupt, Timer::after(LOOK)).await;
            has_interrupted = matches!(woken, Either::First(()));
        }
    }

    /// Has the button, and no other event of its registers, raise the interrupt. What happened
    /// before is forgotten.
    async fn take_over(&self) {
        let PowerButton { status, enable, control, acpi_mode, .. } = &self.registers;
        let is_on = || self.ports.read(*control) & ACPI_MODE != 0;
        if let (Some((port, value)), false) = (acpi_mode, is_on()) {
            self.ports.write_byte(*port, *value);
            for _ in 0..HANDOVER.as_ticks() / STEP.as_ticks() {
                if is_on() {
                    break;
                }
                Timer::after(STEP).await;
            }
        }
        for status in status {
            self.ports.write(status + enable, BUTTON);
            // Ones clear.
            self.ports.write(*status, u16::MAX);
        }
    }

    /// Whether the button was pressed since this was last asked.
    fn take(&self) -> bool {
        let mut was_pressed = false;
        for &status in &self.registers.status {
            let is_set = self.ports.read(status) & BUTTON != 0;
            if is_set {
                self.ports.write(status, BUTTON);
            }
            was_pressed |= is_set;
        }
        was_pressed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use embassy_futures::block_on;
    use std::rc::Rc;

    const STATUS: u16 = 0x600;
    const ENABLE: u16 = 0x602;
    const CONTROL: u16 = 0x604;
    const COMMAND: u16 = 0xb2;
    /// No other test uses it.
    const LINE: u16 = 5;

    /// The fixed hardware of a q35: a status bit is set only if its event is enabled.
    #[derive(Clone, Default)]
    struct Machine(Rc<Registers>);

    #[derive(Default)]
    struct Registers {
        status: Cell<u16>,
        enable: Cell<u16>,
        control: Cell<u16>,
        commands: Cell<u32>,
    }

    impl Machine {
        fn raise(&self, event: u16) {
            self.0.status.set(self.0.status.get() | event & self.0.enable.get());
        }
    }

    impl Ports for Machine {
        fn read(&self, port: u16) -> u16 {
            match port {
                STATUS => self.0.status.get(),
                ENABLE => self.0.enable.get(),
                CONTROL => self.0.control.get(),
                _ => panic!("a read of port {port:#x}"),
            }
        }

        fn write(&self, port: u16, value: u16) {
            match port {
                STATUS => self.0.status.set(self.0.status.get() & !value),
                ENABLE => self.0.enable.set(value),
                _ => panic!("a write to port {port:#x}"),
            }
        }

        fn write_byte(&self, port: u16, value: u8) {
            assert_eq!((port, value), (COMMAND, 2));
            self.0.commands.set(self.0.commands.get() + 1);
            self.0.control.set(self.0.control.get() | ACPI_MODE);
        }
    }

    fn button(machine: &Machine, line: u16) -> Button<Machine> {
        let registers = PowerButton {
            line,
            status: [STATUS].into_iter().collect(),
            enable: ENABLE - STATUS,
            control: CONTROL,
            acpi_mode: Some((COMMAND, 2)),
        };
        Button::new(registers, machine.clone())
    }

    #[test]
    fn a_press_is_seen_at_the_interrupt_once() {
        let machine = Machine::default();
        // From before the kernel was there.
        machine.0.status.set(BUTTON | 1);
        let press = async {
            while machine.0.enable.get() == 0 {
                Timer::after_millis(1).await;
            }
            assert_eq!(machine.0.enable.get(), BUTTON, "nothing else is of interest");
            machine.raise(1);
            machine.raise(BUTTON);
            irq::legacy(LINE as u8).unwrap().trigger();
        };
        let button = button(&machine, LINE);
        let started = embassy_time::Instant::now();
        block_on(embassy_futures::join::join(button.pressed(), press));
        assert!(started.elapsed() < LOOK, "it was not the interrupt that told");
        assert_eq!(machine.0.commands.get(), 1, "firmware was asked for the events");
        assert!(!button.take(), "the press has been taken");
    }

    #[test]
    fn a_press_is_seen_without_a_line() {
        let machine = Machine::default();
        machine.0.control.set(ACPI_MODE);
        let press = async {
            Timer::after_millis(20).await;
            machine.raise(BUTTON);
        };
        block_on(embassy_futures::join::join(button(&machine, 255).pressed(), press));
        assert_eq!(machine.0.commands.get(), 0, "firmware had handed its events over already");
    }
}
