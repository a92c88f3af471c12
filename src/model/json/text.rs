//! Texts and tokens of JSON as they are written: escapes, halves of surrogate pairs, and what a text is made of.

use std::borrow::Cow;

/// Nesting that is read: as much as serde_json reads, and twice what .NET does.
const DEPTH_MAX: usize = 128;

/// The tokens of a JSON text: brackets, colons, commas, texts in their quotes, and everything else. White space is left out.
#[derive(Clone, Debug)]
pub(super) struct Tokens<'a>(&'a str);

impl<'a> Tokens<'a> {
    pub(super) fn of(json: &'a str) -> Self {
        Self(json)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_ascii_start();
        let length = match *rest.as_bytes().first()? {
            b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
            b'"' => quoted_length(rest),
            _ => rest.find(|c: char| c.is_ascii_whitespace() || "{}[],:\"".contains(c)).unwrap_or(rest.len()),
        };
        let (token, rest) = rest.split_at(length);
        self.0 = rest;
        Some(token)
    }
}

/// The length of the text in quotes at the beginning; everything, if it does not end.
fn quoted_length(json: &str) -> usize {
    let bytes = json.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

/// Whether the first value of a text is nested deeper than anybody reads.
pub(super) fn is_too_deep(json: &str) -> bool {
    let mut depth = 0_usize;
    for token in Tokens::of(json) {
        match token {
            "{" | "[" => depth += 1,
            "}" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 || depth > DEPTH_MAX {
            break;
        }
    }
    depth > DEPTH_MAX
}

/// What a JSON text in quotes says. A lone half of a surrogate pair, which .NET and JavaScript write, becomes U+FFFD, as it does
/// when .NET writes it on.
pub(super) fn unescape(quoted: &str) -> String {
    let text = quoted.strip_prefix('"').unwrap_or(quoted);
    let text = text.strip_suffix('"').unwrap_or(text);
    // No escape is shorter than what it stands for.
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (char, length) = escaped(&rest[at..]);
        out.push(char);
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    if out.capacity() - out.len() > out.len() / 8 {
        out.shrink_to_fit();
    }
    out
}

/// The character that the escape at the beginning stands for, and the length of the escape.
fn escaped(escape: &str) -> (char, usize) {
    if let Some(unit) = escape_unit(escape) {
        return match (unit, escape.get(6..).and_then(escape_unit)) {
            (0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) => {
                let code = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
            }
            _ => (char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
        };
    }
    match escape[1..].chars().next() {
        Some('b') => ('\u{8}', 2),
        Some('f') => ('\u{c}', 2),
        Some('n') => ('\n', 2),
        Some('r') => ('\r', 2),
        Some('t') => ('\t', 2),
        Some(other) => (other, 1 + other.len_utf8()),
        None => ('\\', 1),
    }
}

/// A JSON text in which each lone half of a surrogate pair is U+FFFD; serde_json refuses such halves.
#[must_use]
pub(crate) fn without_lone_surrogates(json: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut done, mut at) = (0, 0);
    while let Some(found) = json[at..].find('\\') {
        at += found;
        let (unit, low) = (escape_unit(&json[at..]), json.get(at + 6..).and_then(escape_unit));
        at += match (unit, low) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                out.push_str(&json[done..at]);
                out.push_str("\\ufffd");
                done = at + 6;
                6
            }
            (Some(_), _) => 6,
            // The backslash and the one character that it escapes.
            (None, _) => 1 + json[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    if done == 0 {
        return Cow::Borrowed(json);
    }
    out.push_str(&json[done..]);
    Cow::Owned(out)
}

fn escape_unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if digits.bytes().all(|b| b.is_ascii_hexdigit()) { u32::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::json::arbitrary;

    #[test]
    fn halves_of_surrogate_pairs_are_replaced_and_pairs_are_kept() {
        for (quoted, expected) in [
            (r#""\ud83d\ude00""#, "😀"),
            (r#""a\ud83db""#, "a\u{fffd}b"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\\ud83d\u0041\n\"\/""#, "\\ud83dA\n\"/"),
            (r#""\ud83d\ud83d\ude00\uD83D""#, "\u{fffd}😀\u{fffd}"),
            (r#""""#, ""),
        ] {
            assert_eq!(unescape(quoted), expected, "{quoted}");
            assert_eq!(serde_json::from_str::<String>(&without_lone_surrogates(quoted)).unwrap(), expected, "{quoted}");
        }
        assert!(matches!(without_lone_surrogates(r#"["\ud83d\ude00\\ud83d"]"#), Cow::Borrowed(_)));
    }

    #[test]
    fn tokens_are_what_is_written() {
        let json = " {\"a\\\"}\" : [1.10, -1E5,true ],\"b\":{}} ";
        let tokens: Vec<_> = Tokens::of(json).collect();
        assert_eq!(
            tokens,
            ["{", "\"a\\\"}\"", ":", "[", "1.10", ",", "-1E5", ",", "true", "]", ",", "\"b\"", ":", "{", "}", "}"]
        );
        assert!(!is_too_deep(&format!("{}{} [[[[", "[".repeat(128), "]".repeat(128))));
        assert!(is_too_deep(&"[".repeat(129)));
    }

    proptest! {
        #[test]
        fn what_serde_writes_is_read_alike(text in arbitrary::text()) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(unescape(&json), text);
        }

        #[test]
        fn no_text_panics(text: String, escapes in "[\\\\ud8Dc3\"{},:é]{0,30}") {
            for text in [text, escapes] {
                prop_assert!(Tokens::of(&text).all(|token| !token.is_empty()));
                let _ = (unescape(&text), is_too_deep(&text), without_lone_surrogates(&text));
            }
        }
    }
}
