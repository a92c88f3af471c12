//! Which versions the code of a worker goes on with, by its own version.

use std::cmp::Ordering;

use crate::model::FailureDetails;

/// Which instances the orchestrators of a worker take that has [a version](crate::WorkerBuilder::version) and are registered without one:
/// the match strategies of Durable Functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum VersionMatch {
    /// Those of every version, and of none.
    Any,
    /// Those of the worker's own version, compared as a text: `1.0` is not `1.0.0`.
    Strict,
    /// Those of the worker's version, of older ones, and of none.
    ///
    /// Versions of two to four numbers, such as `1.4` or `2.0.11`, are compared by these, and one that has more of them is newer: `1.4`, `1.4.0`,
    /// `1.5`, `1.10`. Others are compared as texts, without regard to case.
    #[default]
    CurrentOrOlder,
}

/// The version of a worker, and what it makes of others.
#[derive(Debug, Default)]
pub(crate) struct Versioning {
    /// Of the worker; empty for none.
    pub(crate) own: String,
    pub(crate) takes: VersionMatch,
    /// Whether it fails what it does not take, instead of leaving it to others.
    pub(crate) fails_others: bool,
}

/// The type of the failure, as .NET has it.
const VERSION_MISMATCH: &str = "VersionMismatch";

impl Versioning {
    /// Whether code that is registered without a version takes an instance of this one.
    pub(super) fn takes(&self, version: &str) -> bool {
        if self.own.is_empty() {
            return version.is_empty();
        }
        match self.takes {
            VersionMatch::Any => true,
            VersionMatch::Strict => version == self.own,
            VersionMatch::CurrentOrOlder => compare(version, &self.own) != Ordering::Greater,
        }
    }

    /// Why an instance is not taken of an orchestrator that is registered without a version.
    pub(super) fn mismatch(&self, orchestrator: &str, version: &str) -> FailureDetails {
        let shown = if version.is_empty() { "no version".to_owned() } else { format!("version \"{version}\"") };
        let takes = match self.takes {
            VersionMatch::Any => "any",
            VersionMatch::Strict => "only that one",
            VersionMatch::CurrentOrOlder => "that one and older ones",
        };
        let error_message = format!(
            "An instance of the orchestrator \"{orchestrator}\" has {shown}. This worker is version \"{}\" and takes {takes}.",
            self.own
        );
        let error_type = VERSION_MISMATCH.to_owned();
        FailureDetails { error_type, error_message, is_non_retriable: true, ..FailureDetails::default() }
    }
}

/// The order of versions in .NET: none, then by numbers if both have them, or else as texts.
fn compare(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (false, false) => match (numbers(a), numbers(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => folded(a).cmp(folded(b)),
        },
        (a_is_empty, b_is_empty) => b_is_empty.cmp(&a_is_empty),
    }
}

/// The numbers of a version, if it is nothing but two to four of them.
fn numbers(version: &str) -> Option<Vec<u32>> {
    let number = |part: &str| part.trim().parse().ok().filter(|number| i32::try_from(*number).is_ok());
    let numbers: Option<Vec<u32>> = version.split('.').map(number).collect();
    numbers.filter(|numbers| (2..=4).contains(&numbers.len()))
}

fn folded(version: &str) -> impl Iterator<Item = char> {
    version.chars().flat_map(char::to_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_order_by_their_numbers_or_else_as_texts() {
        let ascending = ["", "0.9", "1.0", "1.0.0", "1.0.0.1", "1.1", "1.10", "2.0"];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        for (a, b, expected) in [
            // A single number is a text.
            ("10", "9", Ordering::Less),
            ("1.0-beta", "1.0-BETA", Ordering::Equal),
            ("1.0-beta", "1.0", Ordering::Greater),
            ("1.2.3.4.5", "1.2.3.4", Ordering::Greater),
            ("1. 5", "1.5", Ordering::Equal),
            ("1.99999999999", "1.5", Ordering::Greater),
        ] {
            assert_eq!((compare(a, b), compare(b, a)), (expected, expected.reverse()), "{a} {b}");
        }
    }

    #[test]
    fn a_worker_takes_what_its_strategy_says() {
        let versioning = |takes| Versioning { own: "1.5".to_owned(), takes, ..Versioning::default() };
        for (takes, version, expected) in [
            (VersionMatch::Any, "", true),
            (VersionMatch::Any, "9.0", true),
            (VersionMatch::Strict, "", false),
            (VersionMatch::Strict, "1.5", true),
            (VersionMatch::Strict, "1.5.0", false),
            (VersionMatch::CurrentOrOlder, "", true),
            (VersionMatch::CurrentOrOlder, "1.4.9", true),
            (VersionMatch::CurrentOrOlder, "1.5", true),
            (VersionMatch::CurrentOrOlder, "1.5.0", false),
            (VersionMatch::CurrentOrOlder, "1.10", false),
        ] {
            assert_eq!(versioning(takes).takes(version), expected, "{takes:?} {version}");
        }
        let none = Versioning::default();
        assert!(none.takes("") && !none.takes("1.0"), "without a version of its own it takes what has none");
    }
}
