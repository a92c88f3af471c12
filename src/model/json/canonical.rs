//! One text for every JSON text of the same meaning.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Larger texts count as they are: many small members take ten times their text to sort.
const SORTED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The text with the members of its objects in order and without `$type`, and with whole numbers as such. A text that is no
/// JSON, or a very large one, is itself. Ids are made of it: persisted, never change it.
pub(crate) fn canonical(json: &str) -> Cow<'_, str> {
    if json.len() > SORTED_BYTES_MAX {
        return Cow::Borrowed(json);
    }
    let mut out = Vec::with_capacity(json.len());
    let mut parser = serde_json::Deserializer::from_str(json);
    let written = Canonical(&mut out).deserialize(&mut parser).and_then(|()| parser.end());
    written.ok().and_then(|()| String::from_utf8(out).ok()).map_or(Cow::Borrowed(json), Cow::Owned)
}

/// Writes a value behind what is there.
struct Canonical<'o>(&'o mut Vec<u8>);

impl Canonical<'_> {
    fn write<E: serde::de::Error>(self, value: impl serde::Serialize) -> Result<(), E> {
        serde_json::to_writer(self.0, &value).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Canonical<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Canonical<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.write(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.write(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.write(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.write(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        #[allow(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
        if value.fract() == 0.0 && value.abs() < 9e15 { self.write(value as i64) } else { self.write(value) }
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.write(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.0.push(b'[');
        let begins = self.0.len();
        while seq.next_element_seed(Element { out: self.0, begins })?.is_some() {}
        self.0.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.push(b'{');
        let begins = self.0.len();
        let mut members: Vec<(String, Range<usize>)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "$type" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            comma(self.0, begins);
            let begins = self.0.len();
            Canonical(self.0).write(&name)?;
            self.0.push(b':');
            map.next_value_seed(Canonical(self.0))?;
            members.push((name, begins..self.0.len()));
        }
        sort(self.0, begins, members);
        self.0.push(b'}');
        Ok(())
    }
}

/// An element of a list, behind the comma that it may need.
struct Element<'o> {
    out: &'o mut Vec<u8>,
    begins: usize,
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        comma(self.out, self.begins);
        Canonical(self.out).deserialize(deserializer)
    }
}

fn comma(out: &mut Vec<u8>, begins: usize) {
    if out.len() > begins {
        out.push(b',');
    }
}

/// Brings the members of an object into the order of their names; of those of one name the last one counts.
fn sort(out: &mut Vec<u8>, begins: usize, mut members: Vec<(String, Range<usize>)>) {
    if members.is_sorted_by(|a, b| a.0 < b.0) {
        return;
    }
    members.sort_by(|a, b| a.0.cmp(&b.0));
    let written = out.split_off(begins);
    for (index, (name, range)) in members.iter().enumerate() {
        if members.get(index + 1).is_none_or(|next| next.0 != *name) {
            comma(out, begins);
            out.extend_from_slice(&written[range.start - begins..range.end - begins]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// The definition: what a tree of the text becomes.
    fn by_tree(json: &str) -> String {
        let Ok(mut value) = serde_json::from_str::<Value>(json) else { return json.to_owned() };
        normalise(&mut value);
        value.to_string()
    }

    fn normalise(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.remove("$type");
                members.sort_keys();
                members.values_mut().for_each(normalise);
            }
            Value::Array(items) => items.iter_mut().for_each(normalise),
            Value::Number(number) => {
                let whole = number.as_f64().filter(|f| number.is_f64() && f.fract() == 0.0 && f.abs() < 9e15);
                #[allow(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
                if let Some(whole) = whole {
                    *number = (whole as i64).into();
                }
            }
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
            "\"([a-z\u{e9}\u{1f600} ]|\\\\[nt\"\\\\]|\\\\u00e9){0,4}\"",
            Just("null".to_owned()),
            Just("true".to_owned()),
        ];
        let name = prop_oneof![Just("\"$type\"".to_owned()), "\"[a-c\u{e9}]{0,2}\"", Just("\"\\\"\"".to_owned())];
        leaf.prop_recursive(4, 32, 6, move |inner| {
            let list = proptest::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(", ")));
            let member = (name.clone(), inner).prop_map(|(name, value)| format!("{name} : {value}"));
            let object = proptest::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",")));
            prop_oneof![list, object]
        })
    }

    proptest! {
        #[test]
        fn it_is_what_a_tree_becomes(json in json()) {
            prop_assert_eq!(canonical(&json), by_tree(&json));
        }

        #[test]
        fn no_text_panics(text: String) {
            prop_assert_eq!(canonical(&text), by_tree(&text));
        }
    }

    #[test]
    fn what_is_no_json_is_itself_and_so_is_what_is_very_large() {
        for text in ["", "{", "1 2", "[1e999]", "\"\\ud800\"", &format!("{}{}", "[".repeat(200), "]".repeat(200))] {
            assert_eq!(canonical(text), text);
        }
        let large = format!("[ {}1]", "1,".repeat(SORTED_BYTES_MAX / 2));
        assert_eq!(canonical(&large), large);
    }
}
