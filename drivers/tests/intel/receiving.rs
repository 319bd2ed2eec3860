use super::*;
use embassy_futures::block_on;
use family::RDT;
use model::{CHECKED, WHOLE};
use unikernel::dma::RxBuffer;
use unikernel::nic::{BATCH, Batch};

#[test]
fn a_frame_arrives_by_interrupt_of_any_kind() {
    for &offers in family::OFFERS {
        let mut rig = Rig::with(8 << 20, Policy::Never, offers);
        for number in 0..3 {
            assert!(rig.nic.receive().is_none());
            assert!(rig.nic.arm());
            let interrupt = rig.nic.interrupt();
            assert!(!interrupt.take());
            assert!(rig.model.receive(&frame(number, 60)));
            assert!(interrupt.take());
            assert_eq!(*rig.nic.receive().unwrap(), frame(number, 60));
            rig.nic.flush();
        }
        let statistics = rig.nic.statistics();
        assert_eq!((statistics.received, statistics.received_bytes), (3, 180));
        assert_eq!(statistics.interrupts, 2, "the last one has not been seen by arm");
    }
}

#[test]
fn a_batch_has_what_there_is_in_order_and_leaves_the_rest() {
    let mut rig = Rig::new();
    let mut batch = Batch::new();
    rig.nic.receive_batch(&mut batch);
    assert!(batch.is_empty() && rig.nic.arm(), "nothing has come");
    let taken = rig.taken();
    for number in 0..BATCH + 8 {
        assert!(rig.model.receive(&frame(number, 60)));
        if number == 5 {
            assert!(rig.model.write_back(&[0; 13], 13, WHOLE), "no frame, in the midst of them");
        }
    }
    for expected in [0..BATCH, BATCH..BATCH + 8, 0..0] {
        rig.nic.receive_batch(&mut batch);
        assert_eq!(batch.len(), expected.len());
        for (number, received) in expected.zip(batch.drain(..)) {
            assert_eq!(*received, frame(number, 60));
        }
    }
    let statistics = rig.nic.statistics();
    assert_eq!((statistics.received as usize, statistics.bad_frame), (BATCH + 8, 1));
    assert_eq!(rig.taken(), taken, "each was replaced, and has gone back");
    rig.nic.flush();
    rig.nic.interrupt().take();
    assert!(rig.nic.arm(), "there is no more");
}

#[test]
fn polling_raises_no_interrupts_and_arming_loses_none() {
    let mut rig = Rig::new();
    assert!(rig.nic.arm());
    let interrupt = rig.nic.interrupt();
    rig.model.receive(&frame(0, 60));
    assert!(interrupt.take());
    assert!(rig.nic.receive().is_some());
    for number in 1..100 {
        rig.model.receive(&frame(number, 60));
        assert!(rig.nic.receive().is_some());
    }
    assert!(!interrupt.take());
    // One that arrives between the last look and arm.
    rig.model.receive(&frame(100, 60));
    assert!(!rig.nic.arm(), "there is work");
    rig.nic.interrupt().take();
    rig.model.receive(&frame(101, 60));
    assert!(!rig.nic.interrupt().take(), "still off");
    assert!(rig.nic.receive().is_some() && rig.nic.receive().is_some());
    assert!(rig.nic.arm());
    assert!(!rig.nic.interrupt().take(), "what was polled does not interrupt later");
    rig.model.receive(&frame(102, 60));
    assert!(rig.nic.interrupt().take());
}

#[test]
fn arming_again_without_cause_touches_no_register() {
    let mut rig = Rig::new();
    assert!(rig.nic.arm());
    rig.machine.pull(rig.port);
    // Nobody is there to answer: only a driver that does not ask is content.
    assert!(rig.nic.arm());
}

#[test]
fn the_ring_wraps_with_batches_of_every_size() {
    let mut rig = Rig::new();
    let mut next = 0;
    for batch in (1..RING).step_by(37).chain([1, RING - 1, 2, RING - 1]) {
        for number in next..next + batch {
            assert!(rig.model.receive(&frame(number, 60 + number % 1400)), "frame {number}");
        }
        for number in next..next + batch {
            assert_eq!(*rig.nic.receive().unwrap(), frame(number, 60 + number % 1400));
        }
        assert!(rig.nic.receive().is_none());
        next += batch;
        let before = rig.model.register(RDT);
        rig.nic.flush();
        let moved = rig.model.register(RDT).wrapping_sub(before) as usize % RING;
        assert_eq!(moved, batch % RING);
    }
    assert_eq!(rig.taken(), TAKEN);
}

#[test]
fn the_device_keeps_one_descriptor_less_than_there_are() {
    let mut rig = Rig::new();
    for number in 0..RING - 1 {
        assert!(rig.model.receive(&frame(number, 60)));
    }
    assert!(!rig.model.receive(&frame(0, 60)));
    while rig.nic.receive().is_some() {}
    rig.nic.flush();
    for number in 0..RING - 1 {
        assert!(rig.model.receive(&frame(number, 60)), "all of them are back");
    }
}

#[test]
fn kept_frames_stay_what_they_were() {
    let mut rig = Rig::new();
    let mut kept: Vec<RxBuffer> = Vec::new();
    for number in 0..3 * RING {
        assert!(rig.model.receive(&frame(number, 1514)));
        kept.push(rig.nic.receive().unwrap());
        rig.nic.flush();
    }
    for (number, buffer) in kept.iter().enumerate() {
        assert_eq!(**buffer, frame(number, 1514));
    }
    assert_eq!(rig.taken(), TAKEN + 3 * RING as u32);
}

#[test]
fn an_exhausted_pool_costs_frames_but_no_buffers() {
    // Room for the driver and 100 frames.
    let slots = TAKEN as usize + 100;
    let mut rig = Rig::with(slots.next_multiple_of(2) * 2048, Policy::Never, family::OFFERS[0]);
    let mut kept = Vec::new();
    for number in 0..2 * RING {
        assert!(rig.model.receive(&frame(number, 60)), "the device is never short of buffers");
        kept.extend(rig.nic.receive());
        rig.nic.flush();
    }
    assert_eq!(kept.len(), 100);
    assert_eq!(rig.nic.statistics().no_buffer, 2 * RING as u64 - 100);
    assert_eq!(rig.free(), 0);
    kept.clear();
    for number in 0..2 * RING {
        assert!(rig.model.receive(&frame(number, 60)));
        assert_eq!(*rig.nic.receive().expect("buffers are back"), frame(number, 60));
        rig.nic.flush();
    }
    assert_eq!(rig.free(), 100);
}

#[test]
fn wrong_checksums_are_dropped_whether_the_device_looked_or_not() {
    const TRANSPORT_ERROR: u32 = 1 << 29;
    const IP_ERROR: u32 = 1 << 30;
    const IGNORE: u32 = 1 << 2;
    // A UDP datagram whose checksum is wrong, and one whose header's is.
    let mut transport = vec![0; 60];
    transport[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17]);
    transport[24..26].copy_from_slice(&[0x7a, 0xd2]);
    transport[38..42].copy_from_slice(&[0, 8, 1, 2]);
    let mut header = transport.clone();
    header[24] ^= 1;
    header[40..42].fill(0);
    let mut rig = Rig::new();
    for (wrong, error) in [(transport, TRANSPORT_ERROR), (header, IP_ERROR)] {
        let before = rig.nic.statistics().bad_checksum;
        let dropped = [WHOLE, WHOLE | IGNORE, CHECKED | error, CHECKED | IGNORE];
        for status in dropped {
            rig.model.write_back(&wrong, 60, status);
            assert!(rig.nic.receive().is_none(), "{status:#x}");
        }
        assert_eq!(rig.nic.statistics().bad_checksum - before, dropped.len() as u64);
        rig.model.write_back(&wrong, 60, CHECKED);
        assert!(rig.nic.receive().is_some(), "what the device found good is not looked at");
    }
}

#[test]
fn what_the_device_wrote_is_marked() {
    let mut rig = Rig::with(8 << 20, Policy::Always, family::OFFERS[0]);
    rig.model.receive(&frame(0, 60));
    rig.pool.page_log().start();
    let frame = rig.nic.receive().unwrap();
    rig.nic.flush();
    // The page of the frame and the page of its descriptor.
    assert_eq!(rig.pool.page_log().take().len(), 2);
    drop(frame);

    // Of a frame that nobody gets as well.
    rig.model.write_back(&super::frame(1, 60), 13, WHOLE);
    rig.pool.page_log().start();
    assert!(rig.nic.receive().is_none());
    rig.nic.flush();
    assert_eq!(rig.pool.page_log().take().len(), 2);

    // A transmit report is all that is new in the transmit ring when it is reaped.
    rig.model.set_faults(Faults { stalls_transmit: true, ..Faults::default() });
    rig.queue(&[0; 60]);
    rig.nic.flush();
    rig.model.transmit();
    rig.pool.page_log().start();
    rig.nic.flush();
    assert_eq!(rig.pool.page_log().take().len(), 1);
}

#[test]
fn what_nobody_looked_at_is_marked_when_the_driver_stops_or_starts_over() {
    let ways: [fn(&mut Rig); 2] =
        [|rig| block_on(rig.nic.stop()), |rig| block_on(rig.nic.reset()).unwrap()];
    for way in ways {
        let mut rig = Rig::with(8 << 20, Policy::Always, family::OFFERS[0]);
        rig.nic.flush();
        rig.pool.page_log().start();
        for number in 0..10 {
            assert!(rig.model.receive(&frame(number, 60)));
        }
        way(&mut rig);
        let marked = rig.pool.page_log().take().len();
        // Two buffers to a page, and two pages of either ring.
        assert!((5 + 4..=10 + 4).contains(&marked), "{marked} pages");
    }
}
