//! The bootable image: `cargo build --release -p net-app --target x86_64-unknown-none`.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use godwit::System;
use net_app::recorder::Recorder;

#[godwit::main]
async fn main(system: System) {
    let recorder = Recorder::of_command_line(&system);
    system.spawn(net_app::integrity::check_after_migrations(system.clone(), recorder.clone()));
    for index in 0.. {
        let interface = system.interface(index).await;
        net_app::serve(&system, interface, recorder.clone());
    }
}
