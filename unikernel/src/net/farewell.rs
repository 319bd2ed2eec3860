//! Closing all connections at once: what the machine does before it is switched off.

use embassy_time::{Duration, Instant, Timer};
use smoltcp::socket::tcp::State;

use super::stack::Stack;

/// How often is looked whether the peers have answered.
const LOOK: Duration = Duration::from_millis(5);

impl Stack {
    /// Closes every connection, also those that come meanwhile, and waits until each peer has
    /// acknowledged that and what was written. Those that have not by `deadline`, or go on sending,
    /// are reset.
    pub async fn close_connections(&self, deadline: Instant) {
        while self.close_all() && Instant::now() < deadline {
            self.wake();
            Timer::after(LOOK).await;
        }
        self.with_sockets(|sockets| {
            for socket in sockets.connections.iter_mut() {
                // What is over has nobody to be told: a reset after the end would end what its peer
                // has not read yet.
                if !matches!(socket.state(), State::Closed | State::TimeWait) {
                    socket.abort();
                }
            }
        });
        self.drain().await;
    }

    /// Closes every connection. Returns whether a peer still has to acknowledge that.
    fn close_all(&self) -> bool {
        self.with_sockets(|sockets| {
            let mut is_owed = false;
            for socket in sockets.connections.iter_mut() {
                socket.close();
                let owes_nothing =
                    matches!(socket.state(), State::Closed | State::TimeWait | State::FinWait2);
                is_owed |= !owes_nothing;
            }
            is_owed
        })
    }
}
