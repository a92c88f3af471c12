//! How a turn goes from one generation to the next: its first rows, and what it takes over.

use std::borrow::Cow;
use std::time::Duration;

use uuid::Uuid;

use super::{Progress, Recorder, keep_last, traced};
use crate::ids::{DecisionId, DecisionKind};
use crate::limits;
use crate::model::{EventKind, HistoryEvent, InstanceRef, Started, State, StoredEvent};
use crate::sabotage::{self, Sabotage};
use crate::storage::table::json_bytes;

impl Recorder<'_> {
    /// Begins the next generation. After many of them in one turn its code is run in a turn of its own.
    pub(super) fn continue_as_new(
        &mut self,
        id: i32,
        started: &Started,
        input: Option<String>,
        version: Option<String>,
        carry: &[usize],
    ) -> Progress {
        self.end_generation();
        let (past, new) = (std::mem::take(&mut self.past), std::mem::take(&mut self.record.events));
        let (carried, consumed) = divide(past, new, carry);
        self.forget(consumed);
        let next = self.next_generation(id, started, input, version);
        self.begin_generation(next, carried);
        if self.record.generations < limits::GENERATIONS_PER_TURN_MAX {
            return Progress::Continues;
        }
        self.wake_self();
        Progress::Done
    }

    /// The code cannot be run here: a generation that has begun is committed, and goes on where its code is. `false` if none has
    /// begun, so that there is nothing to commit.
    pub(crate) fn hand_on(&mut self) -> bool {
        let has_begun = self.record.generations > 0;
        if has_begun {
            self.wake_self();
        }
        has_begun
    }

    /// What an execution has applied is not in the history of the next: the sentinel remembers it.
    fn forget(&mut self, consumed: Vec<Uuid>) {
        if !sabotage::is(Sabotage::AppliedForgotten) {
            self.record.applied.extend(consumed);
        }
        keep_last(&mut self.record.applied, limits::REMEMBERED_MESSAGES_MAX);
    }

    /// The start of the next generation.
    fn next_generation(&mut self, id: i32, started: &Started, input: Option<String>, version: Option<String>) -> StoredEvent {
        let decision =
            DecisionId::new(&self.record.execution_id, id, DecisionKind::ContinueAsNew, &started.event.name, input.as_deref());
        let replaced = std::mem::replace(&mut self.record.execution_id, decision.execution_id());
        if !sabotage::is(Sabotage::SupersededForgotten) {
            self.record.superseded.push(replaced);
        }
        keep_last(&mut self.record.superseded, limits::REMEMBERED_EXECUTIONS_MAX);
        let mut event = started.event.clone();
        event.instance.execution_id = Some(self.record.execution_id.clone());
        event.input = input;
        event.version = version.or(event.version);
        (event.generation, event.scheduled_start) = (None, None);
        let event = HistoryEvent::arriving(self.now(), EventKind::ExecutionStarted(Box::new(event)));
        let mut stored = StoredEvent { decision_id: started.decision_id.clone(), ..event.into() };
        traced::begin(&mut stored, &self.record.execution_id, self.now(), self.exports);
        stored
    }

    /// The rows with which a generation begins: turns of their own, each of which fits one transaction and is closed before any
    /// decision, so that an interrupted checkpoint leaves a generation that can go on (docs/architecture.md, Continue-as-new).
    fn begin_generation(&mut self, start: StoredEvent, mut carried: Vec<StoredEvent>) {
        if sabotage::is(Sabotage::CarriedEventsReversed) {
            carried.reverse();
        }
        let now = self.now();
        self.record.carried_status.clone_from(&self.record.custom_status);
        (self.record.kept_rows, self.seen) = (0, 0);
        self.record.answered.clear();
        self.record.generations += 1;
        self.record.state = State::default();
        self.record.push(HistoryEvent::arriving(now, EventKind::OrchestratorStarted));
        self.record.push(start);
        self.find_trace();
        let (mut rows, mut bytes) = (0, 0);
        for stored in carried {
            if sabotage::is(Sabotage::CarriedEventsLost) {
                continue;
            }
            let size = estimate(&stored.event.kind);
            if rows == limits::CARRIED_ROWS_MAX || (rows > 0 && bytes + size > limits::CARRIED_BYTES_MAX) {
                (rows, bytes) = (0, 0);
                self.record.push(HistoryEvent::arriving(now, EventKind::OrchestratorCompleted));
                self.record.push(HistoryEvent::arriving(now, EventKind::OrchestratorStarted));
            }
            (rows, bytes) = (rows + 1, bytes + size);
            self.record.push(stored);
        }
        self.record.push(HistoryEvent::arriving(self.now(), EventKind::OrchestratorCompleted));
        // They are marked as played when its code has run on them, which may be in a later turn.
        self.record.first_rows = self.record.events.len();
    }

    /// What is there is committed, and goes on in a turn of its own.
    fn wake_self(&mut self) {
        let decision = DecisionId::new(&self.record.execution_id, -1, DecisionKind::ContinueAsNew, "wake", None);
        let data = Some("the next of many generations".to_owned());
        let event = HistoryEvent::arriving(self.now(), EventKind::Generic { data, was: None });
        let target = InstanceRef::new(self.instance_id, &self.record.execution_id);
        let message = self.message(decision, event, target);
        self.send(self.control_queue(self.instance_id), message, Duration::ZERO);
    }
}

/// Takes the events at these places out of an execution, in this order; of the others it has consumed the messages.
fn divide(past: &[StoredEvent], new: Vec<StoredEvent>, carry: &[usize]) -> (Vec<StoredEvent>, Vec<Uuid>) {
    let all = past.iter().map(Cow::Borrowed).chain(new.into_iter().map(Cow::Owned));
    let mut all: Vec<_> = all.map(Some).collect();
    let carried = carry.iter().filter_map(|position| all.get_mut(*position)?.take()).map(Cow::into_owned).collect();
    (carried, all.into_iter().flatten().filter_map(|stored| stored.message_id).collect())
}

/// At most the bytes that a transaction counts for a carried event.
fn estimate(kind: &EventKind) -> usize {
    let texts = match kind {
        EventKind::EventRaised { name, input, .. } => [Some(name), input.as_ref()],
        EventKind::ExecutionSuspended { reason } => [reason.as_ref(), None],
        _ => [None, None],
    };
    // A longer text goes to a blob; a UTF-16 unit is three bytes at most, and takes six where it is escaped.
    let most = 3 * limits::COLUMN_UNITS_MAX;
    let bytes = |text: &String| (2 * text.len().min(most)).max(json_bytes(text).min(2 * most));
    1024 + texts.into_iter().flatten().map(bytes).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::super::Opened;
    use super::*;
    use crate::authoring::{Event, OrchestrationContext, Orchestrator, Registry};
    use crate::clock::Clock;
    use crate::model::{ExecutionStarted, RuntimeStatus, Timestamp};

    const ITEM: Event<u64> = Event::new("item");

    /// The past and the inputs of a generation that is suspended right after its only item, with more waiting than fit the first rows of
    /// the next.
    fn suspended_with(items: usize) -> (Vec<StoredEvent>, Vec<StoredEvent>) {
        let now = Timestamp::parse("2024-01-02T03:04:05Z").unwrap();
        let start =
            ExecutionStarted { instance: InstanceRef::new("abc", "e1"), name: "Main".into(), ..ExecutionStarted::default() };
        let item = |n: usize| EventKind::EventRaised { name: "item".into(), input: Some(n.to_string()), trace: None };
        let mut kinds = vec![EventKind::ExecutionStarted(Box::new(start)), item(0)];
        kinds.extend([EventKind::ExecutionSuspended { reason: None }]);
        kinds.extend((1..items).map(item));
        let past = [EventKind::OrchestratorStarted, kinds.remove(0), EventKind::OrchestratorCompleted];
        let arriving = |kind| HistoryEvent::arriving(now, kind).into();
        (past.map(arriving).into(), kinds.into_iter().map(arriving).collect())
    }

    #[test]
    fn a_suspension_is_in_the_next_generation_however_many_events_are_carried() {
        const MAIN: Orchestrator<(), ()> = Orchestrator::new("Main");
        let code = async |ctx: OrchestrationContext, (): ()| {
            ctx.wait_for_event(ITEM).await;
            ctx.continue_as_new(MAIN, ())
        };
        let registry = Registry::builder().orchestrator(MAIN, code).build().unwrap();
        let clock = Clock::paused(Timestamp::parse("2024-01-02T03:04:06Z").unwrap());
        let items = limits::CARRIED_ROWS_MAX + 20;
        let (past, inputs) = suspended_with(items);
        let opened = Opened {
            instance_id: "abc",
            execution_id: "e1".into(),
            past: &past,
            state: State::fold(&past),
            inputs,
            custom_status: None,
            applied: Vec::new(),
            superseded: Vec::new(),
            descent: None,
            stores_inputs: false,
            exports: false,
        };
        let mut recorder = Recorder::new(&clock, 4, opened);
        while !recorder.apply(registry.run_turn(&recorder.input())).is_done() {}
        let record = recorder.finish();
        let is_item = |kind: &EventKind| matches!(kind, EventKind::EventRaised { .. });
        let rows: Vec<_> = record.events.iter().map(|stored| &stored.event.kind).collect();
        assert!(matches!(rows[1..3], [EventKind::ExecutionStarted(_), EventKind::ExecutionSuspended { .. }]), "{rows:?}");
        assert_eq!(State::fold(&record.events).status(), Some(RuntimeStatus::Suspended));
        assert_eq!(record.state.status(), Some(RuntimeStatus::Suspended), "of this generation, not of the one before");
        // The item that comes next was not taken: one generation, and everything else is there, in order.
        let carried: Vec<_> = record.events.iter().filter(|stored| is_item(&stored.event.kind)).collect();
        assert_eq!(carried.len(), items - 1);
        let closed = rows.iter().position(|kind| matches!(kind, EventKind::OrchestratorCompleted));
        assert_eq!(closed, Some(limits::CARRIED_ROWS_MAX + 2), "the first turn fits the first transaction");
        assert_eq!(record.first_rows, record.events.len());
        assert!(record.outbound.is_empty());
    }
}
