//! PID 1 of the lab's virtual host: brings up KVM and VFIO, then starts machines on request.
#![forbid(unsafe_code)]

mod control;
mod functions;
mod host;
mod machines;
mod netlink;
mod processors;
mod taps;

use anyhow::{Context, Result};
use lab_init::{Report, system};
use rustix::system::{RebootCommand, reboot};

fn main() {
    if let Err(error) = run() {
        // With no control port the console is all there is; the outside shows its tail.
        eprintln!("lab-init: {error:#}");
    }
    rustix::fs::sync();
    let _ = reboot(RebootCommand::PowerOff);
    // Returning from PID 1 panics the kernel, and `panic=-1` ends the machine.
}

fn run() -> Result<()> {
    system::mount_all()?;
    // Those of the control port come first, so a failure of any other can be reported there.
    let modules = system::load_modules();
    if let Err(error) = &modules {
        eprintln!("lab-init: {error:#}");
    }
    host::link_channels().context("virtio-serial ports")?;
    let (requests, reports) = control::open().context("control port")?;
    // For as long as the host lives.
    let _settled;
    let is_prepared = !host::is_unprepared()?;
    let all = || {
        let machine = processors::settle_kvm()?;
        if !is_prepared {
            return Ok((Vec::new(), machine, Vec::new()));
        }
        let taps = taps::create()?;
        functions::make()?;
        Ok((taps, machine, host::assign_nics()?))
    };
    match modules.and_then(|()| all()) {
        Ok((taps, machine, nics)) => {
            _settled = machine;
            reports.send(&Report::Ready { nics, taps, processors: processors::count() });
        }
        Err(error) => {
            reports.failed("bring up KVM, VFIO and taps", &error);
            return Err(error);
        }
    }
    machines::serve(requests, &reports)
}
