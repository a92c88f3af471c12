//! What can go wrong with a storage call, told by what the caller can do about it.

use std::fmt;
use std::time::Duration;

/// The result of a storage call.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A failed storage call: which operation, on what, what the service answered.
///
/// `Display` never contains keys, tokens or query strings. `Debug` is the [remedy](Self::remedy), or else the cause, with `Display` in
/// brackets behind it: sentences for whoever runs a program whose `main` returns the error.
#[derive(Clone, thiserror::Error)]
#[error("{}{}{}", self.call(), self.answer(), self.message_suffix())]
#[non_exhaustive]
pub struct Error {
    /// What the caller can do about it.
    pub kind: ErrorKind,
    /// The operation, such as `table.transact`.
    pub operation: &'static str,
    /// The table, queue or blob (with its key where there is one).
    pub target: String,
    /// HTTP status, if the service answered.
    pub status: Option<u16>,
    /// The storage error code, such as `EntityAlreadyExists`, if the service gave one.
    pub code: Option<String>,
    /// Which operation of a transaction failed, if the service said so.
    pub index: Option<usize>,
    /// Further words, of the service or of the transport.
    pub message: String,
    /// How long the service asks to wait before the next try.
    pub retry_after: Option<Duration>,
}

/// What a caller can do about a failed storage call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The table, queue, container, entity, message or blob does not exist.
    NotFound,
    /// It exists already.
    AlreadyExists,
    /// The ETag (or existence condition) did not hold: somebody else wrote.
    Precondition,
    /// A pop receipt is no longer valid: the message was received again, or deleted.
    PopReceipt,
    /// Somebody else holds the lease, or ours is gone.
    Lease,
    /// The service asks to slow down; try again after `retry_after`.
    Throttled,
    /// Nothing was applied and the same call may work later.
    Transient,
    /// **The outcome is unknown**: the call may or may not have taken effect.
    Unknown,
    /// The credentials were refused.
    Denied,
    /// The certificate of the service is not trusted here, or not that of the endpoint's name. Nothing was sent.
    Untrusted,
    /// A value exceeds a limit of the service, or the request is malformed; no retry helps.
    Invalid,
}

/// The operation that is no call.
pub(crate) const CONNECT: &str = "storage.connect";

impl Error {
    pub(crate) fn new(kind: ErrorKind, operation: &'static str, target: impl Into<String>) -> Self {
        Self {
            kind,
            operation,
            target: target.into(),
            status: None,
            code: None,
            index: None,
            message: String::new(),
            retry_after: None,
        }
    }

    pub(crate) fn with_status(mut self, status: u16, code: &str) -> Self {
        self.status = Some(status);
        self.code = Some(code.to_owned()).filter(|c| !c.is_empty());
        self
    }

    pub(crate) fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Whether the same call may succeed later without any change.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self.kind, ErrorKind::Throttled | ErrorKind::Transient | ErrorKind::Unknown)
    }

    /// What whoever runs the program can do about it, as a sentence; `None` if the error alone says all there is.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        // By AuthorizationFailure Azure means its firewall, and Azurite a wrong key.
        let is_right = |code: &str| {
            code.starts_with("Authorization") && code != "AuthorizationFailure" || code == "InsufficientAccountPermissions"
        };
        match self.kind {
            ErrorKind::Denied if self.code.as_deref().is_some_and(is_right) => Some(
                "The account knows the credentials and does not let them do this: give them the right to read, write, create and delete \
                 tables, queues and blobs.",
            ),
            ErrorKind::Denied => Some(
                "The storage account refused the credentials: check the account's name and key, or the shared access signature, in the \
                 connection string, this machine's clock, and whether the account's firewall admits this machine.",
            ),
            ErrorKind::Untrusted => Some(
                "The certificate of the service is not trusted: make this machine trust its issuer, which may be that of a proxy in \
                 between, or correct the endpoint in the connection string, whose host the certificate must name.",
            ),
            ErrorKind::Throttled => Some("The storage account is busy: try again later."),
            ErrorKind::Transient | ErrorKind::Unknown if self.status.is_none() => Some(
                "The storage account does not answer: check its endpoints in the connection string and the network, and try again. Azurite is \
                 started by `npx azurite`.",
            ),
            _ => None,
        }
    }

    /// What has gone wrong, in a sentence.
    fn cause(&self) -> &'static str {
        match self.kind {
            ErrorKind::NotFound if self.lacks_part_of_hub() => {
                "The task hub is not there, or a part of it was deleted: a table, queue or container does not exist."
            }
            ErrorKind::NotFound => "It does not exist.",
            ErrorKind::AlreadyExists => "It exists already.",
            ErrorKind::Precondition => "Somebody else has changed it meanwhile.",
            ErrorKind::PopReceipt => "The message was received again meanwhile, or deleted.",
            ErrorKind::Lease => "Somebody else holds the lease.",
            ErrorKind::Throttled => "The storage account is busy.",
            ErrorKind::Transient | ErrorKind::Unknown => "The storage account failed: try again later.",
            ErrorKind::Denied | ErrorKind::Untrusted | ErrorKind::Invalid => "The storage account does not accept the request.",
        }
    }

    /// Whether it is a table, a queue or a container that does not exist, and not something in it.
    fn lacks_part_of_hub(&self) -> bool {
        self.code.as_deref().is_some_and(|code| matches!(code, "TableNotFound" | "QueueNotFound" | "ContainerNotFound"))
    }

    /// Whether the call may have taken effect although it failed.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        self.kind == ErrorKind::Unknown
    }

    fn call(&self) -> String {
        match self.operation {
            // No call, and nobody has answered.
            CONNECT => format!("{} cannot be used", self.target),
            // Of the account as a whole there is no name.
            operation if self.target.is_empty() => format!("{operation}: {:?}", self.kind),
            operation => format!("{operation} {}: {:?}", self.target, self.kind),
        }
    }

    fn answer(&self) -> String {
        match (self.status, &self.code) {
            (Some(status), Some(code)) => format!(" (HTTP {status} {code})"),
            (Some(status), None) => format!(" (HTTP {status})"),
            (None, Some(code)) => format!(" ({code})"),
            (None, None) => String::new(),
        }
    }

    fn message_suffix(&self) -> String {
        let index = self.index.map(|i| format!(" at operation {i}")).unwrap_or_default();
        if self.message.is_empty() { index } else { format!("{index}: {}", self.message) }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.operation, self.remedy()) {
            (CONNECT, None) => write!(f, "{self}"),
            (CONNECT, Some(remedy)) => write!(f, "{self}. {remedy}"),
            (_, remedy) => write!(f, "{} ({self})", remedy.unwrap_or(self.cause())),
        }
    }
}

/// Turns "it is not there" into `None`.
pub(crate) trait OrNone<T> {
    fn or_none(self) -> Result<Option<T>>;

    /// The same for what is in a table, a queue or a container. That there is no such table, queue or container stays an error.
    fn or_none_in_it(self) -> Result<Option<T>>;
}

impl<T> OrNone<T> for Result<T> {
    fn or_none(self) -> Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn or_none_in_it(self) -> Result<Option<T>> {
        match self {
            Err(error) if error.lacks_part_of_hub() => Err(error),
            other => other.or_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_can_mend_comes_with_the_remedy_and_nothing_else_does() {
        let error = |kind| Error::new(kind, "table.get", "Test");
        let said = |error: Error| error.remedy().unwrap_or_default();
        for code in ["AuthenticationFailed", "AuthorizationFailure", ""] {
            assert!(said(error(ErrorKind::Denied).with_status(403, code)).contains("name and key"), "{code}");
        }
        assert!(said(error(ErrorKind::Denied).with_status(403, "AuthorizationPermissionMismatch")).contains("right to read"));
        assert!(said(error(ErrorKind::Untrusted)).contains("certificate"));
        assert!(said(error(ErrorKind::Throttled).with_status(503, "ServerBusy")).contains("later"));
        for kind in [ErrorKind::Transient, ErrorKind::Unknown] {
            assert!(said(error(kind)).contains("does not answer"));
            assert_eq!(said(error(kind).with_status(500, "InternalError")), "");
        }
        for kind in [ErrorKind::NotFound, ErrorKind::Precondition, ErrorKind::Invalid, ErrorKind::Lease, ErrorKind::PopReceipt] {
            assert_eq!(said(error(kind)), "");
        }
        assert!(!error(ErrorKind::Untrusted).is_retriable());
        let shown = format!("{:?}", error(ErrorKind::Throttled).with_status(503, "ServerBusy"));
        assert_eq!(shown, "The storage account is busy: try again later. (table.get Test: Throttled (HTTP 503 ServerBusy))");
        let failed = format!("{:?}", error(ErrorKind::Transient).with_status(500, "InternalError"));
        assert_eq!(failed, "The storage account failed: try again later. (table.get Test: Transient (HTTP 500 InternalError))");
        let of_account = Error::new(ErrorKind::Throttled, "table.list", "").to_string();
        assert_eq!(of_account, "table.list: Throttled");
        let connection = Error::new(ErrorKind::Invalid, CONNECT, "the connection string").with_message("it is empty");
        assert_eq!(format!("{connection:?}"), "the connection string cannot be used: it is empty");
        let deleted = format!("{:?}", error(ErrorKind::NotFound).with_status(404, "TableNotFound"));
        assert!(deleted.starts_with("The task hub is not there"), "{deleted}");
        // Told once, however often it is wrapped.
        let wrapped = crate::error::Error::from(error(ErrorKind::Throttled).with_status(503, "ServerBusy"));
        assert_eq!((format!("{wrapped:?}"), wrapped.to_string()), (shown.clone(), shown));
    }
}
