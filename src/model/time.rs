//! A point in time as .NET counts it: ticks of 100 ns since the year 1, UTC.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use jiff::civil;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const TICKS_PER_SECOND: i64 = 10_000_000;
/// Ticks from 0001-01-01 to 1970-01-01.
const EPOCH_TICKS: i64 = 621_355_968_000_000_000;
/// 9999-12-31T23:59:59.9999999Z.
const MAX_TICKS: i64 = 3_155_378_975_999_999_999;
/// 1601-01-01: no column holds an earlier time.
const STORED_MIN_TICKS: i64 = 504_911_232_000_000_000;
const TICKS_PER_DAY: i64 = 86_400 * TICKS_PER_SECOND;

/// A UTC time with a resolution of 100 ns, from year 1 to year 9999, like .NET's `DateTime`.
///
/// GUIDs of orchestrators are made from times, so a time must come back from storage exactly as it went in. In JSON it is a text, as
/// .NET writes it.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use taskhub::Timestamp;
///
/// let time = Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400));
/// assert_eq!(serde_json::to_string(&time)?, "\"1970-01-02T00:00:00Z\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// `DateTime.MinValue`, which .NET writes where it has no time.
    pub const MIN: Self = Self(0);
    /// 1970-01-01.
    pub const UNIX_EPOCH: Self = Self(EPOCH_TICKS);
    /// The last tick of the year 9999.
    pub const MAX: Self = Self(MAX_TICKS);

    /// From .NET ticks; out of range is clamped.
    #[must_use]
    pub fn from_ticks(ticks: i64) -> Self {
        Self(ticks.clamp(0, MAX_TICKS))
    }

    /// .NET ticks (100 ns since 0001-01-01).
    #[must_use]
    pub fn ticks(self) -> i64 {
        self.0
    }

    /// This time plus `ticks` of 100 ns, clamped to the range.
    #[must_use]
    pub fn plus_ticks(self, ticks: i64) -> Self {
        Self::from_ticks(self.0.saturating_add(ticks))
    }

    /// This time plus a duration, clamped to the range; less than 100 ns is lost.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        self.plus_ticks(i64::try_from(duration.as_nanos() / 100).unwrap_or(i64::MAX))
    }

    /// The duration from `earlier` to this time, zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let ticks = u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0);
        Duration::new(ticks / 10_000_000, u32::try_from(ticks % 10_000_000 * 100).unwrap_or(0))
    }

    /// This time as a column of a table holds it: an earlier one than the service knows becomes the earliest, which is over too.
    #[must_use]
    pub(crate) fn storable(self) -> Self {
        Self(self.0.max(STORED_MIN_TICKS))
    }

    /// Reads ISO 8601 with or without fraction (more than seven digits are cut), `Z`, offset, or nothing (taken as UTC). What an
    /// offset moves out of the range is clamped, as .NET does.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let time_of_day = text.find('T')? + 1;
        let zone = text.get(time_of_day..)?.find(['Z', 'z', '+', '-']).map_or(text.len(), |at| time_of_day + at);
        let (local, zone) = text.split_at(zone);
        let local: civil::DateTime = local.parse().ok()?;
        let days = i64::from(local.date().since(civil::date(1, 1, 1)).ok()?.get_days());
        let time = local.time();
        let seconds = i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second());
        let ticks = days * TICKS_PER_DAY + seconds * TICKS_PER_SECOND + i64::from(time.subsec_nanosecond() / 100);
        let offset = offset_seconds(zone)? * TICKS_PER_SECOND;
        (0..=MAX_TICKS).contains(&ticks).then(|| Self(ticks).plus_ticks(-offset))
    }

    /// The form of queue messages: zeros at the end of the fraction are cut (docs/storage-layout.md, JSON).
    #[must_use]
    pub fn to_message_text(self) -> String {
        let full = self.to_table_text();
        let Some((seconds, fraction)) = full.trim_end_matches('Z').split_once('.') else { return full };
        let fraction = fraction.trim_end_matches('0');
        let dot = if fraction.is_empty() { "" } else { "." };
        format!("{seconds}{dot}{fraction}Z")
    }

    /// The form of table columns and OData filters: always seven digits (docs/storage-layout.md, Columns).
    #[must_use]
    pub fn to_table_text(self) -> String {
        let days = i32::try_from(self.0 / TICKS_PER_DAY).unwrap_or(0);
        let date = civil::date(1, 1, 1).saturating_add(jiff::Span::new().days(days));
        let in_day = self.0 % TICKS_PER_DAY;
        let (seconds, fraction) = (in_day / TICKS_PER_SECOND, in_day % TICKS_PER_SECOND);
        // Each row and each message has several, so that the formatter would be seen in a profile.
        let mut text = String::with_capacity("0001-01-01T00:00:00.0000000Z".len());
        push_digits(&mut text, date.year().into(), 1000);
        let (month, day) = (date.month().into(), date.day().into());
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        for (before, number) in [('-', month), ('-', day), ('T', hour), (':', minute), (':', second)] {
            text.push(before);
            push_digits(&mut text, number, 10);
        }
        text.push('.');
        push_digits(&mut text, fraction, 1_000_000);
        text.push('Z');
        text
    }
}

/// Writes the digits of a number, the first of which counts so much.
fn push_digits(text: &mut String, number: i64, first: i64) {
    let mut unit = first;
    while unit > 0 {
        text.push(char::from(b'0' + u8::try_from(number / unit % 10).unwrap_or(0)));
        unit /= 10;
    }
}

/// The seconds of `+02:00`, `-0230`, `+02`; none of `Z` and of nothing.
fn offset_seconds(zone: &str) -> Option<i64> {
    if zone.is_empty() {
        return Some(0);
    }
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => return Some(0),
        ("+", digits) => (1, digits.replacen(':', "", 1)),
        ("-", digits) => (-1, digits.replacen(':', "", 1)),
        _ => return None,
    };
    let digits = if digits.len() == 2 { digits + "00" } else { digits };
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: i64 = digits.parse().ok()?;
    (number / 100 < 24 && number % 100 < 60).then_some(sign * (number / 100 * 3600 + number % 100 * 60))
}

/// To the tick below; what is outside of the range is clamped.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let ticks = |duration: Duration| i64::try_from(duration.as_nanos() / 100).unwrap_or(i64::MAX);
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Self::UNIX_EPOCH.plus(since),
            // Rounded down, as after the epoch.
            Err(before) => Self::UNIX_EPOCH.plus_ticks(-ticks(before.duration().saturating_add(Duration::from_nanos(99)))),
        }
    }
}

/// A time that the system cannot hold becomes its epoch.
impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let time = if time < Timestamp::UNIX_EPOCH {
            Self::UNIX_EPOCH.checked_sub(Timestamp::UNIX_EPOCH.since(time))
        } else {
            Self::UNIX_EPOCH.checked_add(time.since(Timestamp::UNIX_EPOCH))
        };
        time.unwrap_or(Self::UNIX_EPOCH)
    }
}

/// As [`to_message_text`](Timestamp::to_message_text).
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// As [`parse`](Timestamp::parse).
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &"a time such as 2026-01-31T12:00:00Z"))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_message_text())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A span as people say it: in the largest unit of which it is a whole number.
pub(crate) fn in_words(span: Duration) -> String {
    let seconds = span.as_secs();
    if span.subsec_nanos() > 0 {
        return format!("{span:?}");
    }
    let (count, unit) = [(86_400, "day"), (3600, "hour"), (60, "minute")]
        .into_iter()
        .find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit))
        .map_or((seconds, "second"), |(size, unit)| (seconds / size, unit));
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_of_dotnet_are_read_and_written() {
        let t = Timestamp::parse("2024-03-14T16:00:05.1285428Z").unwrap();
        assert_eq!(t.to_message_text(), "2024-03-14T16:00:05.1285428Z");
        assert_eq!(Timestamp::parse("2024-03-14T16:00:05.100Z").unwrap().to_message_text(), "2024-03-14T16:00:05.1Z");
        assert_eq!(Timestamp::parse("2024-03-14T16:00:05Z").unwrap().to_table_text(), "2024-03-14T16:00:05.0000000Z");
        assert_eq!(Timestamp::parse("2024-03-14T18:00:05.1285428+02:00"), Some(t));
        assert_eq!(Timestamp::parse("2024-03-14T16:00:05.1285428"), Some(t));
        assert_eq!(Timestamp::parse("0001-01-01T00:00:00"), Some(Timestamp::MIN));
        assert_eq!(Timestamp::MIN.to_message_text(), "0001-01-01T00:00:00Z");
        assert_eq!(Timestamp::parse("1970-01-01T00:00:00Z"), Some(Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn the_ends_of_the_range_are_read_and_written_and_offsets_beyond_them_are_clamped() {
        for text in ["9999-12-31T23:59:59.9999999", "9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.9999999-08:00"] {
            assert_eq!(Timestamp::parse(text), Some(Timestamp::MAX), "{text}");
        }
        assert_eq!(Timestamp::parse("0001-01-01T00:00:00+14:00"), Some(Timestamp::MIN));
        assert_eq!(Timestamp::MIN.storable().to_message_text(), "1601-01-01T00:00:00Z");
        assert_eq!(Timestamp::MAX.storable(), Timestamp::MAX);
        let ten = Timestamp::parse("2024-03-14T10:00:00Z");
        for text in ["2024-03-14T12:30:00+02:30", "2024-03-14T05:00:00-0500", "2024-03-14T11:00:00+01", "2024-03-14T10:00:00z"] {
            assert_eq!(Timestamp::parse(text), ten, "{text}");
        }
        for bad in ["2024-03-14T10:00:00+1", "2024-03-14T10:00:00+24:00", "2024-03-14T10:00:00Z+01:00", "10000-01-01T00:00:00Z"] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    /// Any tick, often one within hours of the ends of the range and of what the calendar and the store make of it.
    fn ticks() -> impl Strategy<Value = i64> {
        let near =
            |ticks: i64| ticks.saturating_sub(2 * TICKS_PER_DAY).max(0)..=ticks.saturating_add(2 * TICKS_PER_DAY).min(MAX_TICKS);
        prop_oneof![0..=MAX_TICKS, near(0), near(MAX_TICKS), near(STORED_MIN_TICKS), near(EPOCH_TICKS), Just(0), Just(MAX_TICKS)]
    }

    #[test]
    fn times_of_the_system_and_of_json_are_the_same_times() {
        let second = Duration::from_secs(1);
        assert_eq!(Timestamp::from(SystemTime::UNIX_EPOCH), Timestamp::UNIX_EPOCH);
        assert_eq!(Timestamp::from(SystemTime::UNIX_EPOCH - Duration::from_nanos(1)), Timestamp::UNIX_EPOCH.plus_ticks(-1));
        assert_eq!(SystemTime::from(Timestamp::UNIX_EPOCH.plus_ticks(-1)), SystemTime::UNIX_EPOCH - Duration::from_nanos(100));
        for time in [Timestamp::MIN, Timestamp::UNIX_EPOCH.plus(second), Timestamp::MAX] {
            assert_eq!(Timestamp::from(SystemTime::from(time)), time);
            assert_eq!(serde_json::from_str::<Timestamp>(&serde_json::to_string(&time).unwrap()).unwrap(), time);
        }
        let error = serde_json::from_str::<Timestamp>("\"soon\"").unwrap_err();
        assert!(error.to_string().contains("2026-01-31T12:00:00Z"), "{error}");
    }

    proptest! {
        #[test]
        fn every_tick_survives_both_texts(ticks in ticks()) {
            let t = Timestamp::from_ticks(ticks);
            prop_assert_eq!(Timestamp::parse(&t.to_table_text()), Some(t));
            prop_assert_eq!(Timestamp::parse(&t.to_message_text()), Some(t));
            let without_zone = t.to_table_text().trim_end_matches('Z').to_owned();
            prop_assert_eq!(Timestamp::parse(&without_zone), Some(t));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = Timestamp::parse(&text);
        }
    }

    #[test]
    fn spans_are_said_in_the_largest_unit_that_loses_nothing() {
        for (millis, words) in [
            (0, "0 seconds"),
            (1000, "1 second"),
            (1500, "1.5s"),
            (60_000, "1 minute"),
            (90_000, "90 seconds"),
            (7_200_000, "2 hours"),
            (3650 * 86_400_000, "3650 days"),
        ] {
            assert_eq!(in_words(Duration::from_millis(millis)), words);
        }
    }
}
