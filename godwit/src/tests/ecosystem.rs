//! Crates that know nothing of Godwit, between two machines on a wire: a server on edge-nal, a
//! client on embedded-nal-async, and one on embedded-io-async alone.

use std::boxed::Box;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::{Debug, Display};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::rc::Rc;
use std::vec::Vec;

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
use unikernel::dma::{Policy, Pool, RxBuffer, TxBuffer, fake};
use unikernel::irq::{self, Interrupt};
use unikernel::nic::{Capabilities, Link, Nic, ResetError, Statistics};

use crate::host::{Hardware, run};
use crate::net::Error;
use crate::{Interface, System};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const MQTT: u16 = 1883;

/// One end of a wire.
struct End {
    pool: &'static Pool,
    number: u8,
    wire: Wire,
    interrupts: [Interrupt; 2],
}

/// What is on its way to each end.
type Wire = Rc<[RefCell<VecDeque<Vec<u8>>>; 2]>;

impl End {
    fn inbox(&self) -> &RefCell<VecDeque<Vec<u8>>> {
        &self.wire[usize::from(self.number)]
    }
}

impl Nic for End {
    fn family(&self) -> &'static str {
        "wire"
    }
    fn mac(&self) -> [u8; 6] {
        [2, 0, 0, 0, 0, self.number]
    }
    fn link(&self) -> Link {
        Link { up: true, speed: 1000, full_duplex: true }
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { max_frame: 1514, ..Capabilities::default() }
    }
    fn receive(&mut self) -> Option<RxBuffer> {
        let stream = self.pool.receive_stream()?;
        let frame = self.inbox().borrow_mut().pop_front()?;
        self.pool.device().write(stream.device_address(), &frame);
        stream.receive(&fake::completed(), frame.len()).ok()
    }
    fn transmit_ready(&mut self) -> bool {
        true
    }
    fn transmit(&mut self, frame: TxBuffer, len: usize, _: Option<NonZeroU16>) {
        let other = usize::from(1 - self.number);
        self.wire[other].borrow_mut().push_back(frame[..len].to_vec());
        self.interrupts[other].trigger();
    }
    fn flush(&mut self) {}
    fn arm(&mut self) -> bool {
        self.inbox().borrow().is_empty()
    }
    fn interrupt(&self) -> Interrupt {
        self.interrupts[usize::from(self.number)].clone()
    }
    fn accept_multicast(&mut self, _: &[[u8; 6]]) {}
    fn reset(&mut self) -> Result<(), ResetError> {
        Ok(())
    }
    fn stop(&mut self) {}
    fn statistics(&mut self) -> Statistics {
        Statistics::default()
    }
}

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
    let interrupts = [0; 2].map(|_| irq::allocate().expect("an interrupt"));
    let wire = Wire::default();
    let machine = |number| {
        let pool = fake::pool(1 << 20, Policy::Auto);
        let (wire, interrupts) = (wire.clone(), interrupts.clone());
        let nic = Box::new(End { pool, number, wire, interrupts });
        (pool, Hardware { nics: std::vec![nic], roots: Vec::new() })
    };
    let ((pool_a, a), (pool_b, b)) = (machine(0), machine(1));
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
