//! Sends back what it is sent, over TCP on port 7 (RFC 862): `cargo xtask run --app examples/echo`.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use godwit::io::{Read, Write};
use godwit::net::{Error, TcpStream};

#[godwit::main]
async fn main(system: godwit::System) -> Result<(), Error> {
    let net = system.interface(0).await;
    let listener = net.tcp().bind(7)?;
    loop {
        let client = listener.accept().await;
        system.spawn(async {
            if let Err(error) = echo(client).await {
                godwit::log::info!("echo: {error}");
            }
        });
    }
}

/// Sends everything back, up to the end of what the client sends.
async fn echo(mut client: TcpStream) -> Result<(), Error> {
    let mut buffer = [0; 4096];
    loop {
        let len = client.read(&mut buffer).await?;
        if len == 0 {
            return Ok(());
        }
        client.write_all(&buffer[..len]).await?;
    }
}
