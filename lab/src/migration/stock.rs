//! What whoever migrates does where QEMU is as it comes: takes the NIC from the guest at the end of
//! the warm-up, and gives it the other one when it has arrived (docs/stock.md).

use std::time::Duration;

use anyhow::Result;

use super::{
    machine::NICS,
    run::{IN_SWITCHOVER, RELEASED, Run, SLOW},
};
use crate::qmp::{self, DeviceAdd, QomGet};

/// How long a guest that has not given its NIC back in time is waited for. Linux as a guest takes
/// 5 s for a native hot-unplug.
const LATE: Duration = Duration::from_secs(6);

impl Run<'_> {
    /// Has the guest give its NICs back, and lets the migration go on to its end: to the
    /// switchover, or, if the guest keeps one, back to where it was.
    pub(super) fn take_by_hand(&mut self) -> Result<()> {
        (self.say)("Migrating: taking the NIC, and switchover");
        // Nobody looks how much is left while the guest is waited for.
        self.limit_to(SLOW, self.held())?;
        match self.unplug() {
            Ok(()) => self.limit_to(IN_SWITCHOVER, RELEASED),
            Err(why) => {
                self.kept = Some(format!("{why:#}"));
                self.cancel()
            }
        }
    }

    /// Gives the guest that has arrived the NICs that are there.
    pub(super) fn give_other(&mut self) -> Result<()> {
        for nic in self.lab.profile().nics(self.home.other()) {
            self.destination.execute(&DeviceAdd { properties: nic.properties().clone() })?;
        }
        Ok(())
    }

    /// Gives the guest that has stayed those of its NICs back that it does not have. One that it
    /// was asked for, and kept, it may still give: QEMU does not take the question back.
    pub(super) fn give_back(&mut self) -> Result<()> {
        self.wait_for_asked(LATE)?;
        let nics = self.lab.profile().nics(self.home);
        for (id, nic) in NICS[..self.interfaces()].iter().zip(nics) {
            let property =
                QomGet { path: format!("/machine/peripheral/{id}"), property: "type".into() };
            match self.source.monitor.execute(&property) {
                Ok(_) => {}
                Err(error) if qmp::refusal(&error).is_some() => {
                    let properties = nic.properties().clone();
                    self.source.monitor.execute(&DeviceAdd { properties })?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
