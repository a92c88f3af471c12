//! The error of clients and workers: told by what the caller can do about it.

use std::fmt;

use crate::model::{DecodeError, FailureDetails};
use crate::storage;

/// What went wrong when a client or worker used a task hub: a sentence, with the remedy where there is one.
///
/// `Debug` gives the same sentence, because that is what Rust prints when `main` returns an error, or an `unwrap` fails.
///
/// ```no_run
/// use taskhub::*;
///
/// #[tokio::main]
/// async fn main() -> Result<(), Error> {
///     let hub = TaskHub::open(Storage::connect("UseDevelopmentStorage=true")?, "Orders").await?;
///     println!("{} partitions", hub.partitions());
///     Ok(())
/// }
/// ```
#[derive(Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    /// Its text is part of the message, so it is no source: who prints the chain would print it twice.
    storage: Option<storage::Error>,
    failure: Option<Box<FailureDetails>>,
    /// The kind of an event that only other versions can read.
    unknown_event: Option<Box<str>>,
}

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such instance, hub or row.
    NotFound,
    /// An instance with this id exists and its status does not allow a new start.
    AlreadyExists,
    /// The instance has ended, so that nothing can be sent to it any more.
    Ended,
    /// The instance has not ended, so that it can neither be purged nor restarted under its id.
    Open,
    /// An argument is outside what is allowed; the message names it and the remedy.
    Invalid,
    /// The hub and the settings do not fit together (partition count, lease manager, app lease).
    Mismatch,
    /// Stored data cannot be read; the message names the instance.
    Corrupt,
    /// The wait ended before what was waited for.
    Timeout,
    /// The instance whose result was asked for has failed; [`Error::failure`] tells why.
    Failed,
    /// The instance whose result was asked for was terminated or canceled; the message has the reason.
    Terminated,
    /// Storage refused or failed; [`Error::storage`] tells more.
    Storage,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), storage: None, failure: None, unknown_event: None }
    }

    /// An instance has failed whose result was wanted.
    pub(crate) fn of_failed(instance_id: &str, failure: FailureDetails) -> Self {
        let message = format!("instance \"{instance_id}\" failed: {failure}");
        Self { failure: Some(Box::new(failure)), ..Self::new(ErrorKind::Failed, message) }
    }

    /// Stored data, or a message, that cannot be read.
    pub(crate) fn corrupt(message: impl Into<String>, cause: &DecodeError) -> Self {
        Self { unknown_event: cause.unknown_kind().map(Into::into), ..Self::new(ErrorKind::Corrupt, message) }
    }

    /// The kind of the event that could not be read, if nothing else was wrong with it: another version may know it.
    pub(crate) fn unknown_event(&self) -> Option<&str> {
        self.unknown_event.as_deref()
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Why the instance has failed whose result was asked for, with the failures behind it as its history has them.
    #[must_use]
    pub fn failure(&self) -> Option<&FailureDetails> {
        self.failure.as_deref()
    }

    /// The storage call that failed, if one did.
    #[must_use]
    pub fn storage(&self) -> Option<&storage::Error> {
        self.storage.as_ref()
    }

    /// Whether the same call may succeed later without any change.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        self.storage.as_ref().is_some_and(storage::Error::is_retriable)
    }

    /// Whether the stored data or the request itself is at fault, so that nothing but a repair helps.
    pub(crate) fn is_lasting(&self) -> bool {
        match self.kind {
            ErrorKind::Corrupt | ErrorKind::Invalid => true,
            _ => self.storage.as_ref().is_some_and(|e| e.kind == storage::ErrorKind::Invalid),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<storage::Error> for Error {
    fn from(source: storage::Error) -> Self {
        let kind = if source.kind == storage::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Storage };
        let message = format!("{source:?}");
        Self { storage: Some(source), ..Self::new(kind, message) }
    }
}

/// The result of a client or worker call. Not exported: it would take the place of Rust's own where everything is imported.
pub(crate) type Result<T> = std::result::Result<T, Error>;
