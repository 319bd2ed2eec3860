//! `cargo xtask run`.

use std::{
    process::{ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use lab::{
    guest::{AttachedNic, Nic, accel, machine},
    parts::escape,
    system::process::Guard,
};

use crate::{cli::Run, ending::Ending};

pub(crate) fn main(options: &Run) -> Result<Ending> {
    // First what can be wrong with the request: building takes a while.
    let taken = options.take.as_deref();
    let nic = AttachedNic::new(&options.nic, &options.net, &options.forward, options.mem, taken)?;
    let image = match &options.image {
        Some(image) => image.clone(),
        None => options.app.find()?.build()?,
    };
    let qemu = machine::qemu_for(&options.nic)?;
    let accelerator = accel::choose(options.accel, &qemu, &image)?;
    let append = options.append.as_deref().unwrap_or_default();
    let mut line = machine::command_line(&qemu, accelerator, options.mem, &image, append);
    line.extend(nic.options.iter().cloned());
    line.extend(["-serial".into(), "stdio".into()]);
    if matches!(options.nic, Nic::Vfio(_)) && machine::has_capability(&qemu)? {
        let property = format!("pcie-root-port.{}=on", machine::CAPABILITY);
        line.extend(["-global".into(), property]);
    }
    if let Some(socket) = &options.qmp {
        line.extend(["-qmp".into(), format!("unix:{},server=on,wait=off", escape(socket))]);
    }
    // Given back when the machine is gone, which is dropped first.
    let _claim = nic.claim()?;
    // The console is for reading: with no terminal on its input QEMU cannot leave one in raw mode.
    let mut guest = Guard::spawn(Guard::command(&line[0]).args(&line[1..]).stdin(Stdio::null()))
        .context("cannot start QEMU")?;
    // One beyond the clock's range is none.
    let deadline = options
        .timeout
        .and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    loop {
        if let Some(status) = guest.try_wait()? {
            return Ok(ending(status));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(Ending::TimedOut);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The guest's own code where it gave one: isa-debug-exit makes `code << 1 | 1` of it.
fn ending(status: ExitStatus) -> Ending {
    match status.code() {
        Some(0) => Ending::AsAsked,
        Some(code) if code & 1 == 1 && code > 1 => Ending::Guest((code >> 1) as u8),
        _ => Ending::Failed,
    }
}
