//! What every driver does, whatever its device: tests on the rig of the module that includes this
//! one.

use super::{Rig, in_mid_traffic, model};
use embassy_futures::block_on;

/// A frame of `len` bytes that no two numbers share, of no protocol the driver knows.
pub(crate) fn frame(number: usize, len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|i| (i * 7 + number) as u8).collect();
    frame[..6].copy_from_slice(&model::MAC);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame[14..22].copy_from_slice(&(number as u64).to_le_bytes());
    frame
}

#[test]
fn surprise_removal_neither_hangs_nor_leaks() {
    let (mut rig, kept) = in_mid_traffic();
    rig.machine.pull(rig.port);
    // Whatever the stack does before it notices.
    while rig.nic.receive().is_some() {}
    rig.queue(&frame(0, 60));
    rig.nic.flush();
    rig.nic.interrupt().trigger();
    // The first time there were frames, which a driver may have taken for the reason.
    rig.nic.arm();
    rig.nic.arm();
    assert!(!rig.nic.link().up, "all ones are no link");
    assert_eq!(rig.nic.statistics().missed, 0, "and no count");
    block_on(rig.nic.stop());
    drop(kept);
    assert_eq!(rig.taken(), 0);
}

#[test]
fn a_frame_longer_than_a_frame_may_be_is_dropped() {
    let mut rig = Rig::new();
    for len in [1515, 2048, 2049, usize::MAX] {
        let buffer = rig.pool.transmit_buffer().unwrap();
        rig.nic.transmit(buffer, len, None);
    }
    rig.queue(&frame(0, 1514));
    rig.nic.flush();
    assert_eq!(rig.model.take_sent().len(), 1);
    assert_eq!(rig.nic.statistics().transmit_dropped, 4);
}
