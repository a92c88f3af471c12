//! One member of a JSON object, and nothing built of the others.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::text::unescape;

/// The value of that name in a JSON object, as it is written; of several the last. `None` if there is none, or no object.
pub(crate) fn member<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    serde_json::Deserializer::from_str(json).deserialize_map(Find(name)).ok()?
}

/// The same, if the value is a text: what it says.
pub(crate) fn text_member(json: &str, name: &str) -> Option<String> {
    member(json, name).filter(|value| value.starts_with('"')).map(unescape)
}

struct Find<'n>(&'n str);

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<&RawValue>()? {
            if unescape(name.get()) == self.0 {
                found = Some(map.next_value::<&RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_by_its_name_and_is_as_it_was_written() {
        let json = r#"{"a":[[1]],"b\ud83d":1.10,"a":"x\ud83d","c":{"d":0}}"#;
        assert_eq!(member(json, "a"), Some(r#""x\ud83d""#));
        assert_eq!(member(json, "b\u{fffd}"), Some("1.10"));
        assert_eq!((member(json, "d"), member("[]", "a"), member("{\"a\":1", "a")), (None, None, None));
        assert_eq!((text_member(json, "a"), text_member(json, "c")), (Some("x\u{fffd}".to_owned()), None));
    }
}
