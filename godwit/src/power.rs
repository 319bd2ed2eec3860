//! Switching the machine off: who wants to know, and when all of them have done what they had to.

use alloc::rc::Rc;
use core::future::Future;

use embassy_futures::select::select;
use embassy_time::{Duration, Timer};
use unikernel::watch::Watch;

/// How long whoever was told may keep the machine on.
const GRACE: Duration = Duration::from_secs(10);

/// Whether the machine is to be switched off. A handle, cheap to clone.
#[derive(Clone)]
pub(crate) struct Power(Rc<Shared>);

struct Shared {
    requested: Watch<bool>,
    /// How many wait to be told, or were told and are not done yet.
    involved: Watch<usize>,
}

/// Keeps the machine on for a moment: until it is dropped, though not for longer than ten seconds.
/// Whoever was told that the machine is to be switched off has it.
#[must_use = "the machine is switched off as soon as this is dropped"]
pub struct StayOn(Power);

impl Drop for StayOn {
    fn drop(&mut self) {
        self.0.0.involved.update(|count| *count -= 1);
    }
}

impl Power {
    pub(crate) fn new() -> Self {
        Self(Rc::new(Shared { requested: Watch::new(false), involved: Watch::new(0) }))
    }

    /// Has the machine switched off.
    pub(crate) fn off(&self) {
        self.0.requested.set(true);
    }

    /// Waits until the machine is to be switched off. Who waits counts from this call on.
    pub(crate) fn requested(&self) -> impl Future<Output = StayOn> + use<> {
        self.0.involved.update(|count| *count += 1);
        let stay_on = StayOn(self.clone());
        let mut watcher = self.0.requested.watcher();
        async move {
            watcher.wait_for(|requested| *requested).await;
            stay_on
        }
    }

    /// Waits until the machine is to be switched off, and nobody keeps it on.
    pub(crate) async fn is_due(&self) {
        self.0.requested.watcher().wait_for(|requested| *requested).await;
        let mut involved = self.0.involved.watcher();
        let all_done = involved.wait_for(|count| *count == 0);
        select(all_done, Timer::after(GRACE)).await;
    }
}
