//! How sockets are made.

use smoltcp::socket::tcp;
use smoltcp::time::Duration;

use super::error::Error;
use super::memory::{check_headroom, filled};

/// How long a handshake may take.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// Sizes of a connection's socket buffers, in bytes. The receive buffer is also the window offered
/// to the peer; above 64 KiB it is rounded down to a power of two times 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Receive buffer.
    pub receive: usize,
    /// Transmit buffer.
    pub transmit: usize,
}

impl Buffers {
    /// For bulk transfer: windows that fill 10 Gbit/s at 0.2 ms, or 1 Gbit/s at 2 ms.
    pub const BULK: Self = Self { receive: 256 * 1024, transmit: 256 * 1024 };
    /// For requests and replies.
    pub const SMALL: Self = Self { receive: 4 * 1024, transmit: 32 * 1024 };

    /// The window of a SYN's answer, and the shift of later ones (RFC 7323, section 2), as smoltcp
    /// chooses them for a socket with these buffers.
    pub(super) fn window(self) -> (u16, u8) {
        let window = window(self.receive);
        let bits = usize::BITS - window.leading_zeros();
        (window.min(u16::MAX.into()) as u16, bits.saturating_sub(16) as u8)
    }
}

/// A closed socket.
pub(super) fn new_socket(buffers: Buffers) -> Result<tcp::Socket<'static>, Error> {
    let buffer = |len| filled(len, 0).map(tcp::SocketBuffer::new);
    let (receive, transmit) = (buffer(window(buffers.receive))?, buffer(buffers.transmit)?);
    check_headroom()?;
    let mut socket = tcp::Socket::new(receive, transmit);
    socket.set_congestion_control(tcp::CongestionControl::Reno);
    socket.set_timeout(Some(HANDSHAKE));
    Ok(socket)
}

/// The largest receive buffer of at most `bytes` that a peer cannot overrun.
///
/// smoltcp 0.14 takes the window it offered with its SYN, which is never scaled (RFC 7323, section
/// 2.2), for a scaled one. Until the next acknowledgement it accepts what lies in that window, and
/// what does not fit the buffer ends in an assertion. Of these sizes the two are the same.
fn window(bytes: usize) -> usize {
    let mut window = bytes.min(u16::MAX.into());
    while window <= bytes / 2 {
        window *= 2;
    }
    window
}
