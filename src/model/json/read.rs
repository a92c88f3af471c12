//! Reading JSON as leniently as Newtonsoft: names in any case, numbers as text and text as numbers, unknown members ignored.
//!
//! Nothing is built of what nobody asks for: a node has the members of known names, and each is the text that it was sent as.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::DecodeError;
use super::parts::{Part, read_tags};
use super::text::{is_too_deep, unescape};
use super::write::untyped;
use crate::model::members::MemberReader;
use crate::model::{FailureDetails, InstanceRef, ParentInstance, RuntimeStatus, Tags, Timestamp, TraceContext};

/// The members of messages, events and their parts that are objects of classes.
const OBJECTS: [&str; 9] = [
    "TaskMessage",
    "Event",
    "Sender",
    "OrchestrationInstance",
    "OrchestrationExecutionContext",
    "ParentInstance",
    "ParentTraceContext",
    "FailureDetails",
    "InnerFailure",
];
/// Those that are texts, numbers, or JSON of any shape.
const PLAIN: [&str; 52] = [
    "$type",
    "__type",
    "ActivityId",
    "ActivityStartTime",
    "ClientSpanId",
    "CompressedBlobName",
    "Correlation",
    "Data",
    "DecisionId",
    "Attempt",
    "CallExecutionId",
    "CallTaskId",
    "SeenBefore",
    "Descendants",
    "Details",
    "Episode",
    "ErrorMessage",
    "ErrorType",
    "EventId",
    "EventType",
    "ExecutionId",
    "FireAt",
    "GenerateNewTrace",
    "Generation",
    "Id",
    "Input",
    "InstanceId",
    "IsNonRetriable",
    "IsPlayed",
    "Key",
    "Level",
    "Name",
    "OrchestrationStatus",
    "OrchestrationTags",
    "ParentExecutionId",
    "Properties",
    "Reason",
    "Result",
    "ScheduledStartTime",
    "SequenceNumber",
    "SpanId",
    "StackTrace",
    "State",
    "Tags",
    "TaskScheduledId",
    "TaskScheduleId",
    "TimerId",
    "Timestamp",
    "TraceParent",
    "TraceState",
    "Value",
    "Version",
];

/// A member, as far as it was read.
#[derive(Debug)]
enum Member<'a> {
    /// Where an object of a class belongs: that object.
    Node(Node<'a>),
    /// Or a value of that kind, which is none.
    NoObject(&'static str),
    /// Where anything else belongs: the text of the value.
    Plain(&'a str),
}

/// A JSON object, read by member names: the known members, of those of one name the last.
#[derive(Debug, Default)]
pub(crate) struct Node<'a>(Vec<(&'static str, Member<'a>)>);

/// The first JSON value of a text, an object; what follows it is ignored, as .NET does. Deep nesting is an error.
pub(super) fn parse(text: &str) -> Result<Node<'_>, DecodeError> {
    if is_too_deep(text) {
        return Err(DecodeError::too_deep());
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    match AnyObject.deserialize(&mut parser).map_err(|e| DecodeError::not_json(&e))? {
        Member::Node(node) => Ok(node),
        Member::NoObject(kind) => Err(DecodeError::wrong_type("an object", kind)),
        Member::Plain(other) => Err(DecodeError::wrong_type("an object", kind_of(other))),
    }
}

/// The first JSON value of a text, as it is written.
pub(super) fn raw(text: &str) -> Result<&str, DecodeError> {
    if is_too_deep(text) {
        return Err(DecodeError::too_deep());
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    <&RawValue>::deserialize(&mut parser).map(RawValue::get).map_err(|e| DecodeError::not_json(&e))
}

/// Reads the name of a member: one that is known, in any case.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // As it is written, because a name may have half of a surrogate pair.
        let quoted = <&RawValue>::deserialize(deserializer)?.get();
        let known = |name: &str| OBJECTS.iter().chain(&PLAIN).copied().find(|n| n.eq_ignore_ascii_case(name));
        if quoted.contains('\\') { Ok(known(&unescape(quoted))) } else { Ok(known(quoted.trim_matches('"'))) }
    }
}

/// Reads an object; answers the kind of what is none.
struct AnyObject;

impl<'de> DeserializeSeed<'de> for AnyObject {
    type Value = Member<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyObject {
    type Value = Member<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut node = Node::default();
        while let Some(name) = map.next_key_seed(Name)? {
            match name {
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(name) if OBJECTS.contains(&name) => node.set(name, map.next_value_seed(Self)?),
                Some(name) => node.set(name, Member::Plain(map.next_value::<&RawValue>()?.get())),
            }
        }
        Ok(Member::Node(node))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::NoObject("a list"))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Member::NoObject("null"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Member::NoObject("a boolean"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Member::NoObject("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Member::NoObject("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Member::NoObject("a number"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Member::NoObject("a text"))
    }
}

impl<'a> Node<'a> {
    fn set(&mut self, name: &'static str, member: Member<'a>) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(earlier) => earlier.1 = member,
            None => self.0.push((name, member)),
        }
    }

    fn member(&self, name: &str) -> Option<&Member<'a>> {
        debug_assert!(OBJECTS.contains(&name) || PLAIN.contains(&name), "{name} is no known member");
        self.0.iter().find(|(known, _)| *known == name).map(|(_, member)| member)
    }

    /// A member that is no object of a class, as it is written.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        match self.member(name) {
            Some(Member::Plain(json)) => Some(json),
            _ => None,
        }
    }

    /// An object member; null and absent are `None`.
    pub(super) fn object(&self, name: &str) -> Result<Option<&Self>, DecodeError> {
        match self.member(name) {
            Some(Member::Node(node)) => Ok(Some(node)),
            None | Some(Member::NoObject("null")) => Ok(None),
            Some(Member::NoObject(kind)) => Err(DecodeError::wrong_type("an object", kind).within(name)),
            Some(Member::Plain(other)) => Err(DecodeError::wrong_type("an object", kind_of(other)).within(name)),
        }
    }

    pub(super) fn part<P: Part>(&self, name: &str) -> Result<Option<P>, DecodeError> {
        self.object(name)?.map(|node| P::read(node).map_err(|e| e.within(name))).transpose()
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
            Some("null") => Ok(None),
            _ => self.int(name),
        }
    }

    fn int(&self, name: &'static str) -> Result<Option<i32>, DecodeError> {
        let narrow = |n: i64| i32::try_from(n).map_err(|_| DecodeError::not_a(&n.to_string(), "a 32-bit number").within(name));
        self.long(name)?.map(narrow).transpose()
    }

    fn flag(&self, name: &'static str) -> Result<bool, DecodeError> {
        let Some(json) = self.get(name) else { return Ok(false) };
        let is = |word: &str| json.starts_with('"') && unescape(json).trim().eq_ignore_ascii_case(word);
        match kind_of(json) {
            "a boolean" => Ok(json == "true"),
            "a number" => Ok(json.parse() != Ok(0.0)),
            "a text" if is("true") => Ok(true),
            "a text" if is("false") => Ok(false),
            other => Err(DecodeError::wrong_type("true or false", other).within(name)),
        }
    }

    fn time(&self, name: &'static str) -> Result<Option<Timestamp>, DecodeError> {
        let Some(json) = self.get(name).filter(|json| *json != "null") else { return Ok(None) };
        if !json.starts_with('"') {
            return Err(DecodeError::wrong_type("a time", kind_of(json)).within(name));
        }
        let text = unescape(json);
        Timestamp::parse(&text).map(Some).ok_or_else(|| DecodeError::not_a(&text, "a time").within(name))
    }

    fn status(&self, name: &'static str) -> Result<Option<RuntimeStatus>, DecodeError> {
        if let Some(json) = self.get(name)
            && json.starts_with('"')
            && let Ok(status) = unescape(json).parse()
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
        self.get(name).map_or(Ok(None), read_tags).map_err(|e| e.within(name))
    }

    fn json(&self, name: &'static str) -> Result<Option<String>, DecodeError> {
        Ok(self.get(name).filter(|json| *json != "null").map(untyped))
    }

    fn absent_event_id(&self, type_name: &str) -> i32 {
        // Classes with a private default constructor get -1, the others 0 (docs/storage-layout.md, What is tolerated).
        let minus_one = ["TaskScheduled", "TaskFailed", "TimerFired", "SubOrchestrationInstanceFailed"];
        if minus_one.contains(&type_name) { -1 } else { 0 }
    }
}

pub(super) fn text_of(json: &str) -> Result<Option<String>, DecodeError> {
    match kind_of(json) {
        "null" => Ok(None),
        "a text" => Ok(Some(unescape(json))),
        "a number" | "a boolean" => Ok(Some(json.to_owned())),
        other => Err(DecodeError::wrong_type("a text", other)),
    }
}

fn number_of(json: &str) -> Result<i64, DecodeError> {
    let not_whole = |text: &str| DecodeError::not_a(text, "a whole number");
    match kind_of(json) {
        "a number" => json.parse().map_err(|_| not_whole(json)),
        "a text" => {
            let text = unescape(json);
            text.trim().parse().map_err(|_| not_whole(&text))
        }
        other => Err(DecodeError::wrong_type("a number", other)),
    }
}

/// What kind of value a JSON text is.
pub(super) fn kind_of(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        Some(b'"') => "a text",
        Some(b'[') => "a list",
        Some(b'{') => "an object",
        _ => "a number",
    }
}
