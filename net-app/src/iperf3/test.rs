//! One test, from the cookie to the results.

use godwit::Interface;
use godwit::futures::select::{Either, select};
use godwit::net::{TcpListener, TcpStream};
use godwit::time::{Duration, Instant, Timer};

use super::control::{Control, Failure, busy};
use super::protocol::{Parameters, Results, state};
use super::streams::{Streams, until};

/// How long a test may go on after the client's time is up, as iperf3's own server has it
/// (`create_server_timers`).
const GRACE: Duration = Duration::from_secs(40);
/// How long the client may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Runs the test that `connection` asks for, and returns what it moved in bits a second.
pub(super) async fn run(
    interface: &Interface,
    connection: TcpStream,
    listener: &TcpListener,
) -> Result<u64, Failure> {
    let mut control = busy(listener, Control::new(connection)).await?;
    let result = serve(interface, &mut control, listener).await;
    if let Err(Failure::Refused(why)) = result {
        control.refuse(why).await;
    }
    result
}

async fn serve(
    interface: &Interface,
    control: &mut Control,
    listener: &TcpListener,
) -> Result<u64, Failure> {
    let exchange = async {
        control.send_state(state::PARAM_EXCHANGE).await?;
        Parameters::parse(&control.json().await?).map_err(Failure::Refused)
    };
    let parameters = busy(listener, exchange).await?;

    let streams = Streams::open(interface, listener, control, &parameters).await?;

    busy(listener, async {
        control.send_state(state::TEST_START).await?;
        control.send_state(state::TEST_RUNNING).await?;
        let elapsed = transfer(control, &streams, &parameters).await?;
        // iperf3 prints what it gets with microseconds.
        let seconds = elapsed.as_micros().max(1) as f64 / 1e6;
        let results = streams.results(seconds);
        let bytes: u64 = results.iter().map(|stream| stream.bytes).sum();
        drop(streams);

        control.send_state(state::EXCHANGE_RESULTS).await?;
        // What the client measured is for the client to print.
        control.json().await?;
        let results = Results {
            cpu_util_total: 0.0,
            cpu_util_user: 0.0,
            cpu_util_system: 0.0,
            sender_has_retransmits: 0,
            congestion_used: "reno",
            streams: results,
        };
        let json = serde_json::to_vec(&results).expect("numbers and names are JSON");
        control.send_json(&json).await?;
        control.send_state(state::DISPLAY_RESULTS).await?;
        // IPERF_DONE, or just the end of the connection: the results are out either way.
        select(control.state(), Timer::after(GOODBYE)).await;
        Ok(bytes.saturating_mul(8_000_000) / elapsed.as_micros().max(1))
    })
    .await
}

/// Moves data until the client ends the test. Returns the time that counts.
async fn transfer(
    control: &Control,
    streams: &Streams,
    parameters: &Parameters,
) -> Result<Duration, Failure> {
    let start = Instant::now();
    let omit = Duration::from_micros(parameters.omit.as_micros() as u64);
    let restart = async {
        if omit.as_ticks() != 0 {
            Timer::after(omit).await;
            streams.restart();
        }
        core::future::pending::<()>().await;
    };
    let overdue = async {
        match parameters.duration {
            Some(duration) => {
                Timer::after(omit + Duration::from_micros(duration.as_micros() as u64) + GRACE)
                    .await;
            }
            None => core::future::pending().await,
        }
    };
    let end = async {
        match select(control.state(), overdue).await {
            Either::First(Ok(state::TEST_END)) => Ok(()),
            Either::First(Ok(other)) => Err(Failure::unexpected(other)),
            Either::First(Err(failure)) => Err(failure),
            Either::Second(()) => Err(Failure::Overdue),
        }
    };
    let work = async {
        select(streams.run(parameters), restart).await;
    };
    until(work, end).await?;
    Ok(start.elapsed().checked_sub(omit).unwrap_or(start.elapsed()))
}
