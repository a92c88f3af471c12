//! A writer of JSON as Newtonsoft writes it: compact, and escaping exactly what it escapes.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// .NET refuses to read deeper than 64; what would lie deeper is left out (null).
const DEPTH_MAX: usize = 60;
/// The `$type` of a dictionary from string to anything.
const OBJECT_DICTIONARY: &str =
    "System.Collections.Generic.Dictionary`2[[System.String, System.Private.CoreLib],[System.Object, System.Private.CoreLib]]";
/// The `$type` of a dictionary from string to string.
pub(super) const STRING_DICTIONARY: &str =
    "System.Collections.Generic.Dictionary`2[[System.String, System.Private.CoreLib],[System.String, System.Private.CoreLib]]";

/// Builds one JSON text; members follow each other in the order of the calls.
pub(crate) struct JsonWriter {
    out: String,
    /// Whether objects begin with `$type`: in messages they do, in columns they do not.
    types: bool,
    depth: usize,
}

impl JsonWriter {
    pub(super) fn new(types: bool) -> Self {
        Self { out: String::new(), types, depth: 0 }
    }

    pub(super) fn finish(self) -> String {
        self.out
    }

    /// An object of a .NET class.
    pub(super) fn object(&mut self, class: &str, members: impl FnOnce(&mut Self)) {
        self.plain_object(|w| {
            if w.types {
                w.name("$type").string(class);
            }
            members(w);
        });
    }

    /// An object that never has a `$type`.
    pub(super) fn plain_object(&mut self, members: impl FnOnce(&mut Self)) {
        if self.depth >= DEPTH_MAX {
            self.null();
            return;
        }
        self.depth += 1;
        self.out.push('{');
        members(self);
        self.out.push('}');
        self.depth -= 1;
    }

    /// Begins a member.
    pub(super) fn name(&mut self, name: &str) -> &mut Self {
        if !self.out.ends_with('{') {
            self.out.push(',');
        }
        self.string(name);
        self.out.push(':');
        self
    }

    pub(super) fn null(&mut self) {
        self.out.push_str("null");
    }

    pub(super) fn raw(&mut self, number_or_literal: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{number_or_literal}");
    }

    pub(super) fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\u{8}' => self.out.push_str("\\b"),
                '\t' => self.out.push_str("\\t"),
                '\n' => self.out.push_str("\\n"),
                '\u{c}' => self.out.push_str("\\f"),
                '\r' => self.out.push_str("\\r"),
                // The last two are ours: XML 1.0, in which queue messages travel, cannot hold them.
                '\0'..='\u{1f}' | '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}' => {
                    self.raw(format_args!("\\u{:04x}", u32::from(c)));
                }
                _ => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    pub(super) fn optional_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.null(),
        }
    }

    /// Any JSON value; its objects are dictionaries to .NET and get that `$type` unless they bring their own.
    pub(super) fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.string(text),
            Value::Array(items) => self.array(items),
            Value::Object(map) => self.dictionary(map),
            Value::Null | Value::Bool(_) | Value::Number(_) => self.raw(value),
        }
    }

    pub(super) fn dictionary(&mut self, map: &Map<String, Value>) {
        let typed = self.types && !map.contains_key("$type");
        self.plain_object(|w| {
            if typed {
                w.name("$type").string(OBJECT_DICTIONARY);
            }
            for (name, item) in map {
                w.name(name).value(item);
            }
        });
    }

    /// Any JSON value as it is.
    pub(super) fn untyped(&mut self, value: &Value) {
        let types = std::mem::replace(&mut self.types, false);
        self.value(value);
        self.types = types;
    }

    fn array(&mut self, items: &[Value]) {
        if self.depth >= DEPTH_MAX {
            self.null();
            return;
        }
        self.depth += 1;
        self.out.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.value(item);
        }
        self.out.push(']');
        self.depth -= 1;
    }
}
