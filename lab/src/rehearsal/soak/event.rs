//! What happens in a migration of a soak, and what has to come of it.

use std::{fmt, time::Duration};

use anyhow::{Result, ensure};
use fastrand::Rng;
use serde::{Deserialize, Serialize};

use super::client::Client;
use crate::{
    choices::CancelAt,
    migration::{Disturbance, Outcome, Site},
    qmp::{Cont, Stop, Yank, YankInstance},
};

/// Something that happens in a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Nothing.
    None,
    /// It is cancelled right after it was started.
    CancelAtSetup,
    /// It is cancelled while memory is copied.
    CancelInWarmup,
    /// It is cancelled once the guest was asked to quiesce the NIC.
    CancelAtQuiesce,
    /// It is cancelled once the NIC is quiet, and the guest stopped.
    CancelWhenQuiesced,
    /// The guest stands still, and does not answer when it is asked for its NIC.
    Timeout,
    /// The destination's QEMU is killed.
    DestinationKilled,
    /// The connection between the two QEMUs is cut.
    StreamCut,
    /// The guest is stopped for a while, and let run again.
    StopAndCont,
    /// The NIC's link goes down, and comes up.
    LinkFlap,
    /// The NIC is reset.
    NicReset,
    /// Clients ask for much, and read nothing of it.
    MemoryPressure,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::None,
        Self::CancelAtSetup,
        Self::CancelInWarmup,
        Self::CancelAtQuiesce,
        Self::CancelWhenQuiesced,
        Self::Timeout,
        Self::DestinationKilled,
        Self::StreamCut,
        Self::StopAndCont,
        Self::LinkFlap,
        Self::NicReset,
        Self::MemoryPressure,
    ];

    pub(super) fn cancel_at(self) -> Option<CancelAt> {
        match self {
            Self::CancelAtSetup => Some(CancelAt::Setup),
            Self::CancelInWarmup => Some(CancelAt::Warmup),
            Self::CancelAtQuiesce => Some(CancelAt::Quiesce),
            Self::CancelWhenQuiesced => Some(CancelAt::Quiesced),
            _ => None,
        }
    }

    /// How such a migration has to end.
    pub(super) fn expected(self) -> Outcome {
        match self {
            _ if self.cancel_at().is_some() => Outcome::Cancelled,
            Self::Timeout | Self::DestinationKilled | Self::StreamCut => Outcome::Failed,
            _ => Outcome::Completed,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::CancelAtSetup => "cancelled at setup",
            Self::CancelInWarmup => "cancelled in warm-up",
            Self::CancelAtQuiesce => "cancelled at quiesce",
            Self::CancelWhenQuiesced => "cancelled when quiesced",
            Self::Timeout => "guest stands still",
            Self::DestinationKilled => "destination killed",
            Self::StreamCut => "stream cut",
            Self::StopAndCont => "stop and cont",
            Self::LinkFlap => "link flap",
            Self::NicReset => "NIC reset",
            Self::MemoryPressure => "memory pressure",
        })
    }
}

/// Events in an order that the seed makes: each of them once before any comes again.
pub(super) struct Deck {
    random: Rng,
    left: Vec<Event>,
}

impl Deck {
    /// Where so many have been drawn before.
    pub(super) fn without(seed: u64, drawn: usize) -> Self {
        let mut deck = Self { random: Rng::with_seed(seed), left: Vec::new() };
        for _ in 0..drawn {
            deck.draw();
        }
        deck
    }

    /// The next one, and how long the warm-up of its migration is.
    pub(super) fn draw(&mut self) -> (Event, Duration) {
        const WARMUP_MS: std::ops::Range<u64> = 1_000..4_000;
        if self.left.is_empty() {
            self.left = Event::ALL.into();
            self.random.shuffle(&mut self.left);
        }
        let event = self.left.pop().expect("it was filled");
        (event, Duration::from_millis(self.random.u64(WARMUP_MS)))
    }
}

/// An event as it is done to a migration.
pub(super) struct Happening<'c> {
    pub(super) event: Event,
    pub(super) client: &'c Client,
}

/// For so long is the guest stopped, or its link down.
const PAUSE: Duration = Duration::from_millis(300);
/// How many clients do not read what they ask for.
const SLOW_CLIENTS: usize = 8;

impl Disturbance for Happening<'_> {
    fn in_warmup(&mut self, site: &mut Site<'_>) -> Result<()> {
        match self.event {
            Event::Timeout => site.monitor.execute(&Stop {}).map(drop)?,
            Event::DestinationKilled => site.lab.stop(site.home.other())?,
            Event::StreamCut => {
                let instances = vec![YankInstance { kind: "migration" }];
                site.monitor.execute(&Yank { instances })?;
            }
            Event::StopAndCont => {
                site.monitor.execute(&Stop {})?;
                site.clock.sleep(PAUSE);
                site.monitor.execute(&Cont {})?;
            }
            Event::LinkFlap => {
                site.lab.set_link(site.home, site.monitor, false)?;
                site.clock.sleep(PAUSE);
                site.lab.set_link(site.home, site.monitor, true)?;
            }
            Event::NicReset => {
                let answer = self.client.ask("POST", "/reset")?;
                ensure!(answer.contains("the NIC was reset"), "{answer:?}");
            }
            Event::MemoryPressure => self.client.burden(SLOW_CLIENTS)?,
            _ => {}
        }
        Ok(())
    }

    fn when_given_up(&mut self, site: &mut Site<'_>) -> Result<()> {
        if self.event == Event::Timeout {
            site.monitor.execute(&Cont {})?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_makes_an_order_and_every_event_comes_before_one_comes_again() {
        let drawn = |seed: u64| {
            let mut deck = Deck::without(seed, 0);
            (0..30).map(|_| deck.draw()).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert_eq!(Deck::without(1, 20).draw(), drawn(1)[20]);
        for round in drawn(3).chunks_exact(Event::ALL.len()) {
            let events: HashSet<Event> = round.iter().map(|(event, _)| *event).collect();
            assert_eq!(events.len(), Event::ALL.len());
        }
    }
}
