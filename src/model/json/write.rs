//! A writer of JSON as Newtonsoft writes it: compact, and escaping exactly what it escapes.

use std::fmt::Write as _;

use super::text::{Tokens, unescape};

/// .NET refuses to read deeper than 64; what would lie deeper is left out (null).
const DEPTH_MAX: usize = 60;
/// How the `$type` of every dictionary begins, as it is written.
const DICTIONARY: &str = "\"System.Collections.Generic.Dictionary`";
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

    /// The same with room for so many bytes, so that it is not copied while it grows to them.
    pub(super) fn with_room(self, bytes: usize) -> Self {
        Self { out: String::with_capacity(bytes), ..self }
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
        // Most texts are ASCII without anything to escape, which is seen without a branch for each byte.
        if text.is_ascii() && !text.bytes().fold(false, |any, byte| any | is_escaped(char::from(byte))) {
            self.out.push_str(text);
        } else {
            self.escaped(text);
        }
        self.out.push('"');
    }

    fn escaped(&mut self, text: &str) {
        // What needs no escape is copied in one piece.
        let mut copied = 0;
        for (at, c) in text.char_indices().filter(|(_, c)| is_escaped(*c)) {
            self.out.push_str(&text[copied..at]);
            self.escape(c);
            copied = at + c.len_utf8();
        }
        self.out.push_str(&text[copied..]);
    }

    fn escape(&mut self, c: char) {
        match c {
            '"' => self.out.push_str("\\\""),
            '\\' => self.out.push_str("\\\\"),
            '\u{8}' => self.out.push_str("\\b"),
            '\t' => self.out.push_str("\\t"),
            '\n' => self.out.push_str("\\n"),
            '\u{c}' => self.out.push_str("\\f"),
            '\r' => self.out.push_str("\\r"),
            _ => self.raw(format_args!("\\u{:04x}", u32::from(c))),
        }
    }

    pub(super) fn optional_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.null(),
        }
    }

    /// A JSON text; its objects are dictionaries to .NET and get that `$type` unless they bring their own.
    pub(super) fn dictionary(&mut self, json: &str) {
        self.copy(json, false);
    }

    /// A JSON text, whose objects bring whatever types they have.
    pub(super) fn untyped(&mut self, json: &str) {
        let types = std::mem::replace(&mut self.types, false);
        self.copy(json, false);
        self.types = types;
    }

    /// Copies a valid JSON text: numbers as they are written, texts with .NET's escapes.
    fn copy(&mut self, json: &str, without_dictionaries: bool) {
        let mut tokens = Tokens::of(json);
        let mut open: Vec<Open> = Vec::new();
        let mut before = "";
        while let Some(token) = tokens.next() {
            let is_name = before == "{" || before == "," && open.last().is_some_and(|open| open.is_object);
            before = token;
            match token {
                "{" | "[" if self.depth >= DEPTH_MAX => {
                    skip_value(&mut tokens);
                    self.null();
                    before = "";
                }
                "{" | "[" => {
                    self.depth += 1;
                    self.out.push_str(token);
                    open.push(Open { is_object: token == "{", begins: self.out.len(), has_type: false });
                }
                "}" | "]" => {
                    if let Some(open) = open.pop() {
                        self.depth -= 1;
                        self.add_type(&open);
                    }
                    self.out.push_str(token);
                }
                "\"$type\"" if is_name && without_dictionaries && skip_dictionary_type(&mut tokens) => {
                    // One comma goes with it: the one before it, or that behind it.
                    if self.out.ends_with(',') {
                        self.out.pop();
                    } else {
                        skip_comma(&mut tokens);
                        before = "{";
                    }
                }
                text if text.starts_with('"') => {
                    if let Some(open) = open.last_mut() {
                        open.has_type |= is_name && text == "\"$type\"";
                    }
                    self.string(&unescape(text));
                }
                other => self.out.push_str(other),
            }
        }
    }

    /// Puts the `$type` of a dictionary into an object that has been written without one.
    fn add_type(&mut self, object: &Open) {
        if self.types && object.is_object && !object.has_type {
            let comma = if self.out.len() > object.begins { "," } else { "" };
            self.out.insert_str(object.begins, &format!("\"$type\":\"{OBJECT_DICTIONARY}\"{comma}"));
        }
    }
}

/// What Newtonsoft escapes, and two more: XML 1.0, in which queue messages travel, cannot hold U+FFFE and U+FFFF.
fn is_escaped(c: char) -> bool {
    matches!(c, '"' | '\\' | '\0'..='\u{1f}' | '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}')
}

/// An object or a list whose end is still to be copied.
struct Open {
    is_object: bool,
    /// Where its first member was written.
    begins: usize,
    has_type: bool,
}

/// A JSON text as .NET would write it, compact, without any types but those that it has.
pub(super) fn untyped(json: &str) -> String {
    let mut w = JsonWriter::new(false);
    w.untyped(json);
    w.finish()
}

/// Dictionaries carry a `$type` in messages and none in columns; without it both forms read alike.
pub(crate) fn without_dictionary_types(json: &str) -> String {
    let mut w = JsonWriter::new(false);
    w.copy(json, true);
    w.finish()
}

/// Skips the rest of an object or list that has begun.
fn skip_value(tokens: &mut Tokens<'_>) {
    let mut depth = 1_usize;
    while depth > 0
        && let Some(token) = tokens.next()
    {
        match token {
            "{" | "[" => depth += 1,
            "}" | "]" => depth -= 1,
            _ => {}
        }
    }
}

/// Skips the colon and the value of a `$type`, if that is the type of a dictionary.
fn skip_dictionary_type(tokens: &mut Tokens<'_>) -> bool {
    let mut ahead = tokens.clone();
    let is_one = ahead.next() == Some(":") && ahead.next().is_some_and(|value| value.starts_with(DICTIONARY));
    if is_one {
        *tokens = ahead;
    }
    is_one
}

fn skip_comma(tokens: &mut Tokens<'_>) {
    let mut ahead = tokens.clone();
    if ahead.next() == Some(",") {
        *tokens = ahead;
    }
}
