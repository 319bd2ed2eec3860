//! How often the lab was started over, and whether a test may pass all the same.

use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use lab::result::{Crash, CrashCause, Migration};

/// So often may the emulated host reset a guest's processor in one run of the suite, which has some
/// twenty-five migrations in it. It was seen once in some sixty (docs/lab.md), so that chance makes
/// three of it in one run of the suite in a hundred: more is something else.
const RESETS: usize = 2;

/// Those so far.
static ALL: Mutex<Vec<Crash>> = Mutex::new(Vec::new());

/// Takes note of those that a result had. Only a crash of the host's own is no fault of a test.
pub(crate) fn note(result: &Migration) -> Result<()> {
    let others = result.comparisons.iter().flat_map(|other| &other.facts.lab_crashes);
    note_all(result.facts.lab_crashes.iter().chain(others))
}

/// The same of these.
pub(crate) fn note_all<'c>(crashes: impl IntoIterator<Item = &'c Crash>) -> Result<()> {
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    for crash in crashes {
        all.push(crash.clone());
        excuse(crash, &all)?;
    }
    Ok(())
}

/// With that crash among all.
fn excuse(crash: &Crash, all: &[Crash]) -> Result<()> {
    let Crash { cause, what } = crash;
    let is_excused = match cause {
        CrashCause::Host => true,
        CrashCause::GuestReset => {
            all.iter().filter(|other| other.cause == *cause).count() <= RESETS
        }
        CrashCause::HostForMachine | CrashCause::HostSilent => false,
    };
    ensure!(is_excused, "the lab was started over, and it may have been the guest's doing: {what}");
    Ok(())
}

/// What there is to say of them, if there were any.
pub(crate) fn said() -> Option<String> {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let what: Vec<&str> = all.iter().map(|crash| crash.what.as_str()).collect();
    (!what.is_empty())
        .then(|| format!("the lab was started over {} times: {}", what.len(), what.join("; ")))
}

/// How many there were.
pub(crate) fn count() -> usize {
    ALL.lock().unwrap_or_else(PoisonError::into_inner).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_own_crash_is_excused_and_few_resets() {
        let crash = |cause| Crash { cause, what: "not syncing: corrupted stack".into() };
        let is_excused = |cause, all: &[Crash]| excuse(&crash(cause), all).is_ok();
        let resets = [(); RESETS + 1].map(|()| crash(CrashCause::GuestReset));
        assert!(is_excused(CrashCause::Host, &[]));
        assert!(is_excused(CrashCause::GuestReset, &resets[..RESETS]));
        assert!(!is_excused(CrashCause::GuestReset, &resets));
        assert!(!is_excused(CrashCause::HostForMachine, &[]));
        assert!(!is_excused(CrashCause::HostSilent, &[]));
    }
}
