//! From the booted kernel to the running program.

use core::future::Future;

use embassy_executor::Spawner;
use embassy_executor::raw::TaskStorage;
use unikernel::Kernel;
use unikernel::pci::Root;

use crate::System;
use crate::system::Outcome;

/// Starts the machine's devices and its program.
pub fn start<F>(kernel: Kernel, spawner: Spawner, program: impl FnOnce(System) -> F)
where
    F: Future<Output: Outcome> + 'static,
{
    let system = System::new(kernel.dma, kernel.command_line, drivers::probe);
    let (devices, ranges) = (system.clone(), kernel.ecam);
    system.spawn(async move {
        if ranges.is_empty() {
            let root = Root::from_ports();
            if root.is_none() {
                log::error!("pci: neither ECAM (ACPI's MCFG table) nor ports CF8h: no devices");
            }
            devices.take_over(root).await;
        } else {
            let roots = ranges.iter().filter_map(|range| {
                Root::from_ecam(range).inspect_err(|error| log::error!("pci: {error}")).ok()
            });
            devices.take_over(roots).await;
        }
    });
    let program = program(system.clone());
    let task = alloc::boxed::Box::leak(alloc::boxed::Box::new(TaskStorage::new()));
    let token = task.spawn(|| async move { system.run(program).await });
    spawner.spawn(token.expect("a task that was never spawned before"));
}
