//! Failures that replay itself makes: of code that panics or does what is not durable, and of tasks whose failure .NET stored.

use std::any::Any;

use crate::model::{FailureDetails, text_member};

/// The type of the failure that a panic is.
const PANIC: &str = "Panic";

/// A failure as .NET stores it by default: a reason, and the exception as JSON.
pub(super) fn legacy_failure(reason: Option<&str>, details: Option<&str>) -> FailureDetails {
    let text = |name: &str| details.and_then(|exception| text_member(exception, name));
    let class = text("ClassName").or_else(|| text("$type"));
    let error_type = class.as_deref().and_then(|name| name.split(',').next()).unwrap_or("TaskFailed").to_owned();
    let error_message = reason.map(str::to_owned).or_else(|| text("Message"));
    let error_message = error_message.unwrap_or_else(|| "The task failed without a reason.".to_owned());
    FailureDetails { error_type, error_message, ..FailureDetails::default() }
}

/// The failure of an orchestrator that does what cannot be repeated.
pub(crate) fn not_durable(orchestrator: &str, what: &str) -> FailureDetails {
    let error_message = format!(
        "The orchestrator \"{orchestrator}\" {what}. It can await only what its context gives it, and combinations of that. Likely \
         cause: it awaits something that is not durable, such as a sleep of the runtime, a network call, a lock or a channel; that \
         belongs into an activity."
    );
    FailureDetails { error_type: "NonDurableAwait".to_owned(), error_message, ..FailureDetails::default() }
}

/// The failure that a panic is.
pub(crate) fn panicked(what: &str, name: &str, panic: &(dyn Any + Send)) -> FailureDetails {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let error_message = format!("{what} \"{name}\" panicked: {}", text.unwrap_or("(no message)"));
    FailureDetails { error_type: PANIC.to_owned(), error_message, ..FailureDetails::default() }
}

/// Whether it is the failure of a panic.
pub(crate) fn is_panic(failure: &FailureDetails) -> bool {
    failure.error_type == PANIC
}
