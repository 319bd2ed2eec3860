//! The halves of a connection, one to read from and one to write to.

use alloc::rc::Rc;

use embedded_io_async::{ErrorType, Read, ReadReady, Write, WriteReady};

use super::connection::Connection;
use crate::net::error::Error;

/// The reading half of a [`TcpStream`](super::TcpStream) that lends it.
pub struct TcpReader<'a>(pub(super) &'a Connection);

/// The writing half of a [`TcpStream`](super::TcpStream) that lends it.
pub struct TcpWriter<'a>(pub(super) &'a Connection);

/// The reading half of a connection, for a task of its own.
pub struct OwnedTcpReader(pub(super) Rc<Connection>);

/// The writing half of a connection, for a task of its own. Dropping it closes this side, after
/// what was written; the connection ends when the other half is dropped, too.
pub struct OwnedTcpWriter(pub(super) Rc<Connection>);

impl Drop for OwnedTcpWriter {
    fn drop(&mut self) {
        self.0.close();
    }
}

macro_rules! reader {
    ($half:ty) => {
        impl $half {
            /// As [`TcpStream::read_with`](super::TcpStream::read_with).
            ///
            /// # Errors
            /// As there.
            pub async fn read_with<R>(
                &mut self,
                f: impl FnMut(&mut [u8]) -> (usize, R),
            ) -> Result<Option<R>, Error> {
                self.0.read_with(f).await
            }

            /// As [`TcpStream::readable`](super::TcpStream::readable).
            pub async fn readable(&mut self) {
                self.0.readable().await;
            }
        }

        impl ErrorType for $half {
            type Error = Error;
        }

        impl Read for $half {
            async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
                self.0.read(buffer).await
            }
        }

        impl ReadReady for $half {
            fn read_ready(&mut self) -> Result<bool, Error> {
                Ok(self.0.is_readable())
            }
        }
    };
}

macro_rules! writer {
    ($half:ty) => {
        impl $half {
            /// As [`TcpStream::write_with`](super::TcpStream::write_with).
            ///
            /// # Errors
            /// As there.
            pub async fn write_with<R>(
                &mut self,
                f: impl FnMut(&mut [u8]) -> (usize, R),
            ) -> Result<R, Error> {
                self.0.write_with(f).await
            }
        }

        impl ErrorType for $half {
            type Error = Error;
        }

        impl Write for $half {
            async fn write(&mut self, data: &[u8]) -> Result<usize, Error> {
                self.0.write(data).await
            }

            async fn flush(&mut self) -> Result<(), Error> {
                self.0.flush().await
            }
        }

        impl WriteReady for $half {
            fn write_ready(&mut self) -> Result<bool, Error> {
                Ok(self.0.is_writable())
            }
        }
    };
}

reader!(TcpReader<'_>);
reader!(OwnedTcpReader);
writer!(TcpWriter<'_>);
writer!(OwnedTcpWriter);
