//! The parts of events and messages that are objects of their own: instances, parents, trace contexts, tags, failures.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::DecodeError;
use super::read::{Node, kind_of, parse, text_of};
use super::text::unescape;
use super::write::{JsonWriter, STRING_DICTIONARY};
use crate::limits;
use crate::model::members::MemberReader;
use crate::model::{FailureDetails, InstanceRef, ParentInstance, Properties, Tags, TraceContext};

/// A part that has a JSON form of its own.
pub(crate) trait Part: Sized {
    fn write(&self, w: &mut JsonWriter);
    fn read(node: &Node<'_>) -> Result<Self, DecodeError>;
}

impl Part for InstanceRef {
    fn write(&self, w: &mut JsonWriter) {
        w.object("DurableTask.Core.OrchestrationInstance", |w| {
            w.name("InstanceId").string(&self.instance_id);
            w.name("ExecutionId").optional_string(self.execution_id.as_deref());
        });
    }

    fn read(node: &Node<'_>) -> Result<Self, DecodeError> {
        Ok(Self { instance_id: node.text("InstanceId")?.unwrap_or_default(), execution_id: node.text("ExecutionId")? })
    }
}

impl Part for ParentInstance {
    fn write(&self, w: &mut JsonWriter) {
        w.object("DurableTask.Core.ParentInstance", |w| {
            w.name("Name").optional_string(self.name.as_deref());
            self.instance.write(w.name("OrchestrationInstance"));
            w.name("TaskScheduleId").raw(self.task_id);
            w.name("Version").optional_string(self.version.as_deref());
        });
    }

    fn read(node: &Node<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: node.text("Name")?,
            instance: node.part("OrchestrationInstance")?.unwrap_or_default(),
            task_id: node.int("TaskScheduleId")?.unwrap_or(0),
            version: node.text("Version")?,
        })
    }
}

impl Part for TraceContext {
    fn write(&self, w: &mut JsonWriter) {
        w.object("DurableTask.Core.Tracing.DistributedTraceContext", |w| {
            w.name("TraceParent").optional_string(self.trace_parent.as_deref());
            w.name("TraceState").optional_string(self.trace_state.as_deref());
            w.name("Id").optional_string(self.id.as_deref());
            w.name("SpanId").optional_string(self.span_id.as_deref());
            w.name("ActivityStartTime").optional_string(self.activity_start_time.as_deref());
        });
    }

    fn read(node: &Node<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            trace_parent: node.text("TraceParent")?,
            trace_state: node.text("TraceState")?,
            id: node.text("Id")?,
            span_id: node.text("SpanId")?,
            activity_start_time: node.text("ActivityStartTime")?,
        })
    }
}

pub(super) fn write_tags(tags: &Tags, w: &mut JsonWriter) {
    w.object(STRING_DICTIONARY, |w| {
        for (name, value) in tags {
            w.name(name).string(value);
        }
    });
}

/// A tag whose value is null, which .NET can write, is left out: .NET looks it up with the same result.
pub(super) fn read_tags(json: &str) -> Result<Option<Tags>, DecodeError> {
    if json.len() > limits::TAGS_BYTES_MAX {
        return Err(DecodeError::too_large(limits::TAGS_BYTES_MAX));
    }
    let mut parser = serde_json::Deserializer::from_str(json);
    let pairs: Result<Vec<Tag>, _> = match kind_of(json) {
        "null" => return Ok(None),
        "an object" => {
            let members = Members.deserialize(&mut parser).map_err(|e| DecodeError::not_json(&e))?;
            members.into_iter().filter(|(name, _)| *name != "\"$type\"").map(tag).collect()
        }
        // The data contract serializer writes dictionaries as lists of pairs.
        "a list" => {
            let pairs: Vec<&RawValue> = serde_json::from_str(json).map_err(|e| DecodeError::not_json(&e))?;
            pairs.into_iter().map(|json| pair(json.get())).collect()
        }
        other => return Err(DecodeError::wrong_type("an object", other)),
    };
    Ok(Some(pairs?.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()))
}

type Tag = (String, Option<String>);

fn tag((name, value): (&str, &str)) -> Result<Tag, DecodeError> {
    let text = text_of(value).map_err(|e| e.within("(tag)"))?;
    Ok((unescape(name), text))
}

fn pair(json: &str) -> Result<Tag, DecodeError> {
    let node = parse(json)?;
    Ok((node.text("Key")?.ok_or_else(|| DecodeError::missing().within("Key"))?, node.text("Value")?))
}

/// Reads the members of an object, names and values as they are written.
struct Members;

impl<'de> DeserializeSeed<'de> for Members {
    type Value = Vec<(&'de str, &'de str)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(&'de str, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            members.push((name.get(), value.get()));
        }
        Ok(members)
    }
}

impl Part for FailureDetails {
    fn write(&self, w: &mut JsonWriter) {
        w.object("DurableTask.Core.FailureDetails", |w| {
            w.name("ErrorType").string(&self.error_type);
            w.name("ErrorMessage").string(&self.error_message);
            w.name("StackTrace").optional_string(self.stack_trace.as_deref());
            w.name("InnerFailure");
            match &self.inner {
                Some(inner) => inner.write(w),
                None => w.null(),
            }
            w.name("IsNonRetriable").raw(self.is_non_retriable);
            w.name("Properties");
            match &self.properties {
                Some(properties) => w.dictionary(properties.as_json()),
                None => w.null(),
            }
        });
    }

    fn read(node: &Node<'_>) -> Result<Self, DecodeError> {
        let properties = match node.get("Properties") {
            None | Some("null") => None,
            Some(json) if json.starts_with('{') => Some(Properties::of_dictionary(json)),
            Some(other) => return Err(DecodeError::wrong_type("an object", kind_of(other)).within("Properties")),
        };
        Ok(Self {
            error_type: node.text("ErrorType")?.unwrap_or_default(),
            error_message: node.text("ErrorMessage")?.unwrap_or_default(),
            stack_trace: node.text("StackTrace")?,
            inner: node.part("InnerFailure")?.map(Box::new),
            is_non_retriable: node.flag("IsNonRetriable")?,
            properties,
        })
    }
}
