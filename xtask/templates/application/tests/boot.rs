//! Boots the application as people do, by `cargo xtask run`, and asks it for its page.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// A guest that ends with the test.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_boots_and_has_a_page() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let child = Command::new(env!("CARGO"))
        .args([
            "xtask",
            "run",
            "--timeout",
            "600",
            "--forward",
            &format!("{port}:80"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut guest = Guest(child.unwrap());
    let console = BufReader::new(guest.0.stdout.take().unwrap());
    let mut lines = console
        .lines()
        .map_while(Result::ok)
        .inspect(|line| println!("{line}"));
    assert!(
        lines.any(|line| line.contains("godwit: ready")),
        "it ended before it was ready"
    );

    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello from a unikernel\n"), "{answer:?}");
}
