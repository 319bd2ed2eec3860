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
    let system = System::new(kernel.dma, kernel.command_line, crate::interfaces::probe);
    let (devices, ranges) = (system.clone(), kernel.ecam);
    system.spawn(async move {
        // A machine that has no ECAM may have the ports of before.
        let by_ports = ranges.is_empty().then(Root::from_ports).flatten();
        let by_ecam = ranges.iter().filter_map(|range| {
            Root::from_ecam(range).inspect_err(|error| log::error!("pci: {error}")).ok()
        });
        devices.take_over(by_ecam.chain(by_ports)).await;
    });
    if let Some(button) = kernel.power_button {
        let system = system.clone();
        system.clone().spawn(async move {
            button.pressed().await;
            unikernel::println!("godwit: the power button was pressed");
            system.power_off();
        });
    }
    let program = program(system.clone());
    let task = alloc::boxed::Box::leak(alloc::boxed::Box::new(TaskStorage::new()));
    let token = task.spawn(|| async move {
        system.run(program).await;
        unikernel::power::exit(0)
    });
    spawner.spawn(token.expect("a task that was never spawned before"));
}
