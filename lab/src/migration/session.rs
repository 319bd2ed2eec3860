//! A guest in a lab, from boot through all its migrations.

use super::disturbance::{Disturbance, Undisturbed};
use super::effort::{Counts, Effort};
use super::machine::{Lab, Machine, PORTS, Role};
use super::record::{Check, Look, MemoryLeft, Outcome, Plan, Record, Timeline};
use super::run::Run;
use super::side::{POLL, REACTION, Side, ensure_running};
use crate::addresses::interface_name;
use crate::choices::CancelAt;
use crate::clock::Clock;
use crate::console::{Console, Died, Line, Said};
use crate::init::Channel;
use crate::qmp::{self, Capability, Ends, Qmp};
use crate::segment::{Mac, parse_mac};
use crate::source::{DmaCounts, Traffic};
use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the guest may take to boot, in an emulated host: Linux takes longest.
const BOOT: Duration = Duration::from_secs(180);
/// How long the guest may take to check all frames it holds.
const CHECKING: Duration = Duration::from_secs(60);
/// Until traffic that has started over is reported on.
const SETTLE: Duration = Duration::from_millis(500);

/// A machine's processor was reset, and its guest had said nothing that leads to it. With all there
/// is to know of it.
#[derive(Debug)]
pub struct ResetInSilence(String);

impl std::fmt::Display for ResetInSilence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ResetInSilence {}

/// A guest in a lab, from boot on.
pub struct Session<'a> {
    lab: &'a mut dyn Lab,
    clock: Clock,
    append: String,
    /// Where the guest is.
    home: Machine,
    source: Side,
    destination_console: Console,
    left: MemoryLeft,
    /// How often it was to migrate.
    migrations: u32,
    say: &'a mut dyn FnMut(&str),
}

impl<'a> Session<'a> {
    /// Boots the guest on the source with the command line `append`. Consoles are logged in
    /// `directory`; `say` hears of progress.
    pub fn boot(
        lab: &'a mut dyn Lab,
        append: &str,
        directory: &Path,
        say: &'a mut dyn FnMut(&str),
    ) -> Result<Self> {
        say("Booting the guest on the source");
        let home = Machine::Source;
        let clock = lab.clock();
        let listen = |machine: Machine| {
            let log = directory.join(format!("{machine}.log"));
            Console::listen_by(
                &clock,
                &format!("the {machine}'s guest"),
                lab.channel(machine, Channel::Console)?,
                &log,
            )
        };
        let (console, destination_console) = (listen(home)?, listen(home.other())?);
        lab.start(home, &lab.profile().arguments(home, Role::Boots, append))?;
        let monitor = boot(lab, &console).map_err(|error| explain(error, lab, &[&console]))?;
        let source = Side { console, monitor };
        let append = append.into();
        let left = MemoryLeft::default();
        Ok(Self { lab, clock, append, home, source, destination_console, left, migrations: 0, say })
    }

    /// The station address that the guest has at one of its interfaces: that of the NIC it booted
    /// with.
    pub fn mac(&self, interface: usize) -> Option<Mac> {
        let is_it =
            |said: &Said| matches!(said, Said::Ready { interface: i, .. } if *i == interface);
        match self.source.console.find(0, is_it)?.said? {
            Said::Ready { mac, .. } => parse_mac(&mac?),
            _ => None,
        }
    }

    /// For others to look at how far a migration has come.
    pub fn memory_left(&self) -> MemoryLeft {
        self.left.clone()
    }

    /// How the machines, and what is around them, were started so far.
    pub fn command_lines(&self) -> Vec<(String, Vec<String>)> {
        self.lab.command_lines()
    }

    /// Tells whoever listens to progress what is being done now.
    pub fn say(&mut self, what: &str) {
        (self.say)(what);
    }

    /// Does something while the guest stays where it is, and says what that took.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn watch<R>(&mut self, work: impl FnOnce() -> Result<R>) -> Result<(R, Effort)> {
        let mut count = || Counts::now(&mut self.source.monitor, self.lab, &self.clock);
        let begun = count();
        let done = work()?;
        Ok((done, begun.effort_until(&count())))
    }

    /// Migrates as planned, under traffic for each of the guest's interfaces, or for the first ones
    /// only. A migration that QEMU or the guest refuse or fail is a record; an error
    /// means that the lab does not work, or that the guest does not keep to its part afterwards.
    pub fn migrate(&mut self, plan: &Plan, traffic: &[&dyn Traffic]) -> Result<Record> {
        self.migrate_disturbed(plan, traffic, &mut Undisturbed)
    }

    /// The same, with something done to it meanwhile.
    pub fn migrate_disturbed(
        &mut self,
        plan: &Plan,
        traffic: &[&dyn Traffic],
        disturbance: &mut dyn Disturbance,
    ) -> Result<Record> {
        self.migrations += 1;
        let from = self.home;
        self.carry_out(plan, traffic, disturbance).map_err(|error| {
            let error =
                explain(error, self.lab, &[&self.source.console, &self.destination_console]);
            match self.migrations {
                1 => error,
                number => error.context(format!(
                    "migration {number} of the guest, from the machine `{from}` to `{}`",
                    from.other()
                )),
            }
        })
    }

    /// Where the guest is.
    pub fn home(&self) -> Machine {
        self.home
    }

    fn carry_out(
        &mut self,
        plan: &Plan,
        traffic: &[&dyn Traffic],
        disturbance: &mut dyn Disturbance,
    ) -> Result<Record> {
        (self.say)("Starting the destination");
        let target = self.home.other();
        ensure_running(self.lab, self.home)?;
        let source_mark = self.source.console.mark();
        let destination_mark = self.destination_console.mark();
        let arguments = self.lab.profile().arguments(target, Role::Incoming, &self.append);
        self.lab.start(target, &arguments)?;
        let monitor = self.lab.channel(target, Channel::Qmp)?;
        let mut destination = Qmp::connect(target.name(), monitor)?.timed_by(&self.clock);
        // QEMU does not go on to the switchover by itself: a guest may let go of its NIC in a few
        // milliseconds.
        let pauses = plan.cancel_at.is_some_and(CancelAt::is_late);
        // With a return path, as libvirt has it, the downtime includes what the destination takes
        // to load the machine.
        for (monitor, pauses) in [(&mut self.source.monitor, pauses), (&mut destination, false)] {
            let capabilities =
                [("events", true), ("return-path", true), ("pause-before-switchover", pauses)];
            configure(monitor, &capabilities)?;
        }

        (self.say)("Measuring before the migration");
        traffic.iter().for_each(|traffic| traffic.start_over());
        self.clock.sleep(SETTLE);
        let begin = self.clock.now();
        let first_look = Look::now(begin);
        self.clock.sleep(plan.before);
        let mut run = Run {
            plan,
            source: &mut self.source,
            destination: &mut destination,
            lab: &mut *self.lab,
            clock: self.clock.clone(),
            comparison: None,
            kept: None,
            asked: Vec::new(),
            effort: None,
            looks: Vec::from_iter(first_look),
            copied: Vec::new(),
            left: self.left.clone(),
            all_sent: false,
            home: self.home,
            source_mark,
            timeline: Timeline {
                begin,
                start: self.clock.now(),
                logging_on: None,
                cancelled: None,
                detached: None,
                resumed: None,
                attached: None,
                logging_off: None,
                over: None,
                end: begin,
            },
            disturbance,
            is_disturbed: false,
            say: &mut *self.say,
        };
        let carried = run.carry_out();
        self.left.set(None);
        let (outcome, info, error) = carried?;
        let (mut timeline, comparison, effort) = (run.timeline, run.comparison, run.effort);
        let (mut looks, copied) = (run.looks, run.copied);
        let interfaces = self.lab.profile().interfaces();
        let ports = PORTS[..interfaces].iter();
        let ports = ports.map(|port| port_figures(&mut self.source.monitor, port)).collect();

        let (console, mark) = match outcome {
            Outcome::Completed => (&self.destination_console, destination_mark),
            _ => {
                self.lab.stop(target)?;
                (&self.source.console, source_mark)
            }
        };
        let said = |said: Said| self.source.console.find(source_mark, |other| *other == said);
        let mut away = Vec::new();
        for interface in 0..interfaces {
            let detached = Said::NicDetached { interface };
            if outcome == Outcome::Completed {
                // The last it said where it was; the rest of this looks at what has been heard.
                self.source.console.has_said(source_mark, |said| *said == detached);
            }
            let at = said(detached).map(|line| line.at);
            timeline.detached = [timeline.detached, at].into_iter().flatten().min();
            if outcome == Outcome::Completed || at.is_some() {
                away.push(interface);
            }
        }
        if !away.is_empty() {
            (self.say)("Waiting for the guest to take its NIC into use");
        }
        for interface in away {
            let what = format!("a NIC for {}", interface_name(interface));
            let attached = Said::NicAttached { interface };
            let line = console.wait_for(mark, &what, REACTION, |said| *said == attached)?;
            timeline.attached = timeline.attached.max(Some(line.at));
        }
        let mut resumption = timeline.attached.or(timeline.over).unwrap_or(timeline.start);
        if said(Said::NowUsing { interface: 0, standby: true }).is_some() {
            let back = Said::NowUsing { interface: 0, standby: false };
            let what = "its NIC in the place of the standby";
            resumption = console.wait_for(mark, what, REACTION, |said| *said == back)?.at;
        }
        wait_for_traffic(&self.clock, traffic, resumption, REACTION)?;

        (self.say)("Measuring after the migration");
        self.clock.sleep(plan.after);
        timeline.end = self.clock.now();
        looks.extend(Look::now(timeline.end));
        // Without the capability, nobody tells the guest that it was moved, and that it should
        // check; and where nobody logged there was nothing to check.
        let has_checked = self.lab.profile().pair.capability
            && (outcome == Outcome::Completed || self.has_logged(source_mark));
        let check = if has_checked { Self::check(console, mark, &timeline)? } else { None };
        let (check, dma) = check.unzip();
        let first = |console: &Console, mark, wanted: fn(&Said) -> bool| {
            Some(console.find(mark, wanted)?.at)
        };
        timeline.logging_on =
            first(&self.source.console, source_mark, |s| matches!(s, Said::LoggingOn { .. }));
        timeline.logging_off = first(console, mark, |s| matches!(s, Said::LoggingOff { .. }));
        if outcome == Outcome::Completed {
            self.lab.stop(self.home)?;
            self.home = target;
            std::mem::swap(&mut self.source.console, &mut self.destination_console);
            self.source.monitor = destination;
        }
        Ok(Record {
            plan: plan.clone(),
            outcome,
            error,
            timeline,
            info,
            ports,
            check,
            comparison,
            dma: dma.flatten(),
            effort,
            copied,
            looks,
        })
    }

    /// Whether the guest has heard of a log since then.
    fn has_logged(&self, mark: usize) -> bool {
        self.source.console.has_said(mark, |said| matches!(said, Said::LoggingOn { .. }))
    }

    /// The guest's first check since the migration was over.
    fn check(
        console: &Console,
        mark: usize,
        timeline: &Timeline,
    ) -> Result<Option<(Check, Option<DmaCounts>)>> {
        if timeline.over.is_none() {
            return Ok(None);
        }
        let what = "the flight recorder's integrity check";
        let line =
            console.wait_for(mark, what, CHECKING, |said| matches!(said, Said::Checked { .. }))?;
        Ok(read_check(&console.since(mark), &line))
    }
}

/// Waits for the guest on the machine with this console to have booted. Returns the machine's
/// monitor.
fn boot(lab: &dyn Lab, console: &Console) -> Result<Qmp> {
    let monitor = lab.channel(Machine::Source, Channel::Qmp)?;
    let monitor = Qmp::connect(Machine::Source.name(), monitor)?.timed_by(&lab.clock());
    for wanted in 0..lab.profile().interfaces() {
        let what = format!("an address of {}", interface_name(wanted));
        let is_ready =
            |said: &Said| matches!(said, Said::Ready { interface, .. } if *interface == wanted);
        console.wait_for(0, &what, BOOT, is_ready)?;
    }
    if lab.profile().pair.standby {
        // QEMU plugs it in when the guest has said that it knows what a standby is.
        let attached = |said: &Said| *said == Said::NicAttached { interface: 0 };
        console.wait_for(0, "the NIC beside its standby", REACTION, attached)?;
    }
    Ok(monitor)
}

/// Adds to an error what is often its reason: that the guest died, and what the QEMUs said.
fn explain(error: anyhow::Error, lab: &mut dyn Lab, consoles: &[&Console]) -> anyhow::Error {
    let mut text = format!("{error:#}");
    let mut death = error.downcast_ref::<Died>().map(ToString::to_string);
    if death.is_none() {
        death = consoles.iter().find_map(|console| console.death()).map(|died| died.to_string());
        if let Some(died) = &death {
            text = format!("{died}. What came of it: {text}");
        }
    }
    let said = lab.said();
    if !said.is_empty() {
        text += &format!("\nThe machines' QEMUs said last:\n{said}");
    }
    let reset = death.is_none() && error.downcast_ref::<Ends>().is_some_and(Ends::by_reset);
    if reset { ResetInSilence(text).into() } else { anyhow!(text) }
}

/// The check that ends with `end`, and the DMA layer's counts with it, among `lines`.
fn read_check(lines: &[Line], end: &Line) -> Option<(Check, Option<DmaCounts>)> {
    let Some(Said::Checked { checked, stale }) = end.said else { return None };
    let mut check = Check { checked, stale, while_logging: None };
    let mut dma = None;
    for line in lines.iter().take_while(|line| line.at <= end.at) {
        match line.said {
            Some(Said::WhileLogging(count)) => check.while_logging = Some(count),
            Some(Said::Dma { marked, caught_up, received }) => {
                dma = Some(DmaCounts {
                    pages_marked: marked,
                    pages_caught_up: caught_up,
                    buffers_received: received,
                });
            }
            _ => {}
        }
    }
    Some((check, dma))
}

/// Waits for what is sent to each of the guest's interfaces to arrive.
fn wait_for_traffic(
    clock: &Clock,
    traffic: &[&dyn Traffic],
    moment: Instant,
    patience: Duration,
) -> Result<()> {
    let deadline = clock.now() + patience;
    for (interface, traffic) in traffic.iter().enumerate() {
        while !traffic.flows_since(moment) {
            if clock.now() > deadline {
                bail!(
                    "the guest received no traffic by {} for {} s after the migration",
                    interface_name(interface),
                    patience.as_secs()
                );
            }
            clock.sleep(POLL);
        }
    }
    Ok(())
}

fn configure(monitor: &mut Qmp, capabilities: &[(&str, bool)]) -> Result<()> {
    let capabilities = capabilities
        .iter()
        .map(|&(name, state)| Capability { capability: name.into(), state })
        .collect();
    monitor.execute(&qmp::MigrateSetCapabilities { capabilities })?;
    Ok(())
}

/// All properties of a root port that tell about the migration. None, where the port has no
/// capability.
fn port_figures(monitor: &mut Qmp, port: &str) -> Map<String, Value> {
    let path = format!("/machine/peripheral/{port}");
    let properties = monitor.execute(&qmp::QomList { path: path.clone() }).unwrap_or_default();
    properties
        .into_iter()
        .filter_map(|property| {
            let name = property.name.strip_prefix("dirty-log-")?.to_owned();
            let value = monitor
                .execute(&qmp::QomGet { path: path.clone(), property: property.name })
                .ok()?;
            Some((name, value))
        })
        .collect()
}

#[cfg(test)]
mod tests;
