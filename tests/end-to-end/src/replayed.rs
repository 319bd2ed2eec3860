//! What guests said during a migration, against the model of `tests/model-check`.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use lab::{choices::Strategy, migration::Outcome, result::Migration};
use model_check::conversation::{Conversation, Mistake, Said, replay};

/// Some run of the model says what the guest of this migration, or of this series, said. `logs` has
/// both machines' consoles.
pub(crate) fn holds(logs: &Path, migration: &Migration) -> Result<()> {
    // Otherwise the device is unplugged, which is no part of the conversation.
    if migration.strategy != Strategy::Warm {
        return Ok(());
    }
    let mut said = Vec::new();
    for machine in ["source.log", "destination.log"] {
        let text = fs::read(logs.join(machine)).unwrap_or_default();
        said.extend(String::from_utf8_lossy(&text).lines().filter_map(Said::of));
    }
    said.sort_by_key(|said| said.epoch());
    // With several bridges nothing tells which one's agent speaks.
    if said.windows(2).any(|pair| pair[0].epoch() == pair[1].epoch()) {
        return Ok(());
    }
    let logs_seen = said.iter().filter(|said| matches!(said, Said::LoggingOn(_))).count();
    ensure!(
        logs_seen > 0 || migration.outcome != Outcome::Completed,
        "{}: the guest never said that a log was on",
        logs.display()
    );
    let model = Conversation {
        mistake: Mistake::None,
        bridges: 1,
        // One more may have come and gone unheard.
        migrations: logs_seen as u8 + 1,
        resets: 0,
        force: false,
    };
    let explained = replay(&model, &said);
    ensure!(
        explained.is_ok(),
        "{}: no run of the model says {said:?}; one says the first {} of it, and is not well then",
        logs.display(),
        explained.unwrap_err()
    );
    Ok(())
}
