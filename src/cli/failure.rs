//! What a command can end with: an exit code and words that name the remedy.

use std::io;
use std::process::ExitCode;

use serde_json::json;
use taskhub::{Awaited, Client, Error, ErrorKind, StorageErrorKind};

use super::{awaited, text};

/// How a command ended.
pub(crate) type Outcome = Result<(), Failure>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A kind for scripts, words for people, and code that is waited for.
    Told(Kind, String, Option<Box<Awaited>>),
    /// Whoever read the output has seen enough.
    Unread,
}

/// What a script can tell apart: by the exit code, and by the name in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Error = 1,
    Invalid = 2,
    NotFound = 3,
    Exists = 4,
    Ended = 5,
    Failed = 6,
    Timeout = 7,
    Denied = 8,
    Unreachable = 9,
    Busy = 10,
    Mismatch = 11,
    Corrupt = 12,
    Untrusted = 13,
}

impl Kind {
    /// Every kind, its name in JSON, and what it means.
    pub(crate) const ALL: [(Self, &str, &str); 13] = [
        (Self::Error, "error", "anything that has no code of its own"),
        (Self::Invalid, "invalid", "an argument, or the connection string"),
        (Self::NotFound, "notFound", "no such hub, instance or message"),
        (Self::Exists, "exists", "an instance with this id is there and has not ended, or workers of the hub run"),
        (Self::Ended, "ended", "the instance has ended, so nothing was sent"),
        (Self::Failed, "failed", "the instance that was waited for ended, but did not complete"),
        (Self::Timeout, "timeout", "what was waited for did not come in time"),
        (Self::Denied, "denied", "the storage account refused the credentials"),
        (Self::Unreachable, "unreachable", "the storage account did not answer"),
        (Self::Busy, "busy", "the storage account asks to come later"),
        (Self::Mismatch, "mismatch", "the hub is run with other settings"),
        (Self::Corrupt, "corrupt", "stored data cannot be read"),
        (Self::Untrusted, "untrusted", "the certificate of the storage account is not trusted here"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(kind, ..)| *kind == self).map_or("error", |(_, name, _)| name)
    }

    pub(crate) fn of(error: &Error) -> Self {
        match (error.kind(), error.storage().map(|storage| storage.kind)) {
            (ErrorKind::NotFound, _) => Self::NotFound,
            (ErrorKind::AlreadyExists | ErrorKind::Open, _) => Self::Exists,
            (ErrorKind::Ended, _) => Self::Ended,
            (ErrorKind::Failed | ErrorKind::Terminated, _) => Self::Failed,
            (ErrorKind::Invalid, _) => Self::Invalid,
            (ErrorKind::Mismatch, _) => Self::Mismatch,
            (ErrorKind::Corrupt, _) => Self::Corrupt,
            (ErrorKind::Timeout, _) => Self::Timeout,
            (_, Some(StorageErrorKind::Denied)) => Self::Denied,
            (_, Some(StorageErrorKind::Untrusted)) => Self::Untrusted,
            (_, Some(StorageErrorKind::Throttled)) => Self::Busy,
            (_, Some(StorageErrorKind::Transient | StorageErrorKind::Unknown)) => Self::Unreachable,
            _ => Self::Error,
        }
    }
}

impl Failure {
    pub(crate) fn new(kind: Kind, words: impl Into<String>) -> Self {
        Self::Told(kind, words.into(), None)
    }

    /// A failure because of code that no worker has.
    pub(crate) fn for_want_of(awaited: Awaited, kind: Kind, words: &str) -> Self {
        let words = format!("{words}; it waits for {}", awaited::with_remedy(&awaited));
        Self::Told(kind, words, Some(Box::new(awaited)))
    }

    /// Says why, as text or as one JSON document, and gives the exit code.
    #[allow(clippy::print_stderr, reason = "this is where the command speaks")]
    pub(crate) fn report(self, as_json: bool) -> ExitCode {
        let Self::Told(kind, words, awaited) = self else { return ExitCode::SUCCESS };
        if as_json {
            let mut error = json!({ "kind": kind.name(), "message": words });
            if let Some(awaited) = awaited {
                error["awaits"] = json!(awaited);
            }
            eprintln!("{}", text::json(&format!("{:#}", json!({ "error": error }))));
        } else {
            eprintln!("error: {}", text::block(&words));
        }
        ExitCode::from(kind as u8)
    }
}

impl From<clap::Error> for Failure {
    fn from(refused: clap::Error) -> Self {
        let words = refused.render().to_string();
        Self::new(Kind::Invalid, words.strip_prefix("error: ").unwrap_or(&words).trim_end())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(Kind::of(&error), error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::new(Kind::Error, format!("standard output: {error}")),
        }
    }
}

/// An instance that is not there.
pub(crate) fn no_instance(client: &Client, id: &str) -> Failure {
    let hub = client.hub_name();
    let words = format!(
        "there is no instance \"{id}\" in task hub \"{hub}\"; `taskhub list` shows its instances, and --hub names another hub"
    );
    Failure::new(Kind::NotFound, words)
}

/// Why something could not be done with an instance.
pub(crate) fn of_instance(client: &Client, id: &str, error: Error) -> Failure {
    match (error.kind(), error.storage()) {
        (ErrorKind::NotFound, None) => no_instance(client, id),
        _ => error.into(),
    }
}
