//! Identities: those that are derived and never drawn, so that a decision made again is recognised, and what an instance id may be.

use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::model::{Timestamp, canonical};

/// Namespace of every derived id; persisted, never change it.
const NAMESPACE: Uuid = Uuid::from_u128(0x7461_736b_6875_6220_6465_6369_7369_6f6e);

/// How much of a text of a user is shown in an error.
const SHOWN_CHARS_MAX: usize = 100;

/// What kind of decision an id stands for; the text is persisted, never change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecisionKind {
    Activity,
    SubOrchestration,
    Timer,
    Event,
    ContinueAsNew,
    Complete,
    Terminate,
}

/// The identity of one decision of one execution: equal decisions have equal ids in every retry of a turn, different
/// decisions under the same task id have different ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DecisionId(Uuid);

impl DecisionId {
    /// From everything that makes a decision what it is. The input counts by its meaning, not by its text, so that a work
    /// item that .NET wrote for the same decision has the same id (members in another order, `$type`, `1.0` for `1`).
    #[must_use]
    pub(crate) fn new(execution_id: &str, task_id: i32, kind: DecisionKind, name: &str, input: Option<&str>) -> Self {
        let kind = match kind {
            DecisionKind::Activity => "activity",
            DecisionKind::SubOrchestration => "sub-orchestration",
            DecisionKind::Timer => "timer",
            DecisionKind::Event => "event",
            DecisionKind::ContinueAsNew => "continue-as-new",
            DecisionKind::Complete => "complete",
            DecisionKind::Terminate => "terminate",
        };
        // Lengths keep ("ab", "c") apart from ("a", "bc"); an absent input differs from an empty one.
        let mut text = format!("{}:{execution_id}/{task_id}/{kind}/{}:{name}/", execution_id.len(), name.len());
        match input {
            None => text.push('-'),
            Some(input) => text.extend(["+", &canonical(input)]),
        }
        Self(Uuid::new_v5(&NAMESPACE, text.as_bytes()))
    }

    /// A timer is what it is by the time it fires at.
    #[must_use]
    pub(crate) fn timer(execution_id: &str, task_id: i32, fire_at: Timestamp) -> Self {
        Self::new(execution_id, task_id, DecisionKind::Timer, "", Some(&fire_at.to_table_text()))
    }

    /// The same decision made once more, after that many of it were taken back by rewinds: answers to those are none to this one.
    #[must_use]
    pub(crate) fn again(self, times: u32) -> Self {
        if times == 0 { self } else { Self(Uuid::new_v5(&self.0, format!("again {times}").as_bytes())) }
    }

    /// The text in messages: 32 hexadecimal digits.
    #[must_use]
    pub(crate) fn text(self) -> String {
        self.0.simple().to_string()
    }

    /// The identity of the message that carries the decision out.
    #[must_use]
    pub(crate) fn message_id(self) -> Uuid {
        Uuid::new_v5(&self.0, b"message")
    }

    /// The execution id of the child, or of the next generation, that the decision starts.
    #[must_use]
    pub(crate) fn execution_id(self) -> String {
        Uuid::new_v5(&self.0, b"execution").simple().to_string()
    }

    /// The instance id of a child that the user gave none. Monitors find parents by `{execution id}:{digits}`.
    #[must_use]
    pub(crate) fn child_instance_id(self, parent_execution_id: &str) -> String {
        format!("{parent_execution_id}:{}", self.0.as_u64_pair().0)
    }
}

/// The id of the span of an execution, or of what a decision leads to, from its identity: the same in every retry, and never zero. It is persisted,
/// never change it.
#[must_use]
pub(crate) fn span_id(identity: &str) -> u64 {
    // The first half holds the version of the UUID, which is not zero.
    Uuid::new_v5(&NAMESPACE, format!("span {identity}").as_bytes()).as_u64_pair().0
}

/// Whether this is an id that a decision of this execution gave to its child, in our way or in that of .NET.
#[must_use]
pub(crate) fn is_derived(instance_id: &str, parent_execution_id: &str) -> bool {
    let number = instance_id.strip_prefix(parent_execution_id).and_then(|rest| rest.strip_prefix(':'));
    !parent_execution_id.is_empty() && number.is_some_and(|n| !n.is_empty() && n.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Why no instance can have this id, as the end of a sentence: it is a table key once it is escaped.
#[must_use]
pub(crate) fn why_no_key(instance_id: &str) -> Option<String> {
    if instance_id.is_empty() {
        return Some("is empty; an id has at least one character".to_owned());
    }
    why_too_long(instance_id)
}

fn why_too_long(instance_id: &str) -> Option<String> {
    // Each character that a key cannot have becomes two; all of them are one UTF-16 unit long.
    let is_escaped = |c: char| matches!(c, '^' | '/' | '\\' | '#' | '?') || c.is_control();
    let units: usize = instance_id.chars().map(|c| c.len_utf16() + usize::from(is_escaped(c))).sum();
    let most = limits::KEY_UNITS_MAX;
    (units > most).then(|| {
        format!(
            "is too long: it has {units} UTF-16 units once it is escaped, and a table key holds {most}; use a shorter one, such as a \
             hash of it"
        )
    })
}

/// Why no orchestration can be started under this id, as the end of a sentence.
#[must_use]
pub(crate) fn why_no_orchestration(instance_id: &str) -> Option<String> {
    if instance_id.is_empty() {
        return Some("is empty; leave it out to have one generated".to_owned());
    }
    let is_entity = instance_id.starts_with('@');
    why_no_key(instance_id).or_else(|| is_entity.then(|| "begins with \"@\", which is reserved for entities".to_owned()))
}

/// Refuses what no instance can have as its id.
pub(crate) fn check_key(instance_id: &str) -> Result<()> {
    refuse("instance id", instance_id, why_no_key(instance_id))
}

/// Refuses what no orchestration can have as its id.
pub(crate) fn check_orchestration(instance_id: &str) -> Result<()> {
    refuse("instance id", instance_id, why_no_orchestration(instance_id))
}

/// Refuses what no id can begin with.
pub(crate) fn check_prefix(prefix: &str) -> Result<()> {
    refuse("id prefix", prefix, why_too_long(prefix))
}

fn refuse(what: &str, id: &str, why: Option<String>) -> Result<()> {
    let Some(why) = why else { return Ok(()) };
    Err(Error::new(ErrorKind::Invalid, format!("the {what} \"{}\" {why}", shortened(id))))
}

/// A text of a user in an error: one that is long is not repeated in whole.
#[must_use]
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text.to_owned(),
    }
}

/// The name of the entity that has this instance id (`@name@key`), with its leading `@`; `None` if it is none of an entity.
#[must_use]
pub(crate) fn entity_name(instance_id: &str) -> Option<&str> {
    let end = instance_id.strip_prefix('@')?.find('@')?;
    Some(&instance_id[..=end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hub::keys;

    #[test]
    fn ids_are_pinned_because_they_are_persisted() {
        let id = DecisionId::new("0f3a", 2, DecisionKind::Activity, "Hello", Some("[\"Tokyo\"]"));
        assert_eq!(id.text(), "fe6bd7b4daec574982b6379112ea6eac");
    }

    #[test]
    fn the_text_form_of_an_input_does_not_matter() {
        let id = |input| DecisionId::new("x", 0, DecisionKind::Activity, "a", Some(input));
        assert_eq!(id(r#"[{"a":1,"b":[2.0]}]"#), id(r#"[ {"$type":"A, B","b":[2],"a":1.0} ]"#));
        assert_ne!(id("[1.5]"), id("[1]"));
        assert_ne!(id("not json"), id("not  json"));
    }

    #[test]
    fn another_input_name_kind_task_or_execution_is_another_decision() {
        let base = DecisionId::new("x", 0, DecisionKind::Activity, "a", Some("1"));
        for other in [
            DecisionId::new("y", 0, DecisionKind::Activity, "a", Some("1")),
            DecisionId::new("x", 1, DecisionKind::Activity, "a", Some("1")),
            DecisionId::new("x", 0, DecisionKind::Event, "a", Some("1")),
            DecisionId::new("x", 0, DecisionKind::Activity, "b", Some("1")),
            DecisionId::new("x", 0, DecisionKind::Activity, "a", None),
            DecisionId::new("x", 0, DecisionKind::Activity, "a/1:", Some("")),
        ] {
            assert_ne!(base, other);
        }
        assert_eq!(base, DecisionId::new("x", 0, DecisionKind::Activity, "a", Some("1")));
    }

    #[test]
    fn a_derived_id_tells_of_its_parent() {
        let child = DecisionId::new("x", 3, DecisionKind::SubOrchestration, "a", None).child_instance_id("x");
        assert!(is_derived(&child, "x") && is_derived("x:0", "x"));
        for other in ["x", "x:", "x:1a", "y:1", "x:1:2", ":1"] {
            assert!(!is_derived(other, "x"), "{other}");
        }
        assert!(!is_derived(":1", ""));
    }

    #[test]
    fn an_id_must_fit_a_key() {
        assert_eq!(check_key("").unwrap_err().to_string(), "the instance id \"\" is empty; an id has at least one character");
        assert!(why_no_orchestration("").unwrap().contains("leave it out"));
        assert_eq!(why_no_key(&"x".repeat(512)), None);
        assert!(why_no_key(&"x".repeat(513)).unwrap().contains("513 UTF-16 units"));
        assert!(why_no_key(&"/".repeat(257)).unwrap().contains("514"));
        assert!(why_no_key(&"😀".repeat(257)).unwrap().contains("holds 512"));
        assert_eq!(why_no_orchestration("a@b"), None);
        assert!(why_no_orchestration("@a@b").unwrap().contains("entities"));
        let error = check_key(&"x".repeat(513)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("the instance id \"{}...\" is too long", "x".repeat(100))), "{error}");
        assert!(error.ends_with("use a shorter one, such as a hash of it") && error.len() < 300, "{error}");
        assert_eq!((shortened(""), shortened(&"日".repeat(100))), (String::new(), "日".repeat(100)));
        assert!(check_prefix("").is_ok() && check_prefix("@").is_ok() && check_prefix(&"/".repeat(257)).is_err());
    }

    proptest! {
        #[test]
        fn the_length_is_that_of_the_escaped_key(id in "[\\x00-\\xff^/#?😀]{200,600}") {
            let units = keys::escape(&id).encode_utf16().count();
            prop_assert_eq!(why_no_key(&id).is_some(), units > limits::KEY_UNITS_MAX);
        }
    }
}
