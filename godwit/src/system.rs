//! The machine, as its program has it.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::OnceCell;
use core::fmt::Display;
use core::future::Future;

use embassy_futures::select::select;
use embassy_futures::yield_now;
use embassy_time::{Duration, Instant, Timer};
use migrate_agent::{Detach, Migration, Service};
use unikernel::cmdline::{CommandLine, Size};
use unikernel::dma::Pool;
use unikernel::memory::HeapUse;
use unikernel::pci::Root;

use crate::Interface;
use crate::interfaces::{Interfaces, Probe};
use crate::inventory::Inventory;
use crate::power::{Power, StayOn};
use crate::recorder::{self, Recorder};
use crate::tasks::Tasks;

/// How long the program has to ask for its keys before the others are called unknown.
const KEYS: Duration = Duration::from_secs(1);
/// How long peers have to acknowledge that their connections are closed, when the machine is
/// switched off.
const FAREWELL: Duration = Duration::from_secs(2);

/// The machine: its interfaces, tasks, command line and memory, and the state of migration. A
/// handle, cheap to clone.
///
/// ```
/// use godwit::System;
/// use godwit::time::{Duration, Ticker};
///
/// async fn program(system: System) {
///     let net = system.interface(0).await;
///     system.spawn(async move {
///         let mut ticker = Ticker::every(Duration::from_secs(10));
///         loop {
///             ticker.next().await;
///             godwit::println!("{} frames received", net.traffic().rx_frames);
///         }
///     });
/// }
/// ```
#[derive(Clone)]
pub struct System(Rc<Shared>);

struct Shared {
    pool: &'static Pool,
    line: Rc<CommandLine<'static>>,
    tasks: Tasks,
    interfaces: Interfaces,
    migration: Migration,
    recorder: OnceCell<Recorder>,
    power: Power,
}

impl System {
    pub(crate) fn new(pool: &'static Pool, line: CommandLine<'static>, probe: Probe) -> Self {
        let (line, tasks) = (Rc::new(line), Tasks::default());
        let interfaces = Interfaces::new(pool, line.clone(), tasks.clone(), probe);
        let (migration, recorder) = (Migration::new(), OnceCell::new());
        let power = Power::new();
        Self(Rc::new(Shared { pool, line, tasks, interfaces, migration, recorder, power }))
    }

    /// Interface `index`: waits until there is one, which is as soon as its first NIC has started.
    ///
    /// Interfaces are numbered from 0 in the order in which NICs are found. See
    /// [`Interface::ready`] for when it has an address.
    ///
    /// ```
    /// # use godwit::System;
    /// /// Serves on every interface, also on those that come later.
    /// async fn program(system: System) {
    ///     for index in 0.. {
    ///         let net = system.interface(index).await;
    ///         system.spawn(async move { net.ready().await });
    ///     }
    /// }
    /// ```
    pub async fn interface(&self, index: usize) -> Interface {
        self.0.interfaces.get(index).await
    }

    /// The interfaces there are now.
    pub fn interfaces(&self) -> Vec<Interface> {
        self.0.interfaces.all()
    }

    /// The owner of the NICs, for tests to ask of it what the agent does.
    #[cfg(test)]
    pub(crate) fn nics(&self) -> Interfaces {
        self.0.interfaces.clone()
    }

    /// Has a task run next to this one, until it ends.
    ///
    /// All tasks share one processor. One that never waits keeps all others, and the network, from
    /// running.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.tasks.spawn(task);
    }

    /// Where the machine is in a live migration.
    ///
    /// ```
    /// use godwit::{State, System};
    ///
    /// async fn say_when_moved(system: System) {
    ///     let mut watcher = system.migration().watcher();
    ///     loop {
    ///         if let State::Arrived { moves } = watcher.changed().await {
    ///             godwit::println!("moved {moves} times");
    ///         }
    ///     }
    /// }
    /// ```
    pub fn migration(&self) -> &Migration {
        &self.0.migration
    }

    /// The command line. Ask for the program's own keys in the first second after boot: what nobody
    /// has asked for by then is named on the console as unknown.
    ///
    /// ```
    /// use godwit::cmdline::Size;
    ///
    /// fn memory(system: &godwit::System) -> Size {
    ///     system.command_line().value("kv.memory", Size(16 << 20))
    /// }
    /// ```
    pub fn command_line(&self) -> &CommandLine<'static> {
        &self.0.line
    }

    /// The memory that devices reach, of which received frames are a part.
    pub fn pool(&self) -> &'static Pool {
        self.0.pool
    }

    /// The memory that the program allocates from.
    pub fn heap(&self) -> HeapUse {
        unikernel::memory::heap_use()
    }

    /// The flight recorder, which keeps as much as `recorder=` on the command line says, or else
    /// `default`. It records from the first call on; from boot on if it is on the command line.
    pub fn recorder(&self, default: Size) -> Recorder {
        let Shared { pool, line, tasks, interfaces, migration, recorder, .. } = &*self.0;
        let start = || {
            let is_asked_for = matches!(line.parse::<Size>("recorder"), Ok(Some(_)));
            let size = line.value("recorder", default);
            recorder::start(size, is_asked_for, pool, interfaces, migration, tasks)
        };
        recorder.get_or_init(start).clone()
    }

    /// Waits until the machine is to be switched off: its power button was pressed (`virsh
    /// shutdown` does that), or [`power_off`](Self::power_off) was called.
    ///
    /// The machine stays on while somebody has what this returns, for ten seconds at most, so that
    /// there is time for last words. Whoever has called this counts: the machine waits until each
    /// of these was told and is done, and then closes all connections.
    ///
    /// ```
    /// use godwit::System;
    ///
    /// async fn say_goodbye(system: System) {
    ///     let _on = system.power_off_requested().await;
    ///     // Clients are told here.
    ///     godwit::println!("goodbye");
    /// }
    /// ```
    pub fn power_off_requested(&self) -> impl Future<Output = StayOn> + use<> {
        self.0.power.requested()
    }

    /// Switches the machine off, as its power button does: soon, after those who
    /// [wait for that](Self::power_off_requested) were told and connections were closed.
    pub fn power_off(&self) {
        self.0.power.off();
    }

    /// Takes over the devices and bridges of these PCI segments.
    pub(crate) async fn take_over(&self, roots: impl IntoIterator<Item = Root>) {
        let detach = self.0.line.value("detach", Detach::default());
        let (nics, migration) = (self.0.interfaces.clone(), self.0.migration.clone());
        let service = Service::new(nics, self.0.pool, migration, detach);
        let mut inventory = Inventory::default();
        for root in roots {
            inventory.add_segment();
            for found in root.walk() {
                // First: of what comes then, each may crash.
                for device in &found.devices {
                    if let Err(error) = unikernel::pvpanic::take_over(device) {
                        log::warn!("pvpanic: {error}: no crash is signalled");
                    }
                }
                for bridge in service.take_over(&found).await {
                    self.spawn(bridge.run());
                }
                inventory.add(&found);
                yield_now().await;
            }
        }
        if self.interfaces().is_empty() {
            unikernel::println!("godwit: no NIC: {inventory}");
        }
    }

    /// Runs the machine with its program, until it is to be switched off.
    pub(crate) async fn run<F: Future<Output: Outcome> + 'static>(&self, program: F) {
        if let Ok(Some(size)) = self.0.line.parse("recorder") {
            self.recorder(size);
        }
        self.spawn(async { program.await.report() });
        let line = self.0.line.clone();
        self.spawn(async move {
            Timer::after(KEYS).await;
            line.finish();
        });
        select(self.0.tasks.run(), self.leave()).await;
    }

    /// Waits until the machine is to be switched off, and takes leave of everybody.
    async fn leave(&self) {
        self.0.power.is_due().await;
        let deadline = Instant::now() + FAREWELL;
        for interface in self.interfaces() {
            interface.stack().close_connections(deadline).await;
        }
        unikernel::println!("godwit: switched off");
        unikernel::console::written().await;
    }

    #[cfg(not(target_os = "none"))]
    pub(crate) fn adopt(&self, nic: alloc::boxed::Box<dyn unikernel::nic::Nic>) {
        self.0.interfaces.adopt(nic);
    }
}

/// What a program may end with: nothing, or an error, which is said on the console. Tasks that were
/// spawned go on either way.
///
/// ```
/// async fn program(system: godwit::System) -> Result<(), godwit::net::Error> {
///     let net = system.interface(0).await;
///     // Ends with "the port is in use", if it is.
///     let listener = net.tcp().bind(80)?;
///     loop {
///         listener.accept().await;
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a program returns `()`, or `Result<(), E>` with an `E` that can be displayed"
)]
pub trait Outcome {
    /// Says what there is to say.
    fn report(self);
}

impl Outcome for () {
    fn report(self) {}
}

impl<E: Display> Outcome for Result<(), E> {
    fn report(self) {
        if let Err(error) = self {
            unikernel::println!("godwit: the program ended: {error}");
        }
    }
}
