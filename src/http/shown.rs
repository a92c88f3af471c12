//! Instances and payloads as the API shows them.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::events::Event;
use crate::client::InstanceStatus;
use crate::model::{Tags, Timestamp};

/// A stored payload: its JSON as it is stored, or the text itself where it is none, as reasons and messages of failures are.
#[derive(Debug)]
pub(super) struct Payload<'a>(pub(super) Option<&'a str>);

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => serializer.serialize_none(),
            Some(text) if text.trim().is_empty() => serializer.serialize_str(""),
            Some(text) => match serde_json::from_str::<&RawValue>(text) {
                Ok(json) => json.serialize(serializer),
                Err(_) => serializer.serialize_str(text),
            },
        }
    }
}

/// A time in whole seconds, as Durable Functions shows it.
fn whole_seconds<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    let whole = time.map(|time| Timestamp::from_ticks(time.ticks() - time.ticks() % 10_000_000));
    whole.serialize(serializer)
}

/// An instance in the form of Durable Functions: its members, in their order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    instance_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_instance_id: Option<&'a str>,
    runtime_status: &'static str,
    input: Payload<'a>,
    custom_status: Payload<'a>,
    output: Payload<'a>,
    #[serde(serialize_with = "whole_seconds")]
    created_time: Option<Timestamp>,
    #[serde(serialize_with = "whole_seconds")]
    last_updated_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_events: Option<Vec<Event>>,
}

impl<'a> Shown<'a> {
    pub(super) fn new(status: &'a InstanceStatus) -> Self {
        Self {
            name: &status.name,
            version: status.version.as_deref(),
            instance_id: &status.instance_id,
            parent_instance_id: status.parent_instance_id.as_deref(),
            runtime_status: status.status.name(),
            input: Payload(status.input.as_deref()),
            custom_status: Payload(status.custom_status.as_deref()),
            output: Payload(status.output.as_deref()),
            created_time: status.created,
            last_updated_time: status.last_updated,
            history_events: None,
        }
    }

    pub(super) fn without_input(self) -> Self {
        Self { input: Payload(None), ..self }
    }

    pub(super) fn with_history(self, events: Vec<Event>) -> Self {
        Self { history_events: Some(events), ..self }
    }
}

/// An instance with all that is known of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Whole<'a> {
    instance_id: &'a str,
    execution_id: Option<&'a str>,
    name: &'a str,
    version: Option<&'a str>,
    parent_instance_id: Option<&'a str>,
    runtime_status: &'static str,
    /// Whether it is shown as failed because a message of it is parked.
    is_parked: bool,
    input: Payload<'a>,
    output: Payload<'a>,
    custom_status: Payload<'a>,
    tags: &'a Tags,
    created_time: Option<Timestamp>,
    last_updated_time: Option<Timestamp>,
    completed_time: Option<Timestamp>,
    scheduled_start_time: Option<Timestamp>,
    generation: i32,
}

impl<'a> Whole<'a> {
    pub(super) fn new(status: &'a InstanceStatus, with_input: bool) -> Self {
        Self {
            instance_id: &status.instance_id,
            execution_id: status.execution_id.as_deref(),
            name: &status.name,
            version: status.version.as_deref(),
            parent_instance_id: status.parent_instance_id.as_deref(),
            runtime_status: status.status.name(),
            is_parked: status.is_parked,
            input: Payload(status.input.as_deref().filter(|_| with_input)),
            output: Payload(status.output.as_deref()),
            custom_status: Payload(status.custom_status.as_deref()),
            tags: &status.tags,
            created_time: status.created,
            last_updated_time: status.last_updated,
            completed_time: status.completed,
            scheduled_start_time: status.scheduled_start,
            generation: status.generation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_as_they_are_stored_and_what_is_no_json_is_a_text() {
        let shown = |text: Option<&str>| serde_json::to_string(&Payload(text)).unwrap();
        assert_eq!(shown(None), "null");
        let number = r#"{"a":79228162514264337593543950335,"b":1.10,"a":1}"#;
        assert_eq!(shown(Some(number)), number);
        for (text, expected) in
            [("", "\"\""), ("  ", "\"\""), ("NaN", "\"NaN\""), ("why not", "\"why not\""), ("{a:1}", "\"{a:1}\"")]
        {
            assert_eq!(shown(Some(text)), expected);
        }
    }
}
