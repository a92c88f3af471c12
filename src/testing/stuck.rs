//! What an instance waits for that does not end.

use std::collections::BTreeMap;

use crate::client::Instance;
use crate::error::Error;
use crate::model::{EventKind, HistoryEvent};

/// The error of a wait that took too long, with what the instance waits for.
pub(super) async fn explained<O>(instance: &Instance<O>, error: Error) -> Error {
    let Ok(history) = instance.history().await else { return error };
    let open = open_tasks(&history);
    let waits = if open.is_empty() { "an event that nobody has raised".to_owned() } else { open.join(", ") };
    Error::new(error.kind(), format!("{error} of virtual time; it waits for {waits}"))
}

/// What history has asked for and got no answer to.
fn open_tasks(history: &[HistoryEvent]) -> Vec<String> {
    let mut open = BTreeMap::new();
    for event in history {
        let id = event.event_id;
        match &event.kind {
            EventKind::TaskScheduled { name, .. } => drop(open.insert(id, format!("the activity \"{name}\" (#{id})"))),
            EventKind::SubOrchestrationCreated { name, instance_id, .. } => {
                open.insert(id, format!("the sub-orchestration \"{name}\" (#{id}, instance \"{instance_id}\")"));
            }
            EventKind::TimerCreated { fire_at } => drop(open.insert(id, format!("a timer until {fire_at} (#{id})"))),
            kind => drop(kind.completes().and_then(|id| open.remove(&id))),
        }
    }
    open.into_values().collect()
}
