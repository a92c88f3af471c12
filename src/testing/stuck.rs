//! What an instance waits for that does not end.

use crate::client::{Instance, Unanswered};
use crate::error::Error;

/// The error of a wait that took too long, with what the instance waits for.
pub(super) async fn explained<O>(instance: &Instance<O>, error: Error) -> Error {
    let Ok(history) = instance.history().await else { return error };
    let open: Vec<_> = Unanswered::in_history(&history).iter().map(ToString::to_string).collect();
    let waits = if open.is_empty() { "an event that nobody has raised".to_owned() } else { open.join(", ") };
    Error::new(error.kind(), format!("{error} of virtual time; it waits for {waits}"))
}
