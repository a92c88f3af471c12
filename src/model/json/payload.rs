//! What users store, read into their types.

use serde::de::{DeserializeOwned, IgnoredAny};

use super::text::{Tokens, without_lone_surrogates};

/// Reads a value from its JSON, as it is stored. Only what does not fit its type so is read without the types that .NET puts into
/// objects: a member `$type` may as well be the user's own.
pub(crate) fn read_payload<T: DeserializeOwned>(json: &str) -> serde_json::Result<T> {
    let json = without_lone_surrogates(json);
    serde_json::from_str(&json).or_else(|error| {
        let is_typed = json.contains(TYPE) && serde_json::from_str::<IgnoredAny>(&json).is_ok();
        let plain = if is_typed { serde_json::from_str(&without_types(&json)).ok() } else { None };
        plain.ok_or(error)
    })
}

/// The first member of an object to which .NET has added its class.
const TYPE: &str = "\"$type\"";
/// The member behind it that holds a list, which has no place for a type of its own.
const VALUES: &str = "\"$values\"";

/// A valid JSON text without the types of .NET; all else as it is written.
fn without_types(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut tokens = Tokens::of(json);
    // Of each object and list that is open: whether its brackets are left out.
    let mut open = Vec::new();
    while let Some(token) = tokens.next() {
        let is_left_out = match token {
            "{" => {
                let is_list = skip_type(&mut tokens);
                open.push(is_list);
                is_list
            }
            "[" => {
                open.push(false);
                false
            }
            "}" | "]" => open.pop().unwrap_or_default(),
            _ => false,
        };
        if !is_left_out {
            out.push_str(token);
        }
    }
    out
}

/// Skips the type at the beginning of an object. Answers whether the object stands for a list, and then skips all before that.
fn skip_type(tokens: &mut Tokens<'_>) -> bool {
    let mut ahead = tokens.clone();
    let is_typed = ahead.next() == Some(TYPE) && ahead.next() == Some(":") && ahead.next().is_some_and(|v| v.starts_with('"'));
    if !is_typed {
        return false;
    }
    tokens.clone_from(&ahead);
    if ahead.next() == Some(",") {
        tokens.clone_from(&ahead);
    }
    let is_list = ahead.next() == Some(VALUES) && ahead.next() == Some(":");
    if is_list {
        *tokens = ahead;
    }
    is_list
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "$type")]
    enum Shape {
        Circle { radius: u64 },
        Group { shapes: Vec<Self> },
    }

    #[test]
    fn a_tag_that_has_the_name_of_dotnets_types_stays() {
        let group = Shape::Group { shapes: vec![Shape::Circle { radius: u64::MAX }] };
        assert_eq!(read_payload::<Shape>(&serde_json::to_string(&group).unwrap()).unwrap(), group);
        let value = json!({ "a": [{ "$type": "X", "b": u64::MAX }], "$type": 1 });
        assert_eq!(read_payload::<Value>(&value.to_string()).unwrap(), value);
    }

    #[test]
    fn types_of_dotnet_are_left_out_where_nothing_else_fits() {
        let typed =
            r#"{"$type":"D","a":{ "$type" : "L" , "$values":[18446744073709551615,1.10e0]},"b":{"$type":"L","$values":[]}}"#;
        assert_eq!(without_types(typed), r#"{"a":[18446744073709551615,1.10e0],"b":[]}"#);
        let map: BTreeMap<String, Vec<f64>> = read_payload(typed).unwrap();
        assert_eq!(map["a"], [18_446_744_073_709_551_615.0, 1.1]);
        let large: BTreeMap<String, u128> = read_payload(&format!(r#"{{"$type":"D","a":{}}}"#, u128::MAX)).unwrap();
        assert_eq!(large["a"], u128::MAX);
        assert_eq!(read_payload::<BTreeMap<String, u8>>(r#"{"$type":"D"}"#).unwrap(), BTreeMap::new());
        assert_eq!(read_payload::<String>(r#""the \"$type\"""#).unwrap(), "the \"$type\"");
        // What is told is the first failure: that of the text as it is stored.
        let error = read_payload::<BTreeMap<String, u8>>(r#"{"$type":"D","a":true}"#).unwrap_err().to_string();
        assert!(error.contains("invalid type: string \"D\""), "{error}");
    }

    #[test]
    fn half_a_surrogate_pair_is_replaced() {
        assert_eq!(read_payload::<Vec<String>>(r#"["ab\ud83d","\ud83d\ude00"]"#).unwrap(), ["ab\u{fffd}", "😀"]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String, structure in "[\\[\\]{}:,\"$typevalus 1\\\\]{0,40}") {
            for text in [text, structure] {
                let _ = (read_payload::<Value>(&text), without_types(&text));
                let _ = read_payload::<BTreeMap<String, u8>>(&text);
            }
        }
    }
}
