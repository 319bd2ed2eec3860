//! Migrations of a fake guest between fake QEMUs, which say what real ones say.

mod by_hand;
mod fake;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use super::*;
use crate::{
    choices::{QemuKind, Strategy},
    migration::machine::{Pair, tests::pair},
};
use fake::{FakeLab, Mishap, World};

/// Traffic that arrives, and how often it was looked at.
#[derive(Default)]
struct Flows(AtomicU32);

impl Traffic for Flows {
    fn flows_since(&self, _: Instant) -> bool {
        self.0.fetch_add(1, Relaxed);
        true
    }
}

fn plan(strategy: Strategy, cancel_at: Option<CancelAt>) -> Plan {
    let warmup = Duration::from_millis(100);
    Plan {
        strategy,
        before: Duration::ZERO,
        warmup,
        after: Duration::ZERO,
        bandwidth: 1 << 20,
        cancel_at,
    }
}

fn migrate(mishap: Mishap, plans: &[Plan]) -> (Vec<Record>, Arc<Mutex<World>>) {
    migrate_pair(pair(false, true), mishap, plans)
}

fn migrate_pair(pair: Pair, mishap: Mishap, plans: &[Plan]) -> (Vec<Record>, Arc<Mutex<World>>) {
    let interfaces = if mishap == Mishap::GivesLate { 2 } else { 1 };
    let logs = tempfile::tempdir().unwrap();
    let mut lab = FakeLab::new(pair, interfaces, mishap);
    let world = lab.world.clone();
    let mut say = |_: &str| {};
    let mut session = Session::boot(&mut lab, "", logs.path(), &mut say).unwrap();
    let records = plans.iter().map(|plan| session.migrate(plan, &[&Flows::default()]).unwrap());
    (records.collect(), world)
}

#[test]
fn warm_is_held_then_let_go() {
    let plan = plan(Strategy::Warm, None);
    let (records, world) = migrate(Mishap::None, std::slice::from_ref(&plan));
    let [record] = &records[..] else { panic!() };
    assert_eq!((record.outcome, &record.error), (Outcome::Completed, &None));
    let timeline = record.timeline;
    assert!(timeline.detached.unwrap() - timeline.start >= plan.warmup);
    assert!(timeline.resumed.unwrap() - timeline.start >= plan.warmup);
    assert!(timeline.logging_on.unwrap() < timeline.detached.unwrap());
    let check = record.check.unwrap();
    assert_eq!((check.checked, check.stale, check.while_logging), (4000, 0, Some(1200)));
    assert_eq!(record.dma.unwrap().pages_caught_up, 8);
    assert_eq!(record.ports[0]["phase"], "quiesced");
    assert_eq!(world.lock().unwrap().stopped, [Machine::Source]);
}

#[test]
fn a_guest_with_nothing_left_to_send_is_held_as_long() {
    // Several times as long as all of memory takes.
    let plan =
        Plan { warmup: Duration::from_secs(1), bandwidth: 4 << 20, ..plan(Strategy::Warm, None) };
    let (records, _) = migrate(Mishap::None, std::slice::from_ref(&plan));
    let timeline = records[0].timeline;
    assert_eq!(records[0].outcome, Outcome::Completed);
    assert!(timeline.detached.unwrap() - timeline.start >= plan.warmup);
}

#[test]
fn cold_takes_the_nic_first_and_holds_nothing() {
    let (records, world) = migrate(Mishap::None, &[plan(Strategy::Cold, None)]);
    assert_eq!(records[0].outcome, Outcome::Completed);
    assert!(records[0].timeline.detached.unwrap() < records[0].timeline.logging_on.unwrap());
    let world = world.lock().unwrap();
    let at = |name: &str| world.commands.iter().position(|command| command == name).unwrap();
    assert!(at("device_del") < at("migrate"));
}

#[test]
fn a_cancelled_guest_stays_and_migrates_later() {
    for at in [CancelAt::Setup, CancelAt::Warmup, CancelAt::Quiesce, CancelAt::Quiesced] {
        let plans = [plan(Strategy::Warm, Some(at)), plan(Strategy::Warm, None)];
        let (records, world) = migrate(Mishap::None, &plans);
        assert_eq!(
            records.iter().map(|r| r.outcome).collect::<Vec<_>>(),
            [Outcome::Cancelled, Outcome::Completed]
        );
        let timeline = records[0].timeline;
        assert!(timeline.cancelled.is_some() && timeline.logging_off.is_some(), "{at:?}");
        assert_eq!(records[0].check.unwrap().checked, 4000);
        let left = matches!(at, CancelAt::Quiesce | CancelAt::Quiesced);
        assert_eq!((timeline.detached.is_some(), timeline.attached.is_some()), (left, left));
        assert_eq!(world.lock().unwrap().stopped, [Machine::Destination, Machine::Source]);
    }
}

#[test]
fn what_qemu_refuses_or_fails_is_a_result() {
    let plans = [plan(Strategy::Warm, None)];
    let (records, _) = migrate(Mishap::Fails, &plans);
    assert_eq!(
        (records[0].outcome, records[0].error.as_deref()),
        (Outcome::Failed, Some("it broke"))
    );
    let (records, _) = migrate(Mishap::Refused, &plans);
    assert_eq!(
        (records[0].outcome, records[0].error.as_deref()),
        (Outcome::Failed, Some("MARKING is clear"))
    );
    assert_eq!(records[0].check, None);
}

#[test]
fn a_guest_that_dies_is_the_reason_for_what_comes_of_it() {
    let logs = tempfile::tempdir().unwrap();
    let mut lab = FakeLab::new(pair(false, true), 1, Mishap::Dies);
    let mut say = |_: &str| {};
    let mut session = Session::boot(&mut lab, "", logs.path(), &mut say).unwrap();
    let plan = plan(Strategy::Warm, None);
    let died = "the source's guest died: panicked at src/irq.rs:70:5: boom (its console is in ";
    for start in ["", "migration 2 of the guest, from the machine `source` to `destination`: "] {
        let error = format!("{:#}", session.migrate(&plan, &[]).unwrap_err());
        assert!(error.starts_with(&format!("{start}{died}")), "{error}");
        assert!(error.contains("the source's QEMU has ended (exit status: 0)"), "{error}");
    }
}

#[test]
fn a_reset_is_told_from_a_guest_that_said_why() {
    for (mishap, silent) in [(Mishap::IsReset, true), (Mishap::Dies, false)] {
        let logs = tempfile::tempdir().unwrap();
        let mut lab = FakeLab::new(pair(false, true), 1, mishap);
        let mut say = |_: &str| {};
        let mut session = Session::boot(&mut lab, "", logs.path(), &mut say).unwrap();
        let error = session.migrate(&plan(Strategy::Warm, None), &[]).unwrap_err();
        assert_eq!(error.downcast_ref::<ResetInSilence>().is_some(), silent, "{error:#}");
    }
}

#[test]
fn failover_has_its_warm_up_without_the_nic() {
    let plan = plan(Strategy::Failover, None);
    let pair = pair(true, false);
    let (records, _) = migrate_pair(pair, Mishap::None, std::slice::from_ref(&plan));
    let timeline = records[0].timeline;
    assert_eq!(records[0].outcome, Outcome::Completed);
    assert!(timeline.detached.unwrap() - timeline.start < plan.warmup);
    assert!(timeline.resumed.unwrap() - timeline.start >= plan.warmup);
    assert_eq!(records[0].check, None);
    assert!(records[0].ports[0].is_empty());
}

#[test]
fn a_guest_goes_to_and_fro() {
    let plans = vec![plan(Strategy::Warm, None); 3];
    let (records, world) = migrate(Mishap::None, &plans);
    assert!(records.iter().all(|record| record.outcome == Outcome::Completed));
    let stopped = [Machine::Source, Machine::Destination, Machine::Source];
    assert_eq!(world.lock().unwrap().stopped, stopped);
}

/// All of them are waited for: none but the last to leave or to come back would do.
#[test]
fn two_nics_leave_and_come_back_together() {
    for strategy in [Strategy::Warm, Strategy::Cold] {
        let logs = tempfile::tempdir().unwrap();
        let pair = pair(false, true);
        let mut lab = FakeLab::new(pair, 2, Mishap::None);
        let world = lab.world.clone();
        let mut say = |_: &str| {};
        let mut session = Session::boot(&mut lab, "", logs.path(), &mut say).unwrap();
        let flows = [Flows::default(), Flows::default()];
        let traffic = [&flows[0] as &dyn Traffic, &flows[1]];
        let record = session.migrate(&plan(strategy, None), &traffic).unwrap();
        assert_eq!((record.outcome, record.ports.len()), (Outcome::Completed, 2));
        assert!(flows.iter().all(|flows| flows.0.load(Relaxed) > 0));
        let said = session.source.console.since(0);
        let attached = |interface| {
            let wanted = Some(Said::NicAttached { interface });
            said.iter().find(|line| line.said == wanted).unwrap().at
        };
        assert_eq!(record.timeline.attached, Some(attached(0).max(attached(1))));
        let asked = world.lock().unwrap().commands.iter().filter(|c| *c == "device_del").count();
        assert_eq!(asked, if strategy == Strategy::Cold { 2 } else { 0 });
    }
}

#[test]
fn an_interface_that_receives_nothing_is_named() {
    struct Silence;
    impl Traffic for Silence {
        fn flows_since(&self, _: Instant) -> bool {
            false
        }
    }
    let flows = Flows::default();
    let wait = |second| {
        wait_for_traffic(&Clock::real(), &[&flows, second], Instant::now(), Duration::ZERO)
    };
    assert!(wait(&flows).is_ok());
    let error = wait(&Silence).unwrap_err().to_string();
    assert!(error.contains("no traffic by nic1 for"), "{error}");
}
