//! Guests on this machine's QEMU, outside of any lab.

pub mod accel;
pub mod clients;
mod exits;
pub mod linux;
pub mod machine;
pub mod nic;
pub mod options;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    build::application,
    console::Console,
    local::Model,
    parts::{Accelerator, NicModel, Qemu},
    system::process::Guard,
};
pub use nic::{AttachedNic, NETDEV, Wire};
pub use options::{Forward, MigrationNic, Net, Nic};

/// For a guest in software on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const MEMORY_MIB: u32 = 128;
/// What it says on its console once its services can be reached.
pub const READY: &str = "godwit: ready";

/// A running guest, and its console.
pub struct Guest {
    machine: Guard,
    console: Console,
    log: PathBuf,
    nic: Option<AttachedNic>,
}

impl Guest {
    /// Boots the unikernel with this NIC, in software. What it says goes to the file `log`.
    ///
    /// # Errors
    /// It cannot be built or started, nor can its NIC.
    pub fn boot(nic: NicModel, log: &Path, append: &str, forwards: &[Forward]) -> Result<Self> {
        Self::boot_with(nic, log, append, forwards, &[])
    }

    /// The same with more of QEMU's options.
    ///
    /// # Errors
    /// As those of [`Guest::boot`].
    pub fn boot_with(
        nic: NicModel,
        log: &Path,
        append: &str,
        forwards: &[Forward],
        options: &[String],
    ) -> Result<Self> {
        let wire = Wire::Netdev(nic::backend(&Net::User, forwards)?);
        Self::boot_on(&wire, nic, log, append, options)
    }

    /// The same on any wire.
    ///
    /// # Errors
    /// As those of [`Guest::boot`].
    pub fn boot_on(
        wire: &Wire<'_>,
        nic: NicModel,
        log: &Path,
        append: &str,
        options: &[String],
    ) -> Result<Self> {
        let qemu = machine::qemu_with(nic)?;
        Self::boot_image(&qemu, &application::ours()?, wire, nic, log, append, options)
    }

    /// Boots another application than `net-app`, by its folder.
    ///
    /// # Errors
    /// As those of [`Guest::boot`].
    pub fn boot_application(
        folder: &Path,
        wire: &Wire<'_>,
        nic: NicModel,
        log: &Path,
        append: &str,
    ) -> Result<Self> {
        let image = application::Application::find(Some(folder))?.build()?;
        Self::boot_image(&machine::qemu_with(nic)?, &image, wire, nic, log, append, &[])
    }

    /// Boots an image that is there already, by this QEMU.
    ///
    /// # Errors
    /// As those of [`Guest::boot`].
    pub fn boot_image(
        qemu: &Qemu,
        image: &Path,
        wire: &Wire<'_>,
        nic: NicModel,
        log: &Path,
        append: &str,
        options: &[String],
    ) -> Result<Self> {
        let mut line = machine::command_line(qemu, Accelerator::Tcg, MEMORY_MIB, image, append);
        line.extend(options.iter().cloned());
        let nic = AttachedNic::emulated(nic, wire, MEMORY_MIB)?;
        Self::start(line, Some(nic), log)
    }

    /// Starts a machine whose command line has no NIC and no serial port yet.
    ///
    /// # Errors
    /// QEMU cannot be started, or the log not written.
    pub fn start(line: Vec<String>, nic: Option<AttachedNic>, log: &Path) -> Result<Self> {
        let mut command = Guard::command(&line[0]);
        command.args(&line[1..]).args(nic.iter().flat_map(|nic| &nic.options));
        command.args(["-serial", "stdio"]);
        Ok(Self { nic, ..Self::spawn(&mut command, log)? })
    }

    /// Starts `command`, from [`Guard::command`], which runs one and prints its console.
    ///
    /// # Errors
    /// It cannot be started, or the log not written.
    pub fn spawn(command: &mut Command, log: &Path) -> Result<Self> {
        let (console, said) = std::io::pipe()?;
        let command = command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let machine = Guard::spawn(command).context("cannot start the guest's machine")?;
        // Our ends of the pipe would keep it open when the machine is gone.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let console = Console::listen("the guest", console, log)?;
        Ok(Self { machine, console, log: log.into(), nic: None })
    }

    /// The process that is its NIC, if it is one of its own.
    pub fn nic_model(&self) -> Option<&Model> {
        self.nic.as_ref().and_then(AttachedNic::model)
    }

    /// Fails if the machine has ended, as it does when the guest crashes.
    ///
    /// # Errors
    /// How it ended, and where its last words are.
    pub fn ensure_running(&mut self) -> Result<()> {
        match self.machine.try_wait()? {
            None => Ok(()),
            Some(status) => {
                bail!("the guest ended ({status}); its last words are in {}", self.log.display())
            }
        }
    }

    /// Whether anything more may be said: a machine's console closes just before it has ended.
    pub fn is_speaking(&self) -> bool {
        !self.console.text().1
    }

    /// What the console has said so far.
    pub fn console(&self) -> String {
        self.console.text().0
    }

    /// Waits for a whole line of the console that contains `text`.
    ///
    /// # Errors
    /// The guest did not say it, in the time that a guest in software may take for anything.
    pub fn wait_for(&mut self, text: &str) -> Result<String> {
        self.wait_so_long_for(text, PATIENCE)
    }

    /// The same with another patience.
    ///
    /// # Errors
    /// As those of [`Guest::wait_for`].
    pub fn wait_so_long_for(&mut self, text: &str, patience: Duration) -> Result<String> {
        let what = format!("{text:?}");
        let line =
            self.console.wait_for_line(0, &what, patience, |line| line.text.contains(text))?;
        Ok(line.text)
    }

    /// The same for any of several texts.
    ///
    /// # Errors
    /// As those of [`Guest::wait_for`].
    pub fn wait_for_any(&mut self, texts: &[&str], patience: Duration) -> Result<String> {
        let what = format!("any of {texts:?}");
        let is_one = |text: &str| texts.iter().any(|wanted| text.contains(wanted));
        let line = self.console.wait_for_line(0, &what, patience, |line| is_one(&line.text))?;
        Ok(line.text)
    }

    /// Waits for the machine to end by itself. Returns how, and everything the console said.
    ///
    /// # Errors
    /// It goes on.
    pub fn wait_for_end(&mut self) -> Result<(ExitStatus, String)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (said, is_closed) = self.console.text();
            if let (true, Some(status)) = (is_closed, self.machine.try_wait()?) {
                return Ok((status, said));
            }
            ensure!(
                Instant::now() < deadline,
                "the guest did not end within {} s; its console is in {}",
                PATIENCE.as_secs(),
                self.log.display()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}
