//! One history as table rows and as JSON.

use std::collections::BTreeMap;

use taskhub::{EventKind, FailureDetails, HistoryEvent};

use super::json::{Json, as_stored, payload};
use super::text;

/// The columns of a history.
pub(crate) const HEADER: [&str; 6] = ["#", "TIME (UTC)", "EVENT", "ID", "NAME", "DATA"];

/// What one event says, whatever its kind.
#[derive(Debug, Default)]
struct Said<'a> {
    /// The decision that an event makes, or answers.
    id: Option<i32>,
    name: Option<&'a str>,
    /// What the data is, as JSON names it.
    label: &'static str,
    data: Option<&'a str>,
    failure: Option<&'a FailureDetails>,
    /// Further members for JSON, with words for the table, before the data.
    more: Option<(&'static str, String)>,
}

/// The rows of the table.
pub(crate) fn lines(history: &[HistoryEvent]) -> Vec<Vec<String>> {
    let names = task_names(history);
    let line = |(number, event): (usize, &HistoryEvent)| {
        let before = event.before_rewind();
        let said = said(before.as_ref().unwrap_or(event));
        let kind = match &before {
            Some(before) => format!("{} (taken back)", before.kind.type_name()),
            None => event.kind.type_name().to_owned(),
        };
        let name = said.name.or_else(|| names.get(&(said.id?, before.is_some())).map(String::as_str));
        let more = said.more.as_ref().map(|(label, value)| format!("{}{value}", words(label)));
        let data = said.failure.map(ToString::to_string).or_else(|| said.data.map(|stored| as_stored(stored).into_owned()));
        let data = [more, data].into_iter().flatten().collect::<Vec<_>>().join(": ");
        vec![
            number.to_string(),
            text::time(event.timestamp),
            kind,
            said.id.map_or_else(String::new, |id| id.to_string()),
            text::line(name.unwrap_or_default()),
            text::line(&data),
        ]
    };
    history.iter().enumerate().map(line).collect()
}

/// The events for JSON.
pub(crate) fn as_json(history: &[HistoryEvent]) -> Json {
    Json::List(members(history).into_iter().map(Json::Object).collect())
}

/// The members that each event has in JSON.
pub(crate) fn members(history: &[HistoryEvent]) -> Vec<Vec<(&'static str, Json)>> {
    let names = task_names(history);
    let one = |(number, event): (usize, &HistoryEvent)| {
        let before = event.before_rewind();
        let said = said(before.as_ref().unwrap_or(event));
        let mut all: Vec<(&'static str, Json)> = vec![
            ("index", number.into()),
            ("eventType", event.kind.type_name().into()),
            ("timestamp", event.timestamp.to_string().into()),
        ];
        if let Some(before) = &before {
            all.push(("takenBack", before.kind.type_name().into()));
        }
        if let Some(id) = said.id {
            all.push(("taskId", id.into()));
        }
        if let Some(name) = said.name.or_else(|| names.get(&(said.id?, before.is_some())).map(String::as_str)) {
            all.push(("name", name.into()));
        }
        if !said.label.is_empty() {
            all.push((said.label, payload(said.data)));
        }
        if let Some(failure) = said.failure {
            let FailureDetails { error_type, error_message, stack_trace, .. } = failure;
            let details = [("type", error_type.as_str().into()), ("message", error_message.as_str().into())];
            let stack = ("stack", stack_trace.as_deref().into());
            all.push(("failure", Json::Object(details.into_iter().chain([stack]).collect())));
        }
        all.extend(said.more.map(|(label, value)| (label, value.into())));
        all
    };
    history.iter().enumerate().map(one).collect()
}

/// The names of tasks by their ids, and by whether a rewind has taken them back, for the events that answer them.
fn task_names(history: &[HistoryEvent]) -> BTreeMap<(i32, bool), String> {
    let mut names = BTreeMap::new();
    for event in history.iter().filter(|event| event.event_id >= 0) {
        let before = event.before_rewind();
        if let Some(name) = before.as_ref().unwrap_or(event).name() {
            names.insert((event.event_id, before.is_some()), name.to_owned());
            // The call of a child that goes on stays, although its answer was taken back.
            names.entry((event.event_id, true)).or_insert_with(|| name.to_owned());
        }
    }
    names
}

fn words(label: &str) -> &'static str {
    match label {
        "fireAt" => "due ",
        "targetInstanceId" => "to ",
        "childInstanceId" => "child ",
        _ => "",
    }
}

fn said(event: &HistoryEvent) -> Said<'_> {
    let (input, result, reason) = (event.input(), event.result(), event.reason());
    let (label, data, more) = match &event.kind {
        EventKind::ExecutionCompleted { status, .. } | EventKind::ContinueAsNew { status, .. } => {
            ("result", result, Some(("status", status.to_string())))
        }
        EventKind::SubOrchestrationCreated { instance_id, .. } => {
            ("input", input, Some(("childInstanceId", instance_id.clone())))
        }
        EventKind::EventSent { instance_id, .. } => ("input", input, Some(("targetInstanceId", instance_id.clone()))),
        EventKind::ExecutionStarted(_) | EventKind::TaskScheduled { .. } | EventKind::EventRaised { .. } => {
            ("input", input, None)
        }
        EventKind::TaskCompleted { .. } | EventKind::SubOrchestrationCompleted { .. } => ("result", result, None),
        EventKind::TimerCreated { fire_at } | EventKind::TimerFired { fire_at, .. } => {
            ("", None, Some(("fireAt", fire_at.to_string())))
        }
        EventKind::Generic { data, .. } => ("data", data.as_deref(), None),
        EventKind::HistoryState { state } => ("state", state.as_deref(), None),
        // The beginning and the end of a turn, and what a later version of the library may know.
        EventKind::OrchestratorStarted | EventKind::OrchestratorCompleted => ("", None, None),
        _ => ("reason", reason, None),
    };
    Said { id: event.task_id(), name: event.name(), label, data, failure: event.failure(), more }
}

#[cfg(test)]
mod tests {
    use taskhub::{ExecutionStarted, RuntimeStatus, Timestamp};

    use super::super::output::shortened_table;
    use super::*;

    fn history() -> Vec<HistoryEvent> {
        let at = Timestamp::parse("2026-01-01T12:00:00Z").unwrap();
        let mut start = ExecutionStarted::default();
        (start.name, start.input) = ("Fulfil".into(), Some("7".into()));
        let mut failure = FailureDetails::default();
        (failure.error_type, failure.error_message) = ("E".into(), "no\nmoney".into());
        let scheduled = EventKind::TaskScheduled { name: "Charge".into(), version: None, input: None, trace: None, tags: None };
        vec![
            HistoryEvent::arriving(at, EventKind::OrchestratorStarted),
            HistoryEvent::arriving(at, EventKind::ExecutionStarted(Box::new(start))),
            HistoryEvent::decision(0, at, scheduled),
            HistoryEvent::decision(1, at, EventKind::TimerCreated { fire_at: at }),
            HistoryEvent::arriving(
                at,
                EventKind::TaskFailed { task_id: 0, reason: Some("no money".into()), details: None, failure: Some(failure) },
            ),
            HistoryEvent::decision(
                2,
                at,
                EventKind::ExecutionCompleted {
                    status: RuntimeStatus::Completed,
                    result: Some(format!("\"{}\"", "x".repeat(90))),
                    failure: None,
                },
            ),
        ]
    }

    #[test]
    fn a_history_is_a_table_of_one_line_per_event() {
        let expected = "\
#  TIME (UTC)           EVENT                ID  NAME    DATA
0  2026-01-01 12:00:00  OrchestratorStarted
1  2026-01-01 12:00:00  ExecutionStarted         Fulfil  7
2  2026-01-01 12:00:00  TaskScheduled        0   Charge
3  2026-01-01 12:00:00  TimerCreated         1           due 2026-01-01T12:00:00Z
4  2026-01-01 12:00:00  TaskFailed           0   Charge  E: no money
5  2026-01-01 12:00:00  ExecutionCompleted               Completed: \"xxxxxxxxxxxx…";
        assert_eq!(shortened_table(&HEADER, &lines(&history()), 82), expected);
        let payload = Some("7".to_owned());
        let sent = EventKind::EventSent { instance_id: "order-7".into(), name: "go".into(), input: payload };
        assert_eq!(lines(&[HistoryEvent::decision(0, Timestamp::UNIX_EPOCH, sent)])[0][4..], ["go", "to order-7: 7"]);
    }

    #[test]
    fn what_a_rewind_has_taken_back_is_named_as_what_it_was() {
        let at = Timestamp::parse("2026-01-01T12:00:00Z").unwrap();
        let mut history = history();
        for event in &mut history[2..] {
            let was = std::mem::replace(&mut event.kind, EventKind::OrchestratorStarted);
            event.kind = EventKind::Generic { data: None, was: Some(Box::new(was)) };
        }
        let retried = EventKind::TaskScheduled { name: "Refund".into(), version: None, input: None, trace: None, tags: None };
        history.push(HistoryEvent::decision(0, at, retried));
        history.push(HistoryEvent::arriving(at, EventKind::TaskCompleted { task_id: 0, result: None }));
        let told: Vec<_> = lines(&history)[2..].iter().map(|line| line[2..].join("|")).collect();
        let end = format!("ExecutionCompleted (taken back)|||Completed: \"{}\"", "x".repeat(90));
        let expected = [
            "TaskScheduled (taken back)|0|Charge|",
            "TimerCreated (taken back)|1||due 2026-01-01T12:00:00Z",
            "TaskFailed (taken back)|0|Charge|E: no money",
            &end,
            "TaskScheduled|0|Refund|",
            "TaskCompleted|0|Refund|",
        ];
        assert_eq!(told, expected);
        let json = serde_json::to_value(as_json(&history)).unwrap();
        assert_eq!((&json[4]["eventType"], &json[4]["takenBack"]), (&"GenericEvent".into(), &"TaskFailed".into()));
        assert_eq!((&json[4]["name"], &json[4]["failure"]["type"]), (&"Charge".into(), &"E".into()));
        assert!(json[6].get("takenBack").is_none());
    }

    #[test]
    fn json_has_the_members_that_an_event_has() {
        let json = serde_json::to_value(as_json(&history())).unwrap();
        assert_eq!(
            json[4].to_string(),
            r#"{"index":4,"eventType":"TaskFailed","timestamp":"2026-01-01T12:00:00Z","taskId":0,"name":"Charge","reason":"no money","failure":{"type":"E","message":"no\nmoney","stack":null}}"#
        );
        assert_eq!(json[1]["input"], 7);
        assert_eq!(json[5]["status"], "Completed");
    }
}
