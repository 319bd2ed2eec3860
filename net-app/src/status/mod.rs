//! The status page and its relatives, over HTTP on port 80:
//!
//! | path | what |
//! |---|---|
//! | `/` | a page for people, which keeps up by `/events` |
//! | `/status.json` | the same for programs |
//! | `/events` | the same every second, as server-sent events |
//! | `/metrics` | what the machine counts, for Prometheus |
//! | `/capture.pcapng` | the flight recorder's frames, oldest first |
//! | `POST /check` | runs an integrity check of these frames and says what it found |
//! | `POST /reset` | resets the NIC; connections outlive it |
//!
//! The last two do something. So they are for those alone who have the token of the kernel command
//! line, `token=`, and are not done faster than makes sense:
//! `curl -X POST -H 'Authorization: Bearer TOKEN' http://guest/check`.

mod events;
mod page;
mod token;

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;

use godwit::Interface;
use godwit::net::{Buffers, TcpListener, TcpOptions};
use godwit::picoserve::{Clock, Metrics, Socket};
use godwit::time::{Duration, Instant, with_timeout};
use picoserve::io::Write;
use picoserve::response::chunked::{ChunkWriter, ChunkedResponse, Chunks, ChunksWritten};
use picoserve::response::{Content, EventStream, StatusCode};
use picoserve::routing::{PathRouter, get, post};
use picoserve::{Router, Server, Timeouts};

use events::{Events, Streams};
use token::{Bearer, Token};

use crate::app::App;
use crate::pcapng;

/// TCP port.
pub const PORT: u16 = 80;
/// Connections that may arrive between two turns of the tasks that accept them.
const OPTIONS: TcpOptions = TcpOptions { backlog: 128, buffers: Buffers::SMALL };
/// Clients that are served at the same time.
const CLIENTS: usize = 32;
/// How long one may be, however slowly it reads or writes: a capture takes this at 70 KB/s.
const CONNECTION: Duration = Duration::from_secs(120);
/// How often the NIC can be reset.
const RESET: Duration = Duration::from_secs(1);
/// Longest request head.
const REQUEST: usize = 2048;
/// A capture is sent in chunks of at least this many bytes, as long as there are frames.
const CHUNK: usize = 16 * 1024;

/// Serves [`PORT`]: so many clients at the same time that one that is slow keeps nobody out.
pub fn serve(app: &App) {
    let listener = app.interface().tcp().bind_with(PORT, OPTIONS);
    let listener = Rc::new(listener.expect("a port of its own, and memory at boot"));
    let router = Rc::new(router(app));
    for _ in 0..CLIENTS {
        app.system().spawn(serve_clients(listener.clone(), router.clone()));
    }
}

/// Serves one client after another, for ever.
async fn serve_clients(listener: Rc<TcpListener>, router: Rc<Router<impl PathRouter>>) {
    let config = picoserve::Config::new(Timeouts {
        // A capture goes at the client's pace; a slow one is no reason to give up.
        write: picoserve::time::Duration::from_secs(30),
        ..Timeouts::default()
    });
    let mut buffer = vec![0; REQUEST];
    loop {
        let client = listener.accept().await;
        let server = Server::custom(&router, Clock, &config, &mut buffer);
        match with_timeout(CONNECTION, server.serve(Socket(client))).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => godwit::log::trace!("http: {error}"),
            Err(_) => godwit::log::trace!("http: a client took too long"),
        }
    }
}

fn router(app: &App) -> Router<impl PathRouter + use<>> {
    let [html, json, checks, resets, captures, events] = [(); 6].map(|()| app.clone());
    let (streams, system) = (Streams::default(), app.system().clone());
    let last_reset = Cell::new(None);
    let token = app.system().command_line().value("token", Token::default());
    let same = token.clone();
    Router::new()
        .route("/", get(async move || Text("text/html; charset=utf-8", page::html(&html))))
        .route("/status.json", get(async move || Text("application/json", page::json(&json))))
        .route(
            "/events",
            get(async move || match streams.open() {
                Some(open) => Ok(EventStream(Events { app: events.clone(), open }).into_response()),
                None => Err((StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n")),
            }),
        )
        .route("/metrics", get(async move || Metrics::of(&system)))
        .route(
            "/check",
            post(async move |bearer: Bearer| match token.admits(&bearer) {
                Ok(()) => (StatusCode::OK, check(&checks).await),
                Err((status, why)) => (status, why.into()),
            }),
        )
        .route(
            "/reset",
            post(async move |bearer: Bearer| match same.admits(&bearer) {
                Ok(()) => reset(&resets, &last_reset).await,
                Err((status, why)) => (status, why.into()),
            }),
        )
        .route(
            "/capture.pcapng",
            get(async move || ChunkedResponse::new(Capture(captures.clone()))),
        )
}

async fn check(app: &App) -> String {
    let report = app.recorder().check().await;
    format!(
        "checked {} stale {} while-logging {}\n",
        report.checked, report.stale, report.while_logging
    )
}

async fn reset(app: &App, last: &Cell<Option<Instant>>) -> (StatusCode, String) {
    if last.get().is_some_and(|last: Instant| last.elapsed() < RESET) {
        return (StatusCode::TOO_MANY_REQUESTS, "the NIC was just reset\n".into());
    }
    last.set(Some(Instant::now()));
    match app.interface().reset_nic().await {
        Some(Ok(())) => (StatusCode::OK, "the NIC was reset\n".into()),
        Some(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        None => (StatusCode::SERVICE_UNAVAILABLE, "there is no NIC\n".into()),
    }
}

/// Text of some media type.
struct Text(&'static str, String);

impl Content for Text {
    fn content_type(&self) -> &'static str {
        self.0
    }

    fn content_length(&self) -> usize {
        self.1.len()
    }

    async fn write_content<W: Write>(self, mut writer: W) -> Result<(), W::Error> {
        writer.write_all(self.1.as_bytes()).await
    }
}

/// A capture, made while it is sent. Frames that the recorder drops meanwhile are missing from it.
struct Capture(App);

impl Chunks for Capture {
    fn content_type(&self) -> &'static str {
        pcapng::MEDIA_TYPE
    }

    async fn write_chunks<W: Write>(
        self,
        mut writer: ChunkWriter<W>,
    ) -> Result<ChunksWritten, W::Error> {
        let mut chunk = Vec::with_capacity(CHUNK + 4096);
        let (recorder, phases) = (self.0.recorder(), self.0.phases());
        let names: Vec<_> = self.0.system().interfaces().iter().map(Interface::name).collect();
        pcapng::header(&mut chunk, names.iter().map(|name| &**name));
        let end = recorder.next_number();
        let mut number = 0;
        let mut before = None;
        while number < end {
            let next = recorder.frame_from(number, |frame| {
                let comments = phases.begun(before, frame.at);
                before = Some(frame.at);
                let (interface, at) = (frame.interface as u32, frame.at.as_micros());
                pcapng::frame(&mut chunk, interface, at, frame.bytes, &comments);
                frame.number + 1
            });
            number = next.unwrap_or(end);
            if chunk.len() >= CHUNK {
                writer.write_chunk(&chunk).await?;
                chunk.clear();
            }
        }
        writer.write_chunk(&chunk).await?;
        writer.finalize().await
    }
}
