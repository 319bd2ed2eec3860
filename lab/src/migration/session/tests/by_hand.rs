//! Migrations under a QEMU as it comes.

use super::*;

fn stock() -> Pair {
    Pair { qemu: QemuKind::Stock, ..pair(false, false) }
}

/// The commands of these names, in their order.
fn sent(world: &Mutex<World>, names: &[&str]) -> Vec<String> {
    let commands = world.lock().unwrap().commands.clone();
    commands.into_iter().filter(|command| names.contains(&command.as_str())).collect()
}

#[test]
fn by_hand_the_nic_is_taken_in_the_warm_up_and_the_other_given_on_the_destination() {
    let plan = plan(Strategy::Warm, None);
    let (records, world) = migrate_pair(stock(), Mishap::None, std::slice::from_ref(&plan));
    assert_eq!((records[0].outcome, &records[0].error), (Outcome::Completed, &None));
    let timeline = records[0].timeline;
    assert!(timeline.detached.unwrap() - timeline.start >= plan.warmup);
    assert!(timeline.attached.unwrap() >= timeline.resumed.unwrap());
    let sent = sent(&world, &["migrate", "device_del", "device_add"]);
    assert_eq!(sent, ["migrate", "device_del", "device_add"]);
    // It cannot be over while the guest is waited for.
    let bandwidth = world.lock().unwrap().bandwidth_then.unwrap();
    assert!(bandwidth < plan.bandwidth, "{bandwidth}");
}

#[test]
fn by_hand_a_migration_that_fails_late_has_the_nic_given_back() {
    let plan = plan(Strategy::Warm, None);
    let (records, world) = migrate_pair(stock(), Mishap::FailsLate, &[plan]);
    assert_eq!(records[0].outcome, Outcome::Failed);
    assert!(records[0].timeline.attached.is_some());
    assert_eq!(sent(&world, &["device_del", "device_add"]), ["device_del", "device_add"]);
}

#[test]
fn by_hand_a_nic_that_cannot_be_taken_is_kept_and_the_migration_cancelled() {
    let plan = plan(Strategy::Warm, None);
    let (records, world) = migrate_pair(stock(), Mishap::KeepsNic, &[plan]);
    assert_eq!(records[0].outcome, Outcome::Failed);
    assert!(records[0].error.as_deref().unwrap().contains("not hot-pluggable"), "{records:?}");
    assert_eq!(sent(&world, &["migrate_cancel", "device_add"]), ["migrate_cancel"]);
}

#[test]
fn by_hand_a_nic_that_is_given_after_all_is_given_back() {
    let plan = plan(Strategy::Warm, None);
    let (records, world) = migrate_pair(stock(), Mishap::GivesLate, &[plan]);
    assert_eq!(records[0].outcome, Outcome::Failed);
    assert_eq!(sent(&world, &["migrate_cancel", "device_add"]), ["migrate_cancel", "device_add"]);
}
