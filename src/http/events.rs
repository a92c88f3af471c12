//! Histories as the API shows them: in the form of Durable Functions, which merges what was asked for into its answer, and in full.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::{RawValue, to_raw_value};

use super::shown::Payload;
use crate::model::{EventKind, HistoryEvent};

/// An event as an object of JSON, whose members are in their order.
#[derive(Debug, Default)]
pub(super) struct Event(Vec<(String, Box<RawValue>)>);

/// How much of a history is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct With {
    pub(super) inputs: bool,
    pub(super) results: bool,
}

/// What Durable Functions leaves out of every event, and of those that it reshapes.
const LEFT_OUT: [&str; 4] = ["EventId", "IsPlayed", "TaskScheduledId", "TimerId"];
const LEFT_OUT_OF_STARTS: [&str; 5] = ["OrchestrationInstance", "ParentInstance", "Version", "Tags", "Level"];

/// The history in the form of Durable Functions.
pub(super) fn merged(history: &[HistoryEvent], with: With) -> Vec<Event> {
    let (mut asked, mut shown) = (BTreeMap::new(), Vec::<Option<Event>>::new());
    for event in history {
        match &event.kind {
            EventKind::OrchestratorStarted | EventKind::OrchestratorCompleted => continue,
            EventKind::TaskScheduled { .. } | EventKind::SubOrchestrationCreated { .. } => {
                asked.insert(event.event_id, (shown.len(), event));
            }
            _ => {}
        }
        let mut object = Event::of(event).shaped(event, with);
        let answered = match event.kind {
            EventKind::TimerFired { .. } => None,
            _ => event.kind.completes().and_then(|id| asked.get(&id)),
        };
        if let Some((place, question)) = answered {
            object.answers(question, with);
            if let Some(place) = shown.get_mut(*place) {
                *place = None;
            }
        }
        shown.push(Some(object));
    }
    shown.into_iter().flatten().collect()
}

/// Members that are objects with members of .NET, and not of users.
const PARTS: [&str; 5] = ["OrchestrationInstance", "ParentInstance", "ParentTraceContext", "FailureDetails", "InnerFailure"];

/// The history in full: payloads are JSON where they are, and names have the form of the newer surface.
pub(super) fn in_full(history: &[HistoryEvent]) -> Vec<Event> {
    let one = |event: &HistoryEvent| {
        let mut object = Event::of(event);
        if let Some(before) = event.before_rewind() {
            object.set("TakenBack", &before.kind.type_name());
        }
        for name in ["Input", "Result"] {
            object.show_payload(name);
        }
        object.in_camel_case()
    };
    history.iter().map(one).collect()
}

impl Event {
    /// All members, and the name of the type instead of its number.
    fn of(event: &HistoryEvent) -> Self {
        let mut object: Self = serde_json::from_str(&event.to_json()).unwrap_or_default();
        object.set("EventType", &event.kind.type_name());
        object
    }

    /// What is shown of an event whatever it answers.
    fn shaped(mut self, event: &HistoryEvent, with: With) -> Self {
        match &event.kind {
            EventKind::ExecutionStarted(start) => {
                self.0.retain(|(name, _)| name != "Name" && !LEFT_OUT_OF_STARTS.contains(&name.as_str()));
                self.set("FunctionName", &start.name);
            }
            EventKind::ExecutionCompleted { status, result, .. } | EventKind::ContinueAsNew { status, result, .. } => {
                self.set("OrchestrationStatus", &status.name());
                self.show_result(result.as_deref(), with);
            }
            EventKind::TaskCompleted { result, .. } | EventKind::SubOrchestrationCompleted { result, .. } => {
                self.show_result(result.as_deref(), with);
            }
            EventKind::TaskScheduled { .. } | EventKind::SubOrchestrationCreated { .. } => self.remove("Version"),
            _ => {}
        }
        self.0.retain(|(name, _)| !LEFT_OUT.contains(&name.as_str()));
        if !with.inputs {
            self.remove("Input");
        }
        self
    }

    /// Takes over what was asked for.
    fn answers(&mut self, question: &HistoryEvent, with: With) {
        self.set("ScheduledTime", &question.timestamp);
        let (name, child, input) = match &question.kind {
            EventKind::TaskScheduled { name, input, .. } => (name, None, input),
            EventKind::SubOrchestrationCreated { name, instance_id, input, .. } => (name, Some(instance_id), input),
            _ => return,
        };
        self.set("FunctionName", name);
        if let Some(child) = child {
            self.set("InstanceId", child);
        }
        if with.inputs {
            self.set("Input", input);
        }
    }

    fn show_result(&mut self, result: Option<&str>, with: With) {
        if with.results { self.set("Result", &Payload(result)) } else { self.remove("Result") }
    }

    /// A stored text as what it says.
    fn show_payload(&mut self, name: &str) {
        let stored = self.0.iter().find(|(member, _)| member == name).map(|(_, value)| value.get().to_owned());
        if let Some(text) = stored.and_then(|stored| serde_json::from_str::<Option<String>>(&stored).ok()) {
            self.set(name, &Payload(text.as_deref()));
        }
    }

    fn in_camel_case(self) -> Self {
        let rename = |(name, value): (String, Box<RawValue>)| {
            let is_part = PARTS.contains(&name.as_str()) && value.get() != "null";
            let part = || to_raw_value(&serde_json::from_str::<Self>(value.get()).ok()?.in_camel_case()).ok();
            let value = if is_part { part().unwrap_or_else(|| value.clone()) } else { value };
            let mut chars = name.chars();
            let first = chars.next().map(|first| first.to_ascii_lowercase());
            (first.into_iter().chain(chars).collect(), value)
        };
        Self(self.0.into_iter().map(rename).collect())
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|(member, _)| member != name);
    }

    /// Replaces a member in its place, or adds it.
    fn set(&mut self, name: &str, value: &impl Serialize) {
        let Ok(value) = to_raw_value(value) else { return };
        match self.0.iter_mut().find(|(member, _)| member == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Event;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Event(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn what_a_rewind_has_taken_back_is_named_in_full_and_is_without_meaning_for_durable_functions() {
        let was = EventKind::TaskFailed { task_id: 0, reason: None, details: None, failure: None };
        let gone = EventKind::Generic { data: None, was: Some(Box::new(was)) };
        let history = [HistoryEvent::arriving(Timestamp::UNIX_EPOCH, gone)];
        let full = serde_json::to_value(in_full(&history)).unwrap();
        assert_eq!((&full[0]["eventType"], &full[0]["takenBack"]), (&"GenericEvent".into(), &"TaskFailed".into()));
        let merged = serde_json::to_value(merged(&history, With { inputs: true, results: true })).unwrap();
        assert_eq!((&merged[0]["EventType"], merged[0].get("TakenBack")), (&"GenericEvent".into(), None));
    }
}
