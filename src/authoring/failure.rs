//! Failures: what user code returns, and what it gets from a task that failed.

use std::any::type_name;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::model::FailureDetails;
use crate::replay::TaskName;

/// Why an activity or orchestrator failed.
///
/// Any error becomes one by `?`, as do `Box<dyn Error + Send + Sync>`, `anyhow::Error`, and texts: its message is kept and its sources
/// become inner failures. The error type, which callers in any language can test, is then the short name of the Rust type;
/// [`Failure::new`] and [`Failure::of`] set one that survives the renaming of types.
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
pub struct Failure(Box<FailureDetails>);

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

    /// No retry policy tries again after this failure.
    #[must_use]
    pub fn non_retriable(mut self) -> Self {
        self.0.is_non_retriable = true;
        self
    }

    /// Puts another failure behind this one as its cause.
    #[must_use]
    pub fn caused_by(mut self, cause: Self) -> Self {
        self.0.inner = Some(cause.0);
        self
    }

    /// Adds a value that callers can read.
    #[must_use]
    pub fn property(mut self, name: impl AsRef<str>, value: impl Into<Value>) -> Self {
        self.0.properties.get_or_insert_default().insert(name.as_ref(), value);
        self
    }

    /// The failure as it is stored.
    #[must_use]
    pub fn details(&self) -> &FailureDetails {
        &self.0
    }

    /// What went wrong in the first place, behind the tasks and errors that it came through.
    #[must_use]
    pub fn root_cause(&self) -> &FailureDetails {
        self.0.root_cause()
    }

    pub(super) fn into_details(self) -> FailureDetails {
        *self.0
    }
}

impl From<FailureDetails> for Failure {
    fn from(details: FailureDetails) -> Self {
        Self(Box::new(details))
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error: Box<dyn Error + Send + Sync> = error.into();
        from_error(short_type_name::<E>(), &*error).into()
    }
}

/// What went wrong in the first place, and behind it the tasks that it came through.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Failure").field(&self.0).finish()
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
/// arguments are dropped. What any error can be in, and texts, are an `Error`.
fn short_type_name<T>() -> String {
    let full = type_name::<T>();
    if full.contains("dyn ") || ["&str", type_name::<String>()].contains(&full) {
        return "Error".to_owned();
    }
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
    is_timeout: bool,
    details: FailureDetails,
}

impl TaskFailed {
    pub(super) fn new(end: TaskName, details: FailureDetails) -> Self {
        let TaskName { name, id, is_sub_orchestration } = end;
        Self(Box::new(Failed { name, id, is_sub_orchestration, is_timeout: false, details }))
    }

    /// Nothing came of the task in time.
    pub(super) fn timed_out(task: TaskName, limit: Duration) -> Self {
        let (error_type, error_message) = ("TaskTimedOut".to_owned(), format!("no result came within {limit:?}"));
        let mut failed = Self::new(task, FailureDetails { error_type, error_message, ..FailureDetails::default() });
        failed.0.is_timeout = true;
        failed
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

    /// Whether the task has not failed, but its result did not come [in time](crate::Call::within). The task goes on.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.0.is_timeout
    }

    /// What went wrong in the first place; in a sub-orchestration that may lie deep in [`details`](Self::details).
    #[must_use]
    pub fn root_cause(&self) -> &FailureDetails {
        self.0.details.root_cause()
    }

    /// The failure of an orchestrator that did not handle this one.
    fn wrapped(&self) -> FailureDetails {
        let Failed { name, id, is_sub_orchestration, details, .. } = &*self.0;
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

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn error_of<E>(result: Result<(), E>) -> FailureDetails
    where
        Failure: From<E>,
    {
        fn question_mark<E>(result: Result<(), E>) -> Result<(), Failure>
        where
            Failure: From<E>,
        {
            Ok(result?)
        }
        question_mark(result).unwrap_err().into_details()
    }

    #[test]
    fn every_kind_of_error_becomes_a_failure_with_its_message_and_its_sources() {
        let number = || "x".parse::<u8>().map(drop);
        let of_type = |details: &FailureDetails| (details.error_type.clone(), details.error_message.clone());
        let plain = error_of(number());
        assert_eq!(of_type(&plain), ("ParseIntError".to_owned(), "invalid digit found in string".to_owned()));
        let boxed: Result<(), Box<dyn Error + Send + Sync>> = number().map_err(Into::into);
        assert_eq!(of_type(&error_of(boxed)), ("Error".to_owned(), plain.error_message.clone()));
        assert_eq!(of_type(&error_of(Err("no"))), ("Error".to_owned(), "no".to_owned()));
        assert_eq!(of_type(&error_of(Err("no".to_owned()))), ("Error".to_owned(), "no".to_owned()));

        let any = error_of(number().context("while reading the port").context("while starting"));
        assert_eq!(of_type(&any), ("anyhow::Error".to_owned(), "while starting".to_owned()));
        assert_eq!(any.root_cause().error_message, plain.error_message);
        assert_eq!(any.to_string(), "anyhow::Error: while starting");
    }

    #[test]
    fn a_task_that_failed_keeps_what_is_known_about_it_in_whatever_box_it_comes() {
        let details =
            FailureDetails { error_type: "CardDeclined".to_owned(), error_message: "no money".to_owned(), ..Default::default() };
        let task = TaskName { name: "Charge".to_owned(), id: 1, is_sub_orchestration: false };
        let failed = TaskFailed::new(task, details);
        assert_eq!(failed.to_string(), "CardDeclined: no money (task \"Charge\" #1)");
        let boxed: Box<dyn Error + Send + Sync> = failed.clone().into();
        let expected = FailureDetails::of_task("Charge", 1, false, failed.details());
        assert_eq!(error_of(Err(failed.clone())), expected);
        assert_eq!(error_of(Err(boxed)), expected);
        // In a chain of anyhow it is the cause behind the words that were put before it.
        let any = error_of(Err(failed).context("while paying"));
        assert_eq!((any.error_message.as_str(), any.root_cause().error_type.as_str()), ("while paying", "CardDeclined"));
    }
}
