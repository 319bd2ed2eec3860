//! A page and metrics on port 80, and an echo service on port 7.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use godwit::io::{Read, Write};
use godwit::log::info;
use godwit::net::{Error, TcpStream};
use godwit::{System, metrics};

const PAGE: &str = "hello from a unikernel\n";

/// How often the page was asked for: a metric of the application's own.
static VISITS: AtomicU64 = AtomicU64::new(0);

#[godwit::main]
async fn main(system: System) -> Result<(), Error> {
    let net = system.interface(0).await;
    let web = net.tcp().bind(80)?;
    let echo = net.tcp().bind(7)?;
    let tasks = system.clone();
    system.spawn(async move {
        loop {
            let client = echo.accept().await;
            tasks.spawn(report(send_back(client)));
        }
    });
    loop {
        let client = web.accept().await;
        system.spawn(report(answer(client, system.clone())));
    }
}

/// Answers one request: with the metrics if it asks for these, else with the page.
async fn answer(mut client: TcpStream, system: System) -> Result<(), Error> {
    let mut request = [0; 1024];
    let mut len = 0;
    while !request[..len].ends_with(b"\r\n\r\n") && len < request.len() {
        match client.read(&mut request[len..]).await? {
            0 => return Ok(()),
            more => len += more,
        }
    }
    let (kind, text) = if request.starts_with(b"GET /metrics ") {
        let visits = VISITS.load(Relaxed);
        let own = format!("# TYPE app_visits_total counter\napp_visits_total {visits}\n");
        (metrics::MEDIA_TYPE, metrics::render(&system) + &own)
    } else {
        VISITS.fetch_add(1, Relaxed);
        ("text/plain", PAGE.into())
    };
    let head = format!("HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\n\r\n");
    client.write_all(head.as_bytes()).await?;
    client.write_all(text.as_bytes()).await?;
    client.shutdown().await
}

/// Sends everything back, up to the end of what the client sends.
async fn send_back(mut client: TcpStream) -> Result<(), Error> {
    let mut buffer = [0; 4096];
    loop {
        let len = client.read(&mut buffer).await?;
        if len == 0 {
            return Ok(());
        }
        client.write_all(&buffer[..len]).await?;
    }
}

/// A connection that ends badly is worth a line, and no more.
async fn report(connection: impl Future<Output = Result<(), Error>>) {
    if let Err(error) = connection.await {
        info!("a connection ended: {error}");
    }
}
