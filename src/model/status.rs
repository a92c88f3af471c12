//! The status of an orchestration, by the names of .NET.

use std::fmt;
use std::str::FromStr;

/// Where an orchestration stands (docs/storage-layout.md, JSON).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
#[non_exhaustive]
pub enum RuntimeStatus {
    Running,
    Completed,
    /// Transient: never stored on an instance row.
    ContinuedAsNew,
    Failed,
    Canceled,
    Terminated,
    Pending,
    Suspended,
}

impl RuntimeStatus {
    /// Every status, in the order of .NET's numbers.
    pub const ALL: [Self; 8] = [
        Self::Running,
        Self::Completed,
        Self::ContinuedAsNew,
        Self::Failed,
        Self::Canceled,
        Self::Terminated,
        Self::Pending,
        Self::Suspended,
    ];

    /// Whether the execution has ended for good.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled | Self::Terminated)
    }

    /// The name in rows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Completed => "Completed",
            Self::ContinuedAsNew => "ContinuedAsNew",
            Self::Failed => "Failed",
            Self::Canceled => "Canceled",
            Self::Terminated => "Terminated",
            Self::Pending => "Pending",
            Self::Suspended => "Suspended",
        }
    }

    /// The number in messages.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::Running => 0,
            Self::Completed => 1,
            Self::ContinuedAsNew => 2,
            Self::Failed => 3,
            Self::Canceled => 4,
            Self::Terminated => 5,
            Self::Pending => 6,
            Self::Suspended => 7,
        }
    }

    /// From the number in messages.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

impl fmt::Display for RuntimeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for RuntimeStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|s| s.name().eq_ignore_ascii_case(text)).ok_or_else(|| UnknownStatus(text.to_owned()))
    }
}

/// A text that names no status.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "\"{0}\" is not a runtime status; known are Running, Completed, ContinuedAsNew, Failed, Canceled, Terminated, Pending, Suspended"
)]
pub struct UnknownStatus(String);
