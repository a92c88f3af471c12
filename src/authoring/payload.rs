//! User payloads on the wire: JSON texts, absent for null, with the habits of .NET.

use std::any::type_name;

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::model::{FailureDetails, read_payload};

/// The JSON text of a value; nothing for null.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Option<String>, serde_json::Error> {
    serde_json::to_string(value).map(unless_null)
}

/// Null is absent on the wire.
pub(super) fn unless_null(json: String) -> Option<String> {
    Some(json).filter(|json| json != "null")
}

/// The input of an activity is an array of its arguments, of which we have one.
pub(super) fn as_argument(mut json: String) -> String {
    json.insert(0, '[');
    json.push(']');
    json
}

/// Reads a payload. `what` names it in the failure, such as `The input of the activity "Greet"`.
pub(super) fn decode<T: DeserializeOwned>(json: Option<&str>, what: &str) -> Result<T, FailureDetails> {
    read_payload(json.unwrap_or("null")).map_err(|error| misfit::<T>(what, &error))
}

/// Reads the input of an activity: an array of exactly one element stands for the element.
pub(super) fn decode_argument<T: DeserializeOwned>(json: Option<&str>, what: &str) -> Result<T, FailureDetails> {
    let Some(array) = json.filter(|json| has_one_element(json)) else { return decode(json, what) };
    read_payload(array).map(|(argument,)| argument).map_err(|error| misfit::<T>(what, &error))
}

fn has_one_element(json: &str) -> bool {
    json.trim_start().starts_with('[') && serde_json::from_str::<(IgnoredAny,)>(json).is_ok()
}

/// What stands before the type in the failure of a payload that does not fit it. Behind the type comes the place in the payload, and
/// behind a colon the payload is quoted.
pub(crate) const MISFIT: &str = " does not fit the type ";

fn misfit<T>(what: &str, error: &serde_json::Error) -> FailureDetails {
    let at = format!(" at line {} column {}", error.line(), error.column());
    let why = error.to_string();
    let (why, at) = why.strip_suffix(&at).map_or((&*why, ""), |why| (why, &*at));
    let error_message = format!("{what}{MISFIT}{}{at}: {why}", type_name::<T>());
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct OnlyName {
        #[serde(rename = "Name")]
        name: String,
    }

    #[test]
    fn null_is_absent() {
        assert_eq!(encode(&()).unwrap(), None);
        assert_eq!(encode(&None::<u8>).unwrap(), None);
        assert_eq!(decode::<Option<u8>>(None, "x"), Ok(None));
        assert_eq!(decode::<()>(Some("null"), "x"), Ok(()));
        assert!(decode::<String>(None, "The input").unwrap_err().error_message.starts_with("The input does not fit the type"));
    }

    #[test]
    fn the_place_in_a_payload_is_told_before_the_payload_is_quoted() {
        let misfit = decode::<Vec<u8>>(Some("[1,\n 2, \"three: four\"]"), "The input").unwrap_err();
        let place = "The input does not fit the type alloc::vec::Vec<u8> at line 2 column 17";
        assert_eq!(misfit.error_message, format!("{place}: invalid type: string \"three: four\", expected u8"));
    }

    #[test]
    fn an_argument_is_the_only_element_of_its_array() {
        assert_eq!(decode_argument(Some("[\"Tokyo\"]"), "x"), Ok("Tokyo".to_owned()));
        assert_eq!(decode_argument(Some("\"bare\""), "x"), Ok("bare".to_owned()));
        assert_eq!(decode_argument(Some("[1,\"two\"]"), "x"), Ok((1, "two".to_owned())));
        assert_eq!(decode_argument(Some("[[10,0]]"), "x"), Ok((10, 0)));
        assert_eq!(decode_argument(Some("[null]"), "x"), Ok(()));
        assert_eq!(decode_argument::<Vec<u8>>(Some("[]"), "x"), Ok(vec![]));
        assert_eq!(decode_argument(Some(&as_argument(u128::MAX.to_string())), "x"), Ok(u128::MAX));
        assert_eq!(decode_argument::<Vec<u8>>(Some(&as_argument("[1]".to_owned())), "x"), Ok(vec![1]));
    }

    #[test]
    fn types_of_dotnet_are_members_only_where_they_fit() {
        let text = r#"[{"$type":"Peer.Poco, Peer","Name":"a","Nested":{"$type":"Peer.Poco, Peer","Name":"b"}}]"#;
        // Where everything fits, what is stored is what is read.
        let stored: Value = serde_json::from_str(text).unwrap();
        assert_eq!(decode_argument(Some(text), "x"), Ok(stored[0].clone()));
        let maps: BTreeMap<String, OnlyName> = decode(Some(r#"{"$type":"D","a":{"$type":"P","Name":"b"}}"#), "x").unwrap();
        assert_eq!(maps["a"].name, "b");
        let map: BTreeMap<String, u8> = decode(Some(r#"{"$type":"D","a":1}"#), "x").unwrap();
        assert_eq!(map.len(), 1);
        assert_eq!(decode(Some(r#""the \"$type\"""#), "x"), Ok("the \"$type\"".to_owned()));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value: (String, Vec<Option<i64>>, bool)) {
            let json = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(decode_argument(Some(&as_argument(json.clone())), "x"), Ok(value.clone()));
            prop_assert_eq!(decode(encode(&value).unwrap().as_deref(), "x"), Ok(value));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = decode_argument::<Value>(Some(&text), "x");
            let _ = decode::<BTreeMap<String, u8>>(Some(&text), "x");
        }
    }
}
