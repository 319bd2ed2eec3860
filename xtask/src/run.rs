//! `cargo xtask run`.

use std::{
    process::{ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::{
    build::application::check_image,
    guest::{AttachedNic, Forward, Nic, accel, machine},
    parts::escape,
    system::{
        detail::{self, Detail},
        process::Guard,
    },
};

use crate::{
    cli::Run,
    ending::{Ending, Usage},
};

pub(crate) fn main(options: &Run) -> Result<Ending> {
    // First what can be wrong with the request: building takes a while.
    let taken = options.take.as_deref();
    check_take(&options.nic, taken).map_err(Usage::wrap)?;
    check_forwards(&options.forward).map_err(Usage::wrap)?;
    let nic = AttachedNic::new(&options.nic, &options.net, &options.forward, options.mem, taken)?;
    let image = match &options.image {
        Some(image) => {
            check_image(image).map_err(Usage::wrap)?;
            image.clone()
        }
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
    if detail::shows(Detail::Steps) {
        eprintln!("{}", how_to_use(&options.forward));
    }
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

/// Whether `--take` names the NIC that is to be the guest's.
fn check_take(nic: &Nic, taken: Option<&str>) -> Result<()> {
    let Some(taken) = taken else { return Ok(()) };
    ensure!(
        matches!(nic, Nic::Vfio(address) if address == taken),
        "`--take {taken}` goes with `--nic vfio:{taken}`, not with `--nic {nic}`"
    );
    Ok(())
}

/// Whether each port of this machine is forwarded once. QEMU would say that it cannot have it.
fn check_forwards(forwards: &[Forward]) -> Result<()> {
    for (index, Forward { host, .. }) in forwards.iter().enumerate() {
        let is_first = forwards[..index].iter().all(|earlier| earlier.host != *host);
        ensure!(is_first, "`--forward` names port {host} of this machine twice");
    }
    Ok(())
}

/// Where the guest is reached, once it is up, and how it ends.
fn how_to_use(forwards: &[Forward]) -> String {
    let ports = forwards
        .iter()
        .map(|Forward { host, guest }| format!("127.0.0.1:{host} is the guest's port {guest}; "));
    ports.chain(["Ctrl-C ends the guest.".into()]).collect()
}

/// The guest's own code where it gave one: isa-debug-exit makes `code << 1 | 1` of it.
fn ending(status: ExitStatus) -> Ending {
    match status.code() {
        Some(0) => Ending::AsAsked,
        Some(code) if code & 1 == 1 && code > 1 => Ending::Guest((code >> 1) as u8),
        _ => Ending::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_names_the_nic_of_the_guest() {
        let nic: Nic = "vfio:03:00.0".parse().unwrap();
        assert!(check_take(&nic, None).is_ok());
        assert!(check_take(&nic, Some("0000:03:00.0")).is_ok());
        assert!(check_take(&nic, Some("0000:04:00.0")).is_err());
        let error = check_take(&"e1000e".parse().unwrap(), Some("0000:03:00.0")).unwrap_err();
        assert!(error.to_string().contains("--nic e1000e"), "{error}");
    }

    #[test]
    fn a_port_of_this_machine_is_forwarded_once() {
        let forwards = |text: &str| -> Vec<Forward> {
            text.split(' ').map(|forward| forward.parse().unwrap()).collect()
        };
        assert!(check_forwards(&forwards("8080:80 8081:80")).is_ok());
        let error = check_forwards(&forwards("8080:80 9000:1 8080:7")).unwrap_err().to_string();
        assert!(error.contains("port 8080 of this machine twice"), "{error}");
        let said = how_to_use(&forwards("8080:80"));
        assert_eq!(said, "127.0.0.1:8080 is the guest's port 80; Ctrl-C ends the guest.");
        assert_eq!(how_to_use(&[]), "Ctrl-C ends the guest.");
    }
}
