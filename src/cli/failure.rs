//! What a command can end with: an exit code and words that name the remedy.

use std::io;
use std::process::ExitCode;

use serde_json::json;
use taskhub::{Error, ErrorKind, StorageErrorKind};

/// How a command ended.
pub(crate) type Outcome = Result<(), Failure>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Arguments that cannot be meant.
    Usage(String),
    /// It could not be done.
    Failed(String),
    /// Whoever read the output has seen enough.
    Unread,
}

impl Failure {
    /// Says why, as text or as one JSON document, and gives the exit code.
    #[allow(clippy::print_stderr, reason = "this is where the command speaks")]
    pub(crate) fn report(self, as_json: bool) -> ExitCode {
        let (words, kind, code) = match self {
            Self::Usage(words) => (words, "usage", 2),
            Self::Failed(words) => (words, "failed", 1),
            Self::Unread => return ExitCode::SUCCESS,
        };
        if as_json {
            eprintln!("{:#}", json!({ "error": { "kind": kind, "message": words } }));
        } else {
            eprintln!("error: {words}");
        }
        ExitCode::from(code)
    }
}

impl From<clap::Error> for Failure {
    fn from(refused: clap::Error) -> Self {
        let words = refused.render().to_string();
        Self::Usage(words.strip_prefix("error: ").unwrap_or(&words).trim_end().to_owned())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let remedy = match error.storage().map(|e| e.kind) {
            Some(StorageErrorKind::Denied) => "\nThe storage account refused the credentials: check the connection string.",
            Some(StorageErrorKind::Throttled) => "\nThe storage account is busy: try again later.",
            Some(StorageErrorKind::Transient | StorageErrorKind::Unknown) => {
                "\nThe storage account does not answer: check its endpoints in the connection string and the network, and try again."
            }
            _ => "",
        };
        let words = format!("{error}{remedy}");
        if error.kind() == ErrorKind::Invalid { Self::Usage(words) } else { Self::Failed(words) }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Unread } else { Self::Failed(format!("standard output: {error}")) }
    }
}

/// An instance that is not there.
pub(crate) fn no_instance(id: &str) -> Failure {
    Failure::Failed(format!("there is no instance \"{id}\" in this task hub; `taskhub list` shows what there is"))
}
