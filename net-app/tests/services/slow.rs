//! Clients that take their time.

use godwit::io::{Read, Write};
use godwit::net::Tcp;
use godwit::time::{Duration, Instant, Timer};
use net_app::status::PORT;

use super::{connect, visit};

/// One less than are served at the same time.
const SLOW: usize = 31;
/// Longer than whoever gets an answer takes, and shorter than slow ones are waited for.
const AT_ONCE: Duration = Duration::from_secs(2);
const REQUEST: &[u8] = b"GET /status.json HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n";

async fn status(tcp: &Tcp) -> Vec<u8> {
    let mut stream = connect(tcp, PORT).await;
    stream.write_all(REQUEST).await.expect("room");
    let (mut answer, mut piece) = (Vec::new(), [0; 512]);
    loop {
        match stream.read(&mut piece).await.expect("an answer") {
            0 => return answer,
            len => answer.extend_from_slice(&piece[..len]),
        }
    }
}

/// Each third says nothing, sends half a request, or asks for a stream without end that it does not
/// read.
#[test]
fn slow_clients_keep_nobody_out() {
    visit(async |net| {
        let tcp = net.tcp();
        let mut slow = Vec::new();
        for number in 0..SLOW {
            let mut stream = connect(&tcp, PORT).await;
            let said = [&b""[..], &REQUEST[..20], b"GET /events HTTP/1.1\r\n\r\n"][number % 3];
            stream.write_all(said).await.expect("room");
            slow.push(stream);
        }
        // All of them have been accepted.
        Timer::after_millis(100).await;
        for _ in 0..10 {
            let start = Instant::now();
            let answer = status(&tcp).await;
            assert!(start.elapsed() < AT_ONCE, "it takes {:?}", start.elapsed());
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        }
    });
}
