//! A client of iperf3 whose streams arrive in any order.

use std::net::{IpAddr, SocketAddr};

use godwit::futures::join::join;
use godwit::io::{Read, Write};
use godwit::net::{Tcp, TcpStream};
use godwit::time::{Duration, Timer, with_timeout};
use net_app::iperf3::PORT;
use serde_json::{Value, json};

use super::{SERVER, SERVER_IPV6, visit};

const COOKIE: [u8; 37] = *b"abcdefghijklmnopqrstuvwxyz0123456789\0";
const LEN: usize = 1000;
/// Of who asks for a stream of datagrams.
const PATIENCE: Duration = Duration::from_millis(50);

/// What the client does with a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// Of a stream, what arrived at the client, and what the server says that it has moved.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    here: u64,
    there: u64,
}

async fn connect(tcp: &Tcp) -> TcpStream {
    let mut stream = super::connect(tcp, PORT).await;
    stream.write_all(&COOKIE).await.expect("room for a cookie");
    stream
}

/// Waits for the server to say that.
async fn expect<const N: usize>(control: &mut TcpStream, expected: [u8; N]) {
    let mut states = [0; N];
    control.read_exact(&mut states).await.expect("states");
    assert_eq!(states, expected);
}

async fn say(control: &mut TcpStream, message: &Value) {
    let text = message.to_string();
    control.write_all(&(text.len() as u32).to_be_bytes()).await.expect("a control connection");
    control.write_all(text.as_bytes()).await.expect("a control connection");
}

/// Sends a block or receives for a while, as the client has it.
async fn move_data((way, stream): (Way, &mut TcpStream)) -> u64 {
    if way == Way::Up {
        stream.write_all(&[7; LEN]).await.expect("room");
    }
    let mut received = 0;
    let mut piece = [0; LEN];
    let receive = async {
        if way == Way::Down {
            loop {
                received += stream.read(&mut piece).await.expect("data") as u64;
            }
        }
        core::future::pending::<()>().await
    };
    let _ = with_timeout(Duration::from_millis(500), receive).await;
    received
}

/// The first stream takes so long to say whose it is: what says so was lost twice, say.
const LATE: Duration = Duration::from_millis(3500);

/// A test both ways with one stream for each, which arrive at the server in this order.
async fn test(tcp: &Tcp, order: [Way; 2]) -> [Moved; 2] {
    let mut control = connect(tcp).await;
    expect(&mut control, [9]).await;
    let wanted =
        json!({ "tcp": true, "time": 1, "parallel": 1, "bidirectional": true, "bandwidth": 1e6 });
    say(&mut control, &wanted).await;
    expect(&mut control, [10]).await;
    let mut first = super::connect(tcp, PORT).await;
    let mut second = connect(tcp).await;
    Timer::after(LATE).await;
    first.write_all(&COOKIE).await.expect("room for a cookie");
    expect(&mut control, [1, 2]).await;
    let here = join(move_data((order[0], &mut first)), move_data((order[1], &mut second))).await;

    control.write_all(&[4]).await.expect("a control connection");
    expect(&mut control, [13]).await;
    say(&mut control, &json!({ "streams": [] })).await;
    let mut len = [0; 4];
    control.read_exact(&mut len).await.expect("a length");
    let mut text = vec![0; u32::from_be_bytes(len) as usize];
    control.read_exact(&mut text).await.expect("results");
    let results: Value = serde_json::from_slice(&text).expect("JSON");
    let there = [0, 1].map(|n| {
        assert_eq!(results["streams"][n]["id"], [1, 3][n]);
        results["streams"][n]["bytes"].as_u64().expect("bytes")
    });
    let here = if order[0] == Way::Up { [here.0, here.1] } else { [here.1, here.0] };
    [0, 1].map(|n| Moved { here: here[n], there: there[n] })
}

#[test]
fn each_stream_moves_data_in_whatever_order_they_arrive() {
    for order in [[Way::Up, Way::Down], [Way::Down, Way::Up]] {
        let [up, down] = visit(async move |net| test(&net.tcp(), order).await);
        assert_eq!((up.here, up.there), (0, LEN as u64), "{up:?}");
        assert!(down.here > LEN as u64, "{down:?}");
        assert!(down.there >= down.here, "{down:?}");
    }
}

/// The same machine by its other address is somebody else to the server.
#[test]
fn only_the_client_itself_opens_streams_of_datagrams() {
    visit(async |net| {
        // An address is probed for before it is used.
        while net.ipv6().is_empty() {
            Timer::after(PATIENCE).await;
        }
        let mut control = connect(&net.tcp()).await;
        expect(&mut control, [9]).await;
        say(&mut control, &json!({ "udp": true, "time": 1, "parallel": 1, "len": 1000 })).await;
        expect(&mut control, [10]).await;
        let socket = net.udp().bind(0).expect("a port");
        let mut answer = [0; 100];
        let mut ask = async |server: IpAddr| {
            let to = SocketAddr::new(server, PORT);
            // Neighbours are asked for first, and may take a moment to be found.
            for _ in 0..20 {
                socket.send_to(b"9876", to).await.expect("a way there");
                let answered = socket.recv_from(&mut answer);
                if let Ok((len, from)) = with_timeout(PATIENCE, answered).await {
                    return Some((answer[..len].to_vec(), from));
                }
            }
            None
        };
        assert_eq!(ask(SERVER_IPV6.into()).await, None, "somebody else is answered");
        let (answer, from) = ask(SERVER.into()).await.expect("the client is answered");
        assert_eq!((&answer[..], from.ip()), (&b"6789"[..], SERVER.into()));
    });
}
