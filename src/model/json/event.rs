//! One event as JSON: with `$type` as in messages, without as in exports.

use super::error::DecodeError;
use super::parts::{Part, write_tags};
use super::read::{Node, parse, raw};
use super::text::unescape;
use super::write::JsonWriter;
use crate::error::Error;
use crate::model::members::{self, MemberReader, MemberWriter};
use crate::model::{FailureDetails, HistoryEvent, InstanceRef, ParentInstance, RuntimeStatus, Tags, Timestamp, TraceContext};

const NAMESPACE: &str = "DurableTask.Core.History.";

impl HistoryEvent {
    /// The event as .NET exports it: no `$type`, the class in the number `EventType`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut w = JsonWriter::new(false);
        write_event(self, &mut w);
        w.finish()
    }

    /// The event as it stands in messages, with `$type`.
    #[must_use]
    pub fn to_typed_json(&self) -> String {
        let mut w = JsonWriter::new(true);
        write_event(self, &mut w);
        w.finish()
    }

    /// Reads both forms.
    ///
    /// # Errors
    /// `Corrupt` if the text is no JSON, names no known event, or a member has a value that cannot stand there.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        Self::read_json(text).map_err(|error| Error::corrupt(format!("an event cannot be read: {error}"), &error))
    }

    pub(crate) fn read_json(text: &str) -> Result<Self, DecodeError> {
        let node = parse(text)?;
        let class = match class_of(&node)? {
            Some(class) => class,
            None => class_of_number(&node)?,
        };
        members::read_event(&class, &node)
    }
}

pub(super) fn write_event(event: &HistoryEvent, w: &mut JsonWriter) {
    let name = event.kind.type_name();
    let suffix = if name.ends_with("Event") { "" } else { "Event" };
    w.object(&format!("{NAMESPACE}{name}{suffix}"), |w| members::write_event(event, w));
}

/// Reads the event of a message, whose class only `$type` or `__type` may name.
pub(super) fn read_event(node: &Node<'_>) -> Result<HistoryEvent, DecodeError> {
    let class = class_of(node)?.ok_or_else(|| DecodeError::missing().within("$type"))?;
    members::read_event(&class, node)
}

/// The `EventType` name that the class in `$type` (or, of the data contract serializer, `__type`) stands for.
fn class_of(node: &Node<'_>) -> Result<Option<String>, DecodeError> {
    let (full, class) = if let Some(full) = node.text("$type")? {
        let class = full.split(',').next().map(str::trim).and_then(|c| c.strip_prefix(NAMESPACE)).map(str::to_owned);
        (full, class)
    } else if let Some(full) = node.text("__type")? {
        let class = full.strip_suffix(":#DurableTask.Core.History").map(str::to_owned);
        (full, class)
    } else {
        return Ok(None);
    };
    let name = match class.as_deref() {
        Some("GenericEvent") => Some("GenericEvent"),
        Some(class) => class.strip_suffix("Event").filter(|name| *name != "Generic"),
        None => None,
    };
    name.map(|n| Some(n.to_owned())).ok_or_else(|| DecodeError::unknown_event(&full))
}

fn class_of_number(node: &Node<'_>) -> Result<String, DecodeError> {
    if let Some(name) = node.get("EventType").filter(|json| json.starts_with('"')).map(unescape)
        && members::type_number(&name).is_some()
    {
        return Ok(name);
    }
    let number = node.long("EventType")?.ok_or_else(|| DecodeError::missing().within("EventType"))?;
    let name = usize::try_from(number).ok().and_then(members::type_name_of);
    name.map(str::to_owned).ok_or_else(|| DecodeError::unknown_event(&number.to_string()))
}

impl JsonWriter {
    fn part(&mut self, name: &str, part: Option<&impl Part>) {
        self.name(name);
        match part {
            Some(part) => part.write(self),
            None => self.null(),
        }
    }
}

impl MemberWriter for JsonWriter {
    fn event_type(&mut self, name: &'static str) {
        let number = members::type_number(name).expect("every kind of event has a number");
        self.name("EventType").raw(number);
    }

    fn text(&mut self, name: &'static str, value: Option<&str>) {
        self.name(name).optional_string(value);
    }

    fn int(&mut self, name: &'static str, value: Option<i32>) {
        match value {
            Some(number) => self.name(name).raw(number),
            None => self.name(name).null(),
        }
    }

    fn flag(&mut self, name: &'static str, value: bool) {
        self.name(name).raw(value);
    }

    fn time(&mut self, name: &'static str, value: Option<Timestamp>) {
        match value {
            Some(time) => self.name(name).string(&time.to_message_text()),
            None => self.name(name).null(),
        }
    }

    fn status(&mut self, name: &'static str, value: RuntimeStatus) {
        self.name(name).raw(value.number());
    }

    fn instance(&mut self, name: &'static str, value: &InstanceRef) {
        self.part(name, Some(value));
    }

    fn parent(&mut self, name: &'static str, value: Option<&ParentInstance>) {
        self.part(name, value);
    }

    fn trace(&mut self, name: &'static str, value: Option<&TraceContext>) {
        self.part(name, value);
    }

    fn failure(&mut self, name: &'static str, value: Option<&FailureDetails>) {
        self.part(name, value);
    }

    fn tags(&mut self, name: &'static str, value: Option<&Tags>) {
        self.name(name);
        match value {
            Some(tags) => write_tags(tags, self),
            None => self.null(),
        }
    }

    fn json(&mut self, name: &'static str, value: Option<&str>) {
        self.name(name);
        // The text brings whatever types it has; none are added.
        match value.and_then(|text| raw(text).ok()) {
            Some(json) => self.untyped(json),
            None => self.null(),
        }
    }
}
