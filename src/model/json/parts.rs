//! The parts of events and messages that are objects of their own: instances, parents, trace contexts, tags, failures.

use serde_json::{Map, Value};

use super::error::DecodeError;
use super::read::{Node, kind_of, text_of};
use super::write::{JsonWriter, STRING_DICTIONARY};
use crate::model::members::MemberReader;
use crate::model::{FailureDetails, InstanceRef, ParentInstance, Tags, TraceContext};

/// A part that has a JSON form of its own.
pub(crate) trait Part: Sized {
    fn write(&self, w: &mut JsonWriter);
    fn read(value: &Value) -> Result<Self, DecodeError>;
}

impl Part for InstanceRef {
    fn write(&self, w: &mut JsonWriter) {
        w.object("DurableTask.Core.OrchestrationInstance", |w| {
            w.name("InstanceId").string(&self.instance_id);
            w.name("ExecutionId").optional_string(self.execution_id.as_deref());
        });
    }

    fn read(value: &Value) -> Result<Self, DecodeError> {
        let node = Node::of(value)?;
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

    fn read(value: &Value) -> Result<Self, DecodeError> {
        let node = Node::of(value)?;
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

    fn read(value: &Value) -> Result<Self, DecodeError> {
        let node = Node::of(value)?;
        Ok(Self {
            trace_parent: node.text("TraceParent")?,
            trace_state: node.text("TraceState")?,
            id: node.text("Id")?,
            span_id: node.text("SpanId")?,
            activity_start_time: node.text("ActivityStartTime")?,
        })
    }
}

impl Part for Tags {
    fn write(&self, w: &mut JsonWriter) {
        w.object(STRING_DICTIONARY, |w| {
            for (name, value) in self {
                w.name(name).string(value);
            }
        });
    }

    /// A tag whose value is null, which .NET can write, is left out: .NET looks it up with the same result.
    fn read(value: &Value) -> Result<Self, DecodeError> {
        let pairs: Result<Vec<_>, _> = match value {
            Value::Object(map) => map.iter().filter(|(name, _)| *name != "$type").map(|(name, value)| tag(name, value)).collect(),
            // The data contract serializer writes dictionaries as lists of pairs.
            Value::Array(pairs) => pairs.iter().map(pair).collect(),
            other => return Err(DecodeError::wrong_type("an object", kind_of(other))),
        };
        Ok(pairs?.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

type Tag = (String, Option<String>);

fn tag(name: &str, value: &Value) -> Result<Tag, DecodeError> {
    let text = text_of(value).map_err(|e| e.within("(tag)"))?;
    Ok((name.to_owned(), text))
}

fn pair(value: &Value) -> Result<Tag, DecodeError> {
    let node = Node::of(value)?;
    Ok((node.text("Key")?.ok_or_else(|| DecodeError::missing().within("Key"))?, node.text("Value")?))
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
                Some(properties) => w.dictionary(properties),
                None => w.null(),
            }
        });
    }

    fn read(value: &Value) -> Result<Self, DecodeError> {
        let node = Node::of(value)?;
        let properties = match node.get("Properties") {
            None | Some(Value::Null) => None,
            Some(Value::Object(map)) => Some(without_dictionary_types(map)),
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

/// How the `$type` of every dictionary begins.
const DICTIONARY: &str = "System.Collections.Generic.Dictionary`";

/// Dictionaries carry a `$type` in messages and none in columns; kept without, so that both forms read alike.
fn without_dictionary_types(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter()
        .filter(|(name, value)| *name != "$type" || value.as_str().is_none_or(|t| !t.starts_with(DICTIONARY)))
        .map(|(name, value)| (name.clone(), without_types(value)))
        .collect()
}

fn without_types(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_dictionary_types(map)),
        Value::Array(items) => Value::Array(items.iter().map(without_types).collect()),
        other => other.clone(),
    }
}
