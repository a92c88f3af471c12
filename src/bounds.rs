//! What names and texts of users may be, found before anything is sent: what is accepted can be stored and read back.

use crate::ids::shortened;
use crate::limits::{NAME_UNITS_MAX, TAGS_BYTES_MAX, TEXT_BYTES_MAX};
use crate::model::{JsonColumn as _, Tags};

/// What a message adds to tags: their type.
const TAGS_ENVELOPE_BYTES: usize = 1024;
/// Texts up to this size are taken for the most that they can become.
const COUNTED_FROM: usize = 16 * 1024;

/// Why an orchestrator cannot have this name.
pub(crate) fn why_no_name(what: &str, name: &str) -> Option<String> {
    why_empty(what, name).or_else(|| why_no_version(what, name))
}

/// Why an orchestrator or activity cannot have this version.
pub(crate) fn why_no_version(what: &str, version: &str) -> Option<String> {
    let units = version.encode_utf16().count();
    (units > NAME_UNITS_MAX).then(|| {
        format!("{what} \"{}\" is too long: it has {units} UTF-16 units, and {NAME_UNITS_MAX} can be stored", shortened(version))
    })
}

/// Why nothing can have this name.
pub(crate) fn why_empty(what: &str, name: &str) -> Option<String> {
    name.is_empty().then(|| format!("{what} is empty"))
}

/// Why a message cannot carry these texts.
pub(crate) fn why_too_large<'a>(what: &str, texts: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let bytes: usize = texts.into_iter().map(json_bytes).sum();
    (bytes > TEXT_BYTES_MAX).then(|| {
        format!(
            "{what} is too large: it takes {bytes} bytes or more as JSON, and {TEXT_BYTES_MAX} can be read back; store it elsewhere and \
             pass on where it is"
        )
    })
}

/// Why something cannot have these tags.
pub(crate) fn why_no_tags(whose: &str, tags: &Tags) -> Option<String> {
    let bytes = Tags::to_column(Some(tags)).len() + TAGS_ENVELOPE_BYTES;
    (bytes > TAGS_BYTES_MAX).then(|| {
        format!("the tags of {whose} are too large: they take {bytes} bytes as JSON, and {TAGS_BYTES_MAX} can be read back; pass data as input")
    })
}

/// The size of a text as a string of JSON: no less than it is, nor more unless the text is small.
fn json_bytes(text: &str) -> usize {
    if text.len() <= COUNTED_FROM {
        // The most that bytes become.
        return 6 * text.len();
    }
    if text.len() > TEXT_BYTES_MAX {
        return text.len();
    }
    let bytes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        // The first byte of U+0085, U+2028 and U+2029, and of others that stay as they are.
        0xc2 => 5,
        0xe2 => 4,
        _ => 1,
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_bound_and_a_long_one_is_shown_in_part() {
        assert_eq!(why_no_name("the name", &"v".repeat(NAME_UNITS_MAX)), None);
        assert_eq!(why_no_name("the name", "").as_deref(), Some("the name is empty"));
        assert_eq!(why_no_version("the version", ""), None);
        let why = why_no_version("the version", &"😀".repeat(NAME_UNITS_MAX / 2 + 1)).unwrap();
        assert!(why.starts_with("the version \"😀") && why.contains("2050 UTF-16 units, and 2048") && why.len() < 600, "{why}");
    }

    #[test]
    fn no_text_takes_more_in_a_message_than_is_counted() {
        let texts =
            ["\"\\".repeat(200_000), "\u{1}\n".repeat(200_000), "\u{2028}\u{85}é".repeat(100_000), "日x😀".repeat(100_000)];
        for text in texts {
            let written = serde_json::to_string(&text).unwrap().replace('\u{2028}', "\\u2028").replace('\u{85}', "\\u0085").len();
            assert!((written - 2..2 * written).contains(&json_bytes(&text)), "{written} {}", json_bytes(&text));
        }
    }

    #[test]
    fn texts_are_counted_together() {
        let text = "x".repeat(16_000);
        let many = |count| why_too_large("the input of \"X\"", std::iter::repeat_n(text.as_str(), count));
        assert_eq!(many(2621), None);
        let why = many(2622).unwrap();
        assert!(why.starts_with("the input of \"X\" is too large: it takes 251712000 bytes or more as JSON"), "{why}");
    }
}
