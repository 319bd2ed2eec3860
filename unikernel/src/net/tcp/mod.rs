//! TCP for tasks: a listener with a backlog, and streams that give access to the socket buffers in
//! place.

mod connection;
mod halves;
mod listener;
mod stream;

pub use halves::{OwnedTcpReader, OwnedTcpWriter, TcpReader, TcpWriter};
pub use listener::TcpListener;
pub use stream::TcpStream;
