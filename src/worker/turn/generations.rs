//! How a turn goes from one generation to the next: its first rows, and what it takes over.

use std::time::Duration;

use super::{StoredStart, Writer, keep_last};
use crate::ids::{DecisionId, DecisionKind};
use crate::limits;
use crate::model::{EventKind, HistoryEvent, InstanceRef, StoredEvent};
use crate::sabotage::{self, Sabotage};
use crate::storage::table::json_bytes;

impl Writer<'_> {
    /// What an execution has applied is not in the history of the next: the sentinel remembers it.
    pub(super) fn forget(&mut self, consumed: &[StoredEvent]) {
        if !sabotage::is(Sabotage::AppliedForgotten) {
            self.record.applied.extend(consumed.iter().filter_map(|e| e.message_id));
        }
        keep_last(&mut self.record.applied, limits::REMEMBERED_MESSAGES_MAX);
    }

    /// The start of the next generation.
    pub(super) fn next_generation(
        &mut self,
        id: i32,
        started: &StoredStart,
        input: Option<String>,
        version: Option<String>,
    ) -> StoredEvent {
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
        StoredEvent { decision_id: started.decision_id.clone(), ..event.into() }
    }

    /// The rows with which a generation begins: turns of their own, each of which fits one transaction and is closed before any
    /// decision, so that an interrupted checkpoint leaves a generation that can go on (architecture 4).
    pub(super) fn begin_generation(&mut self, start: StoredEvent, mut carried: Vec<StoredEvent>) {
        if sabotage::is(Sabotage::CarriedEventsReversed) {
            carried.reverse();
        }
        let now = self.now();
        self.record.carried_status.clone_from(&self.record.custom_status);
        self.record.kept_rows = 0;
        self.record.generations += 1;
        self.record.events = vec![HistoryEvent::arriving(now, EventKind::OrchestratorStarted).into(), start];
        let (mut rows, mut bytes) = (0, 0);
        for stored in carried {
            if sabotage::is(Sabotage::CarriedEventsLost) {
                continue;
            }
            let size = estimate(&stored.event.kind);
            if rows == limits::CARRIED_ROWS_MAX || (rows > 0 && bytes + size > limits::CARRIED_BYTES_MAX) {
                (rows, bytes) = (0, 0);
                self.record.events.push(HistoryEvent::arriving(now, EventKind::OrchestratorCompleted).into());
                self.record.events.push(HistoryEvent::arriving(now, EventKind::OrchestratorStarted).into());
            }
            (rows, bytes) = (rows + 1, bytes + size);
            self.record.events.push(stored);
        }
        self.record.events.push(HistoryEvent::arriving(self.now(), EventKind::OrchestratorCompleted).into());
        self.record.first_rows = self.record.events.len();
        self.mark_played();
    }

    /// After many generations in one turn: commit, and go on in a turn of its own.
    pub(super) fn wake_self(&mut self) {
        let decision = DecisionId::new(&self.record.execution_id, -1, DecisionKind::ContinueAsNew, "wake", None);
        let data = Some("the next of many generations".to_owned());
        let event = HistoryEvent::arriving(self.now(), EventKind::Generic { data });
        let target = InstanceRef::new(&self.instance_id, &self.record.execution_id);
        let message = self.message(decision, event, target);
        self.send(self.control_queue(&self.instance_id), message, Duration::ZERO);
    }
}

/// Takes the events at these places out of an execution, in this order; the rest is what it has consumed.
pub(super) fn divide(past: Vec<StoredEvent>, new: Vec<StoredEvent>, carry: &[usize]) -> (Vec<StoredEvent>, Vec<StoredEvent>) {
    let mut all: Vec<_> = past.into_iter().chain(new).map(Some).collect();
    let carried = carry.iter().filter_map(|position| all.get_mut(*position)?.take()).collect();
    (carried, all.into_iter().flatten().collect())
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
    use super::super::{Opened, run};
    use super::*;
    use crate::authoring::{Event, OrchestrationContext, Orchestrator, Registry};
    use crate::clock::Clock;
    use crate::model::{ExecutionStarted, RuntimeStatus, State, Timestamp};

    const ITEM: Event<u64> = Event::new("item");

    /// A generation that is suspended right after its only item, with more waiting than fit the first rows of the next.
    fn suspended_with(items: usize) -> Opened {
        let now = Timestamp::parse("2024-01-02T03:04:05Z").unwrap();
        let start =
            ExecutionStarted { instance: InstanceRef::new("abc", "e1"), name: "Main".into(), ..ExecutionStarted::default() };
        let item = |n: usize| EventKind::EventRaised { name: "item".into(), input: Some(n.to_string()), trace: None };
        let mut kinds = vec![EventKind::ExecutionStarted(Box::new(start)), item(0)];
        kinds.extend([EventKind::ExecutionSuspended { reason: None }]);
        kinds.extend((1..items).map(item));
        let past = [EventKind::OrchestratorStarted, kinds.remove(0), EventKind::OrchestratorCompleted];
        Opened {
            instance_id: "abc".into(),
            execution_id: "e1".into(),
            past: past.map(|kind| HistoryEvent::arriving(now, kind).into()).into(),
            inputs: kinds.into_iter().map(|kind| HistoryEvent::arriving(now, kind).into()).collect(),
            custom_status: None,
            applied: Vec::new(),
            superseded: Vec::new(),
            ends: None,
        }
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
        let record = run(&registry, &clock, 4, suspended_with(items));
        let is_item = |kind: &EventKind| matches!(kind, EventKind::EventRaised { .. });
        let rows: Vec<_> = record.events.iter().map(|stored| &stored.event.kind).collect();
        assert!(matches!(rows[1..3], [EventKind::ExecutionStarted(_), EventKind::ExecutionSuspended { .. }]), "{rows:?}");
        assert_eq!(State::fold(&record.events).status(), Some(RuntimeStatus::Suspended));
        // The item that comes next was not taken: one generation, and everything else is there, in order.
        let carried: Vec<_> = record.events.iter().filter(|stored| is_item(&stored.event.kind)).collect();
        assert_eq!(carried.len(), items - 1);
        let closed = rows.iter().position(|kind| matches!(kind, EventKind::OrchestratorCompleted));
        assert_eq!(closed, Some(limits::CARRIED_ROWS_MAX + 2), "the first turn fits the first transaction");
        assert_eq!(record.first_rows, record.events.len());
        assert!(record.outbound.is_empty());
    }
}
