//! One migration under way: from QEMU's `migrate` to where the machine runs afterwards.

use super::disturbance::{Disturbance, Site};
use super::effort::{Counts, Effort};
use super::machine::{Comparison, Lab, Machine, NICS, PORTS};
use super::record::{Look, MemoryLeft, Outcome, Plan, Timeline};
use super::side::{POLL, REACTION, Side, ensure_running};
use crate::choices::{CancelAt, Strategy};
use crate::clock::Clock;
use crate::console::Said;
use crate::qmp::{self, DeviceDel, Migrate, MigrateCancel, Qmp, RamStatistics};
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How long a migration may take once it may switch over.
const SWITCHOVER: Duration = Duration::from_secs(120);
/// How long a guest may take to say that it has quiesced a NIC.
const QUIET: Duration = Duration::from_secs(1);
/// Between two notes of how far copying has come.
const NOTE: Duration = Duration::from_millis(100);
/// While a migration is being held in its warm-up, milliseconds of downtime it may cause: none can
/// be as short.
pub(super) const HELD: u64 = 0;
/// The same for a QEMU of before 8.2: with none at all it takes a pass that has ended for all of
/// memory, and does not look for what has become dirty meanwhile.
pub(super) const HELD_STOCK: u64 = 1;
/// Bytes a second once all of memory was sent. What is left then is what the guest writes again and
/// again, and to send that again and again costs it traps, and gets nobody on; while with nothing
/// left QEMU switches over, whatever limits the downtime has. It counts by tenths of a second, and
/// sends a buffer of some thirty pages at least: 1.2 MiB a second.
pub(super) const SLOW: u64 = 64 << 10;
/// Milliseconds of downtime afterwards, QEMU's default.
pub(super) const RELEASED: u64 = 300;
/// Bytes a second for QEMU to reckon with when it decides about the switchover. What it sent in the
/// warm-up was limited, and says nothing; the emulated host was seen to do this.
pub(super) const IN_SWITCHOVER: u64 = 64 << 20;

/// One migration under way.
pub(super) struct Run<'r> {
    pub(super) plan: &'r Plan,
    pub(super) source: &'r mut Side,
    pub(super) destination: &'r mut Qmp,
    pub(super) lab: &'r mut dyn Lab,
    pub(super) clock: Clock,
    pub(super) home: Machine,
    pub(super) source_mark: usize,
    pub(super) timeline: Timeline,
    pub(super) comparison: Option<Comparison>,
    pub(super) effort: Option<Effort>,
    pub(super) looks: Vec<Look>,
    /// Why the guest has kept its NIC, where it was to be taken by hand.
    pub(super) kept: Option<String>,
    /// The NICs that the guest was asked for, and has not given yet.
    pub(super) asked: Vec<&'static str>,
    pub(super) copied: Vec<(Instant, RamStatistics)>,
    pub(super) left: MemoryLeft,
    /// Whether all of memory was sent, so that what is left is sent slowly.
    pub(super) all_sent: bool,
    pub(super) disturbance: &'r mut dyn Disturbance,
    pub(super) is_disturbed: bool,
    pub(super) say: &'r mut dyn FnMut(&str),
}

impl Run<'_> {
    /// Until the machine runs on the destination, or goes on where it was. With what QEMU says of
    /// it, and why it failed.
    pub(super) fn carry_out(&mut self) -> Result<(Outcome, qmp::MigrationInfo, Option<String>)> {
        let uri = self.lab.profile().streams.reached[self.home.other() as usize].clone();
        self.timeline.start = self.clock.now();
        self.look();
        let by_hand = self.lab.profile().pair.is_moved_by_hand();
        let mut held = self.plan.strategy != Strategy::Cold;
        self.limit(if held { self.held() } else { RELEASED })?;
        if self.plan.strategy == Strategy::Cold {
            let several = self.interfaces() > 1;
            (self.say)(if several { "Taking the NICs away" } else { "Taking the NIC away" });
            self.unplug()?;
        }
        (self.say)("Migrating: warm-up");
        if let Err(error) = self.source.monitor.execute(&Migrate { uri }) {
            let refusal = qmp::refusal(&error).map(|refused| refused.description.clone());
            let Some(reason) = refusal else { return Err(error) };
            if by_hand {
                self.give_back()?;
            }
            return Ok((Outcome::Failed, qmp::MigrationInfo::default(), Some(reason)));
        }
        if self.plan.cancel_at == Some(CancelAt::Setup) {
            self.cancel()?;
        }
        let deadline = self.timeline.start + self.plan.warmup + SWITCHOVER;
        let begun = self.count();
        let mut last = qmp::MigrationInfo::default();
        loop {
            ensure_running(self.lab, self.home)?;
            let mut info = self.source.monitor.execute(&qmp::QueryMigrate {})?;
            self.note(&info);
            // A migration that was cancelled or failed has no figures any more.
            info.total_time = info.total_time.or(last.total_time);
            info.ram = info.ram.or(last.ram);
            let over = match info.status.as_deref() {
                Some("completed") => Some(Outcome::Completed),
                Some("cancelled") => Some(Outcome::Cancelled),
                Some("failed") => Some(Outcome::Failed),
                _ => None,
            };
            if let Some(outcome) = over {
                if outcome == Outcome::Cancelled
                    && self.plan.cancel_at.is_some_and(CancelAt::is_late)
                {
                    self.look_for_quiet();
                }
                self.timeline.over = Some(self.clock.now());
                self.look();
                if outcome != Outcome::Completed {
                    self.disturb(|disturbance, site| disturbance.when_given_up(site))?;
                }
                if by_hand && outcome != Outcome::Completed {
                    self.give_back()?;
                }
                if outcome == Outcome::Completed {
                    if self.lab.profile().compares {
                        self.compare()?;
                    }
                    self.wait_for_resumption()?;
                    if by_hand {
                        self.give_other()?;
                    }
                }
                if let Some(why) = self.kept.take() {
                    return Ok((Outcome::Failed, info, Some(why)));
                }
                let failed = outcome == Outcome::Failed;
                let mut error = info.error_desc.clone().filter(|_| failed);
                // Why is often known better where the destination was.
                if let (true, Some(ended)) = (failed, self.ended_soon(self.home.other())) {
                    let qemu = error.unwrap_or_else(|| "it failed".into());
                    error = Some(format!("{qemu}; the destination's QEMU has ended: {ended}"));
                }
                return Ok((outcome, info, error));
            }
            if held {
                self.hold(info.ram.as_ref())?;
            }
            let warmed = self.clock.since(self.timeline.start);
            if held && !self.is_disturbed && warmed >= self.plan.warmup / 2 {
                self.is_disturbed = true;
                self.disturb(|disturbance, site| disturbance.in_warmup(site))?;
                last = info;
                continue;
            }
            if held && warmed >= self.plan.warmup {
                held = false;
                self.look();
                self.effort = Some(begun.effort_until(&self.count()));
                if self.plan.cancel_at == Some(CancelAt::Warmup) {
                    self.cancel()?;
                } else if by_hand && self.plan.strategy == Strategy::Warm {
                    self.take_by_hand()?;
                } else {
                    (self.say)(match self.plan.strategy {
                        Strategy::Failover => "Migrating: switchover",
                        _ => "Migrating: quiesce and switchover",
                    });
                    // Not the bandwidth: the switchover is not bound by it, and the guest still has
                    // its NIC.
                    self.limit(RELEASED)?;
                }
            }
            let reached = match self.plan.cancel_at {
                Some(CancelAt::Quiesce) => !held && self.detaching()?,
                Some(CancelAt::Quiesced) => info.status.as_deref() == Some("pre-switchover"),
                _ => false,
            };
            if reached {
                self.cancel()?;
            }
            let (since, deadline) = match self.timeline.cancelled {
                Some(at) => ("cancelled", at + SWITCHOVER),
                None => ("let", deadline),
            };
            if self.clock.now() > deadline {
                self.cancel()?;
                bail!(
                    "the migration did not come to its end within {} s of being {since}; QEMU \
                     says {info:?}",
                    SWITCHOVER.as_secs()
                );
            }
            last = info;
            // Between being asked for and gone, the NIC is there for milliseconds only.
            let is_close = self.plan.cancel_at == Some(CancelAt::Quiesce) && !held;
            self.look_at_destination(if is_close { POLL / 20 } else { POLL })?;
        }
    }

    /// How a machine's QEMU has ended, if it has: the other may know of it sooner than its lab.
    fn ended_soon(&mut self, machine: Machine) -> Option<String> {
        let deadline = self.clock.now() + QUIET;
        loop {
            let ended = self.lab.ended(machine);
            if ended.is_some() || self.clock.now() > deadline {
                return ended;
            }
            self.clock.sleep(POLL);
        }
    }

    pub(super) fn interfaces(&self) -> usize {
        self.lab.profile().interfaces()
    }

    fn disturb(
        &mut self,
        what: impl FnOnce(&mut dyn Disturbance, &mut Site<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut site = Site {
            lab: &mut *self.lab,
            monitor: &mut self.source.monitor,
            home: self.home,
            clock: &self.clock,
        };
        what(&mut *self.disturbance, &mut site)
    }

    fn look(&mut self) {
        self.looks.extend(Look::now(self.clock.now()));
    }

    /// Keeps what QEMU says of memory, now and then.
    fn note(&mut self, info: &qmp::MigrationInfo) {
        let Some(ram) = &info.ram else { return };
        let now = self.clock.now();
        if self.copied.last().is_none_or(|(at, _)| now - *at >= NOTE) {
            self.copied.push((now, ram.clone()));
            self.left.set(Some(ram.remaining));
        }
    }

    fn count(&mut self) -> Counts {
        Counts::now(&mut self.source.monitor, self.lab, &self.clock)
    }

    fn limit(&mut self, downtime_limit: u64) -> Result<()> {
        self.limit_to(self.plan.bandwidth, downtime_limit)
    }

    /// Keeps a migration that would otherwise be over in its warm-up.
    fn hold(&mut self, ram: Option<&RamStatistics>) -> Result<()> {
        let all_sent = ram.is_some_and(|ram| ram.dirty_sync_count > 1);
        if all_sent != self.all_sent {
            self.all_sent = all_sent;
            self.limit_to(if all_sent { SLOW } else { self.plan.bandwidth }, self.held())?;
        }
        Ok(())
    }

    /// The downtime limit that keeps a migration in its warm-up.
    pub(super) fn held(&self) -> u64 {
        if self.lab.profile().pair.qemu.is_patched() { HELD } else { HELD_STOCK }
    }

    pub(super) fn limit_to(&mut self, max_bandwidth: u64, downtime_limit: u64) -> Result<()> {
        let is_patched = self.lab.profile().pair.qemu.is_patched();
        self.source.monitor.execute(&qmp::MigrateSetParameters {
            max_bandwidth,
            avail_switchover_bandwidth: is_patched.then_some(IN_SWITCHOVER),
            downtime_limit,
        })?;
        Ok(())
    }

    pub(super) fn cancel(&mut self) -> Result<()> {
        if self.timeline.cancelled.is_none() {
            (self.say)("Cancelling");
            self.timeline.cancelled = Some(self.clock.now());
            self.source.monitor.execute(&MigrateCancel {})?;
        }
        Ok(())
    }

    /// Takes the NICs from the guest, as an operator would before migrating.
    pub(super) fn unplug(&mut self) -> Result<()> {
        for id in &NICS[..self.interfaces()] {
            self.source.monitor.execute(&DeviceDel { id: (*id).into() })?;
            self.asked.push(id);
        }
        self.wait_for_asked(REACTION)?;
        if self.asked.is_empty() {
            return Ok(());
        }
        let left = self.asked.join(", ");
        bail!("the guest did not give {left} back within {} s", REACTION.as_secs())
    }

    /// Waits until the guest has given all NICs that it was asked for, but no longer than that.
    pub(super) fn wait_for_asked(&mut self, patience: Duration) -> Result<()> {
        let deadline = self.clock.now() + patience;
        while !self.asked.is_empty() {
            let patience = self.clock.until(deadline);
            let event = self.source.monitor.wait_event("DEVICE_DELETED", patience)?;
            let Some(event) = event else { break };
            // It also comes, without an id, for devices inside the device.
            let before = self.asked.len();
            self.asked.retain(|id| event.data["device"] != *id);
            if self.asked.len() < before {
                self.timeline.detached.get_or_insert(self.clock.now());
            }
        }
        Ok(())
    }

    /// Whether the guest has been asked to quiesce all of its NICs, or already has.
    fn detaching(&mut self) -> Result<bool> {
        let mut all = true;
        for interface in 0..self.interfaces() {
            let detached = Said::NicDetached { interface };
            let gone = self.source.console.find(self.source_mark, |said| *said == detached);
            all &= gone.is_some() || self.phase(interface).starts_with("quiesc");
        }
        Ok(all)
    }

    /// A port's view of the migration; nothing where it has no capability.
    fn phase(&mut self, interface: usize) -> String {
        let property = qmp::QomGet {
            path: format!("/machine/peripheral/{}", PORTS[interface]),
            property: "dirty-log-phase".into(),
        };
        let phase = self.source.monitor.execute(&property).unwrap_or_default();
        phase.as_str().unwrap_or_default().into()
    }

    /// Gives the guest time to say that it has quiesced its NICs, which it was asked for before the
    /// migration was cancelled. It may have heard of that first, and has nothing to start again
    /// then.
    fn look_for_quiet(&self) {
        for interface in 0..self.interfaces() {
            let quiet = Said::NicDetached { interface };
            let console = &self.source.console;
            let _ = console.wait_for(self.source_mark, "quiet", QUIET, |said| *said == quiet);
        }
    }

    /// Has the lab compare memory once the destination has all of it, and then lets the destination
    /// run.
    fn compare(&mut self) -> Result<()> {
        let deadline = self.clock.now() + REACTION;
        while self.destination.execute(&qmp::QueryStatus {})?.status == "inmigrate" {
            if self.clock.now() > deadline {
                bail!("the destination did not load the guest within {} s", REACTION.as_secs());
            }
            self.clock.sleep(POLL / 10);
        }
        self.comparison = Some(self.lab.compare(self.home)?);
        self.destination.execute(&qmp::Cont {})?;
        Ok(())
    }

    fn wait_for_resumption(&mut self) -> Result<()> {
        let deadline = self.clock.now() + REACTION;
        while self.timeline.resumed.is_none() {
            ensure_running(self.lab, self.home.other())?;
            if self.clock.now() > deadline {
                bail!(
                    "the migration completed, but the destination did not run within {} s",
                    REACTION.as_secs()
                );
            }
            self.look_at_destination(POLL)?;
        }
        Ok(())
    }

    /// Listens for the guest running on the destination.
    fn look_at_destination(&mut self, patience: Duration) -> Result<()> {
        if self.timeline.resumed.is_some() {
            self.clock.sleep(patience);
        } else if self.destination.wait_event("RESUME", patience)?.is_some() {
            self.timeline.resumed = Some(self.clock.now());
        }
        Ok(())
    }
}
