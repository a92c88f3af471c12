//! The grammar of .NET's messages and rows, learned from the recordings: members in their order, columns with their types.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::OnceLock;

use serde_json::{Map, Value as Json};

use super::{ownership, recording};
use crate::hub::rows::SENTINEL;
use crate::storage::table::{Entity, Value};

/// Objects with free member names.
const MAPS: [&str; 3] = ["OrchestrationTags", "Tags", "Properties"];
/// What only we write; .NET ignores it.
const OURS: [&str; 4] = ["MessageId", "DecisionId", "Taskhub", "Level"];
const ENVELOPE: &str = "DurableTask.AzureStorage.MessageData";
const STARTED: &str = "DurableTask.Core.History.ExecutionStartedEvent";

/// Members of an object, or columns of a row: the kinds that each had, in order, and how often.
#[derive(Debug, Default)]
struct Shape {
    members: Vec<(String, BTreeSet<&'static str>)>,
    counts: BTreeMap<String, usize>,
    seen: usize,
}

/// What .NET was seen to write.
#[derive(Debug, Default)]
pub(crate) struct Grammar {
    /// By `$type`, or by the member that holds them.
    objects: BTreeMap<String, Shape>,
    /// By event type, and the sentinel.
    history: BTreeMap<String, Shape>,
    instance: Shape,
    partition: Shape,
}

impl Grammar {
    /// The grammar of the recordings in the project.
    pub(crate) fn learned() -> &'static Self {
        static LEARNED: OnceLock<Grammar> = OnceLock::new();
        LEARNED.get_or_init(|| {
            let mut grammar = Self::default();
            grammar.learn_messages();
            grammar.learn_rows();
            grammar
        })
    }

    fn learn_messages(&mut self) {
        let classes = fs::read_to_string(recording::golden().join("classes/netcore31-serialize.txt")).unwrap();
        let kinds = classes.lines().filter(|line| line.starts_with("{\"$type\":\"DurableTask.AzureStorage.MessageData\""));
        let scenarios = recording::scenarios();
        let recorded = scenarios.iter().flat_map(|s| &s.messages).filter_map(|m| m.text.as_deref());
        // The data contract form is another, and nobody writes it unless told to.
        for text in kinds.chain(recorded).filter(|text| text.starts_with('{') && !text.contains("\"__type\"")) {
            walk("", &serde_json::from_str(text).unwrap(), &mut |name, members| {
                self.objects
                    .entry(name.to_owned())
                    .or_default()
                    .learn(members.iter().map(|(name, value)| (name.as_str(), kind(value))));
                Ok(())
            })
            .unwrap();
        }
    }

    fn learn_rows(&mut self) {
        let scenarios = recording::scenarios();
        // What a rewind rewrites has columns of two types.
        let written = scenarios.iter().flat_map(|s| &s.writes).filter(|w| w.row_is_of_one_type());
        for (is_history, entity) in written.filter_map(|w| Some((w.is_history, w.entity.as_ref()?))) {
            let shape = if is_history { self.history.entry(row_kind(entity)).or_default() } else { &mut self.instance };
            shape.learn(entity.properties.iter().map(|(name, value)| (name, edm(value))));
        }
        for (_, entity) in ownership::recorded("63-TwoWorkers").rows() {
            self.partition.learn(entity.properties.iter().map(|(name, value)| (name, edm(value))));
        }
    }

    /// Whether .NET reads this message as one of its own.
    pub(crate) fn message(&self, text: &str) -> Result<(), String> {
        let json: Json = serde_json::from_str(text).map_err(|e| e.to_string())?;
        walk("", &json, &mut |name, members| {
            let shape = self.objects.get(name).ok_or_else(|| format!("no object of .NET is called {name:?}"))?;
            let ours = |member: &str| match member {
                "DecisionId" | "Attempt" | "Descendants" | "CallExecutionId" | "CallTaskId" | "SeenBefore" => name == ENVELOPE,
                "Level" => name == STARTED,
                _ => false,
            };
            let is_behind = |member: &&String| !ours(member);
            if let Some(member) = members.keys().skip_while(is_behind).find(is_behind) {
                return Err(format!("{member} stands behind a member of ours"));
            }
            shape
                .check_order(members.keys().filter(|member| !ours(member)).map(String::as_str))
                .map_err(|e| format!("{name}: {e}"))?;
            let kinds = members.iter().filter(|(member, _)| !ours(member)).map(|(member, value)| (member.as_str(), kind(value)));
            shape.check(kinds).map_err(|e| format!("{name}: {e}"))
        })
    }

    /// Whether .NET reads this history row, or sentinel, as one of its own.
    pub(crate) fn history_row(&self, entity: &Entity) -> Result<(), String> {
        let kind = row_kind(entity);
        let shape = self.history.get(&kind).ok_or_else(|| format!("no history row of .NET has the type {kind:?}"))?;
        let columns = entity.properties.iter().filter(|(name, _)| !OURS.contains(name));
        shape.check(columns.map(|(name, value)| (name, edm(value)))).map_err(|e| format!("{kind}: {e}"))
    }

    /// Whether .NET reads these columns of an instance row as its own.
    pub(crate) fn instance_row(&self, entity: &Entity) -> Result<(), String> {
        self.instance.check(entity.properties.iter().map(|(name, value)| (name, edm(value))))
    }

    /// Whether .NET could have written this row of the partition table.
    pub(crate) fn partition_row(&self, entity: &Entity) -> Result<(), String> {
        self.partition.check(entity.properties.iter().map(|(name, value)| (name, edm(value))))
    }
}

impl Shape {
    fn learn<'a>(&mut self, members: impl Iterator<Item = (&'a str, &'static str)>) {
        self.seen += 1;
        let mut place = 0;
        for (name, kind) in members {
            match self.members.iter().position(|(known, _)| known == name) {
                Some(found) => place = found,
                None => self.members.insert(place, (name.to_owned(), BTreeSet::new())),
            }
            self.members[place].1.insert(kind);
            *self.counts.entry(name.to_owned()).or_default() += 1;
            place += 1;
        }
    }

    /// Only members of .NET, of kinds that it writes, and all that are always there.
    fn check<'a>(&self, members: impl Iterator<Item = (&'a str, &'static str)>) -> Result<(), String> {
        let mut missing: BTreeSet<&str> =
            self.counts.iter().filter(|(_, count)| **count == self.seen).map(|(name, _)| name.as_str()).collect();
        for (name, kind) in members {
            missing.remove(name);
            let Some((_, kinds)) = self.members.iter().find(|(known, _)| known == name) else {
                return Err(format!("{name} is not of .NET"));
            };
            if !kinds.contains(kind) {
                return Err(format!("{name} is {kind}, which .NET writes as {kinds:?}"));
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are missing")) }
    }

    fn check_order<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<(), String> {
        let mut known = self.members.iter().map(|(name, _)| name);
        for name in names {
            if !known.any(|next| next == name) {
                return Err(format!("{name} is unknown or out of order"));
            }
        }
        Ok(())
    }
}

/// Visits an object and the objects in it, each with its type or, without one, the member that holds it.
fn walk(member: &str, json: &Json, visit: &mut impl FnMut(&str, &Map<String, Json>) -> Result<(), String>) -> Result<(), String> {
    let Json::Object(members) = json else { return Ok(()) };
    if MAPS.contains(&member) {
        return Ok(());
    }
    visit(members.get("$type").and_then(Json::as_str).unwrap_or(member), members)?;
    members.iter().try_for_each(|(name, value)| walk(name, value, visit))
}

fn row_kind(entity: &Entity) -> String {
    let event_type = entity.text("EventType").unwrap_or_default();
    if entity.row_key == SENTINEL { SENTINEL } else { event_type }.to_owned()
}

fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a flag",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

fn edm(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::String(_) => "Edm.String",
        Value::Bool(_) => "Edm.Boolean",
        Value::I32(_) => "Edm.Int32",
        Value::I64(_) => "Edm.Int64",
        Value::F64(_) => "Edm.Double",
        Value::DateTime(_) => "Edm.DateTime",
    }
}

#[test]
fn the_grammar_refuses_what_dotnet_would_not_write() {
    let grammar = Grammar::learned();
    let text = recording::scenarios()[0].messages[0].text.clone().unwrap();
    grammar.message(&text).unwrap();
    grammar.message(&format!("{},\"DecisionId\":\"x\"}}", text.strip_suffix('}').unwrap())).unwrap();
    for (from, to, error) in [
        ("\"EventId\":-1,", "", "missing"),
        ("\"EventId\":-1,\"IsPlayed\":false", "\"IsPlayed\":false,\"EventId\":-1", "out of order"),
        ("\"EventId\":-1", "\"EventId\":\"-1\"", "a text"),
        ("\"EventId\":-1", "\"EventId\":-1,\"Extra\":1", "Extra"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        assert!(grammar.message(&changed).is_err_and(|e| e.contains(error)), "{from} as {to}");
    }
    let mut row = recording::scenarios()[0].writes.iter().find(|w| w.is_history).unwrap().entity.clone().unwrap();
    grammar.history_row(&row).unwrap();
    assert!(grammar.history_row(&row.clone().with("EventId", Value::I64(-1))).is_err());
    assert!(grammar.history_row(&row.clone().with("Extra", Value::I64(-1))).is_err());
    row.properties.remove("_Timestamp");
    assert!(grammar.history_row(&row).is_err());
    assert!(grammar.partition_row(&Entity::new("", "q").with("IsDraining", Value::Bool(false))).is_ok());
    assert!(
        grammar.partition_row(&Entity::new("", "q").with("IsDraining", Value::Bool(false)).with("Ours", Value::I32(1))).is_err()
    );
}
