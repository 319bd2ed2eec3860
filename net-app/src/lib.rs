//! The bootable network application: an iperf3 server, an echo service, a status
//! page, and the receiving end of the probe protocol, on every interface of the machine.
//!
//! All of it runs on a host as well, on whatever [`Nic`](godwit::host::Hardware) it is given: see
//! `examples/tap.rs`.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod app;
pub mod echo;
pub mod iperf3;
pub mod pcapng;
pub mod phases;
pub mod sink;
pub mod status;

use app::App;
use godwit::recorder::Recorder;
use godwit::{Interface, System};

/// Starts all services on an interface.
pub fn serve(system: &System, interface: Interface, recorder: Recorder) {
    let app = App::new(system.clone(), interface.clone(), recorder);
    status::serve(&app);
    let (probe, rates, phases) = (app.clone(), app.clone(), app);
    let (throughput, echo) = (interface.clone(), interface);
    system.spawn(async move { iperf3::serve(&throughput).await });
    system.spawn(async move { echo::serve(&echo).await });
    system.spawn(async move { sink::serve(&probe).await });
    system.spawn(async move { rates.measure_rates().await });
    system.spawn(async move { phases.phases().follow(phases.system().migration()).await });
}
