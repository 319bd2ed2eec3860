//! Lines of the console that scripts may rely on.

use crate::addresses::{INTERFACES, interface_name};

/// The family of standbys, as the guest calls it.
const STANDBY: &str = "virtio";

/// A line that scripts may rely on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// An address is up.
    Ready {
        /// Of which interface.
        interface: usize,
        /// The address.
        ip: String,
        /// The station address of its NIC.
        mac: Option<String>,
    },
    /// The guest marks, and has caught up with what came before.
    LoggingOn {
        /// The EPOCH it acknowledges.
        epoch: u32,
        /// Pages it caught up on.
        caught_up: u64,
    },
    /// The guest no longer marks.
    LoggingOff {
        /// The EPOCH it acknowledges.
        epoch: u32,
    },
    /// The guest found itself on the destination.
    Moved,
    /// The NIC is quiet, or was given back to the hypervisor.
    NicDetached {
        /// Of which interface.
        interface: usize,
    },
    /// A NIC has been taken into use.
    NicAttached {
        /// By which interface.
        interface: usize,
    },
    /// Traffic goes over this one of a pair's NICs from now on.
    NowUsing {
        /// Of which interface.
        interface: usize,
        /// Its standby, else its primary.
        standby: bool,
    },
    /// How many of the frames about to be counted were received while the hypervisor was logging.
    WhileLogging(u64),
    /// The end of an integrity check.
    Checked {
        /// Frames checked.
        checked: u64,
        /// Those whose content is not what was received.
        stale: u64,
    },
    /// Counts of the DMA layer.
    Dma {
        /// Pages marked on reception.
        marked: u64,
        /// Pages marked by catch-up.
        caught_up: u64,
        /// Buffers received.
        received: u64,
    },
    /// The guest died.
    Panic,
}

/// Reads a line; `None` for all that no script relies on.
pub fn parse(line: &str) -> Option<Said> {
    let line = line.trim();
    let lower = line.to_ascii_lowercase();
    if lower.contains("panic") || lower.starts_with("exception") {
        return Some(Said::Panic);
    }
    // The log puts a time and a level before some lines; what a script looks for starts with a name
    // and a colon.
    let is_name = |word: &&str| {
        ["godwit:", "linux:", "agent:", "recorder:", "dma:"].contains(word)
            || speaker(word).is_some()
    };
    let words: Vec<&str> = line.split_whitespace().skip_while(|word| !is_name(word)).collect();
    let named =
        |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let after = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1)?.parse().ok()
    };
    Some(match &words[..] {
        ["godwit:" | "linux:", "ready", first, ..] => {
            // Of IPv6 on a network that has nothing else.
            let ip = named("ip").or_else(|| named("ip6"))?;
            let mac = named("mac").map(str::to_owned);
            Said::Ready { interface: interface(first).unwrap_or(0), ip: ip.into(), mac }
        }
        ["agent:", "logging", "on", ..] => Said::LoggingOn {
            epoch: named("epoch")?.parse().ok()?,
            caught_up: named("caught-up")?.parse().ok()?,
        },
        ["agent:", "logging", "off", ..] => {
            Said::LoggingOff { epoch: named("epoch")?.parse().ok()? }
        }
        ["agent:", "moved", ..] => Said::Moved,
        [nic, "quiesced" | "detached", ..] => Said::NicDetached { interface: speaker(nic)? },
        [nic, "attached", ..] => Said::NicAttached { interface: speaker(nic)? },
        [nic, "now", "using", family, ..] => {
            Said::NowUsing { interface: speaker(nic)?, standby: *family == STANDBY }
        }
        ["recorder:", "while-logging", count, ..] => Said::WhileLogging(count.parse().ok()?),
        ["recorder:", "checked", ..] => {
            Said::Checked { checked: after("checked")?, stale: after("stale")? }
        }
        ["dma:", "marked", ..] => Said::Dma {
            marked: after("marked")?,
            caught_up: after("caught-up")?,
            received: after("received")?,
        },
        _ => return None,
    })
}

/// The interface that a line is about which begins with this word.
fn speaker(word: &str) -> Option<usize> {
    interface(word.strip_suffix(':')?)
}

/// The interface of that name.
fn interface(name: &str) -> Option<usize> {
    (0..INTERFACES).find(|&index| interface_name(index) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let ready = |interface, ip: &str, mac: &str| {
            let (ip, mac) = (ip.into(), Some(mac.into()));
            Said::Ready { interface, ip, mac }
        };
        let cases = [
            (
                "godwit: ready ip=10.0.2.15/24 nic=e1000e mac=52:54:00:67:6f:01",
                ready(0, "10.0.2.15/24", "52:54:00:67:6f:01"),
            ),
            (
                "linux: ready ip=10.0.2.15/24 nic=virtio_net",
                Said::Ready { interface: 0, ip: "10.0.2.15/24".into(), mac: None },
            ),
            (
                "godwit: ready nic1 ip=10.0.2.16/24 nic=e1000e mac=52:54:00:67:6f:02",
                ready(1, "10.0.2.16/24", "52:54:00:67:6f:02"),
            ),
            (
                "godwit: ready ip6=fd00::5054:ff:fe67:6f01/64 nic=igb mac=52:54:00:67:6f:01",
                ready(0, "fd00::5054:ff:fe67:6f01/64", "52:54:00:67:6f:01"),
            ),
            (
                "agent: logging on epoch=3 caught-up=412",
                Said::LoggingOn { epoch: 3, caught_up: 412 },
            ),
            ("agent: logging off epoch=4", Said::LoggingOff { epoch: 4 }),
            ("agent: moved epoch=5", Said::Moved),
            ("nic: detached", Said::NicDetached { interface: 0 }),
            ("nic: quiesced", Said::NicDetached { interface: 0 }),
            ("nic1: detached", Said::NicDetached { interface: 1 }),
            ("nic: attached e1000e", Said::NicAttached { interface: 0 }),
            ("nic1: attached e1000e", Said::NicAttached { interface: 1 }),
            ("nic: now using virtio", Said::NowUsing { interface: 0, standby: true }),
            ("nic: now using e1000e", Said::NowUsing { interface: 0, standby: false }),
            ("recorder: while-logging 1200", Said::WhileLogging(1200)),
            (
                "  [12.3 INFO] recorder: checked 5000 stale 2\r",
                Said::Checked { checked: 5000, stale: 2 },
            ),
            (
                "dma: marked 10 caught-up 20 received 30",
                Said::Dma { marked: 10, caught_up: 20, received: 30 },
            ),
            ("panicked at src/main.rs:1", Said::Panic),
        ];
        for (line, said) in cases {
            assert_eq!(parse(line), Some(said), "{line}");
        }
        for line in [
            "",
            "agent: no capability above the NIC, marking always",
            "recorder: checked many stale 1",
            "hello",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
