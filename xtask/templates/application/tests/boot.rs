//! Boots the application as people do, by `cargo xtask run`, and asks it for its page and metrics.

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
fn it_boots_and_has_a_page_and_metrics() {
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

    for path in ["/", "/metrics"] {
        let answer = ask(port, path);
        assert!(answer.starts_with("HTTP/1.0 200 "), "{path}: {answer:?}");
    }
    // Whatever the page says, that it was asked for once is counted.
    let metrics = ask(port, "/metrics");
    assert!(
        metrics.contains("\ngodwit_migrations_total 0\n"),
        "{metrics}"
    );
    assert!(metrics.contains("\napp_visits_total 1\n"), "{metrics}");
}

/// What it answers, with its head.
fn ask(port: u16, path: &str) -> String {
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    write!(client, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}
