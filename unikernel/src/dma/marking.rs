//! When to mark: the policy, and the one word every received buffer looks at.

use super::atomic::{AtomicU32, Ordering};
use core::{fmt, str::FromStr};

/// What the command line's `marking=` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Mark while the hypervisor logs. Without a bridge that tells ([`Pool::mark_always`]), always.
    ///
    /// [`Pool::mark_always`]: super::Pool::mark_always
    #[default]
    Auto,
    /// Mark whether or not the hypervisor logs.
    Always,
    /// Never mark. A migration with an attached device then loses data: the control of the
    /// experiment, of no other use.
    Never,
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(PolicyError),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        })
    }
}

/// Not a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyError;

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("auto, always or never")
    }
}

impl core::error::Error for PolicyError {}

/// Completed memory is to be marked.
const MARK: u32 = 1;
/// It is to be marked even when nobody logs.
const PINNED: u32 = 2;
/// One agent that sees logging: the bits from here up count them, since one bridge's agent may see
/// the log go off while another's has already seen it go on again.
const LOGGER: u32 = 4;

/// The state every received buffer looks at, once: zero in the common case.
#[derive(Debug)]
pub(crate) struct Marking {
    policy: Policy,
    state: AtomicU32,
}

/// What a received buffer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(u32);

impl Mode {
    /// Nothing to do, nothing to note.
    #[inline]
    pub(crate) fn is_idle(self) -> bool {
        self.0 == 0
    }

    /// Mark.
    pub(crate) fn marks(self) -> bool {
        self.0 & MARK != 0
    }

    /// The hypervisor is logging, as far as the guest knows.
    pub(crate) fn logging(self) -> bool {
        self.0 >= LOGGER
    }
}

impl Marking {
    pub(crate) fn new(policy: Policy) -> Self {
        let state = if policy == Policy::Always { MARK | PINNED } else { 0 };
        Self { policy, state: AtomicU32::new(state) }
    }

    #[inline]
    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    /// Relaxed: a stale answer is harmless, because what was received under it is caught up
    /// (docs/marking-argument.md).
    #[inline]
    pub(crate) fn mode(&self) -> Mode {
        Mode(self.state.load(Ordering::Relaxed))
    }

    pub(crate) fn pin(&self) {
        if self.policy != Policy::Never {
            self.state.fetch_or(MARK | PINNED, Ordering::Relaxed);
        }
    }

    pub(crate) fn start(&self) {
        let mark = if self.policy == Policy::Never { 0 } else { MARK };
        self.update(|state| (state + LOGGER) | mark);
    }

    pub(crate) fn stop(&self) {
        self.update(|state| match state.checked_sub(LOGGER) {
            None => state,
            Some(left) if left < LOGGER && left & PINNED == 0 => 0,
            Some(left) => left,
        });
    }

    fn update(&self, change: impl Fn(u32) -> u32) {
        let mut old = self.state.load(Ordering::Relaxed);
        while let Err(now) =
            self.state.compare_exchange_weak(old, change(old), Ordering::Relaxed, Ordering::Relaxed)
        {
            old = now;
        }
    }
}
