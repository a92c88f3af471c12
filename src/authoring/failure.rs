//! Failures: what user code returns, and what it gets from a task that failed.

use std::any::type_name;
use std::error::Error;
use std::fmt;

use serde_json::Value;

use crate::model::FailureDetails;

/// Why an activity or orchestrator failed.
///
/// Any error becomes one by `?`: its message is kept and its sources become inner failures. The error type, which callers in
/// any language can test, is then the short name of the Rust type; [`Failure::new`] and [`Failure::of`] set one that survives
/// the renaming of types.
///
/// ```
/// use taskhub::{ActivityContext, Failure};
///
/// async fn charge(_ctx: ActivityContext, cents: String) -> Result<u64, Failure> {
///     let cents: u64 = cents.parse()?;
///     if cents == 0 {
///         return Err(Failure::new("NothingToCharge", "the amount is zero").non_retriable());
///     }
///     Ok(cents)
/// }
/// # let _ = charge;
/// ```
pub struct Failure(Box<Why>);

enum Why {
    Failed(FailureDetails),
    /// Not a failure: the way in which continue-as-new leaves the code.
    ContinueAsNew(Next),
}

/// What the next generation starts with.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) input: Option<String>,
    pub(super) version: Option<String>,
}

impl Failure {
    /// A failure of a stable type, with a message for people.
    #[must_use]
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        let (error_type, error_message) = (error_type.into(), message.into());
        FailureDetails { error_type, error_message, ..FailureDetails::default() }.into()
    }

    /// A failure of a stable type from an error: its message, and its sources as inner failures.
    ///
    /// ```
    /// use taskhub::Failure;
    ///
    /// let parsed: Result<u8, Failure> = "x".parse::<u8>().map_err(|error| Failure::of("BadNumber", &error));
    /// assert_eq!(parsed.unwrap_err().details().error_type, "BadNumber");
    /// ```
    #[must_use]
    pub fn of(error_type: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        FailureDetails { error_type: error_type.into(), ..from_error(String::new(), error) }.into()
    }

    pub(super) fn continue_as_new(input: Option<String>, version: Option<String>) -> Self {
        Self(Box::new(Why::ContinueAsNew(Next { input, version })))
    }

    /// No retry policy tries again after this failure.
    #[must_use]
    pub fn non_retriable(mut self) -> Self {
        if let Why::Failed(details) = &mut *self.0 {
            details.is_non_retriable = true;
        }
        self
    }

    /// Adds a value that callers can read.
    #[must_use]
    pub fn property(mut self, name: impl AsRef<str>, value: impl Into<Value>) -> Self {
        if let Why::Failed(details) = &mut *self.0 {
            details.properties.get_or_insert_default().insert(name.as_ref(), value);
        }
        self
    }

    /// The failure as it is stored.
    #[must_use]
    pub fn details(&self) -> FailureDetails {
        match &*self.0 {
            Why::Failed(details) => details.clone(),
            Why::ContinueAsNew(_) => FailureDetails {
                error_type: "ContinueAsNew".to_owned(),
                error_message: "A request to continue as new was used as a failure; return it from the orchestrator.".to_owned(),
                ..FailureDetails::default()
            },
        }
    }

    /// The failure, or the request to continue as new that it stands for.
    pub(super) fn into_next(self) -> Result<Next, FailureDetails> {
        match *self.0 {
            Why::Failed(details) => Err(details),
            Why::ContinueAsNew(next) => Ok(next),
        }
    }
}

impl From<FailureDetails> for Failure {
    fn from(details: FailureDetails) -> Self {
        Self(Box::new(Why::Failed(details)))
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        from_error(short_type_name::<E>(), &error).into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.details(), f)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Why::Failed(details) => f.debug_tuple("Failure").field(details).finish(),
            Why::ContinueAsNew(next) => f.debug_tuple("ContinueAsNew").field(next).finish(),
        }
    }
}

/// The details of an error. A failed task keeps what is known about it, wherever it is in the chain.
fn from_error(error_type: String, error: &(dyn Error + 'static)) -> FailureDetails {
    if let Some(task) = error.downcast_ref::<TaskFailed>() {
        return task.wrapped();
    }
    let inner = error.source().map(|source| Box::new(from_error("Error".to_owned(), source)));
    let is_non_retriable = inner.as_ref().is_some_and(|inner| inner.is_non_retriable);
    FailureDetails { error_type, error_message: error.to_string(), inner, is_non_retriable, ..FailureDetails::default() }
}

/// `ParseIntError` of `core::num::error::ParseIntError`; but `Error` alone says nothing, so it keeps its path. Generic
/// arguments are dropped.
fn short_type_name<T>() -> String {
    let full = type_name::<T>();
    let path = full.split('<').next().unwrap_or(full);
    path.rsplit("::").next().filter(|name| *name != "Error").unwrap_or(path).to_owned()
}

/// An activity or sub-orchestration failed, for good: after the last attempt of its retry policy.
#[derive(Clone, Debug)]
pub struct TaskFailed(Box<Failed>);

#[derive(Clone, Debug)]
struct Failed {
    name: String,
    id: i32,
    is_sub_orchestration: bool,
    details: FailureDetails,
}

impl TaskFailed {
    pub(super) fn new(name: String, id: i32, is_sub_orchestration: bool, details: FailureDetails) -> Self {
        Self(Box::new(Failed { name, id, is_sub_orchestration, details }))
    }

    /// The name of the activity or orchestrator.
    #[must_use]
    pub fn task_name(&self) -> &str {
        &self.0.name
    }

    /// The id of the task in history; -1 if the call was refused before it became one.
    #[must_use]
    pub fn task_id(&self) -> i32 {
        self.0.id
    }

    /// What went wrong in the task.
    #[must_use]
    pub fn details(&self) -> &FailureDetails {
        &self.0.details
    }

    /// What went wrong in the first place; in a sub-orchestration that may lie deep in [`details`](Self::details).
    #[must_use]
    pub fn root_cause(&self) -> &FailureDetails {
        self.0.details.root_cause()
    }

    /// The failure of an orchestrator that did not handle this one.
    fn wrapped(&self) -> FailureDetails {
        let Failed { name, id, is_sub_orchestration, details } = &*self.0;
        FailureDetails::of_task(name, *id, *is_sub_orchestration, details)
    }
}

/// What went wrong, and behind it the task: `CardDeclined: no money (task "Charge" #1)`.
impl fmt::Display for TaskFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.wrapped(), f)
    }
}

impl Error for TaskFailed {}
