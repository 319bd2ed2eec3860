//! Which pages are marked, when, and what is counted.

use std::vec;
use std::vec::Vec;

use super::catch_up;
use crate::dma::fake::{DEVICE_BASE, completed, pool};
use crate::dma::{Coherent, PAGE_SIZE, Policy, Pool, SLOT_SIZE};

fn logging(policy: Policy) -> &'static Pool {
    let pool = pool(64 * PAGE_SIZE, policy);
    pool.page_log().start();
    pool.start_marking();
    pool
}

fn page(address: u64) -> usize {
    (address - DEVICE_BASE) as usize / PAGE_SIZE
}

#[test]
fn nothing_is_marked_while_nobody_logs() {
    let pool = pool(64 * PAGE_SIZE, Policy::Auto);
    pool.page_log().start();
    for _ in 0..100 {
        assert!(!pool.receive_stream().unwrap().receive(&completed(), SLOT_SIZE).unwrap().logged());
    }
    assert_eq!(catch_up(pool), 0, "not without start_marking");
    assert_eq!(pool.page_log().take(), [], "receiving writes nothing, in particular no books");
    let statistics = pool.statistics();
    assert_eq!((statistics.pages_marked, statistics.buffers_received), (0, 100));
}

#[test]
fn a_received_page_is_marked_once_it_is_received() {
    let pool = logging(Policy::Auto);
    let stream = pool.receive_stream().unwrap();
    let page = page(stream.device_address());
    pool.device().write(stream.device_address(), b"frame");
    assert_eq!(pool.page_log().take(), [], "the log does not see DMA");
    let buffer = stream.receive(&completed(), 5).unwrap();
    assert_eq!(pool.page_log().take(), [page]);
    assert_eq!(&*buffer, b"frame", "a mark changes nothing");
    assert!(buffer.logged());
    assert_eq!(pool.statistics().pages_marked, 1);
}

/// No write to it has to stand in for the mark.
#[test]
fn a_frame_that_is_sent_back_is_marked_when_it_is_received_or_when_logging_begins() {
    let pool = logging(Policy::Auto);
    let page_of = |address| vec![page(address)];
    let stream = pool.receive_stream().unwrap();
    let address = stream.device_address();
    pool.device().write(address, b"frame");
    let received = stream.receive(&completed(), 5).unwrap();
    assert_eq!(pool.page_log().take(), page_of(address), "before it is written to");
    drop(received.into_transmit());
    pool.stop_marking();
    pool.page_log().stop();

    // Held by the CPU while logging begins, and by a device while it begins again.
    let stream = pool.receive_stream().unwrap();
    let address = stream.device_address();
    pool.device().write(address, b"frame");
    let held = stream.receive(&completed(), 5).unwrap().into_transmit();
    pool.page_log().start();
    pool.start_marking();
    catch_up(pool);
    assert_eq!(pool.page_log().take(), page_of(address));
    pool.stop_marking();
    let held = held.into_stream(5).unwrap();
    pool.start_marking();
    catch_up(pool);
    assert_eq!(pool.page_log().take(), page_of(address));
    drop(held);
}

#[test]
fn a_long_frame_is_marked_as_far_as_it_goes() {
    let pool = logging(Policy::Auto);
    let stream = pool.receive_stream_of(16384).unwrap();
    let first = page(stream.device_address());
    let _frame = stream.receive(&completed(), 9018).unwrap();
    assert_eq!(pool.page_log().take(), [first, first + 1, first + 2]);
    assert_eq!(pool.statistics().pages_marked, 3);
}

#[test]
fn a_refused_length_marks_nothing() {
    let pool = logging(Policy::Auto);
    assert!(pool.receive_stream().unwrap().receive(&completed(), SLOT_SIZE + 1).is_err());
    assert_eq!(pool.page_log().take(), []);
}

#[test]
fn an_unread_range_is_marked_where_it_is() {
    let pool = logging(Policy::Auto);
    let stream = pool.receive_stream_of(16384).unwrap();
    let first = page(stream.device_address());
    stream.mark(4000..4200).unwrap();
    assert_eq!(pool.page_log().take(), [first, first + 1]);
    stream.mark(8192..8193).unwrap();
    assert_eq!(pool.page_log().take(), [first + 2]);
    stream.mark(12000..12000).unwrap();
    assert_eq!(pool.page_log().take(), [], "nothing of it was completed");
}

#[test]
fn what_the_hypervisor_wrote_itself_is_not_marked() {
    let pool = logging(Policy::Always);
    let stream = pool.hypervisor_stream_of(SLOT_SIZE).unwrap();
    pool.device().write(stream.device_address(), b"frame");
    let (posted, buffer) =
        (pool.hypervisor_stream_of(SLOT_SIZE).unwrap(), stream.receive(&completed(), 5).unwrap());
    assert_eq!(&*buffer, b"frame");
    assert!(!buffer.logged());
    assert_eq!(catch_up(pool), 0);
    assert_eq!(pool.page_log().take(), []);
    let statistics = pool.statistics();
    assert_eq!((statistics.pages_marked, statistics.buffers_received), (0, 1));
    assert!(posted.receive(&completed(), SLOT_SIZE + 1).is_err());
    drop(buffer);
    // The same slot in a real device's hands is like any other.
    let stream = pool.receive_stream().unwrap();
    assert_eq!(catch_up(pool), 1);
    drop(stream);
}

#[test]
fn what_the_device_only_reads_is_not_marked() {
    let pool = logging(Policy::Auto);
    let stream = pool.transmit_buffer().unwrap().into_stream(64).unwrap();
    pool.page_log().take();
    drop(stream);
    assert_eq!(pool.statistics().pages_marked, 0);
    assert_eq!(pool.page_log().take(), []);
}

#[test]
fn a_ring_is_marked_where_it_was_reaped() {
    let pool = logging(Policy::Auto);
    let ring: Coherent<[u64; 2]> = pool.coherent(1024, 128).unwrap();
    let first = page(ring.device_address());
    pool.page_log().take();
    ring.mark(0..3);
    assert_eq!(pool.page_log().take(), [first]);
    ring.mark(255..257);
    assert_eq!(pool.page_log().take(), [first, first + 1]);
    ring.mark(1023..1024);
    assert_eq!(pool.page_log().take(), [first + 3]);
    ring.mark(7..7);
    assert_eq!(pool.page_log().take(), []);
}

#[test]
#[should_panic(expected = "element 1024")]
fn a_ring_is_not_marked_past_its_end() {
    let ring: Coherent<[u64; 2]> = logging(Policy::Auto).coherent(1024, 128).unwrap();
    ring.mark(1000..1025);
}

#[test]
fn catch_up_marks_each_page_in_use_once() {
    let pool = pool(64 * PAGE_SIZE, Policy::Auto);
    let ring: Coherent<[u64; 2]> = pool.coherent(512, 128).unwrap();
    let posted = pool.receive_stream().unwrap();
    let received = pool.receive_stream().unwrap().receive(&completed(), 60).unwrap();
    let jumbo = pool.receive_stream_of(9018).unwrap();
    let freed: Vec<_> = (0..8).map(|_| pool.receive_stream().unwrap()).collect();
    let alone = pool.receive_stream().unwrap();
    let mut pages = vec![page(ring.device_address()), page(ring.device_address()) + 1];
    pages.push(page(posted.device_address()));
    pages.extend((0..4).map(|n| page(jumbo.device_address()) + n));
    pages.push(page(alone.device_address()));
    pages.sort_unstable();
    pages.dedup();
    drop(freed);

    pool.page_log().start();
    pool.start_marking();
    assert_eq!(catch_up(pool), pages.len() as u64);
    assert_eq!(pool.page_log().take(), pages);
    assert_eq!(pool.statistics().pages_caught_up, pages.len() as u64);
    assert_eq!(pool.statistics().pages_marked, 0, "counted apart");
    assert_eq!(pool.pages_marked(), pages.len() as u64);
    drop((received, posted, jumbo, alone, ring));
    assert_eq!(catch_up(pool), 0, "nothing is in use");
}

#[test]
fn slices_of_catch_up_are_short_and_leave_nothing_out() {
    let pool = pool(256 * PAGE_SIZE, Policy::Auto);
    let held: Vec<_> = (0..301).map(|_| pool.receive_stream().unwrap()).collect();
    let mut pages: Vec<_> = held.iter().map(|stream| page(stream.device_address())).collect();
    pages.dedup();
    pool.page_log().start();
    pool.start_marking();
    let (mut from, mut slices) = (Some(0), Vec::new());
    while let Some(at) = from {
        let slice = pool.catch_up(at);
        slices.push(slice.pages);
        from = slice.next;
    }
    assert_eq!(pool.page_log().take(), pages);
    assert_eq!(slices.iter().sum::<u64>(), pages.len() as u64, "each page in one slice");
    assert!(slices.len() > 4 && slices.iter().all(|&pages| pages <= 16), "{slices:?}");
}

#[test]
fn always_marks_before_and_after_the_log() {
    let pool = pool(64 * PAGE_SIZE, Policy::Always);
    pool.page_log().start();
    let receive = || pool.receive_stream().unwrap().receive(&completed(), 1).unwrap().logged();
    assert!(!receive());
    pool.start_marking();
    assert!(receive());
    pool.stop_marking();
    assert!(!receive());
    assert_eq!(pool.statistics().pages_marked, 3);
    assert!(pool.is_marking() && !pool.is_logging());
}

#[test]
fn auto_without_a_capability_is_always() {
    let pool = pool(64 * PAGE_SIZE, Policy::Auto);
    pool.mark_always();
    pool.start_marking();
    pool.stop_marking();
    assert!(!pool.receive_stream().unwrap().receive(&completed(), 1).unwrap().logged());
    assert_eq!(pool.statistics().pages_marked, 1);
}

#[test]
fn never_knows_of_the_log_and_marks_nothing() {
    let pool = logging(Policy::Never);
    pool.mark_always();
    assert!(pool.receive_stream().unwrap().receive(&completed(), 1).unwrap().logged());
    assert_eq!(catch_up(pool), 0);
    assert_eq!(pool.page_log().take(), []);
    assert_eq!(pool.pages_marked(), 0);
}

#[test]
fn marking_goes_on_until_the_last_agent_has_seen_the_log_go_off() {
    let pool = logging(Policy::Auto);
    pool.start_marking();
    pool.stop_marking();
    assert!(pool.is_marking());
    pool.stop_marking();
    assert!(!pool.is_marking());
    pool.stop_marking();
    pool.start_marking();
    assert!(pool.is_marking() && pool.is_logging(), "one stop too many does no harm");
}

#[test]
fn a_policy_is_what_the_command_line_says() {
    for policy in [Policy::Auto, Policy::Always, Policy::Never] {
        assert_eq!(std::format!("{policy}").parse(), Ok(policy));
    }
    let wrong = "Always".parse::<Policy>().unwrap_err();
    assert_eq!(std::format!("{wrong}"), "auto, always or never");
}
