//! What the host may do, and what a virtual function does about it.

use crate::family::{CAN_BE_PROMISCUOUS, EVERY_GROUP_REQUEST, MAILBOX};
use crate::host::{HAS_VERSIONS, IN_RESET};
use crate::intel::model::MAC;
use crate::intel::{Faults, Model, Offers, POOL, Rig, frame, plug, starting};
use drivers::{Error, Refusal};
use embassy_futures::block_on;
use std::time::{Duration, Instant};
use unikernel::dma::{Policy, fake};
use unikernel::nic::{Link, Mtu, Nic, ResetError, Settings, VlanId};

const OTHER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x77];

fn probe(settings: Settings, set_up: impl FnOnce(&Model)) -> Result<Box<dyn Nic>, Error> {
    let pool = fake::pool(POOL, Policy::Never);
    let (_machine, _port, model, device) = plug(pool, Faults::default(), Offers::MsiX);
    set_up(&model);
    let nic = block_on(drivers::probe(device, pool, &settings));
    if nic.is_err() {
        assert_eq!(pool.statistics().slots_free, pool.statistics().slots);
    }
    nic
}

fn refusing(kind: u32, settings: Settings) -> Refusal {
    let refuses = |model: &Model| model.state().own.refuses = kind;
    match probe(settings, refuses).err() {
        Some(Error::Refused(_, refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

/// Interrupts are on, and nothing is to be done.
fn rest(rig: &mut Rig) {
    while !rig.nic.arm() {
        assert!(!rig.nic.needs_reset());
    }
    rig.nic.interrupt().take();
}

#[test]
fn what_the_host_refuses_is_named_with_what_to_do() {
    const { assert!(!CAN_BE_PROMISCUOUS) };
    let defaults = Settings::default();
    let mac = refusing(2, Settings { mac: Some(OTHER), ..defaults });
    assert_eq!(mac, Refusal::Address(OTHER));
    let text = mac.to_string();
    assert!(text.contains("vf N mac 52:54:00:00:00:77") && text.contains("trust on"), "{text}");
    let vlan = VlanId::new(7);
    assert_eq!(refusing(4, Settings { vlan, ..defaults }), Refusal::Vlan(vlan.unwrap()));
    let mtu = Mtu::new(9000).unwrap();
    assert_eq!(refusing(5, Settings { mtu, ..defaults }), Refusal::Mtu(mtu));
    let promiscuous = probe(Settings { promiscuous: true, ..defaults }, |_| {}).err();
    assert!(matches!(promiscuous, Some(Error::Unsupported { setting: "promiscuous=", .. })));
}

/// Linux's refuses it even so, once it has chosen one itself.
#[test]
fn the_address_that_the_host_gave_is_not_asked_for() {
    let refuses = |model: &Model| model.state().own.refuses = 2;
    assert_eq!(
        probe(Settings { mac: Some(MAC), ..Settings::default() }, refuses).unwrap().mac(),
        MAC
    );
}

#[test]
fn without_an_address_from_the_host_it_chooses_one_and_keeps_it() {
    let choose = |model: &Model| model.state().own.gives_no_address = true;
    let first = probe(Settings::default(), choose).unwrap().mac();
    assert_eq!(first[0] & 0b11, 0b10, "locally administered, no group");
    assert_ne!(first, probe(Settings::default(), choose).unwrap().mac());

    let mut rig = Rig::new();
    choose(&rig.model);
    for _ in 0..2 {
        block_on(rig.nic.reset()).unwrap();
        assert_eq!(rig.nic.mac(), MAC);
        assert!(rig.model.arrive(&frame(1, 60)), "the host was told");
    }
}

#[test]
fn a_host_that_does_not_answer_is_named() {
    let error = probe(Settings::default(), |model| model.state().own.is_silent = true).err();
    let text = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(text.contains("ip link set DEVICE up"), "{text}");
}

#[test]
fn a_buffer_that_the_host_has_is_waited_for() {
    let (nic, _) = starting::probe(Faults::default(), |model| model.state().own.is_busy = 50);
    assert!(nic.unwrap().link().up);
}

#[test]
fn a_reset_of_the_physical_function_takes_the_link_and_asks_for_one_of_this() {
    let mut rig = Rig::new();
    let group = [0x33, 0x33, 0, 0, 0, 1];
    rig.nic.accept_multicast(&[group]);
    rest(&mut rig);
    rig.model.state().reset_physical(false);
    assert!(rig.nic.interrupt().take());
    assert!(rig.nic.arm(), "there is nothing to do: the host is away");
    assert_eq!(rig.nic.link(), Link::default());
    assert!(!rig.nic.needs_reset());

    rig.model.state().reset_physical(true);
    assert!(rig.nic.interrupt().take());
    let looks = (0..4).take_while(|_| rig.nic.arm()).count();
    assert!(looks < 4 && rig.nic.needs_reset(), "the host is back");
    assert!(!rig.nic.link().up, "but knows nothing");
    block_on(rig.nic.reset()).unwrap();
    assert!(rig.nic.link().up && !rig.nic.needs_reset());
    rest(&mut rig);
    let mut to_group = frame(2, 60);
    to_group[..6].copy_from_slice(&group);
    for frame in [frame(1, 60), to_group] {
        assert!(rig.model.arrive(&frame), "all is as it was");
        assert_eq!(*rig.nic.receive().unwrap(), frame);
    }
}

/// As Linux's does when it is told to trust a function, or not to.
#[test]
fn a_host_that_says_that_it_forgot_is_believed() {
    let mut rig = Rig::new();
    rest(&mut rig);
    rig.model.state().forget_function();
    assert!(rig.nic.interrupt().take());
    assert!((0..4).any(|_| !rig.nic.arm()));
    assert!(rig.nic.needs_reset());
    // Nobody may be there to do it: stopping is always possible, and then there is no need.
    block_on(rig.nic.stop());
    assert!(!rig.nic.needs_reset());
}

/// Waits for the time at which it is to be reset, and does that.
fn reset_when_it_is_time(rig: &mut Rig) -> Result<(), ResetError> {
    let since = Instant::now();
    while !rig.nic.needs_reset() {
        assert!(since.elapsed() < Duration::from_secs(2), "nobody would ever reset it");
        assert!(rig.nic.arm() || rig.nic.needs_reset());
        std::thread::yield_now();
    }
    block_on(rig.nic.reset())
}

#[test]
fn a_reset_that_fails_is_tried_again_until_the_host_is_there() {
    let mut rig = Rig::new();
    let group = [0x33, 0x33, 0, 0, 0, 1];
    rig.nic.accept_multicast(&[group]);
    rest(&mut rig);
    let taken = rig.taken();
    // Two in a row: what the first one asks for is forgotten meanwhile.
    rig.model.state().own.forgets_at = 5;
    assert_eq!(block_on(rig.nic.reset()), Err(ResetError::Later));
    assert_eq!((rig.taken(), rig.nic.link()), (0, Link::default()));
    assert!(!rig.nic.needs_reset() && rig.nic.arm(), "it is given time");
    rig.model.state().own.refuses = 5;
    assert_eq!(reset_when_it_is_time(&mut rig), Err(ResetError::Later));
    rig.model.state().own.refuses = 0;
    assert_eq!(reset_when_it_is_time(&mut rig), Ok(()));
    assert!(rig.nic.link().up && !rig.nic.needs_reset());
    assert_eq!(rig.taken(), taken);
    rest(&mut rig);
    let mut to_group = frame(2, 60);
    to_group[..6].copy_from_slice(&group);
    for frame in [frame(1, 60), to_group] {
        assert!(rig.model.arrive(&frame), "all is as it was");
        assert!(rig.nic.interrupt().take(), "interrupts are");
        assert_eq!(*rig.nic.receive().unwrap(), frame);
        rig.nic.flush();
        rest(&mut rig);
    }
    rig.model.state().own.refuses = 5;
    assert_eq!(block_on(rig.nic.reset()), Err(ResetError::Later));
    block_on(rig.nic.stop());
    std::thread::sleep(Duration::from_millis(150));
    assert!(!rig.nic.needs_reset(), "it was stopped");
    assert_eq!(block_on(rig.nic.reset()), Err(ResetError::Stopped));
}

#[test]
fn a_request_that_the_host_writes_over_is_made_again() {
    let mut rig = Rig::new();
    for overwrites in 1..3 {
        rig.model.state().own.overwrites = overwrites;
        assert_eq!(block_on(rig.nic.reset()), Ok(()));
        assert!(rig.nic.link().up);
    }
}

#[test]
fn the_end_of_a_reset_is_noticed_without_a_message() {
    let mut rig = Rig::new();
    rest(&mut rig);
    rig.model.state().reset_physical(false);
    assert!(rig.nic.interrupt().take());
    assert!(rig.nic.arm());
    rig.model.state().end_reset_silently();
    assert!(rig.nic.interrupt().take());
    assert!((0..4).any(|_| !rig.nic.arm()), "the host is asked again");
    assert!(rig.nic.needs_reset());
}

#[test]
fn a_reset_that_goes_on_is_waited_for() {
    let mut rig = Rig::new();
    let control = rig.model.register(MAILBOX.control);
    rig.model.state().set(MAILBOX.control, control | IN_RESET);
    let waits = async {
        let ends = async {
            some_turns().await;
            let control = rig.model.register(MAILBOX.control);
            rig.model.state().set(MAILBOX.control, control & !IN_RESET);
        };
        embassy_futures::join::join(rig.nic.reset(), ends).await.0
    };
    block_on(waits).unwrap();
    assert!(rig.nic.link().up);
}

/// A few turns of other tasks.
async fn some_turns() {
    for _ in 0..1000 {
        embassy_futures::yield_now().await;
    }
}

#[test]
fn more_groups_than_a_request_has_room_for_are_all_of_them() {
    let mut rig = Rig::new();
    let groups = |count: u8| (0..count).map(|n| [1, 0, 0x5e, 0, n << 4, n]).collect::<Vec<_>>();
    for (count, kind) in [(30, 3), (31, EVERY_GROUP_REQUEST)] {
        rest(&mut rig);
        rig.model.state().own.requests.clear();
        rig.nic.accept_multicast(&groups(count));
        assert_eq!(rig.model.state().own.requests, [kind]);
        rest(&mut rig);
        for group in groups(count) {
            let mut frame = frame(1, 60);
            frame[..6].copy_from_slice(&group);
            assert!(rig.model.arrive(&frame), "{group:x?}");
            assert!(rig.nic.receive().is_some());
            rig.nic.flush();
        }
    }
}

/// A host that does not trust this function grants fewer than it is asked for, or refuses.
#[test]
fn of_groups_that_are_too_many_for_the_host_the_first_arrive() {
    let groups = (0..31).map(|n| [1, 0, 0x5e, 0, n << 4, n]).collect::<Vec<_>>();
    for refuses in [0, EVERY_GROUP_REQUEST] {
        let mut rig = Rig::new();
        rest(&mut rig);
        rig.model.state().own.refuses = refuses;
        rig.model.state().own.trusts = false;
        rig.model.state().own.requests.clear();
        rig.nic.accept_multicast(&groups);
        rest(&mut rig);
        rest(&mut rig);
        let is_demoted = refuses != 0 || HAS_VERSIONS;
        let requests =
            if is_demoted { vec![EVERY_GROUP_REQUEST, 3] } else { vec![EVERY_GROUP_REQUEST] };
        let seen = rig.model.state().own.requests.clone();
        assert_eq!(seen, requests);
        let arrived = groups.iter().filter(|group| {
            let mut frame = frame(1, 60);
            frame[..6].copy_from_slice(&group[..]);
            let arrived = rig.model.arrive(&frame);
            while rig.nic.receive().is_some() {}
            rig.nic.flush();
            arrived
        });
        assert_eq!(arrived.count(), if is_demoted { 30 } else { 31 });
    }
}

#[test]
fn groups_that_the_host_never_answers_for_do_not_keep_others_waiting_for_ever() {
    let mut rig = Rig::new();
    let [lost, wanted] = [1, 2].map(|last| [0x33, 0x33, 0, 0, 0, last]);
    rest(&mut rig);
    rig.model.state().own.is_silent = true;
    rig.nic.accept_multicast(&[lost]);
    rig.model.state().own.is_silent = false;
    rig.nic.accept_multicast(&[wanted]);
    let mut to_group = frame(1, 60);
    to_group[..6].copy_from_slice(&wanted);
    assert!(!rig.model.arrive(&to_group), "the first may still be answered");
    std::thread::sleep(Duration::from_millis(2100));
    rig.model.state().ping();
    rest(&mut rig);
    assert!(rig.model.arrive(&to_group));
}

#[test]
fn groups_wait_for_a_host_that_has_the_buffer() {
    let mut rig = Rig::new();
    rest(&mut rig);
    let group = [0x33, 0x33, 0, 0, 0, 1];
    rig.model.state().own.is_busy = 1;
    rig.nic.accept_multicast(&[group]);
    let mut to_group = frame(1, 60);
    to_group[..6].copy_from_slice(&group);
    assert!(!rig.model.arrive(&to_group), "it could not be asked yet");
    // The host was at it with a message of its own.
    rig.model.state().ping();
    assert!(rig.nic.interrupt().take());
    rest(&mut rig);
    assert!(rig.model.arrive(&to_group));
}
