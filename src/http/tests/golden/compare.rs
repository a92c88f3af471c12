//! When a recorded answer and ours are the same: all that differs from run to run is left out, and nothing else.

use serde_json::{Map, Value, json};

use super::super::world::Answer;
use super::exchange::Exchange;

/// Stands for what may differ.
const ANY: &str = "(any)";

pub(super) fn differences(exchange: &Exchange, answer: &Answer) -> Vec<String> {
    let mut found = Vec::new();
    let recorded = &exchange.response;
    let mut differ = |what: &str, recorded: String, ours: String| {
        if recorded != ours {
            found.push(format!("{what} was {}, is {}", near(&recorded, &ours), near(&ours, &recorded)));
        }
    };
    differ("status", recorded.status.to_string(), answer.status.as_u16().to_string());
    for name in ["Location", "Retry-After", "Content-Type"] {
        let theirs = recorded.headers.get(name).map(|text| tidy_text(text));
        differ(name, format!("{theirs:?}"), format!("{:?}", answer.header(name).map(tidy_text)));
    }
    // The last page has none, or an empty one.
    let has_next = |token: Option<&str>| token.is_some_and(|token| !token.is_empty()).to_string();
    let token = "x-ms-continuation-token";
    differ(token, has_next(recorded.headers.get(token).map(String::as_str)), has_next(answer.header(token)));
    differ("body", shown(recorded.body.as_deref().unwrap_or_default()), shown(&answer.body));
    for times in ["createdTime", "lastUpdatedTime"] {
        let fraction = answer.body.split(&format!("\"{times}\":\"")).skip(1).find(|rest| rest.as_bytes().get(19) != Some(&b'Z'));
        differ(times, "whole seconds".into(), if fraction.is_some() { "a fraction" } else { "whole seconds" }.into());
    }
    found
}

/// What a text is near the place where it begins to differ from another.
fn near(text: &str, other: &str) -> String {
    let same = text.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
    let (begins, cut) = (same.saturating_sub(40), if same > 40 { "..." } else { "" });
    format!("{cut}{}", text.chars().skip(begins).take(160).collect::<String>())
}

/// The text of a body in which members keep their order.
fn shown(body: &str) -> String {
    match serde_json::from_str::<Value>(body) {
        Ok(mut value) => {
            tidy(&mut value);
            value.to_string()
        }
        Err(_) => body.to_owned(),
    }
}

fn tidy(value: &mut Value) {
    match value {
        Value::String(text) => *text = tidy_text(text),
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(members) => {
            tidy_failure(members);
            tidy_event(members);
            tidy_entity(members);
            members.values_mut().for_each(tidy);
        }
        _ => {}
    }
}

/// What went wrong is said in the words of whoever says it.
fn tidy_failure(members: &mut Map<String, Value>) {
    members.remove("StackTrace");
    if members.get("Message") == Some(&json!("Invalid JSON content")) {
        members.remove("ExceptionMessage");
    }
    let is_failed = |name: &str| members.get(name) == Some(&json!("Failed"));
    let (is_instance, is_end) = (is_failed("runtimeStatus"), is_failed("OrchestrationStatus"));
    for (name, is_any) in [("output", is_instance), ("Result", is_end), ("Reason", members.contains_key("Details"))] {
        if is_any && let Some(text) = members.get_mut(name).filter(|text| text.is_string()) {
            *text = json!(ANY);
        }
    }
    // .NET has the exception, and taskhub its details.
    for name in ["Details", "FailureDetails"] {
        if let Some(member) = members.get_mut(name) {
            *member = json!(ANY);
        }
    }
}

/// taskhub stores the inputs of activities, .NET does not; and null in another way.
fn tidy_event(members: &mut Map<String, Value>) {
    let Some(kind) = members.get("EventType").and_then(Value::as_str).map(str::to_owned) else { return };
    if let Some(input) = members.get_mut("Input") {
        let is_start = kind == "ExecutionStarted";
        *input = if !is_start {
            json!(ANY)
        } else if *input == json!("null") {
            Value::Null
        } else {
            input.take()
        };
    }
}

/// The state of an entity is that of .NET.
fn tidy_entity(members: &mut Map<String, Value>) {
    if members.get("instanceId").and_then(Value::as_str).is_some_and(|id| id.starts_with('@')) {
        for name in ["input", "customStatus"] {
            if let Some(member) = members.get_mut(name).filter(|member| !member.is_null()) {
                *member = json!(ANY);
            }
        }
    }
}

/// Without generated ids, times of the recording, keys and connections.
fn tidy_text(text: &str) -> String {
    if text.starts_with("2026-1") && text.len() >= 19 && crate::Timestamp::parse(text).is_some() {
        return ANY.to_owned();
    }
    let text = without_parameters(text);
    let mut out = String::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let length = rest.bytes().take_while(|b| b.is_ascii_hexdigit() || *b == b'-').count();
        let is_id = matches!(length, 32 | 36) && rest[..length].bytes().filter(u8::is_ascii_hexdigit).count() == 32;
        if is_id {
            out.push_str(ANY);
            rest = &rest[length..];
            // A child without an id of its own has a number behind that of its parent.
            let number = rest.strip_prefix(':').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
            rest = if number > 0 { &rest[number + 1..] } else { rest };
        } else {
            let step = length.max(rest.chars().next().map_or(0, char::len_utf8));
            out.push_str(&rest[..step]);
            rest = &rest[step..];
        }
    }
    out
}

/// A URL without `connection` and `code`.
fn without_parameters(text: &str) -> String {
    match text.split_once('?') {
        Some((path, query)) if text.starts_with("http") => {
            let kept = query.split('&').filter(|pair| !pair.starts_with("connection=") && !pair.starts_with("code="));
            format!("{path}?{}", kept.collect::<Vec<_>>().join("&"))
        }
        _ => text.to_owned(),
    }
}

#[test]
fn only_what_differs_from_run_to_run_is_left_out() {
    assert_eq!(tidy_text("2026-11-23T05:08:46Z"), ANY);
    assert_eq!(tidy_text("2024-01-02T03:04:05+02:00"), "2024-01-02T03:04:05+02:00");
    assert_eq!(tidy_text("5d47d327-85d6-4c0c-8062-41763bc7171c:0"), ANY);
    assert_eq!(tidy_text("http://x/65784ec1805944bb818f45d3876db034/a?taskHub=H&code=y"), format!("http://x/{ANY}/a?taskHub=H"));
    assert_eq!(shown(r#"{"a": 1, "b":[]}"#), r#"{"a":1,"b":[]}"#);
    assert_ne!(shown(r#"{"a":1,"b":2}"#), shown(r#"{"b":2,"a":1}"#), "members have an order");
    let event = r#"{"EventType":"TaskFailed","Reason":"x","Details":null,"FailureDetails":{"ErrorType":"E"},"Input":null}"#;
    assert!(shown(event).contains(r#""EventType":"TaskFailed","Reason":"(any)""#));
}
