//! The end-to-end suite: everything that CI runs, one test after the other, since most of them boot
//! virtual machines. `cargo xtask test` builds and runs it.
//!
//! A test that lacks something is ignored and says what; one that does not end in its time is a
//! failure, as is one that panics, and the suite goes on. Logs are in `target/test-logs`.
#![forbid(unsafe_code)]

mod application;
mod bridges;
mod browser;
mod clock;
mod dhcp_server;
mod endings;
mod errors;
mod examples;
mod firmware;
mod floods;
mod guest;
mod headline;
mod host;
mod instructions;
mod interrupt;
mod journey;
mod junit;
mod kernel;
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
mod shapes;
mod snapshot;
mod soak;
mod standby;
mod stock;
mod suite;
mod tap;
mod terminal;
mod tshark;
mod two_nics;
mod wire;
mod worker;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use lab::system::signals;
use options::Options;
use suite::Suite;

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    signals::end_cleanly()?;
    let kernel = options.kernel();
    let mut suite = Suite::new();
    host::add(&mut suite);
    errors::add(&mut suite);
    endings::add(&mut suite);
    interrupt::add(&mut suite);
    guest::add(&mut suite);
    odd::add(&mut suite);
    shapes::add(&mut suite);
    firmware::add(&mut suite);
    snapshot::add(&mut suite);
    ports::add(&mut suite);
    pair::add(&mut suite);
    link::add(&mut suite);
    networks::add(&mut suite);
    matrix::add(&mut suite, options.long);
    floods::add(&mut suite);
    instructions::add(&mut suite);
    journey::add(&mut suite);
    linux::add(&mut suite, kernel);
    wire::add(&mut suite, kernel);
    soak::add(&mut suite);
    application::add(&mut suite, kernel, !options.quick);
    examples::add(&mut suite, kernel);
    qtest::add(&mut suite, options.long);
    local::add(&mut suite, kernel);
    browser::add(&mut suite);
    terminal::add(&mut suite);
    phases::add(&mut suite, kernel);
    two_nics::add_local(&mut suite, kernel);
    refusal::add_local(&mut suite, kernel);
    bridges::add_local(&mut suite, kernel);
    standby::add_local(&mut suite, kernel);
    stock::add_local(&mut suite, kernel);
    if !options.quick {
        nested::add(&mut suite, kernel);
        own_nics::add(&mut suite, kernel);
        two_nics::add_nested(&mut suite, kernel);
        refusal::add_nested(&mut suite, kernel);
        bridges::add_nested(&mut suite, kernel, options.long);
        standby::add(&mut suite, kernel, options.long);
        stock::add_nested(&mut suite, kernel);
        clock::add(&mut suite, kernel, options.long);
    }
    if options.long {
        offline::add(&mut suite);
    }
    suite.run(options.filter, options.list)
}
