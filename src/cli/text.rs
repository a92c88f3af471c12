//! Words for people: times, ages, and texts from outside made safe for a terminal.

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

/// A text on one line, without what could steer a terminal.
pub(crate) fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A text of several lines, without what else could steer a terminal.
pub(crate) fn block(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { ' ' } else { c }).collect()
}

/// At most `width` characters; an ellipsis shows that there is more.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A count with its word.
pub(crate) fn count(number: u64, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn texts_cannot_steer_a_terminal() {
        assert_eq!(line("a\u{1b}[2Jb\r\nc"), "a [2Jb  c");
        assert_eq!(block("a\u{1b}\n\tb"), "a \n\tb");
        assert_eq!(shortened("Grüße", 5), "Grüße");
        assert_eq!(shortened("Grüße!", 5), "Grüß…");
        assert_eq!((count(1, "message"), count(0, "message")), ("1 message".into(), "0 messages".into()));
    }
}
