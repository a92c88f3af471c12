//! User payloads on the wire: JSON texts, absent for null, with the habits of .NET.

use std::any::type_name;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::FailureDetails;

/// The JSON text of a value; nothing for null.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Option<String>, serde_json::Error> {
    serde_json::to_string(value).map(unless_null)
}

/// Null is absent on the wire.
pub(super) fn unless_null(json: String) -> Option<String> {
    Some(json).filter(|json| json != "null")
}

/// The input of an activity is an array of its arguments, of which we have one.
pub(super) fn as_argument(json: &str) -> String {
    format!("[{json}]")
}

/// Reads a payload. `what` names it in the failure, such as `The input of the activity "Greet"`.
pub(super) fn decode<T: DeserializeOwned>(json: Option<&str>, what: &str) -> Result<T, FailureDetails> {
    let json = json.unwrap_or("null");
    // .NET puts the type first in objects. Structs ignore unknown members, but maps would have one too many.
    let result = if json.contains("\"$type\"") {
        serde_json::from_str(json).map(without_types).and_then(serde_json::from_value)
    } else {
        serde_json::from_str(json)
    };
    result.map_err(|error| misfit::<T>(what, &error))
}

/// Reads the input of an activity: an array of exactly one element stands for the element.
pub(super) fn decode_argument<T: DeserializeOwned>(json: Option<&str>, what: &str) -> Result<T, FailureDetails> {
    let element = json.filter(|json| json.trim_start().starts_with('[')).and_then(only_element);
    decode(element.as_deref().or(json), what)
}

/// The text of the element of an array that has exactly one.
fn only_element(json: &str) -> Option<String> {
    let [element]: [Value; 1] = serde_json::from_str(json).ok()?;
    serde_json::to_string(&element).ok()
}

fn misfit<T>(what: &str, error: &serde_json::Error) -> FailureDetails {
    let error_message = format!("{what} does not fit the type {}: {error}", type_name::<T>());
    FailureDetails {
        error_type: "PayloadMismatch".to_owned(),
        error_message,
        is_non_retriable: true,
        ..FailureDetails::default()
    }
}

/// The failure of a value that has no JSON.
pub(super) fn unencodable(what: &str, error: &serde_json::Error) -> FailureDetails {
    let error_message = format!("{what} cannot be written as JSON: {error}");
    FailureDetails {
        error_type: "PayloadMismatch".to_owned(),
        error_message,
        is_non_retriable: true,
        ..FailureDetails::default()
    }
}

fn without_types(mut value: Value) -> Value {
    strip(&mut value);
    value
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.keys().next().is_some_and(|key| key == "$type") {
                members.shift_remove("$type");
            }
            members.values_mut().for_each(strip);
        }
        Value::Array(elements) => elements.iter_mut().for_each(strip),
        _ => {}
    }
}
