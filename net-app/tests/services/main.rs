//! The services of the application, and a client of theirs at the other end of a wire.

mod iperf3;
mod slow;

use std::cell::Cell;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use futures_executor::block_on;
use godwit::cmdline::Size;
use godwit::futures::select::{Either3, select3};
use godwit::host::{run, wired_machines};
use godwit::net::{Tcp, TcpStream};
use godwit::time::{Duration, Timer};
use godwit::{Interface, System};

/// The machine with the services.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The same by its link-local address, which it makes of its station address.
const SERVER_IPV6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0);
/// What a test may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

async fn serve(system: System) {
    let net = system.interface(0).await;
    net_app::serve(&system, net, system.recorder(Size(64 << 10)));
}

/// Has a client talk to the services. Returns what it returns.
fn visit<T: 'static>(client: impl AsyncFnOnce(Interface) -> T + 'static) -> T {
    let [(pool_a, a), (pool_b, b)] = wired_machines();
    let result = Rc::new(Cell::new(None));
    let tell = result.clone();
    let visit = async move |system: System| {
        let net = system.interface(0).await;
        net.ready().await;
        tell.set(Some(client(net).await));
        system.power_off();
    };
    let all = select3(
        run(pool_a, "ip=10.9.0.1/24", a, serve),
        run(pool_b, "ip=10.9.0.2/24", b, visit),
        Timer::after(LIMIT),
    );
    let Either3::Second(()) = block_on(all) else { panic!("the client is not served") };
    result.take().expect("the client has ended")
}

/// Connects to a service.
async fn connect(tcp: &Tcp, port: u16) -> TcpStream {
    tcp.connect((SERVER, port)).await.expect("a connection")
}
