//! Values of arguments: times, durations, statuses and JSON, each refused with what would be right.

use std::time::Duration;
use std::{fs, io};

use taskhub::{Clock, RawValue, RuntimeStatus, Timestamp};

/// A duration such as `90s`, `5m`, `2h` or `7d`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(BAD_DURATION.to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| BAD_DURATION.to_owned())?;
    number.checked_mul(unit).filter(|s| *s <= SECONDS_MAX).map(Duration::from_secs).ok_or_else(|| BAD_DURATION.to_owned())
}

const BAD_DURATION: &str = "give a number with s, m, h or d behind it, such as 90s or 2h";
/// A hundred years: more is a slip of the finger.
const SECONDS_MAX: u64 = 100 * 366 * 86_400;

/// A UTC time: RFC 3339, a date, a date and a time of day, or a duration before now.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    time_before(text, Clock::system().now())
}

/// A UTC time, and not one that is told by how long ago it was.
pub(crate) fn time_to_come(text: &str) -> Result<Timestamp, String> {
    match duration(text) {
        Ok(_) => Err(format!("it is not a time; --after {text} starts so long from now")),
        Err(_) => absolute(text).ok_or_else(|| format!("{BAD_TIME}; --after 2h starts so long from now")),
    }
}

const BAD_TIME: &str = "give a UTC time such as 2026-01-31, \"2026-01-31 12:00\" or 2026-01-31T12:00:00Z";

fn absolute(text: &str) -> Option<Timestamp> {
    let text = text.trim().replacen(' ', "T", 1);
    Timestamp::parse(&match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{text}:00Z"),
        _ => text,
    })
}

fn time_before(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(ago) = duration(text) {
        return Ok(now.plus_ticks(-i64::try_from(ago.as_nanos() / 100).unwrap_or(i64::MAX)));
    }
    absolute(text).ok_or_else(|| format!("{BAD_TIME}, or how long ago, such as 2h"))
}

/// A tag: name and value with `=` between them.
pub(crate) fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("give a name and a value with = between them, such as customer=7".to_owned()),
    }
}

/// A runtime status in any case.
pub(crate) fn status(text: &str) -> Result<RuntimeStatus, String> {
    text.parse().map_err(|unknown| format!("{unknown}"))
}

/// JSON text, or where to read it: `@` and the path of a file, or `-` for standard input. Neither begins a JSON text.
pub(crate) fn payload(text: &str) -> Result<Box<RawValue>, String> {
    let read = match text.strip_prefix('@') {
        Some(path) => fs::read_to_string(path).map_err(|error| format!("the file \"{path}\" cannot be read: {error}"))?,
        None if text == "-" => {
            io::read_to_string(io::stdin()).map_err(|error| format!("standard input cannot be read: {error}"))?
        }
        None => return json(text),
    };
    match read.strip_prefix('\u{feff}').unwrap_or(&read).trim() {
        "" => Err("there is nothing in it; give JSON, such as null, or leave it out".to_owned()),
        text => json(text),
    }
}

/// JSON text, kept as it was given.
pub(crate) fn json(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("it is not JSON ({error}); a text needs double quotes inside those of the shell: '\"text\"'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_unit() {
        assert_eq!(["90", "90s", "5m", "2h", "7d"].map(|t| duration(t).unwrap().as_secs()), [90, 90, 300, 7_200, 604_800]);
        for bad in ["", "s", "1.5h", "-3s", "5w", "99999999999999999999", "999999999d", "5é"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_absolute_or_before_now() {
        let now = Timestamp::parse("2026-01-02T12:00:00Z").unwrap();
        let read = |text: &str| time_before(text, now).unwrap().to_string();
        assert_eq!(read("2026-01-01"), "2026-01-01T00:00:00Z");
        assert_eq!(read("2026-01-01 10:30"), "2026-01-01T10:30:00Z");
        assert_eq!(read("2026-01-01T10:30:05+02:00"), "2026-01-01T08:30:05Z");
        assert_eq!(read("2h"), "2026-01-02T10:00:00Z");
        assert!(time_before("yesterday", now).unwrap_err().contains("2026-01-31"));
        assert!(time_to_come("2h").unwrap_err().contains("--after 2h"));
        let error = time_to_come("tomorrow").unwrap_err();
        assert!(error.contains("--after 2h") && !error.contains("ago"), "{error}");
        assert!(time_to_come("2026-01-01T10:30:05Z").is_ok());
        assert!(time_before("日本語日本語日本語", now).is_err());
    }

    #[test]
    fn a_payload_is_given_or_read_from_a_file() {
        assert_eq!(payload("[1,  2]").unwrap().get(), "[1,  2]");
        let path = std::env::temp_dir().join(format!("taskhub-payload-{}.json", std::process::id()));
        let named = format!("@{}", path.display());
        fs::write(&path, "\u{feff}{ \"a\": 1.0 }\r\n").unwrap();
        assert_eq!(payload(&named).unwrap().get(), "{ \"a\": 1.0 }");
        fs::write(&path, "hello").unwrap();
        assert!(payload(&named).unwrap_err().contains("it is not JSON"));
        fs::write(&path, "\r\n").unwrap();
        assert!(payload(&named).unwrap_err().contains("there is nothing in it"));
        fs::remove_file(&path).unwrap();
        assert!(payload(&named).unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn json_is_kept_and_what_is_none_is_refused() {
        assert_eq!(json("{ \"a\" : 1.0 }").unwrap().get(), "{ \"a\" : 1.0 }");
        assert!(json("hello").unwrap_err().contains("double quotes"));
        assert_eq!(status("running"), Ok(RuntimeStatus::Running));
        assert!(status("Done").unwrap_err().contains("known are Running"));
    }
}
