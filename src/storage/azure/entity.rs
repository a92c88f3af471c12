//! Rows as JSON: Edm types by annotation, times with all seven digits, versions verbatim.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::model::{Timestamp, without_lone_surrogates};
use crate::storage::table::{Entity, Etag, Row, Value};

/// The body of a write. The keys are always in it: an insert-or-replace without any property is refused otherwise.
pub(crate) fn to_json(entity: &Entity) -> Map<String, Json> {
    let mut json = Map::new();
    for (name, value) in entity.properties.iter() {
        let (edm, plain) = match value {
            Value::Null => (None, Json::Null),
            Value::String(text) => (None, Json::from(text.as_str())),
            Value::Bool(flag) => (None, Json::from(*flag)),
            Value::I32(number) => (None, Json::from(*number)),
            Value::I64(number) => (Some("Edm.Int64"), Json::from(number.to_string())),
            Value::F64(number) => (Some("Edm.Double"), double(*number)),
            Value::DateTime(time) => (Some("Edm.DateTime"), Json::from(time.to_table_text())),
        };
        if let Some(edm) = edm {
            json.insert(format!("{name}@odata.type"), Json::from(edm));
        }
        json.insert(name.to_owned(), plain);
    }
    json.insert("PartitionKey".to_owned(), Json::from(entity.partition_key.as_str()));
    json.insert("RowKey".to_owned(), Json::from(entity.row_key.as_str()));
    json
}

/// A body with everything escaped that is not ASCII. Azurite ends a line of a transaction at U+2028 and then answers no
/// transaction at all any more, and it damages characters that lie across the chunks in which a body arrives.
pub(super) fn in_ascii(json: &str) -> Cow<'_, str> {
    if json.is_ascii() {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() * 2);
    for char in json.chars() {
        if char.is_ascii() {
            out.push(char);
        } else {
            for unit in char.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(out)
}

/// Reads an answer. Others may have stored half of a surrogate pair, which comes back as an escape that is no character.
pub(super) fn read_answer<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok().or_else(|| {
        let text = String::from_utf8_lossy(body);
        serde_json::from_str(&without_lone_surrogates(&text)).ok()
    })
}

fn double(number: f64) -> Json {
    serde_json::Number::from_f64(number).map_or_else(
        || {
            Json::from(if number.is_nan() {
                "NaN"
            } else if number > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            })
        },
        Json::Number,
    )
}

/// The rows of an answer. What is missing, on failure.
pub(crate) fn read_rows(body: &[u8]) -> Result<Vec<Row>, &'static str> {
    #[derive(Deserialize)]
    struct Answer {
        value: Vec<Map<String, Json>>,
    }
    let answer: Answer = read_answer(body).ok_or("no JSON")?;
    answer.value.iter().map(|json| from_json(json, None)).collect()
}

/// A row of an answer; `etag` is the header of a point read. What is missing, on failure.
pub(super) fn from_json(json: &Map<String, Json>, etag: Option<&str>) -> Result<Row, &'static str> {
    let text = |name: &str| json.get(name).and_then(Json::as_str);
    let etag = text("odata.etag").or(etag).ok_or("a row without a version")?;
    let mut entity = Entity::new(text("PartitionKey").unwrap_or_default(), text("RowKey").unwrap_or_default());
    for (name, value) in json {
        let system = name.contains('@') || name.starts_with("odata.");
        if system || matches!(name.as_str(), "PartitionKey" | "RowKey" | "Timestamp") {
            continue;
        }
        // A selected column that the row lacks comes as null.
        if let Some(value) = property(value, text(&format!("{name}@odata.type"))) {
            entity.properties.insert(name.clone(), value);
        }
    }
    let timestamp = text("Timestamp").and_then(Timestamp::parse).ok_or("a row without a time")?;
    Ok(Row { entity, etag: Etag(etag.to_owned()), timestamp })
}

fn property(value: &Json, edm: Option<&str>) -> Option<Value> {
    Some(match (value, edm) {
        (Json::Null | Json::Array(_) | Json::Object(_), _) => return None,
        (Json::Bool(flag), _) => Value::Bool(*flag),
        (Json::Number(number), Some("Edm.Double")) => Value::F64(number.as_f64()?),
        (Json::Number(number), Some("Edm.Int64")) => Value::I64(number.as_i64()?),
        (Json::Number(number), _) => match number.as_i64().map(i32::try_from) {
            Some(Ok(number)) => Value::I32(number),
            _ => Value::F64(number.as_f64()?),
        },
        (Json::String(text), Some("Edm.Int64")) => text.parse().map_or_else(|_| Value::string(text), Value::I64),
        (Json::String(text), Some("Edm.DateTime")) => Timestamp::parse(text).map_or_else(|| Value::string(text), Value::DateTime),
        (Json::String(text), Some("Edm.Double")) => Value::F64(match text.as_str() {
            "NaN" => f64::NAN,
            "Infinity" | "INF" => f64::INFINITY,
            "-Infinity" | "-INF" => f64::NEG_INFINITY,
            other => other.parse().ok()?,
        }),
        (Json::String(text), _) => Value::string(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::table::json_bytes;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Value> {
        prop_oneof![
            ".{0,20}".prop_map(Value::String),
            any::<bool>().prop_map(Value::Bool),
            any::<i32>().prop_map(Value::I32),
            any::<i64>().prop_map(Value::I64),
            any::<i32>().prop_map(|n| Value::F64(f64::from(n) / 8.0)),
            (0..3_155_000_000_000_000_000_i64).prop_map(|ticks| Value::DateTime(Timestamp::from_ticks(ticks))),
        ]
    }

    proptest! {
        #[test]
        fn every_value_comes_back_with_its_type(value in values(), key in "[^/\\\\#?]{0,10}") {
            let entity = Entity::new(key.clone(), key).with("A", value);
            let mut json = to_json(&entity);
            json.insert("Timestamp".to_owned(), Json::from("2024-03-14T16:00:05.1285428Z"));
            let row = from_json(&json, Some("W/\"1\"")).unwrap();
            prop_assert_eq!(row.entity, entity);
            prop_assert_eq!(row.etag, Etag("W/\"1\"".to_owned()));
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_is_ascii_and_says_the_same(text in ".{0,20}") {
            let text = format!("{text}\u{85}\u{2028}😀");
            let json = serde_json::to_string(&text).unwrap();
            let sent = in_ascii(&json);
            prop_assert!(sent.is_ascii());
            prop_assert_eq!(serde_json::from_str::<String>(&sent).unwrap(), text);
        }

        #[test]
        fn the_size_of_a_text_is_that_of_what_is_sent(text in "[ -~\n\t\re\u{301}é字😀\u{2028}]{0,30}") {
            let sent = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(json_bytes(&text), in_ascii(&sent).len() - 2);
        }
    }

    #[test]
    fn an_answer_with_half_a_surrogate_pair_is_read() {
        let rows: Vec<Map<String, Json>> = read_answer(br#"[{"Input":"ab\ud83d"},{"Input":"\ud83d\ude00"}]"#).unwrap();
        assert_eq!((&rows[0]["Input"], &rows[1]["Input"]), (&Json::from("ab\u{fffd}"), &Json::from("😀")));
        assert!(read_answer::<Json>(b"{").is_none());
    }

    #[test]
    fn types_of_others_are_read_as_text_and_nulls_are_absent() {
        let json = serde_json::json!({
            "odata.etag": "W/\"x\"", "PartitionKey": "p", "RowKey": "", "Timestamp": "2024-03-14T16:00:05Z",
            "G@odata.type": "Edm.Guid", "G": "a", "N": null, "D": 1.0, "B": 3_000_000_000_i64,
        });
        let row = from_json(json.as_object().unwrap(), None).unwrap();
        let properties: Vec<_> = row.entity.properties.into_iter().collect();
        let expected = [("B", Value::F64(3e9)), ("D", Value::F64(1.0)), ("G", Value::string("a"))];
        assert_eq!(properties, expected.map(|(name, value)| (name.into(), value)));
        assert_eq!(row.etag, Etag("W/\"x\"".to_owned()));
    }

    #[test]
    fn numbers_that_json_lacks_are_words() {
        assert_eq!(property(&double(f64::INFINITY), Some("Edm.Double")), Some(Value::F64(f64::INFINITY)));
        assert!(matches!(property(&double(f64::NAN), Some("Edm.Double")), Some(Value::F64(n)) if n.is_nan()));
    }
}
