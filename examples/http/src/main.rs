//! A web server on port 80: `cargo xtask run --app examples/http --forward 8080:80`.
//!
//! | path | what |
//! |---|---|
//! | `/` | a page, which shows what it fetches from the next |
//! | `/api/status` | JSON: uptime, migrations, traffic |
//! | `/metrics` | what the machine counts, for Prometheus |
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

mod status;

use alloc::rc::Rc;
use alloc::vec;

use godwit::net::{Error, TcpOptions, TcpStream};
use godwit::picoserve::{Clock, Metrics, Socket};
use godwit::{Interface, System};
use picoserve::response::{File, Json};
use picoserve::routing::{PathRouter, get, get_service};
use picoserve::{Config, Router, Server};
use status::Status;

const PORT: u16 = 80;
/// Clients that may wait for one turn of the loop that accepts them: a browser comes with six.
const BACKLOG: usize = 32;
/// Longest request head.
const REQUEST: usize = 2048;
const PAGE: &str = include_str!("page.html");

#[godwit::main]
async fn main(system: System) -> Result<(), Error> {
    let net = system.interface(0).await;
    let options = TcpOptions { backlog: BACKLOG, ..TcpOptions::default() };
    let listener = net.tcp().bind_with(PORT, options)?;
    let router = Rc::new(router(system.clone(), net));
    loop {
        let client = listener.accept().await;
        system.spawn(serve(router.clone(), client));
    }
}

fn router(system: System, net: Interface) -> Router<impl PathRouter> {
    let counting = system.clone();
    Router::new()
        .route("/", get_service(File::html(PAGE)))
        .route("/metrics", get(async move || Metrics::of(&counting)))
        .route("/api/status", get(async move || Json(Status::of(&system, &net))))
}

/// Answers a client, and closes the connection. Where it is kept, picoserve 0.20 answers a request
/// whose `Content-Length` is 2^64 less the length of its head again and again: to it the next
/// request begins where this one did.
async fn serve(router: Rc<Router<impl PathRouter>>, client: TcpStream) {
    let config = Config::default();
    let mut buffer = vec![0; REQUEST];
    let server = Server::custom(&router, Clock, &config, &mut buffer);
    if let Err(error) = server.serve(Socket(client)).await {
        godwit::log::trace!("http: {error}");
    }
}
