//! What is registered, by name and version: found exactly, or by the fallback of the name.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::FailureDetails;

/// Which versions of a name a registration serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves<'a> {
    /// What asks for no version.
    NoVersion,
    /// This one.
    Version(&'a str),
    /// Every version, and none, that has no registration of its own.
    AnyOther,
}

/// Things by name, without regard to case, and version.
pub(super) struct Names<T>(BTreeMap<String, Named<T>>);

struct Named<T> {
    /// As it was registered.
    name: String,
    /// The empty version serves what asks for none.
    versions: BTreeMap<String, T>,
    fallback: Option<T>,
}

impl fmt::Display for Serves<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVersion | Self::Version("") => f.write_str("no version"),
            Self::Version(version) => write!(f, "version \"{version}\""),
            Self::AnyOther => f.write_str("any other version"),
        }
    }
}

impl<T> Names<T> {
    /// Answers false if there is one already.
    pub(super) fn insert(&mut self, name: &str, serves: Serves<'_>, thing: T) -> bool {
        let named = || Named { name: name.to_owned(), versions: BTreeMap::new(), fallback: None };
        let named = self.0.entry(name.to_lowercase()).or_insert_with(named);
        match serves {
            Serves::NoVersion => named.versions.insert(String::new(), thing).is_none(),
            Serves::Version(version) => named.versions.insert(version.to_owned(), thing).is_none(),
            Serves::AnyOther => named.fallback.replace(thing).is_none(),
        }
    }

    /// Puts one thing in the place of whatever serves this name, for every version.
    #[cfg(feature = "testing")]
    pub(super) fn replace(&mut self, name: &str, thing: T) {
        let named = Named { name: name.to_owned(), versions: BTreeMap::new(), fallback: Some(thing) };
        self.0.insert(name.to_lowercase(), named);
    }

    /// What serves this version. `takes` tells whether things without a version do.
    pub(super) fn find(&self, name: &str, version: Option<&str>, takes: impl Fn(&str) -> bool) -> Option<&T> {
        let named = self.0.get(&name.to_lowercase())?;
        let version = version.unwrap_or_default();
        let exact = named.versions.get(version).filter(|_| !version.is_empty());
        let without = || named.versions.get("").filter(|_| takes(version));
        exact.or_else(without).or(named.fallback.as_ref())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(&name.to_lowercase())
    }

    /// Whether something of this name is there without a version.
    pub(super) fn has_without_version(&self, name: &str) -> bool {
        self.0.get(&name.to_lowercase()).is_some_and(|named| named.versions.contains_key(""))
    }

    /// Each name, as it was registered.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.values().map(|named| named.name.clone()).collect()
    }

    /// Each name, with what it serves if that depends on the version.
    pub(super) fn known(&self) -> Vec<String> {
        self.0.values().map(Named::shown).collect()
    }

    pub(super) fn missing(&self, what: &str, error_type: &str, name: &str, version: Option<&str>) -> FailureDetails {
        let version = version.filter(|version| !version.is_empty());
        let version = version.map(|version| format!(" version \"{version}\"")).unwrap_or_default();
        let known = self.known();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let close = self.close_to(name).map(|close| format!(" Did you mean \"{close}\"?")).unwrap_or_default();
        let error_message = format!("This worker has no {what} \"{name}\"{version}; registered are: {known}.{close}");
        let error_type = error_type.to_owned();
        FailureDetails { error_type, error_message, is_non_retriable: true, ..FailureDetails::default() }
    }

    /// The registered name that this one may be a slip of; none if it is registered itself.
    pub(super) fn close_to(&self, name: &str) -> Option<&str> {
        let wanted: Vec<_> = name.to_lowercase().chars().take(NAME_CHARS_MAX).collect();
        let distance = |named: &Named<T>| distance(&wanted, &named.name.to_lowercase().chars().collect::<Vec<_>>());
        let (distance, closest) = self.0.values().map(|named| (distance(named), named)).min_by_key(|(distance, _)| *distance)?;
        (distance > 0 && distance <= wanted.len().div_ceil(3).min(3)).then_some(&*closest.name)
    }
}

/// Longer names are compared by their beginnings.
const NAME_CHARS_MAX: usize = 200;

impl<T> Named<T> {
    fn shown(&self) -> String {
        if self.versions.keys().all(String::is_empty) && (self.versions.is_empty() || self.fallback.is_none()) {
            return self.name.clone();
        }
        let mut serves: Vec<_> = self.versions.keys().map(|version| Serves::Version(version).to_string()).collect();
        serves.extend(self.fallback.as_ref().map(|_| Serves::AnyOther.to_string()));
        format!("{} ({})", self.name, serves.join(", "))
    }
}

/// How many characters must be inserted, removed or replaced to make one text of the other (Levenshtein).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names<u32> {
        let mut names = Names::default();
        for (name, serves) in [
            ("Pay", Serves::NoVersion),
            ("Order", Serves::NoVersion),
            ("Order", Serves::Version("2.0")),
            ("Old", Serves::AnyOther),
            ("New", Serves::Version("1.0")),
            ("Late", Serves::Version("1.0")),
            ("Late", Serves::AnyOther),
        ] {
            assert!(names.insert(name, serves, 0));
            assert!(!names.insert(&name.to_uppercase(), serves, 0), "twice");
        }
        names
    }

    #[test]
    fn a_version_is_served_by_its_registration_or_by_the_fallback_of_its_name_and_by_no_other() {
        let names = names();
        for (name, version, is_found) in [
            ("pay", None, true),
            ("Pay", Some(""), true),
            ("Pay", Some("1.0"), false),
            ("Order", Some("2.0"), true),
            ("Order", Some("2"), false),
            ("Old", Some("7"), true),
            ("Old", None, true),
            ("New", None, false),
            ("New", Some("1.0"), true),
            ("Newer", Some("1.0"), false),
        ] {
            assert_eq!(names.find(name, version, str::is_empty).is_some(), is_found, "{name} {version:?}");
        }
    }

    #[test]
    fn what_is_missing_is_told_with_what_is_there_and_with_the_name_that_may_be_meant() {
        let names = names();
        let missing = |name, version| names.missing("activity", "ActivityTaskNotFound", name, version).error_message;
        let there =
            "Late (version \"1.0\", any other version), New (version \"1.0\"), Old, Order (no version, version \"2.0\"), Pay";
        assert_eq!(
            missing("Ordr", None),
            format!("This worker has no activity \"Ordr\"; registered are: {there}. Did you mean \"Order\"?")
        );
        // Its own name is no slip of itself.
        assert_eq!(
            missing("Order", Some("3.0")),
            format!("This worker has no activity \"Order\" version \"3.0\"; registered are: {there}.")
        );
        assert!(missing("Ship", None).ends_with("Pay."), "{}", missing("Ship", None));
        assert_eq!(
            Names::<u32>::default().missing("orchestrator", "OrchestratorTaskNotFound", "X", None).error_message,
            "This worker has no orchestrator \"X\"; registered are: none."
        );
    }

    #[test]
    fn distances_count_characters() {
        let distance = |a: &str, b: &str| super::distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        for (a, b, expected) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("pay", "apy", 2), ("über", "uber", 1)] {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
