//! Who has which memory: hand-over, ranges, exhaustion, and that everything comes back.

use std::vec;
use std::vec::Vec;

use crate::dma::fake::{DEVICE_BASE, completed, pool};
use crate::dma::{Coherent, Error, MAX_RUN, PAGE_SIZE, Policy, Pool, PoolMemory, SLOT_SIZE};

fn small() -> &'static Pool {
    pool(64 * PAGE_SIZE, Policy::Auto)
}

#[test]
fn a_frame_is_received_in_the_memory_the_device_wrote() {
    let pool = small();
    let stream = pool.receive_stream().unwrap();
    pool.device().write(stream.device_address(), b"frame");
    let buffer = stream.receive(&completed(), 5).unwrap();
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
}

#[test]
fn a_frame_goes_back_in_the_memory_it_came_in() {
    let pool = small();
    for header in [0, 3] {
        let free = pool.statistics().slots_free;
        let stream = pool.receive_stream().unwrap();
        pool.device().write(stream.device_address(), b"a longer frame");
        let address = stream.device_address();
        let mut received = stream.receive(&completed(), 14).unwrap();
        received.advance(header);
        let len = received.len();
        let mut buffer = received.into_transmit();
        buffer[len - 1] = b'!';
        let stream = buffer.into_stream(len).unwrap();
        let mut seen = vec![0; len];
        pool.device().read(stream.device_address(), &mut seen);
        assert_eq!(seen, b"a longer fram!"[header..]);
        assert_eq!((stream.device_address(), pool.statistics().slots_free), (address, free - 1));
        // It is one that a device reads, which catch-up covers as any other.
        pool.start_marking();
        assert_eq!(pool.catch_up(0).pages, 1);
        pool.stop_marking();
        drop(stream);
        assert_eq!(pool.statistics().slots_free, free);
    }
}

#[test]
fn a_length_the_device_made_up_is_refused_and_the_slot_comes_back() {
    let pool = small();
    let stream = pool.receive_stream().unwrap();
    let wrong = stream.receive(&completed(), SLOT_SIZE + 1);
    assert_eq!(wrong.unwrap_err(), Error::OutOfRange { end: SLOT_SIZE + 1, capacity: SLOT_SIZE });
    assert_eq!(
        pool.receive_stream().unwrap().receive(&completed(), SLOT_SIZE).unwrap().len(),
        SLOT_SIZE
    );
    assert_eq!(pool.receive_stream().unwrap().receive(&completed(), 0).unwrap().len(), 0);
    assert!(pool.receive_stream().unwrap().receive(&completed(), usize::MAX).is_err());
    assert!(pool.transmit_buffer().unwrap().into_stream(SLOT_SIZE + 1).is_err());
    let stream = pool.receive_stream().unwrap();
    assert!(stream.mark(0..SLOT_SIZE + 1).is_err());
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = stream.mark(5..4).err();
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
    assert_eq!(&*jumbo.receive(&completed(), 9018).unwrap(), &frame);
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
    // And back: what was split is put together for a ring that needs it whole.
    drop(rings);
    assert_eq!(pool.coherent::<u64>(8192, 8).unwrap().device_address(), addresses[0]);
}

#[test]
fn short_buffers_never_use_up_long_ones() {
    let pool = pool(32 * PAGE_SIZE, Policy::Auto);
    drop(pool.receive_stream_of(16384).unwrap());
    let short: Vec<_> = std::iter::from_fn(|| pool.receive_stream()).collect();
    assert_eq!(short.len(), 64 - 8);
    assert!(pool.receive_stream_of(16384).is_ok());
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
    let long = pool.receive_stream_of(16384).unwrap();
    let receive = || pool.receive_stream().unwrap().receive(&completed(), 60).unwrap();
    let mut kept = std::vec![receive()];
    while pool.may_keep(&kept[0]) {
        kept.push(receive());
    }
    assert_eq!(pool.statistics().slots_free, 64 / 4);
    assert_eq!(kept.len(), 64 - 8 - 8 - 64 / 4);
    // Memory that no buffer of this size can have makes no room for one more.
    drop((ring, long));
    assert!(!pool.may_keep(&kept[0]));
    kept.pop();
    assert!(pool.may_keep(&kept[0]));
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
    let report = |entry: [u32; 4]| (entry[0] != 0).then_some(entry[3]);
    assert_eq!(ring.completed(3, report).map(|(said, _)| said), Some(0x0909_0909));
    assert!(ring.completed(4, report).is_none());

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
fn received_buffers_can_lose_a_header() {
    let pool = small();
    let stream = pool.receive_stream().unwrap();
    pool.device().write(stream.device_address(), b"headframe");
    let mut buffer = stream.receive(&completed(), 9).unwrap();
    buffer.advance(4);
    assert_eq!(&*buffer, b"frame");
    buffer.advance(usize::MAX);
    assert!(buffer.is_empty());
}

#[test]
#[should_panic(expected = "where the memory is Received")]
fn the_fake_device_finds_a_buffer_posted_after_it_was_handed_on() {
    let pool = small();
    let stream = pool.receive_stream().unwrap();
    let address = stream.device_address();
    let _kept = stream.receive(&completed(), 1).unwrap();
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
