//! The end-to-end suite: everything that CI runs. Two tests run at a time, where there are two
//! processors, but for those whose figures are in this machine's time: these run alone in the end.
//! `cargo xtask test` builds and runs it.
//!
//! A test that lacks something is ignored and says what; one that does not end in its time is a
//! failure, as is one that panics, and the suite goes on. Logs are in `target/test-logs`.
#![forbid(unsafe_code)]

mod another;
mod application;
mod bench;
mod blanks;
mod book;
mod bridges;
mod browser;
mod clock;
mod dhcp_server;
mod elsewhere;
mod endings;
mod errors;
mod examples;
mod firmware;
mod flaps;
mod floods;
mod fuzzing;
mod guest;
mod headline;
mod host;
mod instructions;
mod interrupt;
mod journey;
mod junit;
mod kernel;
mod libvirt;
mod libvirtd;
mod link;
mod linux;
mod local;
mod matrix;
mod migrations;
mod monitor;
mod moves;
mod namespace;
mod narrow;
mod nested;
mod networks;
mod odd;
mod offline;
mod options;
mod own_nics;
mod pair;
mod peer;
mod phases;
mod ports;
mod program;
mod qtest;
mod refusal;
mod replayed;
mod restarts;
mod run;
#[cfg(test)]
mod sample;
mod shapes;
mod size;
mod snapshot;
mod soaks;
mod standby;
mod stock;
mod suite;
mod tap;
mod terminal;
mod tshark;
mod two_nics;
mod wire;
mod worker;
mod yanked;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use lab::system::signals;
use options::{Kernel, Options};
use suite::Suite;

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    signals::end_cleanly()?;
    let suite = all(options.kernel(), options.quick, options.long);
    let lanes = options.lanes();
    suite.run(lanes, options.filter, options.list)
}

/// What CI runs; without the nested lab, or with the long repetitions.
fn all(kernel: Kernel, quick: bool, long: bool) -> Suite {
    let mut suite = Suite::new();
    // What takes longest comes first, and what keeps all processors busy by itself last: so no lane
    // has nothing to do for long.
    if !quick {
        headline::add(&mut suite, kernel);
    }
    host::add_tests(&mut suite);
    flaps::add(&mut suite);
    interrupt::add(&mut suite);
    errors::add(&mut suite);
    endings::add(&mut suite);
    guest::add(&mut suite);
    libvirt::add(&mut suite);
    elsewhere::add(&mut suite);
    odd::add(&mut suite);
    shapes::add(&mut suite);
    firmware::add(&mut suite, long);
    snapshot::add(&mut suite);
    ports::add(&mut suite);
    pair::add(&mut suite);
    link::add(&mut suite);
    networks::add(&mut suite);
    matrix::add(&mut suite, long);
    floods::add(&mut suite);
    instructions::add(&mut suite, long);
    size::add(&mut suite);
    journey::add(&mut suite);
    linux::add(&mut suite, kernel);
    wire::add(&mut suite, kernel);
    application::add(&mut suite, kernel, !quick);
    examples::add(&mut suite, kernel);
    qtest::add(&mut suite, long);
    local::add(&mut suite, kernel);
    another::add(&mut suite);
    browser::add(&mut suite);
    terminal::add(&mut suite);
    phases::add(&mut suite, kernel);
    endings::add_migrate(&mut suite, kernel);
    two_nics::add_local(&mut suite, kernel);
    refusal::add_local(&mut suite, kernel, long);
    bridges::add_local(&mut suite, kernel);
    standby::add_local(&mut suite, kernel);
    stock::add_local(&mut suite, kernel, long);
    if !quick {
        nested::add(&mut suite, kernel);
        own_nics::add(&mut suite, kernel, long);
        two_nics::add_nested(&mut suite, kernel);
        refusal::add_nested(&mut suite, kernel, long);
        bridges::add_nested(&mut suite, kernel, long);
        standby::add(&mut suite, kernel, long);
        stock::add_nested(&mut suite, kernel, long);
        clock::add(&mut suite, kernel, long);
    }
    host::add_lints(&mut suite);
    yanked::add(&mut suite);
    if long {
        bench::add(&mut suite, kernel);
        blanks::add(&mut suite);
        book::add(&mut suite);
        offline::add(&mut suite);
        fuzzing::add(&mut suite);
        soaks::add(&mut suite, kernel);
    }
    suite
}

#[cfg(test)]
mod tests {
    use std::fs;

    use house_rules::documents::{self, Name};
    use lab::system::paths;

    use super::*;

    /// The rest of what they name is checked by the house rules.
    #[test]
    fn the_tests_that_documents_name_are_in_the_suite() {
        let suite = all(None, false, true);
        let mut missing = String::new();
        let mut known = 0;
        let pages = ["claims", "hosts", "images", "lab", "machines", "network", "reliability"];
        for page in pages.map(|page| format!("docs/{page}.md")) {
            let text = fs::read_to_string(paths::checkout().join(&page)).unwrap();
            for row in documents::rows(&text) {
                for name in row.names {
                    let Name::Title(title) = name else { continue };
                    known += 1;
                    if !suite.titles().any(|known| known == title) {
                        missing += &format!("docs/{page}:{}: {title:?}\n", row.line);
                    }
                }
            }
        }
        assert!(known > 50, "only {known} titles were found");
        assert!(missing.is_empty(), "no such test:\n{missing}");
    }
}
