//! [picoserve](https://docs.rs/picoserve), an HTTP server, on this machine's sockets and clock.
//!
//! ```no_run
//! use godwit::net::TcpListener;
//! use godwit::picoserve::{Clock, Socket};
//! use picoserve::routing::get;
//! use picoserve::{Config, Router, Server};
//!
//! /// Answers one client after another.
//! async fn serve(mut listener: TcpListener) {
//!     let router = Router::new().route("/", get(async || "hello\n"));
//!     let (config, mut buffer) = (Config::default(), [0; 2048]);
//!     loop {
//!         let client = Socket(listener.accept().await);
//!         let server = Server::custom(&router, Clock, &config, &mut buffer);
//!         if let Err(error) = server.serve(client).await {
//!             godwit::log::debug!("http: {error}");
//!         }
//!     }
//! }
//! ```
//!
//! It closes a connection after each response, and should: with `keep_connection_alive`,
//! picoserve 0.20 answers a request whose `Content-Length` is 2^64 less the length of its head
//! again and again, for as long as the connection is there.

use alloc::string::String;
use core::time::Duration as StdDuration;

use picoserve::io::{BaseWrite, ErrorType};
use picoserve::mem::{BorrowedBuffer, BorrowedCursor};
use picoserve::response::Content;
use picoserve::time::Duration;
use picoserve::{Timeouts, Timer};

use crate::net::{Error, TcpReader, TcpStream, TcpWriter};
use crate::{System, metrics};

/// Tells picoserve which sockets belong to which clock.
pub struct Runtime;

/// The clock.
pub struct Clock;

impl Timer<Runtime> for Clock {
    async fn delay(&self, duration: Duration) {
        crate::time::Timer::after_millis(duration.as_millis()).await;
    }
}

/// A connection to serve.
pub struct Socket(pub TcpStream);

impl picoserve::io::Socket<Runtime> for Socket {
    type Error = Error;
    type ReadHalf<'a> = TcpReader<'a>;
    type WriteHalf<'a> = Writer<'a>;

    fn split(&mut self) -> (TcpReader<'_>, Writer<'_>) {
        let (reader, writer) = self.0.split();
        (reader, Writer(writer))
    }

    async fn abort<T: Timer<Runtime>>(
        self,
        _: &Timeouts,
        _: &T,
    ) -> Result<(), picoserve::Error<Error>> {
        self.0.abort();
        Ok(())
    }

    async fn shutdown<T: Timer<Runtime>>(
        self,
        timeouts: &Timeouts,
        timer: &T,
    ) -> Result<(), picoserve::Error<Error>> {
        self.0.close();
        // What the client still sends is read, so that closing for good is no reset that overtakes
        // the response.
        let drain =
            async { while let Ok(Some(())) = self.0.read_with(|data| (data.len(), ())).await {} };
        // The stack sees to the rest, also when the client takes too long.
        let _ = timer.run_with_timeout(timeouts.persistent_start_read_request, drain).await;
        self.0.set_timeout(Some(StdDuration::from_secs(30)));
        Ok(())
    }
}

/// The writing half, with access to the socket's buffer.
pub struct Writer<'a>(TcpWriter<'a>);

impl ErrorType for Writer<'_> {
    type Error = Error;
}

impl BaseWrite for Writer<'_> {
    async fn write(&mut self, data: &[u8]) -> Result<usize, Error> {
        self.0.write(data).await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.0.flush().await
    }
}

impl picoserve::io::Write for Writer<'_> {
    async fn write_with<F: FnOnce(BorrowedCursor<'_>) -> R, R>(
        &mut self,
        f: F,
    ) -> Result<R, Error> {
        let mut f = Some(f);
        self.0
            .write_with(|room| {
                let mut buffer = BorrowedBuffer::new(room);
                let f = f.take().expect("called once there is room, once");
                let result = f(buffer.unfilled());
                (buffer.len(), result)
            })
            .await
    }
}

/// A response with what the machine counts at the moment, see [`metrics`].
///
/// ```
/// # use godwit::System;
/// use godwit::picoserve::Metrics;
/// use picoserve::Router;
/// use picoserve::routing::{PathRouter, get};
///
/// fn router(system: System) -> Router<impl PathRouter> {
///     Router::new().route("/metrics", get(async move || Metrics::of(&system)))
/// }
/// ```
pub struct Metrics(String);

impl Metrics {
    /// As they are now.
    pub fn of(system: &System) -> Self {
        Self(metrics::render(system))
    }
}

impl Content for Metrics {
    fn content_type(&self) -> &'static str {
        metrics::MEDIA_TYPE
    }

    fn content_length(&self) -> usize {
        self.0.len()
    }

    async fn write_content<W: picoserve::io::Write>(self, mut writer: W) -> Result<(), W::Error> {
        writer.write_all(self.0.as_bytes()).await
    }
}
