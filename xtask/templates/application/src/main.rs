//! A page on port 80, and an echo service on port 7.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use godwit::System;
use godwit::io::{Read, Write};
use godwit::log::info;
use godwit::net::{Error, TcpStream};

const PAGE: &str = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello from a unikernel\n";

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
        system.spawn(report(show_page(client)));
    }
}

/// Answers one request, whatever it asks for.
async fn show_page(mut client: TcpStream) -> Result<(), Error> {
    let mut request = [0; 1024];
    let mut len = 0;
    while !request[..len].ends_with(b"\r\n\r\n") && len < request.len() {
        match client.read(&mut request[len..]).await? {
            0 => return Ok(()),
            more => len += more,
        }
    }
    client.write_all(PAGE.as_bytes()).await?;
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
