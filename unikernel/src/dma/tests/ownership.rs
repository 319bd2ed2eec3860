//! Who has which memory: hand-over, ranges, exhaustion, and that everything comes back.

use std::vec::Vec;

use crate::dma::fake::{DEVICE_BASE, pool};
use crate::dma::{
    Bidirectional, Coherent, Error, FromDevice, MAX_RUN, Mapping, PAGE_SIZE, Policy, Pool,
    PoolMemory, SLOT_SIZE, ToDevice,
};

const ALL: u64 = u64::MAX;

fn small() -> &'static Pool {
    pool(64 * PAGE_SIZE, Policy::Auto)
}

#[test]
fn a_frame_is_received_in_the_memory_the_device_wrote() {
    let pool = small();
    let stream = pool.receive_stream().unwrap();
    pool.device().write(stream.device_address(), b"frame");
    let buffer = stream.receive(5).unwrap();
    assert_eq!(&*buffer, b"frame");
    assert!(!buffer.logged());
}

#[test]
fn a_frame_is_sent_from_the_memory_the_cpu_wrote() {
    let pool = small();
    let mut buffer = pool.transmit_buffer().unwrap();
    buffer[..5].copy_from_slice(b"frame");
    let stream = buffer.into_stream(5).unwrap();
    let mut seen = [0; 5];
    pool.device().read(stream.device_address(), &mut seen);
    assert_eq!(&seen, b"frame");
    assert_eq!(&stream.unmap()[..5], b"frame");
}

#[test]
fn a_length_the_device_made_up_is_refused_and_the_slot_comes_back() {
    let pool = small();
    let stream = pool.receive_stream().unwrap();
    let wrong = stream.receive(SLOT_SIZE + 1);
    assert_eq!(wrong.unwrap_err(), Error::OutOfRange { end: SLOT_SIZE + 1, capacity: SLOT_SIZE });
    assert_eq!(pool.receive_stream().unwrap().receive(SLOT_SIZE).unwrap().len(), SLOT_SIZE);
    assert_eq!(pool.receive_stream().unwrap().receive(0).unwrap().len(), 0);
    assert!(pool.receive_stream().unwrap().receive(usize::MAX).is_err());
    assert!(pool.transmit_buffer().unwrap().into_stream(SLOT_SIZE + 1).is_err());
    let mut stream = pool.receive_stream().unwrap();
    assert!(stream.sync_for_cpu(0..SLOT_SIZE + 1).is_err());
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = stream.sync_for_cpu(5..4).err();
    assert!(reversed.is_some());
    drop(stream);
    assert_eq!(pool.statistics().slots_free, pool.statistics().slots);
}

#[test]
fn an_exhausted_pool_says_so_and_recovers() {
    let pool = pool(4 * PAGE_SIZE, Policy::Auto);
    let mut held: Vec<_> = std::iter::from_fn(|| pool.receive_stream()).collect();
    assert_eq!(held.len(), 8);
    assert!(pool.transmit_buffer().is_none());
    assert_eq!(pool.statistics().slots_free, 0);
    let exhausted = pool.receive_stream_of(3000).unwrap_err();
    assert_eq!(exhausted, Error::Exhausted { bytes: 3000 });

    let mut addresses: Vec<_> = held.iter().map(|stream| stream.device_address()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 8, "no slot was handed out twice");

    held.clear();
    assert_eq!(pool.statistics().slots_free, 8);
}

#[test]
fn long_runs_are_contiguous_aligned_and_bounded() {
    let pool = small();
    let _odd = pool.receive_stream().unwrap();
    let jumbo = pool.receive_stream_of(9018).unwrap();
    assert_eq!(jumbo.capacity(), 16384);
    assert_eq!(jumbo.device_address() % 16384, 0);
    let frame: Vec<u8> = (0..9018).map(|n| n as u8).collect();
    pool.device().write(jumbo.device_address(), &frame);
    assert_eq!(&*jumbo.receive(9018).unwrap(), &frame);
    assert_eq!(pool.receive_stream_of(MAX_RUN).unwrap().capacity(), MAX_RUN);
    for bytes in [MAX_RUN + 1, usize::MAX] {
        assert_eq!(pool.receive_stream_of(bytes).unwrap_err(), Error::TooLong { bytes });
    }
    assert_eq!(pool.transmit_buffer_of(0).unwrap().len(), SLOT_SIZE);
}

#[test]
fn slots_skipped_for_alignment_are_not_lost() {
    let pool = pool(16 * PAGE_SIZE, Policy::Auto);
    let _first = pool.receive_stream().unwrap();
    let _aligned = pool.receive_stream_of(16384).unwrap();
    let rest: Vec<_> = std::iter::from_fn(|| pool.receive_stream()).collect();
    assert_eq!(rest.len(), 32 - 1 - 8);
}

#[test]
fn a_ring_that_left_finds_its_memory_again_in_an_exhausted_pool() {
    let pool = small();
    let ring: Coherent<u64> = pool.coherent(2048, 128).unwrap();
    let address = ring.device_address();
    let _everything: Vec<_> = std::iter::from_fn(|| pool.receive_stream()).collect();
    drop(ring);
    assert!(pool.receive_stream().is_none(), "packet buffers do not eat rings");
    assert_eq!(pool.coherent::<u64>(2048, 128).unwrap().device_address(), address);
}

#[test]
fn a_ring_of_another_size_is_cut_from_a_larger_one() {
    let pool = pool(32 * PAGE_SIZE, Policy::Auto);
    drop(pool.coherent::<u64>(8192, 8).unwrap());
    let _everything: Vec<_> = std::iter::from_fn(|| pool.receive_stream()).collect();
    assert_eq!(pool.statistics().slots_free, 32, "only the ring's own memory");
    let rings: Vec<Coherent<u64>> = std::iter::from_fn(|| pool.coherent(512, 8).ok()).collect();
    assert_eq!(rings.len(), 16, "4 KiB each of 64 KiB");
    let mut addresses: Vec<_> = rings.iter().map(Coherent::device_address).collect();
    addresses.sort_unstable();
    assert!(addresses.windows(2).all(|two| two[1] - two[0] == 4096), "{addresses:x?}");
    // And back: what was split is whole again for a ring that needs it whole.
    drop(rings);
    assert_eq!(pool.coherent::<u64>(8192, 8).unwrap().device_address(), addresses[0]);
}

#[test]
fn a_ring_is_had_from_buffers_that_were_given_back() {
    let pool = pool(32 * PAGE_SIZE, Policy::Auto);
    let mut buffers: Vec<_> = std::iter::from_fn(|| pool.receive_stream()).collect();
    assert_eq!(buffers.len(), 64);
    assert!(pool.coherent::<u64>(2048, 8).is_err(), "nothing is free");
    // One stays, so that runs can be merged wrongly: across what will be boundaries.
    let first = buffers.iter().position(|buffer| buffer.device_address() == DEVICE_BASE).unwrap();
    let _first = buffers.swap_remove(first);
    buffers.clear();
    let rings: Vec<Coherent<u64>> = std::iter::from_fn(|| pool.coherent(2048, 8).ok()).collect();
    assert_eq!(rings.len(), 64 / 8 - 1);
    assert!(rings.iter().all(|ring| ring.device_address() % 16384 == 0));
    // The rest is not lost for buffers.
    let rest: Vec<_> = std::iter::from_fn(|| pool.receive_stream()).collect();
    assert_eq!(rest.len(), 8 - 1);
}

#[test]
fn an_application_leaves_a_reserve() {
    let pool = pool(32 * PAGE_SIZE, Policy::Auto);
    let ring: Coherent<u64> = pool.coherent(2048, 8).unwrap();
    let receive = || pool.receive_stream().unwrap().receive(60).unwrap();
    let mut kept = Vec::new();
    while pool.may_keep() {
        kept.push(receive());
    }
    assert_eq!(pool.statistics().slots_free, 64 / 4);
    assert_eq!(kept.len(), 64 - 8 - 64 / 4);
    // A ring's memory is no buffer's: it makes no room for one more.
    drop(ring);
    assert!(!pool.may_keep());
    kept.pop();
    assert!(pool.may_keep());
}

#[test]
fn coherent_memory_is_zeroed_shared_and_aligned() {
    let pool = small();
    let dirty = pool.receive_stream().unwrap();
    pool.device().write(dirty.device_address(), &[0xff; SLOT_SIZE]);
    drop(dirty);

    let mut ring: Coherent<[u32; 4]> = pool.coherent(16, 128).unwrap();
    assert_eq!(ring.len(), 16);
    assert_eq!(ring.read(15), [0; 4]);
    ring.write(3, [1, 2, 3, 4]);
    let mut seen = [0; 16];
    pool.device().read(ring.device_address() + 48, &mut seen);
    assert_eq!(seen, zerocopy::IntoBytes::as_bytes(&[1u32, 2, 3, 4]));
    pool.device().write(ring.device_address() + 48, &[9; 16]);
    assert_eq!(ring.read_if(3, |entry| entry[0] == 0x0909_0909), Some([0x0909_0909; 4]));
    assert_eq!(ring.read_if(4, |entry| entry[0] == 0x0909_0909), None);

    assert_eq!(pool.coherent::<u8>(1, 65536).unwrap().device_address() % 65536, 0);
    assert_eq!(pool.coherent::<u8>(1, 3).unwrap_err(), Error::Alignment { align: 3 });
    assert_eq!(pool.coherent::<u8>(1, 131072).unwrap_err(), Error::Alignment { align: 131072 });
    let bytes = 8193 * 8;
    assert_eq!(pool.coherent::<u64>(8193, 8).unwrap_err(), Error::TooLong { bytes });
    assert!(pool.coherent::<u64>(usize::MAX, 8).is_err());
}

#[test]
#[should_panic(expected = "element 16 of a ring of 16")]
fn a_ring_checks_its_index() {
    small().coherent::<u64>(16, 8).unwrap().read(16);
}

#[test]
fn addresses_are_what_the_device_can_form() {
    let pool = small();
    let end = DEVICE_BASE + 64 * PAGE_SIZE as u64;
    assert_eq!(pool.check_mask(end - 1), Ok(()));
    let short = Err(Error::AboveMask { last: end - 1, mask: end - 2 });
    assert_eq!(pool.check_mask(end - 2), short);
    assert!(pool.map::<ToDevice, _>([0u8; 8], end - 2).is_err());
}

#[test]
fn received_buffers_can_lose_a_header_and_a_trailer() {
    let pool = small();
    let stream = pool.receive_stream().unwrap();
    pool.device().write(stream.device_address(), b"headframecrc");
    let mut buffer = stream.receive(12).unwrap();
    buffer.advance(4);
    buffer.truncate(5);
    assert_eq!(&*buffer, b"frame");
    buffer.truncate(usize::MAX);
    assert_eq!(&*buffer, b"frame");
    buffer.advance(usize::MAX);
    assert!(buffer.is_empty());
}

#[test]
fn the_cpu_borrows_part_of_a_buffer() {
    let pool = small();
    let mut stream = pool.transmit_buffer().unwrap().into_bidirectional();
    let address = stream.device_address();
    pool.device().write(address, b"ask?");
    let mut lent = stream.sync_for_cpu(0..4).unwrap();
    assert_eq!(&*lent, b"ask?");
    lent.copy_from_slice(b"tell");
    lent.sync_for_device();
    let mut seen = [0; 4];
    pool.device().read(address, &mut seen);
    assert_eq!(&seen, b"tell");
    assert_eq!(&stream.unmap()[..4], b"tell");
}

/// What a missed sync looks like: both sides keep what they had.
#[test]
fn bounced_memory_meets_its_copy_only_at_a_sync() {
    let pool = small();
    let mut own = *b"outside.";
    let mut mapping: Mapping<_, Bidirectional> = pool.map(&mut own[..], ALL).unwrap();
    let address = mapping.device_address();
    let mut seen = [0; 8];
    pool.device().read(address, &mut seen);
    assert_eq!(&seen, b"outside.", "map brings it over");

    mapping.memory_mut()[..2].copy_from_slice(b"OU");
    pool.device().read(address, &mut seen);
    assert_eq!(&seen, b"outside.", "not synced: the device sees what it had");
    mapping.sync_for_device(0..1).unwrap();
    pool.device().read(address, &mut seen);
    assert_eq!(&seen, b"Outside.", "the range, no more");

    pool.device().write(address, b"12345678");
    assert_eq!(&mapping.memory()[..], b"OUtside.", "not synced: so does the CPU");
    assert_eq!(mapping.sync_for_cpu(2..4).unwrap(), b"34");
    assert_eq!(&mapping.memory()[..], b"OU34ide.");
    assert!(mapping.sync_for_cpu(0..9).is_err());
    assert!(mapping.sync_for_device(9..9).is_err());
    assert_eq!(mapping.unmap_written(8).unwrap(), b"12345678");
    assert_eq!(pool.statistics().slots_free, pool.statistics().slots);
}

#[test]
fn bounce_copies_only_the_way_the_data_flows() {
    let pool = small();
    let mapping: Mapping<_, FromDevice> = pool.map(std::vec![7u8; 3000], ALL).unwrap();
    pool.device().write(mapping.device_address(), &[1; 100]);
    let back = mapping.unmap_written(100).unwrap();
    assert_eq!((back[99], back[100]), (1, 7), "what the device did not write is as it was");

    let mapping: Mapping<_, ToDevice> = pool.map(&b"constant"[..], ALL).unwrap();
    assert_eq!(mapping.unmap(), b"constant");
    let mapping: Mapping<_, FromDevice> = pool.map([0u8; 8], ALL).unwrap();
    assert!(mapping.unmap_written(9).is_err(), "a length the device made up");
    assert!(pool.map::<FromDevice, _>(std::vec![0u8; MAX_RUN + 1], ALL).is_err());
    assert_eq!(pool.statistics().slots_free, pool.statistics().slots);
}

#[test]
#[should_panic(expected = "where the memory is Received")]
fn the_fake_device_finds_a_buffer_posted_after_it_was_handed_on() {
    let pool = small();
    let stream = pool.receive_stream().unwrap();
    let address = stream.device_address();
    let _kept = stream.receive(1).unwrap();
    pool.device().write(address, &[1]);
}

#[test]
#[should_panic(expected = "where the memory is Free")]
fn the_fake_device_finds_a_ring_freed_too_early() {
    let pool = small();
    let address = pool.coherent::<u64>(16, 8).unwrap().device_address();
    pool.device().write(address, &[1]);
}

#[test]
fn many_threads_share_a_pool() {
    let pool = pool(16 * PAGE_SIZE, Policy::Auto);
    std::thread::scope(|scope| {
        for id in 0..4u8 {
            scope.spawn(move || {
                for round in 0..2000 {
                    let Some(mut buffer) = pool.transmit_buffer() else { continue };
                    buffer[..SLOT_SIZE].fill(id);
                    if round % 64 == 0 {
                        std::thread::yield_now();
                    }
                    assert!(buffer.iter().all(|&byte| byte == id), "the slot is shared");
                }
            });
        }
    });
    assert_eq!(pool.statistics().slots_free, 32);
}

#[test]
fn memory_that_cannot_be_a_pool_is_refused() {
    use core::ptr::NonNull;
    let base = NonNull::<u8>::dangling();
    let page = NonNull::new(4096 as *mut u8).unwrap();
    for (base, device, len) in [
        (base, 0, 4096),
        (page, 1, 4096),
        (page, 0, 100),
        (page, 0, 0),
        (page, u64::MAX - 4095, 4096),
    ] {
        // SAFETY: refused, so never used.
        let refused = unsafe { PoolMemory::new(base, device, len) };
        assert_eq!(refused.unwrap_err(), Error::BadMemory);
    }
}
