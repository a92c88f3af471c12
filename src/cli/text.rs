//! Words for people: times, ages, and texts from outside made safe for a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use taskhub::Timestamp;

/// A UTC time to the second.
pub(crate) fn time(at: Timestamp) -> String {
    let text = at.to_string();
    let seconds = text.get(..19).unwrap_or(&text);
    seconds.replacen('T', " ", 1)
}

/// A UTC time to the second, or a dash.
pub(crate) fn time_or_dash(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), time)
}

/// About how long, in one unit.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// How long ago, or how long until.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    if at > now { format!("in {}", span(at.since(now))) } else { format!("{} ago", span(now.since(at))) }
}

/// A text on one line, without what could steer a terminal or deceive who reads it.
pub(crate) fn line(text: &str) -> String {
    text.chars().map(shown).collect()
}

/// The same for a text of several lines.
pub(crate) fn block(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\t') { c } else { shown(c) }).collect()
}

/// A JSON document with the same values, in which nothing could steer a terminal or deceive who reads it.
pub(crate) fn json(document: &str) -> String {
    let mut safe = String::with_capacity(document.len());
    for c in document.chars() {
        match shown(c) {
            same if same == c => safe.push(c),
            // Only between values: in a string they are escaped, or it would be no JSON.
            _ if c < ' ' => safe.push(if c == '\n' { c } else { ' ' }),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                let _ = write!(safe, "\\u{unit:04x}");
            }),
        }
    }
    safe
}

/// A character as it is shown: in the place of one that breaks or steers lines a space, in the place of one that cannot be seen, or
/// that turns the direction of what follows, a mark.
fn shown(c: char) -> char {
    match c {
        '\u{2028}' | '\u{2029}' => ' ',
        _ if c.is_control() => ' ',
        _ if is_invisible(c) => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

/// Unicode's Default_Ignorable_Code_Point, with the marks of interlinear annotation: directions, joiners, zero width, tags, variants.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// At most `width` characters; an ellipsis shows that there is more.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A text as one word of a command line.
pub(crate) fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.:@/".contains(c);
    if text.chars().all(is_plain) && !text.is_empty() {
        text.to_owned()
    } else {
        format!("'{}'", line(text).replace('\'', "'\\''"))
    }
}

/// A count with its word.
pub(crate) fn count(number: u64, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_short() {
        let now = Timestamp::parse("2026-01-02T03:04:05.678Z").unwrap();
        assert_eq!(time(now), "2026-01-02 03:04:05");
        assert_eq!(time_or_dash(None), "-");
        assert_eq!(relative(now, now.plus(Duration::from_secs(30))), "30 s ago");
        assert_eq!(relative(now.plus(Duration::from_secs(9000)), now), "in 2 h");
        assert_eq!(
            ["119 s", "2 min", "119 min", "2 h", "47 h", "2 d"],
            [119, 120, 7_199, 7_200, 172_799, 172_800].map(|s| span(Duration::from_secs(s)))
        );
    }

    /// What must never reach a terminal, told by Rust's own tables of what can be printed and by names that are known.
    fn is_safe(c: char) -> bool {
        !c.is_control() && !"\u{200b}\u{200d}\u{202e}\u{2066}\u{2069}\u{2028}\u{feff}\u{61c}\u{e0041}\u{ad}".contains(c)
    }

    /// Texts in which such characters are as frequent as others.
    fn texts() -> impl Strategy<Value = String> {
        let hidden = prop::sample::select(
            "\u{0}\u{7}\u{9}\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{200b}\u{202e}\u{2028}\u{feff}\u{e0041}\"\\"
                .chars()
                .collect::<Vec<_>>(),
        );
        prop::collection::vec(prop_oneof![any::<char>(), hidden], 0..40).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn nothing_that_is_shown_steers_a_terminal(text in texts()) {
            prop_assert!(line(&text).chars().all(is_safe));
            prop_assert!(block(&text).chars().all(|c| is_safe(c) || matches!(c, '\n' | '\t')));
            prop_assert_eq!(line(&text).chars().count(), text.chars().count());
        }

        #[test]
        fn json_is_safe_and_has_the_same_values(text in texts(), key in texts()) {
            let value = serde_json::json!({ key: [text, { "more": [1.5, null] }] });
            for document in [value.to_string(), format!("{value:#}"), format!("{value:#}").replace('\n', "\r\n\t")] {
                let shown = json(&document);
                prop_assert!(shown.chars().all(|c| is_safe(c) || c == '\n'), "{:?}", shown);
                prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&shown).unwrap(), &value);
            }
        }

        #[test]
        fn what_can_be_seen_stays(text in "[ -~À-ÿα-ωא-ת一-龥😀-🙏]*") {
            prop_assert_eq!(&line(&text), &text);
            prop_assert_eq!(json(&text), text);
        }
    }

    #[test]
    fn every_character_is_judged() {
        for c in ('\0'..=char::MAX).filter(|c| !is_safe(*c)) {
            assert_ne!(shown(c), c, "{c:?}");
        }
        assert_eq!(json("\"\u{7f}\u{e0041}é\""), "\"\\u007f\\udb40\\udc41é\"");
        assert_eq!(line("admin\u{202e}txt.exe"), "admin\u{fffd}txt.exe");
    }

    #[test]
    fn texts_cannot_steer_a_terminal() {
        assert_eq!(line("a\u{1b}[2Jb\r\nc"), "a [2Jb  c");
        assert_eq!(block("a\u{1b}\n\tb"), "a \n\tb");
        assert_eq!(shortened("Grüße", 5), "Grüße");
        assert_eq!(shortened("Grüße!", 5), "Grüß…");
        assert_eq!(["order-7", "", "it's"].map(shell_word), ["order-7", "''", r"'it'\''s'"]);
        assert_eq!((count(1, "message"), count(0, "message")), ("1 message".into(), "0 messages".into()));
    }
}
