//! Results as JSON, in which payloads are as they are stored: every digit, every member, in its order.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// A result; members come in their order.
#[derive(Debug)]
pub(crate) enum Json {
    Plain(Value),
    Stored(Box<RawValue>),
    Object(Vec<(&'static str, Self)>),
    List(Vec<Self>),
}

impl<T: Into<Value>> From<T> for Json {
    fn from(value: T) -> Self {
        Self::Plain(value.into())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(value) => value.serialize(serializer),
            Self::Stored(raw) => raw.serialize(serializer),
            Self::List(items) => items.serialize(serializer),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

/// A stored payload: its JSON, or the text itself where it is none, as reasons and messages of failures are.
pub(crate) fn payload(text: Option<&str>) -> Json {
    let Some(text) = text else { return Json::Plain(Value::Null) };
    match stored(text) {
        Some(raw) => Json::Stored(raw),
        None => text.into(),
    }
}

/// A stored payload on one line or several, as it is stored.
pub(crate) fn as_stored(text: &str) -> Cow<'_, str> {
    stored(text).map_or(Cow::Borrowed(text), |raw| Cow::Owned(raw.get().to_owned()))
}

/// A stored payload: objects and lists over several lines, all else as it is stored.
pub(crate) fn over_lines(text: &str) -> Cow<'_, str> {
    match stored(text) {
        Some(raw) if raw.get().starts_with(['{', '[']) && !is_too_deep(raw.get()) => Cow::Owned(indented(raw.get())),
        Some(raw) => Cow::Owned(raw.get().to_owned()),
        None => Cow::Borrowed(text),
    }
}

/// The text, if it is JSON. The escape of half a surrogate pair is JSON as well, and stays.
fn stored(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).ok()
}

/// Nesting that is shown over several lines: deeper in, there would be little but space.
const DEPTH_MAX: usize = 100;

fn is_too_deep(json: &str) -> bool {
    let mut depth = 0_usize;
    outside_of_texts(json).any(|(char, is_outside)| {
        match char {
            '{' | '[' if is_outside => depth += 1,
            '}' | ']' if is_outside => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEPTH_MAX
    })
}

/// Each character of a JSON text, and whether it is outside of the texts in quotes.
fn outside_of_texts(json: &str) -> impl Iterator<Item = (char, bool)> {
    let (mut in_text, mut is_escaped) = (false, false);
    json.chars().map(move |char| {
        let is_outside = !in_text && char != '"';
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' if in_text => is_escaped = true,
            '"' => in_text = !in_text,
            _ => {}
        }
        (char, is_outside)
    })
}

/// A valid JSON text with a line for each element and member.
fn indented(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut is_first) = (0_usize, false);
    let new_line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    for (char, is_outside) in outside_of_texts(json) {
        let is_space = is_outside && char.is_ascii_whitespace();
        let is_end = is_outside && matches!(char, '}' | ']');
        if is_end {
            depth = depth.saturating_sub(1);
        }
        if !is_space && is_end != is_first {
            new_line(&mut out, depth);
        }
        if !is_space {
            is_first = false;
            out.push(char);
        }
        match char {
            '{' | '[' if is_outside => (depth, is_first) = (depth + 1, true),
            ',' if is_outside => new_line(&mut out, depth),
            ':' if is_outside => out.push(' '),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const STORED: &str =
        r#"{ "a":79228162514264337593543950335,"b":[1.10,1E5,{}, [ ] ],"a":"x, {\"y\": [z]}\\" ,"c":{"d":null}}"#;

    #[test]
    fn payloads_are_printed_as_they_are_stored() {
        let result = Json::Object(vec![("input", payload(Some(STORED))), ("n", 1.into()), ("none", payload(None))]);
        let printed = serde_json::to_string(&result).unwrap();
        assert_eq!(printed, format!(r#"{{"input":{STORED},"n":1,"none":null}}"#));
        let list = Json::List(vec![payload(Some(" 1E5 ")), payload(Some("no JSON")), payload(Some(r#""ab\ud83d""#))]);
        assert_eq!(serde_json::to_string(&list).unwrap(), r#"[1E5,"no JSON","ab\ud83d"]"#);
    }

    #[test]
    fn lines_are_those_of_the_usual_form_and_numbers_are_as_they_are_stored() {
        let expected = r#"{
  "a": 79228162514264337593543950335,
  "b": [
    1.10,
    1E5,
    {},
    []
  ],
  "a": "x, {\"y\": [z]}\\",
  "c": {
    "d": null
  }
}"#;
        assert_eq!(over_lines(STORED), expected);
        let usual = json!({ "a": [1, [], {}, { "b": ["x, y", "\"{"] }], "c": { "d": { "e": -1.5 } } });
        assert_eq!(over_lines(&usual.to_string()), format!("{usual:#}"));
        for same in ["7", "NoMoney: {", "\"a\\nb\"", &"[".repeat(1000), &format!("{}{}", "[".repeat(1000), "]".repeat(1000))] {
            assert_eq!(over_lines(same), same);
        }
    }
}
