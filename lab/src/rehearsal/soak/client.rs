//! Who asks the guest's status page while it soaks.

use std::{cell::RefCell, io::Write, os::unix::net::UnixStream, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    addresses::HTTP_PORT, guest::clients::request_by, source::Peer, system::process::Guard,
};

/// What the guest takes requests with that change something.
pub(super) const TOKEN: &str = "soak";
/// A server that closes has said all.
const HALF_CLOSED: Duration = Duration::from_millis(100);
/// How long an answer may take, a migration in between included.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks by Linux' own TCP.
pub(super) struct Client {
    peer: Peer,
    /// Connections of clients that do not read.
    slow: RefCell<Vec<(UnixStream, Guard)>>,
}

impl Client {
    pub(super) fn new(peer: Peer) -> Self {
        Self { peer, slow: RefCell::default() }
    }

    /// A connection to the echo service.
    pub(super) fn echo(&self) -> Result<(UnixStream, Guard)> {
        self.peer.connect()
    }

    /// A request's whole answer.
    pub(super) fn ask(&self, method: &str, path: &str) -> Result<String> {
        let (stream, _relay) = self.peer.connect_to(HTTP_PORT, HALF_CLOSED)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        request_by(stream, method, path, Some(TOKEN))
    }

    /// Has so many clients ask for the whole capture and read none of it.
    pub(super) fn burden(&self, clients: usize) -> Result<()> {
        for _ in 0..clients {
            let (mut stream, relay) = self.peer.connect_to(HTTP_PORT, HALF_CLOSED)?;
            stream.write_all(b"GET /capture.pcapng HTTP/1.1\r\nHost: guest\r\n\r\n")?;
            self.slow.borrow_mut().push((stream, relay));
        }
        Ok(())
    }

    /// Ends those.
    pub(super) fn relieve(&self) {
        self.slow.borrow_mut().clear();
    }

    /// What the guest counts now.
    pub(super) fn counts(&self) -> Result<Counts> {
        let answer = self.ask("GET", "/status.json")?;
        let Some((_, body)) = answer.split_once("\r\n\r\n") else { bail!("status: {answer:?}") };
        let status: Value = serde_json::from_str(body).context("status.json")?;
        let metrics = self.ask("GET", "/metrics")?;
        Counts::of(&status, &metrics)
    }
}

/// What the guest counts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Counts {
    /// Slots of the DMA pool in use; what the recorder holds is not counted.
    pub(super) slots_used: u64,
    /// Bytes of the heap in use.
    pub(super) heap_used: u64,
    /// Frames received, buffers received and pages marked: they only rise.
    pub(super) rising: [u64; 4],
    /// Migrations.
    pub(super) moves: u64,
    pub(super) epoch: u64,
    /// Neither is the log on, nor are pages marked.
    pub(super) is_idle: bool,
    /// What the status page and `/metrics` say otherwise.
    pub(super) contradictions: Vec<String>,
}

impl Counts {
    fn of(status: &Value, metrics: &str) -> Result<Self> {
        let count = |pointer: &str| {
            status.pointer(pointer).and_then(Value::as_u64).with_context(|| pointer.to_owned())
        };
        let is = |pointer: &str| {
            status.pointer(pointer).and_then(Value::as_bool).with_context(|| pointer.to_owned())
        };
        let free = count("/dma/slots_free")? + count("/recorder/held")?;
        let mut contradictions = Vec::new();
        // They were asked for one after the other: what does not move between the two.
        for (pointer, name) in [
            ("/migration/moves", "godwit_migrations_total"),
            ("/migration/epoch", "godwit_migration_epoch"),
            ("/dma/slots", "godwit_dma_slots"),
            ("/memory/heap", "godwit_heap_bytes"),
        ] {
            let metric = metric(metrics, name).with_context(|| format!("{name} in /metrics"))?;
            if count(pointer)? != metric {
                contradictions.push(format!("{name} {metric}, {pointer} {}", count(pointer)?));
            }
        }
        Ok(Self {
            slots_used: count("/dma/slots")?.saturating_sub(free),
            heap_used: count("/memory/heap")? - count("/memory/heap_free")?,
            rising: [
                count("/traffic/rx_frames")?,
                count("/dma/buffers_received")?,
                count("/dma/pages_marked")?,
                count("/dma/pages_caught_up")?,
            ],
            moves: count("/migration/moves")?,
            epoch: count("/migration/epoch")?,
            is_idle: !is("/migration/logging")? && !is("/dma/marking")?,
            contradictions,
        })
    }
}

/// A sample without labels.
fn metric(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_are_read_and_those_that_contradict_are_told() {
        let status = json!({
            "dma": { "slots": 100, "slots_free": 60, "buffers_received": 9, "pages_marked": 8,
                     "pages_caught_up": 7, "marking": false },
            "recorder": { "held": 30 },
            "memory": { "heap": 1000, "heap_free": 400 },
            "traffic": { "rx_frames": 10 },
            "migration": { "moves": 2, "epoch": 11, "logging": false },
        });
        let metrics = |moves: u32| {
            format!(
                "# HELP godwit_migrations_total x\ngodwit_migrations_total {moves}\n\
                 godwit_migration_epoch 11\ngodwit_dma_slots 100\ngodwit_dma_slots_free 60\n\
                 godwit_heap_bytes 1000\n"
            )
        };
        let counts = Counts::of(&status, &metrics(2)).unwrap();
        assert_eq!((counts.slots_used, counts.heap_used, counts.moves), (10, 600, 2));
        assert!(counts.is_idle && counts.contradictions.is_empty(), "{counts:?}");
        let counts = Counts::of(&status, &metrics(3)).unwrap();
        assert_eq!(counts.contradictions, ["godwit_migrations_total 3, /migration/moves 2"]);
        assert!(Counts::of(&status, "").is_err());
    }
}
