//! What doctor says of one thing.

use serde::Serialize;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) subject: &'static str,
    pub(super) good: bool,
    pub(super) what: String,
    /// What to do about it: a command where there is one.
    pub(super) remedy: Option<String>,
    /// Whether a guest with a NIC of this machine cannot do without.
    pub(super) required: bool,
}

impl Finding {
    pub(super) fn good(subject: &'static str, what: impl Into<String>) -> Self {
        Self { subject, good: true, what: what.into(), remedy: None, required: false }
    }

    pub(super) fn bad(
        subject: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { good: false, remedy: Some(remedy.into()), ..Self::good(subject, what) }
    }

    /// The same of something that is required.
    pub(super) fn required(self) -> Self {
        Self { required: true, ..self }
    }
}
