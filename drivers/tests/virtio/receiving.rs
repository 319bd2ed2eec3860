use super::*;
use model::{EVENT_IDX, RECEIVE, TRANSMIT, USUAL};

/// With and without indices for notifications and interrupts.
fn rigs(queue_size: u16) -> [Rig; 2] {
    let events = Traits { queue_size, ..Traits::default() };
    [Rig::with(events), Rig::with(Traits { offered: USUAL & !EVENT_IDX, ..events })]
}

#[test]
fn frames_arrive_as_they_were_and_buffers_are_replaced() {
    // More than a 16-bit index counts.
    for mut rig in rigs(16) {
        let taken = rig.taken();
        for number in 0..70_000 {
            let sent = frame(number, 60 + number % 1455);
            assert!(rig.model.receive(&sent));
            assert_eq!(*rig.nic.receive().unwrap(), sent);
            if number % 8 == 0 {
                rig.nic.flush();
                assert_eq!(rig.model.posted(), 16);
            }
        }
        rig.nic.flush();
        let statistics = rig.nic.statistics();
        assert_eq!((statistics.received, statistics.bad_frame), (70_000, 0));
        assert_eq!(rig.taken(), taken);
    }
}

#[test]
fn a_frame_may_be_kept_and_its_buffer_is_not_the_devices_any_more() {
    let mut rig = Rig::new();
    let kept: Vec<_> = (0..3 * QUEUE)
        .map(|number| {
            assert!(rig.model.receive(&frame(number, 100)));
            let frame = rig.nic.receive().unwrap();
            rig.nic.flush();
            frame
        })
        .collect();
    assert!(kept.iter().enumerate().all(|(number, kept)| **kept == frame(number, 100)));
    assert_eq!(rig.taken(), TAKEN + 3 * QUEUE as u32);
}

#[test]
fn the_device_is_notified_once_a_batch_and_not_while_it_polls() {
    for mut rig in rigs(QUEUE as u16) {
        let batch = |rig: &mut Rig| {
            let before = rig.model.notified(RECEIVE);
            for number in 0..20 {
                assert!(rig.model.receive(&frame(number, 60)));
            }
            while rig.nic.receive().is_some() {}
            rig.nic.flush();
            rig.nic.flush();
            rig.model.notified(RECEIVE) - before
        };
        // It still has buffers, and asks to be told when there are others than those.
        let all = batch(&mut rig);
        rig.model.set_traits(|traits| traits.polls = true);
        batch(&mut rig);
        assert_eq!(batch(&mut rig), 0);
        assert!(all <= 1);
    }
}

#[test]
fn interrupts_come_when_armed_and_not_while_polled() {
    for mut rig in rigs(QUEUE as u16) {
        let interrupt = rig.nic.interrupt();
        assert!(rig.nic.arm());
        rig.model.receive(&frame(0, 60));
        assert!(interrupt.take());
        assert!(rig.nic.receive().is_some());
        for number in 0..300 {
            rig.model.receive(&frame(number, 60));
            assert!(rig.nic.receive().is_some());
            rig.nic.flush();
        }
        assert!(!interrupt.take());
        rig.model.receive(&frame(0, 60));
        assert!(!rig.nic.arm(), "a frame came meanwhile");
        assert!(rig.nic.receive().is_some());
        assert!(rig.nic.arm());
        interrupt.take();
        rig.model.receive(&frame(0, 60));
        assert!(interrupt.take());
    }
}

#[test]
fn an_exhausted_pool_costs_frames_and_no_buffer() {
    let mut rig = Rig::new();
    let hoard: Vec<_> = core::iter::from_fn(|| rig.pool.transmit_buffer()).collect();
    for number in 0..2 * QUEUE {
        assert!(rig.model.receive(&frame(number, 60)));
        assert!(rig.nic.receive().is_none());
        rig.nic.flush();
    }
    assert_eq!(rig.nic.statistics().no_buffer, 2 * QUEUE as u64);
    drop(hoard);
    assert!(rig.model.receive(&frame(1, 60)));
    assert_eq!(*rig.nic.receive().unwrap(), frame(1, 60));
}

#[test]
fn checksums_are_the_devices_word_where_it_gave_it() {
    const NEEDS_CSUM: u8 = 1;
    const DATA_VALID: u8 = 2;
    let mut rig = Rig::new();
    for (flags, good) in [(0, false), (NEEDS_CSUM, true), (DATA_VALID, true), (0xfc, false)] {
        let mut header = [0; 12];
        header[0] = flags;
        rig.model.receive_with(header, &datagram());
        assert_eq!(rig.nic.receive().is_some(), good, "{flags:#x}");
    }
    // The header of the network layer is not what it vouched for.
    let mut broken = datagram();
    broken[24] ^= 1;
    rig.model.receive_with([DATA_VALID, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &broken);
    assert!(rig.nic.receive().is_none());
    assert_eq!(rig.nic.statistics().bad_checksum, 3);
}

#[test]
fn nothing_of_the_hypervisors_own_is_marked() {
    let mut rig = Rig::start(4 << 20, Policy::Always, Traits::default(), true);
    rig.pool.start_marking();
    let mut kept = Vec::new();
    for number in 0..600 {
        rig.model.receive(&frame(number, 1000));
        let frame = rig.nic.receive().unwrap();
        assert!(!frame.logged());
        kept.push(frame);
        rig.queue(&[0; 60]);
        rig.nic.flush();
    }
    assert_eq!(rig.pool.statistics().pages_marked, 0);
}

/// Pages that have another content after `work` and are not in the log: what a migration loses.
fn lost(rig: &mut Rig, work: impl FnOnce(&mut Rig)) -> usize {
    let pages = rig.pool.statistics().slots as usize / 2;
    let copy = |rig: &Rig| (0..pages).map(|page| rig.pool.device().copy_page(page)).collect();
    let before: Vec<_> = copy(rig);
    rig.pool.page_log().start();
    work(rig);
    let logged = rig.pool.page_log().take();
    let after: Vec<_> = copy(rig);
    (0..pages).filter(|page| before[*page] != after[*page] && !logged.contains(page)).count()
}

/// Frames that are received, kept, dropped for being bad or for lack of buffers, and sent.
fn traffic(rig: &mut Rig) {
    let mut kept = Vec::new();
    for number in 0..3 * QUEUE {
        rig.model.receive(&frame(number, 60 + number % 1455));
        kept.extend(rig.nic.receive());
        rig.queue(&frame(number, 60));
        rig.nic.flush();
    }
    rig.model.write_back(&frame(7, 500), 5000);
    rig.model.claim(TRANSMIT, 1, 0);
    let hoard: Vec<_> = core::iter::from_fn(|| rig.pool.transmit_buffer()).collect();
    rig.model.receive(&frame(8, 700));
    assert!(rig.nic.receive().is_none());
    rig.nic.flush();
    drop(hoard);
}

#[test]
fn all_that_unknown_devices_write_is_marked() {
    let subsystem = (0x1af4, 0x1041);
    let unknown = Traits { subsystem, stalls_transmit: false, ..Traits::default() };
    let ends: [fn(&mut Rig); 3] =
        [|_| {}, |rig| block_on(rig.nic.stop()), |rig| block_on(rig.nic.reset()).unwrap()];
    for end in ends {
        let mut rig = Rig::start(8 << 20, Policy::Always, unknown, true);
        assert_eq!(lost(&mut rig, traffic), 0);
        let with_rest = |rig: &mut Rig| {
            // Nobody looks at these.
            rig.model.receive(&frame(1, 900));
            rig.model.receive(&frame(2, 900));
            end(rig);
            while rig.nic.receive().is_some() {}
            rig.nic.flush();
        };
        assert_eq!(lost(&mut rig, with_rest), 0);
    }
    // That the log sees nothing by itself.
    let mut rig = Rig::start(8 << 20, Policy::Never, unknown, true);
    let lost = lost(&mut rig, traffic);
    assert!(lost > QUEUE / 4, "{lost}");
}
