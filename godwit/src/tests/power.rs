//! A machine that is switched off, seen by itself and by its peer.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::vec::Vec;

use embassy_futures::join::join;
use embassy_futures::select::{Either3, select3};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_io_async::{Read, Write};

use crate::System;
use crate::host::{Hardware, run, wired_machines};
use unikernel::dma::{Policy, fake};

const SERVER: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)), 7);
const LAST_WORDS: &[u8] = b"we close";

/// How long a machine without a network runs whose program does this.
fn runs_for<F>(program: impl FnOnce(System) -> F) -> Duration
where
    F: Future<Output = ()> + 'static,
{
    let started = Instant::now();
    let machine = run(fake::pool(1 << 20, Policy::Auto), "", Hardware::default(), program);
    let limited = futures_executor::block_on(with_timeout(Duration::from_secs(30), machine));
    limited.expect("it switches itself off");
    started.elapsed()
}

#[test]
fn a_machine_goes_off_as_soon_as_everybody_who_was_told_is_done() {
    let nobody = runs_for(|system| async move { system.power_off() });
    assert!(nobody < Duration::from_secs(1), "{nobody}");
    let one = runs_for(|system| async move {
        for millis in [100, 300] {
            let told = system.power_off_requested();
            system.spawn(async move {
                let _on = told.await;
                Timer::after_millis(millis).await;
            });
        }
        // Not interested any more.
        drop(system.power_off_requested());
        system.power_off();
    });
    assert!((300..1500).contains(&one.as_millis()), "{one}");
}

#[test]
fn nobody_keeps_a_machine_on_for_ever() {
    let time = runs_for(|system| async move {
        let told = system.power_off_requested();
        system.power_off();
        let _on = told.await;
        core::future::pending::<()>().await;
    });
    assert!((10..12).contains(&time.as_secs()), "{time}");
}

/// Serves one client, says goodbye when asked to leave, and has another connection that it never
/// looks at again.
async fn serve(system: System) {
    let net = system.interface(0).await;
    let listener = net.tcp().bind(SERVER.1).expect("the port is free");
    let (mut first, second) = (listener.accept().await, listener.accept().await);
    let told = system.power_off_requested();
    let off = system.clone();
    system.spawn(async move {
        Timer::after_millis(50).await;
        off.power_off();
    });
    let on = told.await;
    first.write_all(LAST_WORDS).await.expect("there is room");
    drop(on);
    core::future::pending::<()>().await;
    drop((first, second));
}

type Received = Result<Vec<u8>, crate::net::Error>;

/// What arrives on two connections until they end.
async fn visit(system: System, done: Rc<Signal<NoopRawMutex, [Received; 2]>>) {
    let net = system.interface(0).await;
    net.ready().await;
    let mut first = net.tcp().connect(SERVER).await.expect("a connection");
    let mut second = net.tcp().connect(SERVER).await.expect("a connection");
    let read = async |stream: &mut crate::net::TcpStream| {
        let (mut all, mut buffer) = (Vec::new(), [0; 64]);
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(all),
                len => all.extend_from_slice(&buffer[..len]),
            }
        }
    };
    let (a, b) = join(read(&mut first), read(&mut second)).await;
    done.signal([a, b]);
    core::future::pending::<()>().await;
}

#[test]
fn peers_get_what_was_written_and_an_end_to_each_connection() {
    let [(pool_a, a), (pool_b, b)] = wired_machines();
    let done = Rc::new(Signal::new());
    let tell = done.clone();
    let server = run(pool_a, "ip=10.9.0.1/24", a, serve);
    let client = run(pool_b, "ip=10.9.0.2/24", b, |system| visit(system, tell));
    // The client never closes its side: the server does not wait for that for long.
    let all = async {
        server.await;
        done.wait().await
    };
    let limit = Timer::after(Duration::from_secs(20));
    match futures_executor::block_on(select3(all, client, limit)) {
        Either3::First([first, second]) => {
            assert_eq!(first.expect("an orderly end"), LAST_WORDS);
            assert_eq!(second.expect("an orderly end"), b"");
        }
        Either3::Second(()) => unreachable!("nobody switches the client off"),
        Either3::Third(()) => panic!("the connections never ended"),
    }
}
