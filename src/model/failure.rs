//! Failure details as .NET stores them, and how they read to people.

use std::fmt;

use super::Properties;

/// What went wrong in an activity or orchestration: .NET's `FailureDetails` (docs/storage-layout.md, Events).
///
/// Its text begins with what went wrong itself, and the tasks that it came through stand behind it, however deep .NET's form buries it:
///
/// ```
/// use taskhub::FailureDetails;
///
/// let mut declined = FailureDetails::default();
/// (declined.error_type, declined.error_message) = ("CardDeclined".into(), "no money".into());
/// let mut failure = FailureDetails::default();
/// failure.error_type = "DurableTask.Core.Exceptions.TaskFailedException".into();
/// failure.error_message = "Task 'Charge' (#1) failed with an unhandled exception: no money".into();
/// failure.inner = Some(Box::new(declined.clone()));
/// assert_eq!(failure.to_string(), "CardDeclined: no money (task \"Charge\" #1)");
/// assert_eq!(failure.root_cause(), &declined);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
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

/// The types under which a failed task fails the orchestrator that did not handle it.
const TASK_FAILED: &str = "DurableTask.Core.Exceptions.TaskFailedException";
const SUB_ORCHESTRATION_FAILED: &str = "DurableTask.Core.Exceptions.SubOrchestrationFailedException";

/// A task that a failure came through.
struct Through<'a> {
    kind: &'static str,
    name: &'a str,
    id: &'a str,
    /// The message of what failed in it.
    message: &'a str,
}

impl FailureDetails {
    /// The failure of a task as that of the orchestrator that did not handle it, as .NET writes it.
    pub(crate) fn of_task(name: &str, id: i32, is_sub_orchestration: bool, cause: &Self) -> Self {
        Self {
            error_type: if is_sub_orchestration { SUB_ORCHESTRATION_FAILED } else { TASK_FAILED }.to_owned(),
            error_message: format!("Task '{name}' (#{id}) failed with an unhandled exception: {}", cause.error_message),
            is_non_retriable: cause.is_non_retriable,
            inner: Some(Box::new(cause.clone())),
            ..Self::default()
        }
    }

    /// The innermost failure: what went wrong in the first place. It is the failure itself if nothing else caused it.
    #[must_use]
    pub fn root_cause(&self) -> &Self {
        let mut cause = self;
        while let Some(inner) = &cause.inner {
            cause = inner;
        }
        cause
    }

    /// What its text begins with: what failed in the innermost of the tasks that it came through.
    #[must_use]
    pub fn beyond_tasks(&self) -> &Self {
        let mut cause = self;
        while let (Some(_), Some(inner)) = (cause.through(), &cause.inner) {
            cause = inner;
        }
        cause
    }

    /// The column Output of a failed instance: `{type}: {message}`, as .NET writes it.
    pub(crate) fn to_column(&self) -> String {
        format!("{}: {}", self.error_type, self.error_message)
    }

    /// What a column Output tells of the failure.
    pub(crate) fn from_column(text: &str) -> Self {
        let (error_type, error_message) = match text.split_once(": ") {
            Some((name, message)) if !name.is_empty() && !name.contains(char::is_whitespace) => (name, message),
            _ => ("", text),
        };
        Self { error_type: error_type.to_owned(), error_message: error_message.to_owned(), ..Self::default() }
    }

    /// The task that failed, if this is the failure of an orchestrator that did not handle it.
    fn through(&self) -> Option<Through<'_>> {
        let kind = match self.error_type.as_str() {
            TASK_FAILED => "task",
            SUB_ORCHESTRATION_FAILED => "sub-orchestration",
            _ => return None,
        };
        Through::of_message(kind, &self.error_message)
    }
}

impl<'a> Through<'a> {
    fn of_message(kind: &'static str, message: &'a str) -> Option<Self> {
        let (name, rest) = message.strip_prefix("Task '")?.split_once("' (#")?;
        let (id, message) = rest.split_once(") failed with an unhandled exception: ")?;
        Some(Self { kind, name, id, message })
    }
}

impl fmt::Display for FailureDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut cause, mut tasks) = (Some(self), Vec::new());
        while let Some(task) = cause.and_then(Self::through) {
            tasks.push(task);
            cause = cause.and_then(|cause| cause.inner.as_deref());
        }
        if cause.is_none() {
            // The row of an instance has no more than the message.
            while let Some(task) = tasks.last().and_then(|task| Through::of_message("task", task.message)) {
                tasks.push(task);
            }
        }
        match cause {
            Some(Self { error_type, error_message, .. }) if error_type.is_empty() => f.write_str(error_message)?,
            Some(Self { error_type, error_message, .. }) => write!(f, "{error_type}: {error_message}")?,
            None => f.write_str(tasks.last().map_or("", |task| task.message))?,
        }
        for (place, Through { kind, name, id, .. }) in tasks.iter().rev().enumerate() {
            let before = if place == 0 { " (" } else { " of " };
            write!(f, "{before}{kind} \"{name}\"")?;
            // A call that was refused has no id.
            if !id.starts_with('-') {
                write!(f, " #{id}")?;
            }
        }
        f.write_str(if tasks.is_empty() { "" } else { ")" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declined() -> FailureDetails {
        FailureDetails {
            error_type: "CardDeclined".to_owned(),
            error_message: "no money".to_owned(),
            ..FailureDetails::default()
        }
    }

    #[test]
    fn the_cause_comes_first_and_the_tasks_that_it_came_through_behind_it() {
        let charged = FailureDetails::of_task("Charge", 1, false, &declined());
        let paid = FailureDetails::of_task("Pay (#2)", 0, true, &charged);
        assert_eq!(declined().to_string(), "CardDeclined: no money");
        assert_eq!(paid.to_string(), "CardDeclined: no money (task \"Charge\" #1 of sub-orchestration \"Pay (#2)\" #0)");
        assert_eq!(paid.root_cause(), &declined());
        assert_eq!(
            FailureDetails::of_task("Charge", -1, false, &declined()).to_string(),
            "CardDeclined: no money (task \"Charge\")"
        );
    }

    #[test]
    fn columns_are_those_of_dotnet_and_read_back_without_its_wrapping() {
        let charged = FailureDetails::of_task("Charge", 1, false, &declined());
        let column = charged.to_column();
        assert_eq!(
            column,
            "DurableTask.Core.Exceptions.TaskFailedException: Task 'Charge' (#1) failed with an unhandled exception: no money"
        );
        assert_eq!(FailureDetails::from_column(&column).to_string(), "no money (task \"Charge\" #1)");
        let paid = FailureDetails::of_task("Pay", 0, true, &charged).to_column();
        let shown = "no money (task \"Charge\" #1 of sub-orchestration \"Pay\" #0)";
        assert_eq!(FailureDetails::from_column(&paid).to_string(), shown);
        for (text, error_type) in [("A.B: c", "A.B"), ("no type: here", ""), (": x", ""), ("", ""), ("x", "")] {
            let failure = FailureDetails::from_column(text);
            assert_eq!((failure.error_type.as_str(), failure.to_string().as_str()), (error_type, text));
        }
    }
}
