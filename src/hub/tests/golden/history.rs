//! Histories as .NET left them, turn by turn, for tests that replay them.

use std::collections::BTreeMap;

use super::recording::{self, Scenario};
use crate::hub::rows;
use crate::model::{EventKind, HistoryEvent};

/// The turns of one recorded instance; each begins with `OrchestratorStarted`.
pub(crate) type Turns = Vec<Vec<HistoryEvent>>;

/// The history of the recorded instance that runs `orchestrator`: of a scenario of the library, or of the Functions extension.
pub(crate) fn history(scenario: &str, orchestrator: &str) -> Turns {
    let all = recording::scenarios().into_iter().chain(recording::extension());
    let scenario = all.into_iter().find(|s| s.name.trim_end_matches(".json") == scenario).expect("the scenario is recorded");
    let runs = |events: &Vec<HistoryEvent>| {
        events.iter().any(|e| matches!(&e.kind, EventKind::ExecutionStarted(started) if started.name == orchestrator))
    };
    let events = histories(&scenario).into_values().find(runs).expect("the orchestrator is recorded");
    let mut turns = Turns::new();
    for event in events {
        if event.kind == EventKind::OrchestratorStarted {
            turns.push(Vec::new());
        }
        turns.last_mut().expect("a history begins with a turn").push(event);
    }
    turns
}

fn histories(scenario: &Scenario) -> BTreeMap<String, Vec<HistoryEvent>> {
    let written = scenario.writes.iter().filter(|write| write.is_history).filter_map(|write| write.entity.as_ref());
    // What was written last stands.
    let rows: BTreeMap<_, _> = written.map(|row| ((&row.partition_key, &row.row_key), row)).collect();
    let mut histories = BTreeMap::<_, Vec<_>>::new();
    for ((instance, _), row) in rows.into_iter().filter(|((_, key), _)| *key != rows::SENTINEL) {
        histories.entry(instance.clone()).or_default().push(rows::event_from_entity(row).unwrap().event);
    }
    histories
}
