//! What the engine does without storage, piece by piece, for the benchmarks of this package: a history of a sequence of activities is replayed,
//! read from an answer of the table service, and gone on with.

use serde_json::{Value as Json, json};

use crate::authoring::{Activity, Code, OrchestrationContext, Orchestrator, Registry, Serves};
use crate::hub::rows;
use crate::model::{EventKind, ExecutionStarted, HistoryEvent, StoredEvent, Timestamp};
use crate::replay::{ActionKind, Live, Outcome, Turn};
use crate::storage::azure;
use crate::storage::table::PAGE_ROWS_MAX;

const STEP: Activity<u64, u64> = Activity::new("Step");
const SEQUENCE: Orchestrator<u64, u64> = Orchestrator::new("Sequence");
const EXECUTION: &str = "0123456789abcdef0123456789abcdef";
/// Events of one turn in the middle: its two marks, an answer and the next call.
const OF_A_TURN: usize = 4;

/// An orchestration that calls one activity after the other and never ends, with its history.
#[derive(Debug)]
pub struct Sequence {
    registry: Registry,
    history: Vec<StoredEvent>,
    live: Option<Live>,
    /// What the last turn has decided.
    outcome: Outcome,
}

/// A page of its history as the table service answers it.
#[derive(Debug)]
pub struct HistoryPage(Vec<u8>);

impl Sequence {
    /// With a history of about so many events.
    #[must_use]
    pub fn of(events: usize) -> Self {
        let code = async |ctx: OrchestrationContext, mut n: u64| {
            loop {
                n = ctx.call(STEP, n).await?;
            }
        };
        let registry = Registry::builder().host(Code::orchestrator(SEQUENCE, code), Serves::NoVersion).build();
        let registry = registry.unwrap_or_else(|bad| unreachable!("one orchestrator can be registered: {bad}"));
        let mut sequence = Self { registry, history: Vec::new(), live: None, outcome: Outcome::default() };
        let start =
            ExecutionStarted { name: SEQUENCE.name().to_owned(), input: Some("0".to_owned()), ..ExecutionStarted::default() };
        sequence.take_turn(EventKind::ExecutionStarted(Box::new(start)));
        while sequence.history.len() + OF_A_TURN <= events {
            sequence.go_on();
        }
        sequence
    }

    /// How many events there are.
    #[must_use]
    pub fn events(&self) -> usize {
        self.history.len()
    }

    /// Runs the code from the beginning over the whole history. Gives the first id that it has not used.
    #[must_use]
    pub fn replay(&self) -> i32 {
        let turn = Turn { execution_id: EXECUTION, past: &self.history, is_repeat: true, ..Turn::default() };
        self.registry.replay(&turn).next_id
    }

    /// One more turn of the execution that is in memory: the answer to its call arrives, and the code makes the next one.
    pub fn go_on(&mut self) {
        let task_id = self.outcome.next_id - 1;
        self.take_turn(EventKind::TaskCompleted { task_id, result: Some((task_id + 1).to_string()) });
    }

    fn take_turn(&mut self, arrived: EventKind) {
        let mark = |kind| StoredEvent::from(HistoryEvent::arriving(Timestamp::UNIX_EPOCH, kind));
        let new = [mark(EventKind::OrchestratorStarted), mark(arrived)];
        let turn = Turn { execution_id: EXECUTION, past: &self.history, new: &new, ..Turn::default() };
        self.outcome = self.registry.go_on(&mut self.live, &turn);
        self.history.extend(new);
        for action in &self.outcome.actions {
            let ActionKind::Activity { name, .. } = &action.kind else { continue };
            let (name, version) = (name.clone(), Some(String::new()));
            let scheduled = EventKind::TaskScheduled { name, version, input: None, trace: None, tags: None };
            let event = HistoryEvent::decision(action.id, Timestamp::UNIX_EPOCH, scheduled);
            let decision_id = Some(action.decision(EXECUTION).text());
            self.history.push(StoredEvent { decision_id, ..event.into() });
        }
        self.history.push(mark(EventKind::OrchestratorCompleted));
    }

    /// Its first events, as many as one answer has.
    #[must_use]
    pub fn page(&self) -> HistoryPage {
        let rows = self.history.iter().take(PAGE_ROWS_MAX).enumerate().map(|(ordinal, stored)| {
            let mut row = azure::to_json(&rows::event_to_entity("instance", ordinal as u64, EXECUTION, stored));
            row.insert("odata.etag".to_owned(), json!("W/\"datetime'2026-01-01T00%3A00%3A00.0000000Z'\""));
            row.insert("Timestamp".to_owned(), json!("2026-01-01T00:00:00.0000000Z"));
            Json::Object(row)
        });
        HistoryPage(json!({ "odata.metadata": "", "value": rows.collect::<Vec<_>>() }).to_string().into_bytes())
    }
}

impl HistoryPage {
    /// How long the answer is.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Reads the events out of the answer. Gives how many there are.
    #[must_use]
    pub fn decode(&self) -> usize {
        let rows = azure::read_rows(&self.0).unwrap_or_default();
        rows.iter().filter_map(|row| rows::event_from_entity(&row.entity).ok()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_of_the_benchmarks_goes_on_as_it_would_be_replayed() {
        let mut sequence = Sequence::of(2000);
        assert_eq!((sequence.events(), sequence.replay()), (2000, 500));
        sequence.go_on();
        assert_eq!((sequence.events(), sequence.replay()), (2004, 501));
        assert_eq!(sequence.page().decode(), PAGE_ROWS_MAX);
    }
}
