//! From the loader's entry point to the executor.

mod pvh;

use alloc::boxed::Box;
use core::arch::global_asm;

use embassy_executor::Spawner;

use crate::acpi::{self, EcamRange, Rtc};
use crate::arch::{self, cpu, serial};
use crate::cmdline::{CommandLine, LogLevel, Size};
use crate::crash::Patience;
use crate::dma::{Policy, Pool};
use crate::power::{Button, MachinePorts};
use crate::{console, crash, executor, logger, memory, power, time};

/// How long a task may keep the others from running before it is named.
const WATCHDOG: Patience = Patience(10);
/// The stack of everything but the faults with stacks of their own.
const STACK_SIZE: usize = 256 << 10;

global_asm!(
    include_str!("entry.s"),
    start = sym start,
    stack_size = const STACK_SIZE,
);

/// What the machine gives to the program.
pub struct Kernel {
    /// The command line. The kernel's own keys have been taken; call
    /// [`finish`](CommandLine::finish) after yours.
    pub command_line: CommandLine<'static>,
    /// All memory that devices reach.
    pub dma: &'static Pool,
    /// PCI configuration spaces; empty if ACPI names none.
    pub ecam: heapless::Vec<EcamRange, 8>,
    /// The power button, if the machine has one among its fixed hardware.
    pub power_button: Option<Button<MachinePorts>>,
}

unsafe extern "Rust" {
    /// What [`entry!`](crate::entry) defines.
    safe fn godwit_main(kernel: Kernel, spawner: Spawner);
}

/// Runs in long mode on the final stack, interrupts off, the first 4 GiB mapped 1:1.
extern "C" fn start(start_info: u32) -> ! {
    let started = cpu::tsc();
    serial::init();
    // SAFETY: here and only here, and interrupts are off.
    unsafe { arch::init_tables(crash::on_exception) };

    // SAFETY: no kernel could boot if they did not; and what the loader left is where
    // `memory::init` gives nothing out: in low memory, or at the end of RAM.
    let firmware = unsafe { memory::FirmwareMemory::new() };
    let info = pvh::read(&firmware, start_info.into()).unwrap_or_else(|error| panic!("{error}"));
    let command_line = CommandLine::new(info.command_line);
    logger::init(command_line.value("log", LogLevel(log::LevelFilter::Info)).0);
    let marking = command_line.value("marking", Policy::default());
    let default = Size(memory::usual_pool(&info.memory));
    let swiotlb = command_line.value("swiotlb", default);
    let watchdog = command_line.value("watchdog", WATCHDOG);

    // SAFETY: here and only here, with the map that the loader gave.
    let pool = unsafe { memory::init(info.memory, swiotlb, default) };
    // Not a panic: no line of the program is at fault.
    let pool = pool.unwrap_or_else(|error| {
        crate::println!("memory: {error}; the machine stops here");
        power::exit(power::FAILED)
    });
    let dma = Box::leak(Box::new(Pool::new(pool, marking)));

    let read = |address, len| firmware.bytes(address, len);
    let tables = acpi::read(info.rsdp, &read).unwrap_or_else(|error| {
        log::warn!("ACPI: no tables: the root is unusable: {error}");
        acpi::Tables::default()
    });
    if let Some(port) = tables.fadt.pm1a_control {
        power::set_pm1a_control(port);
    }
    arch::init_interrupts(tables.has_8259);
    time::init(started, tables.fadt.pm_timer);
    crash::start_watchdog(watchdog);

    log::debug!("booted in {} us", time::now_ns() / 1000);
    let rtc = tables.fadt.rtc;
    let power_button = tables.fadt.power_button.map(|registers| {
        // SAFETY: a button reads and writes the registers it was made for, which the FADT names.
        Button::new(registers, unsafe { MachinePorts::new() })
    });
    let kernel = Kernel { command_line, dma, ecam: tables.ecam, power_button };
    executor::run(|spawner| {
        spawner.spawn(write_console().expect("it is spawned once"));
        if let Some(clock) = rtc {
            spawner.spawn(follow_pauses(clock).expect("it is spawned once"));
        }
        godwit_main(kernel, spawner)
    })
}

#[embassy_executor::task]
async fn write_console() {
    console::write_deferred().await;
}

#[embassy_executor::task]
async fn follow_pauses(clock: Rtc) {
    time::follow_pauses(clock).await;
}
