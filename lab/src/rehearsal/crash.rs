//! Whose fault it is that a run came to nothing: the emulated host's, after which all is done
//! again, or not.

use std::{fmt, fs, path::Path};

use super::{
    parts::Place,
    stage::{HOST_LOG, HOST_STATE},
};
use crate::{
    migration::{Lab, ResetInSilence},
    result::{Crash, CrashCause},
};

/// How Linux names the threads of a machine in the host: QEMU's own, and those that run the guest.
const MACHINES_THREADS: [&str; 2] = ["qemu-system", "CPU "];

/// Whether an error of [`super::run`] is the emulated host's, and says nothing about the guest.
pub fn is_of_the_lab(error: &anyhow::Error) -> bool {
    error.is::<HostLost>() || error.is::<Crashed>()
}

/// The lab's host does not answer any more, so what failed in it says nothing. With what it said
/// last, if anything.
#[derive(Debug)]
pub(super) struct HostLost(Option<Crash>);

impl fmt::Display for HostLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.crash().what)
    }
}

impl HostLost {
    fn crash(&self) -> Crash {
        self.0.clone().unwrap_or_else(|| Crash {
            cause: CrashCause::HostSilent,
            what: "it does not answer any more".into(),
        })
    }
}

/// The lab's host crashed each time, at last because of that.
#[derive(Debug)]
pub(super) struct Crashed(pub(super) String);

impl fmt::Display for Crashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the lab's host crashed: {}", self.0)
    }
}

/// What crashed, if that is why a run with these logs ended in an error.
pub(super) fn behind(error: &anyhow::Error, logs: &Path, place: &Place) -> Option<Crash> {
    of_host(error, logs).or_else(|| confused(error, place))
}

/// What crashed, where only the host's kernel is excused, and a guest that was reset is not.
pub(super) fn of_host(error: &anyhow::Error, logs: &Path) -> Option<Crash> {
    let lost = error.downcast_ref::<HostLost>().map(HostLost::crash);
    lost.or_else(|| host_panic(logs))
}

/// Keeps what there is to know about a host that does not answer, which is gone soon: why it
/// stopped is still unknown.
pub(super) fn lost(lab: &mut dyn Lab, logs: &Path) -> HostLost {
    let panic = host_panic(logs);
    if panic.is_none()
        && let Some(words) = lab.last_words()
        && let Err(error) = fs::write(logs.join(HOST_STATE), words)
    {
        eprintln!("The state of the lab's host cannot be kept: {error}");
    }
    HostLost(panic)
}

/// The crash of the host's kernel, if it said that there was one.
fn host_panic(logs: &Path) -> Option<Crash> {
    let log = fs::read(logs.join(HOST_LOG)).ok()?;
    let text = String::from_utf8_lossy(&log);
    let (_, panic) = text.split_once("Kernel panic - ")?;
    // Where the kernel was (dump_stack_print_info() in lib/dump_stack.c): of an oops that led to
    // the panic it has been said before, of the panic itself it is said behind it.
    let thread = text.lines().find_map(|line| Some(line.split_once(" Comm: ")?.1));
    let is_a_machines =
        thread.is_none_or(|name| MACHINES_THREADS.iter().any(|start| name.starts_with(start)));
    let cause = if is_a_machines { CrashCause::HostForMachine } else { CrashCause::Host };
    Some(Crash { cause, what: panic.lines().next().unwrap_or_default().trim().into() })
}

/// Why a machine's processor was reset in an emulated host, where its guest said nothing.
///
/// KVM's trace of such a run, one of some sixty, had the guest go on in the host's
/// `__svm_vcpu_run`, at the instruction behind VMRUN, with the page tables of a process of the
/// host: TCG had saved its own state as the guest's. What becomes of that is a triple fault, or a
/// guest that loops there. A fault of Godwit's own ends in words on the console; and in the lab on
/// this machine, where no SVM is emulated, a reset stays an error.
fn confused(error: &anyhow::Error, place: &Place) -> Option<Crash> {
    let in_silence = error.downcast_ref::<ResetInSilence>().is_some();
    let is_emulated = matches!(place, Place::Nested { .. });
    (in_silence && is_emulated).then(|| Crash {
        cause: CrashCause::GuestReset,
        what: "it reset a guest's processor".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_crash_of_the_hosts_kernel_counts_as_one_and_where_it_was_is_told() {
        let logs = tempfile::tempdir().unwrap();
        assert_eq!(host_panic(logs.path()), None);
        let log = logs.path().join(HOST_LOG);
        let cause = |text: &str| {
            fs::write(&log, text).unwrap();
            host_panic(logs.path()).map(|crash| crash.cause)
        };
        assert_eq!(cause("[    1.0] vfio-pci 0000:01:00.0: resetting\n"), None);
        let panic = "[   44.7] Kernel panic - not syncing: corrupted stack\n";
        let comm = |name: &str| format!("[   44.7] CPU: 0 PID: 71 Comm: {name} Not tainted\n");
        assert_eq!(cause(&[panic, &comm("kworker/0:1")].concat()), Some(CrashCause::Host));
        assert_eq!(cause(&[&comm("swapper/1"), panic].concat()), Some(CrashCause::Host));
        // In these a guest may have had a hand.
        for text in [panic.into(), panic.to_owned() + &comm("CPU 0/KVM")] {
            assert_eq!(cause(&text), Some(CrashCause::HostForMachine), "{text}");
        }
        assert_eq!(host_panic(logs.path()).unwrap().what, "not syncing: corrupted stack");
    }
}
