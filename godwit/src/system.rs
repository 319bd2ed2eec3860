//! The machine, as its program has it.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::OnceCell;
use core::fmt::Display;
use core::future::Future;

use embassy_time::{Duration, Timer};
use migrate_agent::{Detach, Migration, Service};
use unikernel::cmdline::{CommandLine, Size};
use unikernel::dma::Pool;
use unikernel::memory::HeapUse;
use unikernel::pci::Root;

use crate::Interface;
use crate::interfaces::{Interfaces, Probe};
use crate::recorder::{self, Recorder};
use crate::tasks::Tasks;

/// How long the program has to ask for its keys before the others are called unknown.
const KEYS: Duration = Duration::from_secs(1);

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
}

impl System {
    pub(crate) fn new(pool: &'static Pool, line: CommandLine<'static>, probe: Probe) -> Self {
        let (line, tasks) = (Rc::new(line), Tasks::default());
        let interfaces = Interfaces::new(pool, line.clone(), tasks.clone(), probe);
        let (migration, recorder) = (Migration::new(), OnceCell::new());
        Self(Rc::new(Shared { pool, line, tasks, interfaces, migration, recorder }))
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
        let Shared { pool, line, tasks, interfaces, migration, recorder } = &*self.0;
        let start = || {
            let size = line.value("recorder", default);
            recorder::start(size, pool, interfaces, migration, tasks)
        };
        recorder.get_or_init(start).clone()
    }

    /// Takes over the devices and bridges of these PCI segments.
    pub(crate) async fn take_over(&self, roots: impl IntoIterator<Item = Root>) {
        let detach = self.0.line.value("detach", Detach::default());
        let (nics, migration) = (self.0.interfaces.clone(), self.0.migration.clone());
        let service = Service::new(nics, self.0.pool, migration, detach);
        for root in roots {
            for bridge in service.take_over(&root.enumerate()).await {
                self.spawn(bridge.run());
            }
        }
        if self.interfaces().is_empty() {
            unikernel::println!(
                "godwit: no NIC: give the machine one that docs/drivers.md lists, below a PCI \
                 Express root port to be migrated with it"
            );
        }
    }

    /// Runs the machine with its program, for ever.
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
        self.0.tasks.run().await;
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
