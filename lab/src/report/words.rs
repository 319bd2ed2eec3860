//! What figures mean, which depends on what was driven at the guest and on when its NIC left.

use super::format::percent;
use crate::choices::{LabKind, Strategy, TrafficKind};
use crate::result::{Migration, headline};

/// What is said of one kind of traffic.
pub(super) struct Words {
    /// What it is.
    pub(super) traffic: &'static str,
    /// What is counted.
    pub(super) packets: &'static str,
    /// What rates are rates of.
    pub(super) rate: &'static str,
    /// The same at length, and what a gap is.
    explanation: &'static str,
}

const UDP: Words = Words {
    traffic: "UDP",
    packets: "datagrams",
    rate: "received by the guest",
    explanation: "Rates are at the IP layer, counted by the guest and timed by the source. The \
        service gap is the longest time without a new datagram, on the source's clock.",
};

const TCP: Words = Words {
    traffic: "TCP",
    packets: "segments",
    rate: "taken by the connection",
    explanation: "Rates are of TCP payload as the client could write it, in iperf3's tenths of a \
        second: some of it waits in buffers, and what a gap held up follows in a burst. Segments \
        are reckoned at 1,460 bytes each. The service gap is the longest run of tenths in which \
            nothing could be written.",
};

const ECHO: Words = Words {
    traffic: "an echo over TCP",
    packets: "segments",
    rate: "sent back by the guest",
    explanation: "Rates are of the bytes that came back from the guest. Segments are reckoned at \
        1,460 bytes each. The service gap is the longest time in which none came back.",
};

const CLIENT: Words = Words {
    traffic: "the service's own client",
    packets: "segments",
    rate: "sent by the guest",
    explanation: "Rates are of what the guest sent, Ethernet headers included, while the client \
        was run over and over. Segments are reckoned at 1,460 bytes each. The service gap is the \
        longest time in which the guest sent nothing.",
};

impl Words {
    pub(super) fn of(result: &Migration) -> &'static Self {
        match result.traffic.kind {
            TrafficKind::Udp => &UDP,
            TrafficKind::Tcp => &TCP,
            TrafficKind::Echo => &ECHO,
            TrafficKind::Client => &CLIENT,
        }
    }
}

/// What the page is about.
pub(super) fn title(result: &Migration) -> &'static str {
    match result.strategy {
        Strategy::Warm => "A live migration with the NIC attached",
        Strategy::Failover => "A live migration with a standby in the NIC's place",
        Strategy::Cold => "A live migration without the NIC",
    }
}

/// What a reader has to know before the figures.
pub(super) fn warnings(result: &Migration) -> Vec<String> {
    let mut warnings = Vec::from_iter(busy(result));
    if result.facts.lab_restarts > 0 {
        let crashes = result.facts.lab_crashes.iter().map(|crash| crash.what.as_str());
        warnings.push(format!(
            "The lab was started over, {} times: its host crashed under emulation ({}). The \
             figures are those of the last start.",
            result.facts.lab_restarts,
            crashes.collect::<Vec<_>>().join("; ")
        ));
    }
    if result.facts.revision.ends_with("-dirty") {
        warnings.push(
            "Files of the checkout were changed and not committed: the revision does not tell \
             what was run."
                .into(),
        );
    }
    warnings
}

/// That the machine was busy, where that bears on the figures.
fn busy(result: &Migration) -> Option<String> {
    let (phase, share) = headline::disturbance(result)?;
    let has_own = result.lab == LabKind::Nested && result.traffic.kind == TrafficKind::Udp;
    let way_out = match has_own {
        true => "; in the lab's own (--clock virtual) they do not",
        false => "",
    };
    Some(format!(
        "This machine was busy: others had {} of its processors' time in the phase `{}`. The \
         figures are in its time, and tell about them as well{way_out}.",
        percent(share),
        phase.title()
    ))
}

/// What the figures and phases of a page are.
pub(super) fn explanation(result: &Migration) -> String {
    let phases = match result.strategy {
        Strategy::Warm => {
            "The warm-up runs from the migration's start to the NIC's quiet, the gap from there \
            to the first traffic on the destination."
        }
        Strategy::Failover | Strategy::Cold => {
            "The NIC leaves at the migration's start. The warm-up runs from there to when the \
            guest is stopped, the gap from there to the first traffic on the destination."
        }
    };
    format!("{} {phases} All of it is in result.json.", Words::of(result).explanation)
}
