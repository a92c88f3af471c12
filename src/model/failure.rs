//! Failure details as .NET stores them.

use std::fmt;

use super::Properties;

/// What went wrong in an activity or orchestration: .NET's `FailureDetails` (wire-format 3.4, semantics 7).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FailureDetails {
    /// A stable name of the kind of error; in .NET the full name of the exception's type.
    pub error_type: String,
    /// What happened, for a person.
    pub error_message: String,
    /// Where it happened, if known.
    pub stack_trace: Option<String>,
    /// The cause.
    pub inner: Option<Box<Self>>,
    /// Whether a retry policy must give up at once.
    pub is_non_retriable: bool,
    /// Further values by name.
    pub properties: Option<Properties>,
}

impl fmt::Display for FailureDetails {
    /// `{type}: {message}`, which is the Output of a failed instance.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error_type, self.error_message)
    }
}
