mod marking;
mod migration;
mod ownership;
mod threads;

use super::Pool;

/// All slices of it; returns the pages.
fn catch_up(pool: &Pool) -> u64 {
    let (mut pages, mut from) = (0, Some(0));
    while let Some(at) = from {
        let slice = pool.catch_up(at);
        pages += slice.pages;
        from = slice.next;
    }
    pages
}
