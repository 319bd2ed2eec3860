//! A program on a host instead of a machine: in tests, and on a tap device.

use std::boxed::Box;
use std::future::Future;
use std::vec::Vec;

use unikernel::cmdline::CommandLine;
use unikernel::dma::Pool;
use unikernel::nic::Nic;
use unikernel::pci::Root;

mod wire;

pub use wire::wired_machines;

use crate::System;
use crate::settings;
use crate::system::Outcome;

/// What the machine consists of.
#[derive(Default)]
pub struct Hardware {
    /// NICs that need no driver: each gets an interface, in this order.
    pub nics: Vec<Box<dyn Nic>>,
    /// PCI segments, such as [`unikernel::pci::fake`] makes, whose NICs get the real drivers.
    pub roots: Vec<Root>,
}

/// Runs a program on this hardware, as if `line` were its command line. Poll it until what is to be
/// seen has been seen: like the machine it ends only when it is switched off
/// ([`System::power_off`]).
///
/// ```
/// use godwit::cmdline::Switch;
/// use godwit::dma::{Policy, fake};
/// use godwit::futures::select::select;
/// use godwit::host::{Hardware, run};
///
/// # godwit::futures::block_on(async {
/// let said = std::rc::Rc::new(std::cell::Cell::new(false));
/// let says = said.clone();
/// let program = async move |system: godwit::System| {
///     says.set(system.command_line().value("loud", Switch(false)).0);
/// };
/// let machine = run(fake::pool(1 << 20, Policy::Auto), "loud=on", Hardware::default(), program);
/// let is_said = async {
///     while !said.get() {
///         godwit::time::Timer::after_millis(1).await;
///     }
/// };
/// select(machine, is_said).await;
/// # });
/// ```
///
/// # Panics
/// Where the machine would not boot: an address in `line` is none.
pub async fn run<F>(
    pool: &'static Pool,
    line: &'static str,
    hardware: Hardware,
    program: impl FnOnce(System) -> F,
) where
    F: Future<Output: Outcome> + 'static,
{
    let line = CommandLine::new(line);
    if let Err(error) = settings::check(&line) {
        panic!("command line: {error}");
    }
    let system = System::new(pool, line, crate::interfaces::probe);
    hardware.nics.into_iter().for_each(|nic| system.adopt(nic));
    let devices = system.clone();
    system.spawn(async move { devices.take_over(hardware.roots).await });
    let program = program(system.clone());
    system.run(program).await;
}
