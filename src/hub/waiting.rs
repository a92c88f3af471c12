//! Since when a message waits to be received, as far as its text tells: a peek does not say when it became visible.

use super::codec::{self, Incoming};
use crate::model::{EventKind, Timestamp};
use crate::storage::queue::QueueMessage;

/// When the message was put, or later: when its timer was due, or its start was scheduled for. One that was given back with a
/// delay has waited since before.
pub(super) fn waits_since(message: &QueueMessage) -> Timestamp {
    let due = match codec::decode(&message.text) {
        Ok(Incoming::Message(decoded)) => due(&decoded.event.kind),
        _ => None,
    };
    due.map_or(message.inserted_on, |due| due.max(message.inserted_on))
}

/// When an event is to be looked at that was put before its time.
pub(super) fn due(event: &EventKind) -> Option<Timestamp> {
    match event {
        EventKind::TimerFired { fire_at, .. } => Some(*fire_at),
        EventKind::ExecutionStarted(start) => start.scheduled_start,
        _ => None,
    }
}
