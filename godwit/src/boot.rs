//! From the booted kernel to the running program.

use core::future::Future;

use embassy_executor::Spawner;
use embassy_executor::raw::TaskStorage;
use unikernel::Kernel;
use unikernel::pci::Root;

use crate::System;
use crate::settings;
use crate::system::Outcome;

/// Starts the machine's devices and its program.
pub fn start<F>(kernel: Kernel, spawner: Spawner, program: impl FnOnce(System) -> F)
where
    F: Future<Output: Outcome> + 'static,
{
    if let Err(error) = settings::check(&kernel.command_line) {
        unikernel::println!("command line: {error}; the machine stops here");
        unikernel::power::exit(unikernel::power::FAILED);
    }
    if kernel.ecam.is_empty() {
        log::error!("pci: ACPI names no ECAM (MCFG table): no devices; QEMU's q35 machine has it");
    }
    let system = System::new(kernel.dma, kernel.command_line, drivers::probe);
    let (devices, ranges) = (system.clone(), kernel.ecam);
    system.spawn(async move {
        let roots = ranges.iter().filter_map(|range| {
            Root::from_ecam(range).inspect_err(|error| log::error!("pci: {error}")).ok()
        });
        devices.take_over(roots).await;
    });
    let program = program(system.clone());
    let task = alloc::boxed::Box::leak(alloc::boxed::Box::new(TaskStorage::new()));
    let token = task.spawn(|| async move { system.run(program).await });
    spawner.spawn(token.expect("a task that was never spawned before"));
}
