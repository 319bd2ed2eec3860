//! The recorder as a part of the machine: it sees every interface, and is checked after migrations.

use alloc::vec::Vec;

use embassy_time::{Duration, with_timeout};
use migrate_agent::{Migration, Nics as _, State};
use unikernel::cmdline::Size;
use unikernel::dma::Pool;
use unikernel::watch::Watcher;

use super::{Recorder, capacity};
use crate::interfaces::Interfaces;
use crate::tasks::Tasks;

/// How long after a move a check waits for the NICs: it keeps the processor from taking them into
/// use.
const NIC_PATIENCE: Duration = Duration::from_secs(1);

/// A recorder of `size`, or of as much as the DMA pool has room for, which is worth a warning where
/// the command line asks for more.
pub(crate) fn start(
    size: Size,
    is_asked_for: bool,
    pool: &'static Pool,
    interfaces: &Interfaces,
    migration: &Migration,
    tasks: &Tasks,
) -> Recorder {
    let frames = capacity(size.0, pool.statistics().slots).unwrap_or_else(|frames| {
        let level = if is_asked_for { log::Level::Warn } else { log::Level::Debug };
        log::log!(
            level,
            "recorder={size} does not fit the DMA pool beside the NIC's rings: keeping {frames} \
             frames; a larger swiotlb= makes room"
        );
        frames
    });
    let recorder = Recorder::new(frames, pool);
    tasks.spawn(observe(interfaces.clone(), recorder.clone()));
    tasks.spawn(check_after_migrations(migration.watcher(), interfaces.clone(), recorder.clone()));
    recorder
}

/// Shows the recorder what every interface receives, for ever.
async fn observe(interfaces: Interfaces, recorder: Recorder) {
    let mut observations = Vec::new();
    for index in 0.. {
        let interface = interfaces.get(index).await;
        // One that keeps nothing need not see each frame.
        if recorder.keeps_frames() {
            observations.push(interface.observe(recorder.ear(index)));
        }
    }
}

/// Checks whenever a migration has ended, here or on the destination, for ever.
async fn check_after_migrations(
    mut migration: Watcher<State>,
    interfaces: Interfaces,
    recorder: Recorder,
) {
    loop {
        match migration.changed().await {
            State::WarmUp | State::Leaving => {}
            State::Running => {
                recorder.check().await;
            }
            State::Arrived { .. } => {
                // What the standby receives until then is not to drive out what came before.
                recorder.hold_for_check();
                let _ = with_timeout(NIC_PATIENCE, primaries(&interfaces)).await;
                // They have yet to announce themselves.
                interfaces.drain().await;
                recorder.check().await;
            }
        }
    }
}

/// Waits until every interface uses its primary NIC.
async fn primaries(interfaces: &Interfaces) {
    for interface in interfaces.all() {
        interface.wait_for_nic(|nic| !nic.is_standby).await;
    }
}
