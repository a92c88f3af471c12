//! How long messages wait for code that is not here before they fail.

use std::time::Duration;

/// How long messages wait for orchestrators and activities before they fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// While this is the only worker of the hub that is alive.
    pub(crate) alone: Duration,
    /// While others are alive.
    pub(crate) among_others: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { alone: Duration::from_secs(600), among_others: Duration::from_secs(24 * 3600) }
    }
}

impl Patience {
    /// Missing code fails what asks for it at once.
    pub(crate) const NONE: Self = Self { alone: Duration::ZERO, among_others: Duration::ZERO };
}
