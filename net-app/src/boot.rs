//! From the booted kernel to the running services.

extern crate alloc;

use alloc::vec::Vec;

use embassy_executor::Spawner;
use net_app::app::App;
use net_app::migration::{self, Detach, Place, Port};
use net_app::recorder::{self, Recorder};
use net_app::{echo, iperf3, sink, status};
use unikernel::Kernel;
use unikernel::cmdline::{CommandLine, Size};
use unikernel::dma::Pool;
use unikernel::net::{Addressing, Addressing6, Config, Ipv4Address, Stack};
use unikernel::nic::Settings;
use unikernel::pci::{Device, Root, Topology};

/// Ports that are watched.
const PORTS: usize = 16;
/// The flight recorder's size unless `recorder=` says otherwise.
const RECORDER: Size = Size(8 << 20);

unikernel::entry!(main);

fn main(kernel: Kernel, spawner: Spawner) {
    let config = network(&kernel.command_line);
    let settings = Settings::from_command_line(&kernel.command_line);
    let detach = kernel.command_line.value("detach", Detach::default());
    let recorder = kernel.command_line.value("recorder", RECORDER);
    kernel.command_line.finish();

    let stack = Stack::new(kernel.dma, config);
    let app = App::new(stack, kernel.dma, flight_recorder(recorder, kernel.dma));
    for range in &kernel.ecam {
        match Root::from_ecam(range) {
            Ok(root) => bring_up(&app, root.enumerate(), settings, detach, spawner),
            Err(error) => log::error!("pci: {error}"),
        }
    }
    if kernel.ecam.is_empty() {
        log::error!("pci: ACPI names no ECAM (MCFG table): no devices; QEMU's q35 machine has it");
    }
    start(&app, spawner);
}

fn network(command_line: &CommandLine<'_>) -> Config {
    let addressing = command_line.value("ip", Addressing::Dhcp);
    let gateway = command_line.value("gw", Ipv4Address::UNSPECIFIED);
    let addressing6 = command_line.value("ip6", Addressing6::Auto);
    Config {
        addressing,
        gateway: (!gateway.is_unspecified()).then_some(gateway),
        addressing6,
        seed: unikernel::random::seed(),
    }
}

fn flight_recorder(size: Size, pool: &Pool) -> Recorder {
    let frames = recorder::capacity(size.0, pool.statistics().slots).unwrap_or_else(|frames| {
        log::warn!(
            "recorder={size} does not fit the DMA pool beside the NIC's rings: keeping {frames} frames; \
             a larger swiotlb= makes room"
        );
        frames
    });
    Recorder::new(frames)
}

/// Starts the first NIC there is, or the first pair, and watches the ports.
fn bring_up(app: &App, topology: Topology, settings: Settings, detach: Detach, spawner: Spawner) {
    let covered = |address| topology.bridges_above(address).any(migration::has_capability);
    let start = |device: &Device| {
        let address = device.address();
        let covered = covered(address);
        let (role, _) = migration::start(app, device.clone(), covered, drivers::probe, &settings)?;
        Some((address, role))
    };
    let nics = topology.devices.iter().filter(|device| drivers::is_nic(device));
    let in_use: Vec<_> = nics.filter_map(start).collect();

    for bridge in &topology.bridges {
        let address = bridge.address();
        let is_above = |&&(nic, _): &&(_, _)| {
            topology.bridges_above(nic).next().is_some_and(|above| above.address() == address)
        };
        let place = Place {
            holds: in_use.iter().find(is_above).map(|&(_, role)| role),
            covered: migration::has_capability(bridge) || covered(address),
        };
        let port = Port::new(app, bridge, place, drivers::probe, settings, detach);
        let Some(port) = port else { continue };
        match watch(port) {
            Ok(task) => spawner.spawn(task),
            Err(_) => log::warn!("slot: {address}: not watched: there are more than {PORTS}"),
        }
    }
}

fn start(app: &App, spawner: Spawner) {
    // Each task is spawned once, which is what its pool has room for.
    let all = "a task that is spawned once";
    spawner.spawn(run_stack(app.clone()).expect(all));
    spawner.spawn(announce(app.clone()).expect(all));
    spawner.spawn(serve_iperf3(app.clone()).expect(all));
    spawner.spawn(serve_echo(app.clone()).expect(all));
    spawner.spawn(serve_status(app.clone()).expect(all));
    spawner.spawn(serve_sink(app.clone()).expect(all));
    spawner.spawn(measure_rates(app.clone()).expect(all));
    spawner.spawn(check_on_request(app.clone()).expect(all));
}

#[embassy_executor::task]
async fn run_stack(app: App) {
    app.stack().run().await;
}

#[embassy_executor::task]
async fn announce(app: App) {
    app.announce().await;
}

#[embassy_executor::task]
async fn serve_iperf3(app: App) {
    iperf3::serve(app.stack()).await;
}

#[embassy_executor::task]
async fn serve_echo(app: App) {
    echo::serve(app.stack()).await;
}

#[embassy_executor::task]
async fn serve_status(app: App) {
    status::serve(&app).await;
}

#[embassy_executor::task]
async fn serve_sink(app: App) {
    sink::serve(&app).await;
}

#[embassy_executor::task]
async fn measure_rates(app: App) {
    app.measure_rates().await;
}

#[embassy_executor::task]
async fn check_on_request(app: App) {
    app.check_on_request().await;
}

#[embassy_executor::task(pool_size = PORTS)]
async fn watch(port: Port) {
    port.watch().await;
}
