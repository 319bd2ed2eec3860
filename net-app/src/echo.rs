//! The echo service (RFC 862), over TCP on port 7: what a client sends comes back, one client at a
//! time.
//!
//! Every byte goes through the NIC's receive path, guest memory and the transmit path, so a client
//! that compares what it sent with what came back has checked all three, however long and wherever
//! the guest was moved meanwhile.

use core::time::Duration;

use godwit::Interface;
use godwit::io::Write;
use godwit::net::{Buffers, Error, TcpOptions, TcpStream};

/// TCP port.
pub const PORT: u16 = 7;
/// Clients may wait for their turn.
const OPTIONS: TcpOptions = TcpOptions { backlog: 16, buffers: Buffers::BULK };
/// A client that has been silent for so long is asked whether it is still there …
const SILENCE: Duration = Duration::from_secs(15);
/// … and one that has not acknowledged anything for so long is given up: the next one waits.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes copied at a time.
const PIECE: usize = 16 * 1024;

/// Serves [`PORT`], for ever.
pub async fn serve(interface: &Interface) -> ! {
    let listener =
        interface.tcp().bind_with(PORT, OPTIONS).expect("a port of its own, and memory at boot");
    let mut piece = alloc::vec![0; PIECE];
    loop {
        let mut client = listener.accept().await;
        if let Err(error) = echo(&mut client, &mut piece).await {
            godwit::log::info!("echo: {error}");
        }
    }
}

/// Sends everything back, up to the end of what the client sends.
async fn echo(client: &mut TcpStream, piece: &mut [u8]) -> Result<(), Error> {
    client.set_keep_alive(Some(SILENCE));
    client.set_timeout(Some(PATIENCE));
    loop {
        let copy = client.read_with(|data| {
            let len = data.len().min(piece.len());
            piece[..len].copy_from_slice(&data[..len]);
            (len, len)
        });
        match copy.await? {
            Some(len) => client.write_all(&piece[..len]).await?,
            None => return Ok(()),
        }
    }
}
