//! The parameters of a query: names in any case, values that make sense or are refused by name.

use std::time::Duration;

use axum::http::StatusCode;
use percent_encoding::percent_decode_str;

use super::refusal::Refusal;
use super::route::{COMMON, Kind, Param, Reach};
use crate::ids::shortened;
use crate::model::{RuntimeStatus, Timestamp};

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    /// What the route knows: a handler that asks for anything else is in error.
    known: &'static [Param],
}

/// A hundred years: more seconds are a slip of the finger, and have no end that could be written down.
const SECONDS_MAX: f64 = 3_162_240_000.0;

impl Query {
    pub(super) fn new(raw: &str, known: &'static [Param]) -> Result<Self, Refusal> {
        let decoded = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8().map(|text| text.into_owned()).map_err(|_| {
                Refusal::bad("the query of the URL is not UTF-8 once it is decoded; percent-encode its values as UTF-8")
            })
        };
        let pairs = raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        });
        Ok(Self { pairs: pairs.collect::<Result<_, Refusal>>()?, known })
    }

    /// The value as it is; that of a name that is repeated is a list with commas.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        debug_assert!(self.known.iter().chain(&COMMON).any(|param| param.name == name), "{name} is not declared by its route");
        let values = self.pairs.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
        let values: Vec<_> = values.collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    /// The text of a filter. An empty one is refused: left out it would mean every instance, and what it was made of was forgotten.
    pub(super) fn filter(&self, name: &str) -> Result<Option<String>, Refusal> {
        self.read(name, |text| (!text.is_empty()).then_some(()), "give a text, or leave it out")?;
        Ok(self.text(name))
    }

    /// Refuses a name that the route does not know.
    pub(super) fn check_names(&self) -> Result<(), Refusal> {
        let all = || self.known.iter().chain(&COMMON).map(|param| param.name);
        let unknown = self.pairs.iter().find(|(given, _)| !all().any(|name| given.eq_ignore_ascii_case(name)));
        let Some((given, _)) = unknown else { return Ok(()) };
        let known = all().collect::<Vec<_>>().join(", ");
        Err(Refusal::bad(format!("there is no query parameter \"{}\" here; there are {known}", shortened(given))))
    }

    /// The parameters by which the request does or shows other than its URL without any, in the order of the route. One that makes no sense is
    /// none of them: its handler refuses it.
    pub(super) fn other_than_plain(&self) -> impl Iterator<Item = &'static Param> {
        self.known.iter().filter(|param| match (param.reach, param.kind) {
            (Reach::Same, _) => false,
            (Reach::Widens, Kind::Flag) => self.flag(param.name, false).unwrap_or(false),
            (Reach::Widens, _) => self.text(param.name).is_some(),
            (Reach::Narrows, _) => !self.flag(param.name, true).unwrap_or(true),
        })
    }

    /// The pairs whose names begin so, with the rest of the names in the case in which they were given.
    pub(super) fn beginning(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().filter_map(move |(name, value)| {
            let (head, rest) = name.split_at_checked(prefix.len())?;
            head.eq_ignore_ascii_case(prefix).then_some((rest, value.as_str()))
        })
    }

    /// A value that `read` understands; `None` if the parameter is absent.
    fn read<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>, remedy: &str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        read(text.trim()).map(Some).ok_or_else(|| {
            Refusal::bad(format!("the query parameter \"{name}\" is \"{}\", which it cannot be: {remedy}", shortened(&text)))
        })
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, Refusal> {
        let read = |text: &str| match text {
            text if text.eq_ignore_ascii_case("true") => Some(true),
            text if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        };
        Ok(self.read(name, read, "give true or false, or leave it out")?.unwrap_or(default))
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<usize>, Refusal> {
        let read = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            // One that is too large for the machine is as good as the largest.
            is_number.then(|| text.parse().unwrap_or(usize::MAX)).filter(|count| *count > 0)
        };
        self.read(name, read, "give a whole number above zero, or leave it out")
    }

    pub(super) fn seconds(&self, name: &str) -> Result<Option<f64>, Refusal> {
        let read = |text: &str| text.parse::<f64>().ok().filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds));
        self.read(name, read, "give seconds from 0 to a hundred years as a decimal number, such as 10 or 0.5, or leave it out")
    }

    /// A UTC time. The first instant of the year 1 is what clients of .NET and Python write for none: it is given as such.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        self.read(name, time, "give a UTC time such as 2026-01-31T12:00:00Z (a \"+\" in a URL is written %2B), or leave it out")
    }

    pub(super) fn statuses(&self, name: &str) -> Result<Vec<RuntimeStatus>, Refusal> {
        let one = |text: &str| match text.trim().parse::<i64>() {
            Ok(number) => RuntimeStatus::from_number(number),
            Err(_) => text.trim().parse().ok(),
        };
        let read = |text: &str| text.split(',').map(one).collect::<Option<Vec<_>>>();
        let remedy = "give Running, Completed, ContinuedAsNew, Failed, Canceled, Terminated, Pending or Suspended, several with \
                      commas between them, or leave it out";
        Ok(self.read(name, read, remedy)?.unwrap_or_default())
    }

    /// A time to wait, as Durable Functions has it: only with both parameters, and the pause may not be longer than the whole.
    pub(super) fn wait(&self) -> Result<Option<Duration>, Refusal> {
        let (timeout, interval) = (self.seconds("timeout")?, self.seconds("pollingInterval")?);
        let (Some(timeout), Some(interval)) = (timeout, interval) else { return Ok(None) };
        if interval > timeout {
            let words = format!("Total timeout {timeout} should be bigger than retry timeout {interval}");
            return Err(Refusal::message(StatusCode::BAD_REQUEST, words));
        }
        Ok(Some(Duration::from_secs_f64(timeout)))
    }
}

/// RFC 3339, a date, either without a zone as UTC, and what Python's `strftime` writes for a year before 1000.
fn time(text: &str) -> Option<Timestamp> {
    let digits = text.find('-').filter(|_| text.bytes().next().is_some_and(|b| b.is_ascii_digit()))?;
    let text = match digits {
        4 => text.to_owned(),
        1..=3 if is_of_python(text.get(digits..)?) => format!("{text:0>width$}", width = text.len() + 4 - digits),
        _ => return None,
    };
    let text = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text };
    let (date, time) = text.split_at_checked(10)?;
    let time = time.strip_prefix(' ').map_or_else(|| time.to_owned(), |rest| format!("T{rest}"));
    Timestamp::parse(&format!("{date}{time}"))
}

/// `-MM-ddTHH:mm:ss.ffffff`, and a zone or nothing.
fn is_of_python(rest: &str) -> bool {
    let shape = "-dd-ddTdd:dd:dd.dddddd";
    let fits = |(char, shape): (u8, u8)| if shape == b'd' { char.is_ascii_digit() } else { char == shape };
    rest.len() >= shape.len()
        && rest.bytes().zip(shape.bytes()).all(fits)
        && rest.get(shape.len()..).is_some_and(|zone| !zone.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Param; 3] = [Param::text("a", ""), Param::text("timeout", ""), Param::text("pollingInterval", "")];

    fn query(raw: &str) -> Query {
        Query::new(raw, &ALL).unwrap()
    }

    #[test]
    fn names_are_found_in_any_case_and_repetition_makes_a_list() {
        assert_eq!(query("A=x+y%2B&b=2&a=%20z").text("a").as_deref(), Some("x y+, z"));
        assert_eq!(query("b=2&&=").text("a"), None);
        assert_eq!(query("a").text("a").as_deref(), Some(""));
        assert!(Query::new("a=%ff", &ALL).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_not_ignored() {
        for raw in ["a=", "a", "a=yes", "a=true&a=true", "a=1"] {
            assert!(query(raw).flag("a", true).is_err(), "{raw}");
        }
        assert!(query("a=%20TRUE%20").flag("a", false).unwrap());
        for raw in ["a=0", "a=-1", "a=1.5", "a=", "a=x"] {
            assert!(query(raw).count("a").is_err(), "{raw}");
        }
        assert_eq!(query("a=99999999999999999999999").count("a").unwrap(), Some(usize::MAX));
        for raw in ["a=NaN", "a=Infinity", "a=1e300", "a=-1", "a=1,000", "a="] {
            assert!(query(raw).seconds("a").is_err(), "{raw}");
        }
        for raw in ["a=", "a=99", "a=Bogus", "a=Running,", "a=Running,Bogus"] {
            assert!(query(raw).statuses("a").is_err(), "{raw}");
        }
        let both = query("a=running,%203&a=5").statuses("a").unwrap();
        assert_eq!(both, [RuntimeStatus::Running, RuntimeStatus::Failed, RuntimeStatus::Terminated]);
    }

    #[test]
    fn times_are_those_of_rfc_3339_and_of_python() {
        let read = |text: &str| time(text).map(|time| time.to_string());
        for (text, expected) in [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T10:00:00+02:00", "2026-01-31T08:00:00Z"),
            ("2026-01-31 10:00:00.5", "2026-01-31T10:00:00.5Z"),
            ("1-01-01T00:00:00.000000Z", "0001-01-01T00:00:00Z"),
            ("20-01-01T00:00:00.000000", "0020-01-01T00:00:00Z"),
            ("999-01-01T00:00:00.000000+01:00", "0998-12-31T23:00:00Z"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        for bad in [
            "",
            "x",
            "01/31/2020",
            "2026-01-31T10:00:00 02:00",
            "20-01-01T00:00:00Z",
            "1-01-01T00:00:00.0000000Z",
            "0-01-01T00:00:00.000000Z",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_wait_needs_both_parameters_and_an_interval_that_fits() {
        assert_eq!(query("timeout=10").wait().unwrap(), None);
        assert_eq!(query("TIMEOUT=10&pollinginterval=0.5").wait().unwrap(), Some(Duration::from_secs(10)));
        let refused = query("timeout=1&pollingInterval=2").wait().unwrap_err();
        assert!(format!("{refused:?}").contains("Total timeout 1 should be bigger than retry timeout 2"));
    }
}
