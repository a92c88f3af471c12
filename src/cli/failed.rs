//! Why an instance has failed, in words and as JSON: what went wrong, through which tasks it came, and what had caused it.

use taskhub::FailureDetails;

use super::json::over_lines;

/// What went wrong, and a line for each cause behind it. With `full` where it happened stands below each, as far as that is known.
pub(crate) fn in_words(failure: &FailureDetails, full: bool) -> String {
    let told = failure.beyond_tasks();
    let mut blocks = vec![over_lines(&failure.to_string()).into_owned()];
    blocks.extend(stack(told, full));
    let mut causes: Vec<&FailureDetails> = Vec::new();
    let mut cause = told;
    while let Some(inner) = &cause.inner {
        // Some SDKs repeat what is inside as the cause of itself.
        if inner.to_string() != cause.to_string() {
            causes.push(inner);
        }
        cause = inner;
    }
    for cause in causes {
        blocks.push(format!("caused by {cause}"));
        blocks.extend(stack(cause, full));
    }
    // What came of it in the orchestrators that did not handle it, from the inside out.
    let mut around = Vec::new();
    let mut outer = failure;
    while !std::ptr::eq(outer, told) {
        around.push(outer);
        let Some(inner) = &outer.inner else { break };
        outer = inner;
    }
    for outer in around.into_iter().rev().filter(|outer| full && outer.stack_trace.is_some()) {
        blocks.push(format!("thrown again as {}", outer.error_type));
        blocks.extend(stack(outer, full));
    }
    blocks.join("\n")
}

/// Where it happened, indented.
fn stack(failure: &FailureDetails, full: bool) -> Option<String> {
    let stack = failure.stack_trace.as_deref().filter(|stack| full && !stack.trim().is_empty())?;
    Some(stack.lines().map(|line| format!("    {}", line.trim())).collect::<Vec<_>>().join("\n"))
}

/// The line that people read, type, message and stack, and the same of what is behind them.
pub(crate) fn as_json(failure: &FailureDetails) -> serde_json::Value {
    serde_json::json!({
        "summary": failure.to_string(),
        "type": failure.error_type,
        "message": failure.error_message,
        "stack": failure.stack_trace,
        "inner": failure.inner.as_deref().map(as_json),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(error_type: &str, message: &str, stack: Option<&str>, inner: Option<FailureDetails>) -> FailureDetails {
        let mut failure = FailureDetails::default();
        (failure.error_type, failure.error_message) = (error_type.to_owned(), message.to_owned());
        (failure.stack_trace, failure.inner) = (stack.map(str::to_owned), inner.map(Box::new));
        failure
    }

    #[test]
    fn causes_have_a_line_each_and_stacks_stand_below_them_on_request() {
        let reset = failure("IoError", "connection reset", Some("   at Socket.Read()\r\n   at Bank.Call()"), None);
        let declined = failure("Declined", "no answer", Some("at Bank.Charge()"), Some(reset));
        let through = "Task 'Charge' (#1) failed with an unhandled exception: no answer";
        let whole = failure("DurableTask.Core.Exceptions.TaskFailedException", through, Some("at Fulfil()"), Some(declined));
        let short = "Declined: no answer (task \"Charge\" #1)\ncaused by IoError: connection reset";
        assert_eq!(in_words(&whole, false), short);
        let full = "\
Declined: no answer (task \"Charge\" #1)
    at Bank.Charge()
caused by IoError: connection reset
    at Socket.Read()
    at Bank.Call()
thrown again as DurableTask.Core.Exceptions.TaskFailedException
    at Fulfil()";
        assert_eq!(in_words(&whole, true), full);
        let json = as_json(&whole);
        assert_eq!(json["inner"]["inner"]["stack"], "   at Socket.Read()\r\n   at Bank.Call()");
    }

    #[test]
    fn a_cause_that_says_the_same_is_not_said_twice() {
        let same = failure("E", "no", None, Some(failure("E", "no", None, None)));
        assert_eq!(in_words(&same, false), "E: no");
    }
}
