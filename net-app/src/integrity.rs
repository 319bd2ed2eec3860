//! Checks of what the flight recorder holds, after each migration and on request.

use godwit::time::{Duration, with_timeout};
use godwit::{State, System};

use crate::recorder::{Recorder, Report};

/// How long after a move a check waits for the NICs: it keeps the processor from taking them into
/// use.
const NIC_PATIENCE: Duration = Duration::from_secs(1);

/// Checks every frame the recorder holds, and says on the console what it found. Scripts read these
/// lines.
pub async fn check(system: &System, recorder: &Recorder) -> Report {
    let report = recorder.check().await;
    let dma = system.pool().statistics();
    godwit::println!(
        "dma: marked {} caught-up {} received {}",
        dma.pages_marked,
        dma.pages_caught_up,
        dma.buffers_received
    );
    godwit::println!("recorder: while-logging {}", report.while_logging);
    godwit::println!("recorder: checked {} stale {}", report.checked, report.stale);
    report
}

/// Checks whenever a migration has ended, here or on the destination, for ever.
pub async fn check_after_migrations(system: System, recorder: Recorder) {
    let mut migration = system.migration().watcher();
    loop {
        match migration.changed().await {
            State::WarmUp | State::Leaving => {}
            State::Running => {
                check(&system, &recorder).await;
            }
            State::Arrived { .. } => {
                // What the standby receives until then is not to drive out what came before.
                recorder.hold_for_check();
                let _ = with_timeout(NIC_PATIENCE, primaries(&system)).await;
                check(&system, &recorder).await;
            }
        }
    }
}

/// Waits until every interface uses its primary NIC.
async fn primaries(system: &System) {
    for interface in system.interfaces() {
        interface.wait_for_nic(|nic| !nic.is_standby).await;
    }
}
