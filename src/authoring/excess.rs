//! Decisions and results that storage could not take, or not give back, or that have no name: a failure that names the thing takes their place.

use crate::bounds::{self, why_empty, why_no_name, why_no_tags, why_too_large};
use crate::ids::shortened;
use crate::model::{FailureDetails, Tags};
use crate::replay::ActionKind;

/// The failure of a decision that cannot be sent as it is. A child has the tags of its parent beside its own.
pub(super) fn of_decision(kind: &ActionKind, inherited: Option<&Tags>) -> Option<FailureDetails> {
    let why = match kind {
        ActionKind::Activity { name, version, input, tags, .. } => {
            let texts = [Some(name), input.as_ref()].into_iter().flatten().map(String::as_str);
            why_empty("its name", name)
                .or_else(|| why_no_version(version.as_deref()))
                .or_else(|| why_no_tags("the call", tags.as_ref()?))
                .or_else(|| why_too_large("the input", texts))
        }
        ActionKind::SubOrchestration { name, version, input, tags, .. } => why_no_name("its name", name)
            .or_else(|| why_no_version(version.as_deref()))
            .or_else(|| why_no_tags("the call, with those of the caller,", &merged(inherited, tags.as_ref()?)))
            .or_else(|| why_too_large("the input", input.as_deref())),
        ActionKind::SendEvent { name, input, .. } => why_empty("its name", name)
            .or_else(|| why_too_large("the payload, with the name,", [name.as_str(), input.as_deref().unwrap_or_default()])),
        ActionKind::Timer { .. } => None,
    }?;
    let (what, name, fate) = match kind {
        ActionKind::Activity { name, .. } => ("activity", name, "called"),
        ActionKind::SubOrchestration { name, .. } => ("orchestrator", name, "called"),
        ActionKind::SendEvent { name, .. } => ("event", name, "sent"),
        ActionKind::Timer { .. } => return None,
    };
    let error_type = if name.is_empty() { "NoName" } else { "TooLarge" };
    Some(failure(error_type, format!("The {what} \"{}\" cannot be {fate}: {why}.", shortened(name))))
}

fn why_no_version(version: Option<&str>) -> Option<String> {
    version.and_then(|version| bounds::why_no_version("the version", version))
}

fn merged(inherited: Option<&Tags>, own: &Tags) -> Tags {
    inherited.into_iter().flatten().chain(own).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A result or input as it is, unless it could not be read back.
pub(super) fn checked(what: &str, json: Option<String>) -> Result<Option<String>, FailureDetails> {
    match why_too_large(what, json.as_deref()) {
        None => Ok(json),
        Some(why) => Err(failure("TooLarge", format!("{why}."))),
    }
}

/// A version as it is, unless it is too long.
pub(super) fn checked_version(version: Option<String>) -> Result<Option<String>, FailureDetails> {
    match version.as_deref().and_then(|version| bounds::why_no_version("The version of the next generation", version)) {
        None => Ok(version),
        Some(why) => Err(failure("TooLarge", format!("{why}."))),
    }
}

/// A failure as it is, unless it could not be read back.
pub(super) fn checked_failure(what: &str, details: FailureDetails) -> FailureDetails {
    let inner = std::iter::successors(Some(&details), |outer| outer.inner.as_deref());
    let texts: Vec<&str> = inner.flat_map(|failure| [failure.error_type.as_str(), failure.error_message.as_str()]).collect();
    match why_too_large(&format!("The failure of {what}"), texts) {
        None => details,
        Some(why) => failure("TooLarge", format!("{why}.")),
    }
}

fn failure(error_type: &str, error_message: String) -> FailureDetails {
    FailureDetails { error_type: error_type.to_owned(), error_message, is_non_retriable: true, ..FailureDetails::default() }
}
