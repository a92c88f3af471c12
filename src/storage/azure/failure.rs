//! A failed exchange: told once, where status, headers and body are at hand, and carried through the crates unchanged.

use std::error::Error as _;
use std::fmt::Write as _;
use std::time::Duration;

use azure_core::headers::{HeaderName, Headers};

use super::xml;
use crate::storage::error::{Error, ErrorKind};

/// Longest message that is kept of the service's or the transport's words, in characters.
const MESSAGE_MAX: usize = 300;

/// What went wrong with an exchange. The crates wrap it; [`describe`] finds it again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind:?}: {message}")]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) status: Option<u16>,
    pub(super) code: Option<String>,
    pub(super) index: Option<usize>,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
}

/// Whether a request only reads, and so has no outcome that could be unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Reads,
    Writes,
}

impl Effect {
    pub(super) fn unknown(self) -> ErrorKind {
        match self {
            Self::Reads => ErrorKind::Transient,
            Self::Writes => ErrorKind::Unknown,
        }
    }
}

impl Failure {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, status: None, code: None, index: None, message: message.into(), retry_after: None }
    }

    /// The service answered with a status that is no success.
    pub(super) fn answered(effect: Effect, status: u16, headers: &Headers, body: &[u8]) -> Self {
        let header = headers.get_optional_str(&HeaderName::from_static("x-ms-error-code")).map(str::to_owned);
        let (code, message) = words_of(body);
        let code = header.or(code);
        let kind = classify(effect, status, code.as_deref().unwrap_or_default());
        // A refused signature is explained with the text that was signed, which belongs into no log.
        let message = if kind == ErrorKind::Denied { String::new() } else { first_line(&message.unwrap_or_default()) };
        Self { kind, status: Some(status), code, index: None, message, retry_after: retry_after(headers) }
    }

    /// The exchange broke before there was an answer.
    pub(super) fn broke(effect: Effect, error: reqwest::Error) -> Self {
        let (is_builder, is_connect) = (error.is_builder(), error.is_connect());
        // The URL may carry a signature.
        let error = error.without_url();
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            let _ = write!(message, ": {inner}");
            source = inner.source();
        }
        let kind = match () {
            () if is_builder => ErrorKind::Invalid,
            // The layers in between keep only the words of the one that knows.
            () if is_connect && message.contains("certificate") => ErrorKind::Untrusted,
            () if is_connect => ErrorKind::Transient,
            () => effect.unknown(),
        };
        Self::new(kind, first_line(&message))
    }

    pub(super) fn into_azure(self) -> azure_core::Error {
        azure_core::Error::new(azure_core::error::ErrorKind::Other, self)
    }

    pub(super) fn into_error(self, operation: &'static str, target: String) -> Error {
        Error {
            kind: self.kind,
            operation,
            target,
            status: self.status,
            code: self.code,
            index: self.index,
            message: self.message,
            retry_after: self.retry_after,
        }
    }
}

/// What an error of the crates means to us: our own failure inside it, or a success that they could not read.
pub(super) fn describe(effect: Effect, error: &azure_core::Error, operation: &'static str, target: &str) -> Error {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(failure) = inner.downcast_ref::<Failure>() {
            return failure.clone().into_error(operation, target.to_owned());
        }
        source = inner.source();
    }
    let kind = match error.kind() {
        azure_core::error::ErrorKind::Credential => ErrorKind::Denied,
        _ => effect.unknown(),
    };
    Error::new(kind, operation, target).with_message(format!("the answer could not be read ({})", error.kind()))
}

/// The kind of a failed answer.
pub(super) fn classify(effect: Effect, status: u16, code: &str) -> ErrorKind {
    if code == "OperationTimedOut" {
        return effect.unknown();
    }
    match status {
        400 if code == "PopReceiptMismatch" => ErrorKind::PopReceipt,
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        409 | 412 if code.starts_with("Lease") => ErrorKind::Lease,
        409 if code.ends_with("BeingDeleted") => ErrorKind::Transient,
        409 if code.ends_with("AlreadyExists") => ErrorKind::AlreadyExists,
        304 | 412 => ErrorKind::Precondition,
        429 | 503 => ErrorKind::Throttled,
        408 | 500..=599 => effect.unknown(),
        _ => ErrorKind::Invalid,
    }
}

/// Code and message of an error body: the table service's JSON, or XML of any service.
fn words_of(body: &[u8]) -> (Option<String>, Option<String>) {
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) {
        let error = json.get("odata.error").or_else(|| json.get("error")).unwrap_or(&json);
        let message = error.get("message");
        let message = message.and_then(|m| m.as_str().or_else(|| m.get("value").and_then(serde_json::Value::as_str)));
        return (error.get("code").and_then(serde_json::Value::as_str).map(str::to_owned), message.map(str::to_owned));
    }
    let Some(root) = xml::parse(body) else { return (None, None) };
    (root.text_of("Code").map(str::to_owned), root.text_of("Message").map(str::to_owned))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(MESSAGE_MAX).collect()
}

fn retry_after(headers: &Headers) -> Option<Duration> {
    let number = |name| headers.get_optional_str(&HeaderName::from_static(name)).and_then(|text| text.trim().parse::<u64>().ok());
    number("x-ms-retry-after-ms").map(Duration::from_millis).or_else(|| number("retry-after").map(Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_and_code_tell_what_can_be_done() {
        let check = |status, code, kind| assert_eq!(classify(Effect::Writes, status, code), kind, "{status} {code}");
        check(409, "EntityAlreadyExists", ErrorKind::AlreadyExists);
        check(409, "TableBeingDeleted", ErrorKind::Transient);
        check(409, "ContainerBeingDeleted", ErrorKind::Transient);
        check(409, "LeaseAlreadyPresent", ErrorKind::Lease);
        check(412, "LeaseIdMissing", ErrorKind::Lease);
        check(412, "UpdateConditionNotSatisfied", ErrorKind::Precondition);
        check(304, "", ErrorKind::Precondition);
        check(400, "PopReceiptMismatch", ErrorKind::PopReceipt);
        check(404, "MessageNotFound", ErrorKind::NotFound);
        check(403, "AuthenticationFailed", ErrorKind::Denied);
        check(413, "RequestBodyTooLarge", ErrorKind::Invalid);
        check(503, "ServerBusy", ErrorKind::Throttled);
        check(429, "", ErrorKind::Throttled);
        check(503, "OperationTimedOut", ErrorKind::Unknown);
        check(500, "InternalError", ErrorKind::Unknown);
        check(504, "", ErrorKind::Unknown);
        assert_eq!(classify(Effect::Reads, 500, "InternalError"), ErrorKind::Transient);
    }

    #[test]
    fn the_code_is_found_in_every_form_of_body() {
        let check = |body: &str, code: &str, message: &str| {
            let failure = Failure::answered(Effect::Reads, 404, &Headers::new(), body.as_bytes());
            assert_eq!((failure.code.as_deref(), failure.message.as_str()), (Some(code), message), "{body}");
        };
        check(
            r#"{"odata.error":{"code":"TableNotFound","message":{"lang":"en-US","value":"None.\nTime:1"}}}"#,
            "TableNotFound",
            "None.",
        );
        check(r#"{"error":{"code":"X","message":"y"}}"#, "X", "y");
        check(
            "<?xml version=\"1.0\"?><Error><Code>QueueNotFound</Code><Message>No.\nTime</Message></Error>",
            "QueueNotFound",
            "No.",
        );
        check("\u{feff}<m:error xmlns:m=\"a\"><m:code>A</m:code><m:message>b</m:message></m:error>", "A", "b");
    }

    #[test]
    fn a_refusal_keeps_no_word_of_the_signed_text() {
        let body = b"<Error><Code>AuthenticationFailed</Code><Message>signed 'GET secret'</Message></Error>";
        let failure = Failure::answered(Effect::Reads, 403, &Headers::new(), body);
        assert!(!failure.to_string().contains("secret"));
    }

    #[test]
    fn the_wait_is_read_in_both_units() {
        let check = |name: &'static str, wait| {
            let mut headers = Headers::new();
            headers.insert(name, "3");
            assert_eq!(Failure::answered(Effect::Reads, 503, &headers, b"").retry_after, Some(wait));
        };
        check("retry-after", Duration::from_secs(3));
        check("x-ms-retry-after-ms", Duration::from_millis(3));
    }
}
