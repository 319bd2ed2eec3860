//! The bootable image: `cargo build --release -p net-app --target x86_64-unknown-none`.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use godwit::System;
use godwit::cmdline::Size;

/// How much the flight recorder keeps unless `recorder=` says otherwise.
const RECORDER: Size = Size(8 << 20);

#[godwit::main]
async fn main(system: System) {
    let recorder = system.recorder(RECORDER);
    for index in 0.. {
        let interface = system.interface(index).await;
        net_app::serve(&system, interface, recorder.clone());
    }
}
