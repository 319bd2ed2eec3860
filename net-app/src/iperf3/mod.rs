//! An iperf3 server that the stock client accepts, versions 3.12 to 3.18: TCP and UDP, either
//! direction or both, parallel streams, one test at a time.

mod connections;
mod control;
mod datagram;
mod pace;
mod protocol;
mod streams;
mod test;

use godwit::Interface;
use godwit::net::{Buffers, TcpOptions};

pub use protocol::PORT;

/// A client has up to 128 streams, or twice as many both ways, and opens them all at once.
const OPTIONS: TcpOptions =
    TcpOptions { backlog: 128, buffers: Buffers { receive: 128 * 1024, transmit: 256 * 1024 } };

/// Serves tests on [`PORT`], for ever.
pub async fn serve(interface: &Interface) -> ! {
    let listener =
        interface.tcp().bind_with(PORT, OPTIONS).expect("a port of its own, and memory at boot");
    loop {
        let connection = listener.accept().await;
        let peer = connection.peer();
        match test::run(interface, connection, &listener).await {
            Ok(bits_per_second) => {
                godwit::log::info!("iperf3: {peer}: {} Mbit/s", bits_per_second / 1_000_000);
            }
            Err(why) => godwit::log::info!("iperf3: test ended early: {why}"),
        }
    }
}
