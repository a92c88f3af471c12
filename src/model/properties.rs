//! Further values of a failure: one JSON object, kept as text.

use std::fmt;

use serde::de::DeserializeOwned;

use super::json::{member, read_payload, without_dictionary_types};

/// Values by name that a failure brings with it: a JSON object. Numbers keep all their digits, and members their order.
#[derive(Clone, PartialEq, Eq)]
pub struct Properties(String);

impl Properties {
    /// From a valid JSON object, with or without the types that .NET gives to dictionaries.
    pub(crate) fn of_dictionary(json: &str) -> Self {
        Self(without_dictionary_types(json))
    }

    /// The object as JSON.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// The value of that name, `None` if there is none or it is no `T`. Of several of one name it is the last.
    #[must_use]
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        read_payload(member(&self.0, name)?).ok()
    }

    /// Adds a value. One of the same name that is there already counts no more.
    pub fn insert(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        let comma = if self.0 == "{}" { "" } else { "," };
        let member = format!("{comma}{}:{}", serde_json::Value::from(name), value.into());
        // Written once more in our form, in which equal texts are equal.
        let whole = format!("{}{member}}}", self.0.strip_suffix('}').unwrap_or("{"));
        *self = Self::of_dictionary(&whole);
    }
}

impl Default for Properties {
    fn default() -> Self {
        Self("{}".to_owned())
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_name_with_all_their_digits() {
        let mut properties = Properties::of_dictionary(r#"{ "a":79228162514264337593543950335, "b":[1.10] }"#);
        assert_eq!(properties.as_json(), r#"{"a":79228162514264337593543950335,"b":[1.10]}"#);
        assert_eq!(properties.get("a"), Some(79_228_162_514_264_337_593_543_950_335_u128));
        properties.insert("b", "x");
        assert_eq!((properties.get("b"), properties.get::<u8>("c")), (Some("x".to_owned()), None));
        let mut one = Properties::default();
        one.insert("\u{2028}", 1);
        assert_eq!(one.as_json(), r#"{"\u2028":1}"#);
        assert_eq!(one.get("\u{2028}"), Some(1));
    }
}
