//! Reading JSON as leniently as Newtonsoft: names in any case, numbers as text and text as numbers, unknown members ignored.

use std::borrow::Cow;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::error::DecodeError;
use super::parts::Part;
use crate::model::members::MemberReader;
use crate::model::{FailureDetails, InstanceRef, ParentInstance, RuntimeStatus, Tags, Timestamp, TraceContext};

/// The first JSON value of a text; what follows it is ignored, as .NET does. Deep nesting is an error.
pub(super) fn parse(text: &str) -> Result<Value, DecodeError> {
    let text = repair_surrogates(text);
    let mut parser = serde_json::Deserializer::from_str(&text);
    Value::deserialize(&mut parser).map_err(|e| DecodeError::not_json(&e))
}

/// A lone half of a surrogate pair, which .NET accepts, becomes U+FFFD, as it does when .NET writes it on.
fn repair_surrogates(text: &str) -> Cow<'_, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (escape, low) = (escape_unit(rest), rest.get(6..).and_then(escape_unit));
        let taken = match (escape, low) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                out.push_str("\\ufffd");
                rest = &rest[6..];
                continue;
            }
            (Some(_), _) => 6,
            // The backslash and the one character that it escapes.
            (None, _) => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn escape_unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if digits.bytes().all(|b| b.is_ascii_hexdigit()) { u32::from_str_radix(digits, 16).ok() } else { None }
}

/// A JSON object, read by member names.
pub(super) struct Node<'a>(&'a Map<String, Value>);

impl<'a> Node<'a> {
    pub(super) fn of(value: &'a Value) -> Result<Self, DecodeError> {
        match value {
            Value::Object(map) => Ok(Self(map)),
            other => Err(DecodeError::wrong_type("an object", kind_of(other))),
        }
    }

    /// The member by its name in any case; the last one wins.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.iter().rev().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// An object member; null and absent are `None`.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, DecodeError> {
        match self.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => Node::of(value).map(Some).map_err(|e| e.within(name)),
        }
    }

    pub(super) fn part<P: Part>(&self, name: &str) -> Result<Option<P>, DecodeError> {
        match self.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => P::read(value).map(Some).map_err(|e| e.within(name)),
        }
    }

    pub(super) fn long(&self, name: &str) -> Result<Option<i64>, DecodeError> {
        self.get(name).map(number_of).transpose().map_err(|e| e.within(name))
    }
}

impl MemberReader for Node<'_> {
    fn text(&self, name: &'static str) -> Result<Option<String>, DecodeError> {
        self.get(name).map_or(Ok(None), text_of).map_err(|e| e.within(name))
    }

    fn nullable_int(&self, name: &'static str) -> Result<Option<i32>, DecodeError> {
        match self.get(name) {
            Some(Value::Null) => Ok(None),
            _ => self.int(name),
        }
    }

    fn int(&self, name: &'static str) -> Result<Option<i32>, DecodeError> {
        let narrow = |n: i64| i32::try_from(n).map_err(|_| DecodeError::not_a(&n.to_string(), "a 32-bit number").within(name));
        self.long(name)?.map(narrow).transpose()
    }

    fn flag(&self, name: &'static str) -> Result<bool, DecodeError> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::Number(number)) => Ok(number.as_f64() != Some(0.0)),
            Some(Value::String(text)) if text.trim().eq_ignore_ascii_case("true") => Ok(true),
            Some(Value::String(text)) if text.trim().eq_ignore_ascii_case("false") => Ok(false),
            Some(other) => Err(DecodeError::wrong_type("true or false", kind_of(other)).within(name)),
        }
    }

    fn time(&self, name: &'static str) -> Result<Option<Timestamp>, DecodeError> {
        match self.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => {
                Timestamp::parse(text).map(Some).ok_or_else(|| DecodeError::not_a(text, "a time").within(name))
            }
            Some(other) => Err(DecodeError::wrong_type("a time", kind_of(other)).within(name)),
        }
    }

    fn status(&self, name: &'static str) -> Result<Option<RuntimeStatus>, DecodeError> {
        if let Some(Value::String(text)) = self.get(name)
            && let Ok(status) = text.parse()
        {
            return Ok(Some(status));
        }
        let known =
            |n: i64| RuntimeStatus::from_number(n).ok_or_else(|| DecodeError::not_a(&n.to_string(), "a status").within(name));
        self.long(name)?.map(known).transpose()
    }

    fn instance(&self, name: &'static str) -> Result<Option<InstanceRef>, DecodeError> {
        self.part(name)
    }

    fn parent(&self, name: &'static str) -> Result<Option<ParentInstance>, DecodeError> {
        self.part(name)
    }

    fn trace(&self, name: &'static str) -> Result<Option<TraceContext>, DecodeError> {
        self.part(name)
    }

    fn failure(&self, name: &'static str) -> Result<Option<FailureDetails>, DecodeError> {
        self.part(name)
    }

    fn tags(&self, name: &'static str) -> Result<Option<Tags>, DecodeError> {
        self.part(name)
    }

    fn json(&self, name: &'static str) -> Result<Option<String>, DecodeError> {
        Ok(self.get(name).filter(|v| !v.is_null()).map(Value::to_string))
    }

    fn absent_event_id(&self, type_name: &str) -> i32 {
        // Classes with a private default constructor get -1, the others 0 (wire-format 3.7).
        let minus_one = ["TaskScheduled", "TaskFailed", "TimerFired", "SubOrchestrationInstanceFailed"];
        if minus_one.contains(&type_name) { -1 } else { 0 }
    }
}

pub(super) fn text_of(value: &Value) -> Result<Option<String>, DecodeError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(_) | Value::Bool(_) => Ok(Some(value.to_string())),
        Value::Array(_) | Value::Object(_) => Err(DecodeError::wrong_type("a text", kind_of(value))),
    }
}

fn number_of(value: &Value) -> Result<i64, DecodeError> {
    match value {
        Value::Number(number) => number.as_i64().ok_or_else(|| DecodeError::not_a(&number.to_string(), "a whole number")),
        Value::String(text) => text.trim().parse().map_err(|_| DecodeError::not_a(text, "a whole number")),
        other => Err(DecodeError::wrong_type("a number", kind_of(other))),
    }
}

pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
