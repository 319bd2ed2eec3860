//! An iperf3 server that the stock client accepts, versions 3.12 to 3.18: TCP and UDP, either direction or both,
//! parallel streams, one test at a time.

mod control;
mod datagram;
mod protocol;
mod streams;
mod test;

use embassy_futures::select::{Either, select};
use unikernel::net::{Buffers, Stack, TcpListener};

/// TCP and UDP port.
pub const PORT: u16 = 5201;
/// Connections that may arrive between two turns of the server: streams follow one another without a pause.
const BACKLOG: usize = 6;

/// Serves tests on [`PORT`], for ever.
pub async fn serve(stack: &Stack) -> ! {
    let mut listener = TcpListener::bind(stack, PORT, BACKLOG, Buffers::BULK)
        .expect("a port of its own, and memory at boot");
    loop {
        let connection = listener.accept().await;
        let peer = connection.peer();
        match test::run(stack, connection, &mut listener).await {
            Ok(bits_per_second) => {
                log::info!("iperf3: {peer}: {} Mbit/s", bits_per_second / 1_000_000);
            }
            Err(why) => log::info!("iperf3: test ended early: {why}"),
        }
    }
}

/// Runs `work` while every new connection is told that the server is busy.
async fn busy<T>(listener: &mut TcpListener, work: impl Future<Output = T>) -> T {
    let deny = async {
        loop {
            control::deny(listener.accept().await).await;
        }
    };
    match select(work, deny).await {
        Either::First(result) => result,
        Either::Second(never) => never,
    }
}
