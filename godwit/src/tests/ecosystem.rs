//! Crates that know nothing of Godwit, between two machines on a wire: a server on edge-nal, a
//! client on embedded-nal-async, and one on embedded-io-async alone.

use std::boxed::Box;
use std::fmt::{Debug, Display};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use edge_http::io::server::{Connection, Handler, Server};
use edge_nal::{TcpBind, TcpSplit};
use embassy_futures::select::{Either3, select3};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, with_timeout};
use embedded_io_async::{Read, Write};
use reqwless::client::HttpClient;
use reqwless::request::Method;
use rust_mqtt::buffer::AllocBuffer;
use rust_mqtt::client::Client;
use rust_mqtt::client::options::ConnectOptions;
use rust_mqtt::types::MqttString;

use crate::host::{run, wired_machines};
use crate::net::Error;
use crate::{Interface, System};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const MQTT: u16 = 1883;

async fn interface(system: &System) -> Interface {
    let interface = system.interface(0).await;
    interface.ready().await;
    interface
}

struct Hello;

impl Handler for Hello {
    type Error<E: Debug> = edge_http::io::Error<E>;

    async fn handle<T, const N: usize>(
        &self,
        _: impl Display + Copy,
        connection: &mut Connection<'_, T, N>,
    ) -> Result<(), Self::Error<T::Error>>
    where
        T: Read + Write + TcpSplit,
    {
        connection.initiate_response(200, None, &[("Content-Length", "5")]).await?;
        connection.write_all(b"hello").await
    }
}

async fn serve(system: System) -> Result<(), Error> {
    let tcp = interface(&system).await.tcp();
    let http = TcpBind::bind(&tcp, SocketAddr::from((SERVER, 80))).await?;
    system.spawn(async move {
        let mut server = Box::new(Server::<2, 1024>::new());
        server.run(None, http, Hello).await.expect("it serves for ever");
    });
    // As much of a broker as a client needs that connects and leaves.
    let broker = tcp.bind(MQTT)?;
    let mut stream = broker.accept().await;
    let mut packet = [0; 256];
    let mut acknowledged = false;
    while stream.read(&mut packet).await? != 0 {
        if !acknowledged {
            assert_eq!(packet[0], 0x10, "a CONNECT");
            stream.write_all(&[0x20, 3, 0, 0, 0]).await?;
            acknowledged = true;
        }
    }
    Ok(())
}

async fn visit(system: System, done: Rc<Signal<NoopRawMutex, ()>>) -> Result<(), Error> {
    let interface = interface(&system).await;
    let (tcp, dns) = (interface.tcp(), interface.dns());
    for _ in 0..3 {
        let mut client = HttpClient::new(&tcp, &dns);
        let mut buffer = [0; 1024];
        let mut request = client.request(Method::GET, "http://10.9.0.1/").await.expect("a request");
        let response = request.send(&mut buffer).await.expect("a response");
        assert_eq!(response.status.0, 200);
        assert_eq!(response.body().read_to_end().await.expect("a body"), b"hello");
    }
    let stream = tcp.connect((SERVER, MQTT)).await?;
    let mut buffer = AllocBuffer;
    let mut client = Client::<'_, '_, _, _, 1, 1, 1, 1, 16, 0, 0>::new(&mut buffer);
    let (options, name) =
        (ConnectOptions::new().clean_start(), MqttString::try_from("godwit").ok());
    client.connect(stream, &options, name).await.expect("a CONNACK");
    done.signal(());
    Ok(())
}

#[test]
fn crates_written_on_the_traits_run_unchanged() {
    let [(pool_a, a), (pool_b, b)] = wired_machines();
    let done = Rc::new(Signal::new());
    let tell = done.clone();
    let all = select3(
        run(pool_a, "ip=10.9.0.1/24", a, serve),
        run(pool_b, "ip=10.9.0.2/24", b, |system| visit(system, tell)),
        with_timeout(Duration::from_secs(20), done.wait()),
    );
    let Either3::Third(result) = futures_executor::block_on(all) else {
        unreachable!("machines run for ever")
    };
    result.expect("answers in time");
}
