//! What must hold after every write of a history or an instance row, whoever wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::plan::Plan;
use super::{program, trace};
use crate::hub::{keys, rows};
use crate::ids::{DecisionId, DecisionKind};
use crate::model::{EventKind, Message, RuntimeStatus, StoredEvent};
use crate::storage::layer::Call;
use crate::storage::memory::Memory;
use crate::storage::table::{Entity, Etag, Row};

/// The checks of one run.
pub(super) struct Checks {
    memory: Memory,
    history: String,
    instances: String,
    seen: Mutex<BTreeMap<String, Seen>>,
    /// The messages of the shared child that were looked at, if there is one.
    of_shared: Option<Mutex<BTreeSet<String>>>,
}

/// What has been seen of one instance.
#[derive(Default)]
struct Seen {
    /// Executions in the order of their first commit.
    executions: Vec<String>,
    /// The rows of the current execution as of its last whole checkpoint.
    whole: Vec<Entity>,
    /// How many rows the current execution began with, and whether the checkpoint that began it was interrupted.
    opened: usize,
    is_torn: bool,
    /// Every message that was applied, and by which execution.
    applied: BTreeMap<uuid::Uuid, String>,
    /// The version of the sentinel.
    version: Option<Etag>,
    /// The status of the row, by execution.
    status: BTreeMap<String, RuntimeStatus>,
    /// The execution that the row names.
    row_execution: Option<String>,
    /// When its history and its row were written last; of a history that goes on, and by a whole checkpoint.
    committed: Option<Instant>,
    shown: Option<Instant>,
}

/// So long after a commit the row must have been written, where nothing goes wrong.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

impl Checks {
    pub(super) fn new(memory: Memory, hub: &str, plan: &Plan) -> Self {
        let (history, instances) = (format!("{hub}History"), format!("{hub}Instances"));
        let of_shared = plan.shares_an_id().then(Mutex::default);
        Self { memory, history, instances, seen: Mutex::default(), of_shared }
    }

    /// Looks at what a successful write left.
    pub(super) fn after(&self, call: &Call<'_>) {
        if call.op == "queue.put" {
            self.puts();
        }
        let Some(key) = call.target.1 else { return };
        if !matches!(call.op, "table.get" | "table.query") {
            self.look(call.target.0, key);
        }
    }

    /// Looks at what an instance has in a table.
    pub(super) fn look(&self, table: &str, key: &str) {
        let checked = if table == self.history {
            self.history(key)
        } else if table == self.instances {
            self.row(key)
        } else {
            Ok(())
        };
        if let Err(broken) = checked {
            trace::fail(&format_args!("instance {key}: {broken}"));
        }
    }

    /// Every row shows what was committed since then, or will do so soon.
    pub(super) fn rows_follow(&self, since: Instant) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, seen) in seen.iter() {
            let Some(committed) = seen.committed.filter(|at| *at >= since && at.elapsed() > SHOWN_WITHIN) else { continue };
            if seen.shown.is_none_or(|shown| shown < committed) {
                trace::fail(&format_args!("instance {key}: the row does not show a turn of {:?} ago", committed.elapsed()));
            }
        }
    }

    /// Gives the rows that a write is meant for a new version: of a history its sentinel.
    pub(super) fn touch(&self, call: &Call<'_>) {
        let Some(key) = call.target.1 else { return };
        let row_key = if call.target.0 == self.history { Some(rows::SENTINEL) } else { call.target.2 };
        for row in self.memory.partition_rows(call.target.0, key) {
            if row_key.is_none_or(|row_key| row.entity.row_key == row_key) {
                self.memory.insert_row(call.target.0, row.entity);
            }
        }
    }

    /// No code runs for a child while another execution has its id: what a turn sends is out before its commit could be refused.
    fn puts(&self) {
        let Some(of_shared) = &self.of_shared else { return };
        let mut seen = of_shared.lock().unwrap_or_else(PoisonError::into_inner);
        for message in self.memory.all_messages().into_values().flatten() {
            let Ok(sent) = Message::from_json(&message.text) else { continue };
            let is_event = matches!(sent.event.kind, EventKind::EventRaised { .. });
            if !is_event || sent.sender.instance_id != program::SHARED || !seen.insert(message.id) {
                continue;
            }
            trace::mark("an event of a shared child");
            let rows: Vec<_> =
                self.memory.partition_rows(&self.history, program::SHARED).into_iter().map(|row| row.entity).collect();
            let execution = rows.first().and_then(|row| row.text("ExecutionId"));
            let is_another = execution.is_some() && execution != sent.sender.execution_id.as_deref();
            if is_another && !is_ended(&rows) && self.is_asked_for(program::SHARED, &rows) {
                trace::fail(&format_args!("{:?} has sent something while {execution:?} was under way", sent.sender));
            }
        }
    }

    fn history(&self, key: &str) -> Result<(), String> {
        let all = self.memory.partition_rows(&self.history, key);
        let (sentinels, events): (Vec<Row>, Vec<Row>) = all.into_iter().partition(|r| r.entity.row_key == rows::SENTINEL);
        let [sentinel] = &sentinels[..] else { return Err(format!("{} sentinels", sentinels.len())) };
        let execution = sentinel.entity.text("ExecutionId").unwrap_or_default().to_owned();
        let whole = sentinel.entity.bool("IsCheckpointComplete").unwrap_or(false);
        let current: Vec<_> =
            events.into_iter().map(|r| r.entity).take_while(|e| e.text("ExecutionId") == Some(&execution)).collect();
        for (ordinal, row) in current.iter().enumerate() {
            if row.row_key != rows::row_key(ordinal as u64) {
                return Err(format!("row {} at place {ordinal}", row.row_key));
            }
        }
        let mut guard = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = guard.entry(key.to_owned()).or_default();
        if seen.version.replace(sentinel.etag.clone()).as_ref() == Some(&sentinel.etag) {
            return Err(format!("history of {execution} was written, but the version of its sentinel is that of before"));
        }
        if seen.executions.last() != Some(&execution) {
            if seen.executions.contains(&execution) {
                return Err(format!("the execution {execution} came back"));
            }
            if !is_ended(&seen.whole)
                && let (Some(before), Some(now)) = (origin(&seen.whole), origin(&current))
                && before != now
                && self.is_asked_for(key, &seen.whole)
            {
                return Err(format!("{:?}, which was under way, was replaced by {execution} of {now:?}", seen.executions.last()));
            }
            seen.executions.push(execution.clone());
            seen.whole.clear();
            (seen.opened, seen.is_torn) = (0, false);
        }
        if current.len() < seen.whole.len() || seen.whole.iter().zip(&current).any(|(old, new)| old != new) {
            return Err(format!("history of {execution} was rewritten: {} rows, then {}", seen.whole.len(), current.len()));
        }
        if !whole {
            trace::mark("torn checkpoint");
            seen.is_torn |= seen.whole.is_empty();
            return Ok(());
        }
        if is_ended(&seen.whole) && current.len() > seen.whole.len() {
            return Err(format!("history of {execution} goes on after its end"));
        }
        if seen.whole.is_empty() {
            seen.opened = current.len();
        }
        seen.committed = (!is_ended(&current)).then(Instant::now);
        seen.whole = current;
        check_events(seen, &execution)
    }

    /// Whether somebody may wait for the execution with these rows: one that was asked for by a turn that was never committed, or by an instance that
    /// such a turn has started, gives way.
    fn is_asked_for(&self, key: &str, rows: &[Entity]) -> bool {
        let Some(Some(parent)) = origin(rows) else { return true };
        let (parent_key, child) = (keys::escape(&parent), keys::unescape(key));
        let of_parent: Vec<_> =
            self.memory.partition_rows(&self.history, &parent_key).into_iter().map(|row| row.entity).collect();
        let asks = |row: &Entity| match rows::event_from_entity(row).map(|stored| stored.event.kind) {
            Ok(EventKind::SubOrchestrationCreated { instance_id, .. }) => instance_id == child,
            _ => false,
        };
        of_parent.iter().any(asks) && self.is_asked_for(&parent_key, &of_parent)
    }

    fn row(&self, key: &str) -> Result<(), String> {
        let all = self.memory.partition_rows(&self.instances, key);
        let [row] = &all[..] else { return Ok(()) };
        let status = row.entity.text("RuntimeStatus").and_then(|s| s.parse::<RuntimeStatus>().ok());
        let (Some(status), Some(execution)) = (status, row.entity.text("ExecutionId")) else {
            return Err(format!("row without status or execution: {:?}", row.entity));
        };
        let mut guard = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = guard.entry(key.to_owned()).or_default();
        seen.shown = Some(Instant::now());
        if seen.row_execution.as_deref() != Some(execution) {
            if seen.status.contains_key(execution) {
                return Err(format!("the row went back to the execution {execution}"));
            }
            seen.row_execution = Some(execution.to_owned());
        }
        let is_current = seen.executions.last().is_some_and(|current| current == execution);
        // One that was terminated before its first checkpoint was whole has no history.
        if status.is_terminal() && is_current && !seen.whole.is_empty() && !is_ended(&seen.whole) {
            return Err(format!("the row of {execution} is {status}, but its history goes on"));
        }
        let before = seen.status.insert(execution.to_owned(), status);
        if before.is_some_and(|before| before.is_terminal() && before != status) {
            return Err(format!("the row of {execution} went from {before:?} to {status}"));
        }
        if status == RuntimeStatus::Pending && before.is_some_and(|before| before != status) {
            return Err(format!("the row of {execution} went from {before:?} to {status}"));
        }
        Ok(())
    }
}

/// Who began an execution: its parent, or nobody.
fn origin(rows: &[Entity]) -> Option<Option<String>> {
    rows.iter().filter_map(|row| rows::event_from_entity(row).ok()).find_map(|stored| match stored.event.kind {
        EventKind::ExecutionStarted(start) => Some(start.parent.map(|parent| parent.instance.instance_id)),
        _ => None,
    })
}

fn is_ended(rows: &[Entity]) -> bool {
    rows.iter().any(|row| row.text("EventType") == Some("ExecutionCompleted"))
}

/// At most one completion per task, behind its decision and of its kind and input; decisions dense; messages applied once.
fn check_events(seen: &mut Seen, execution: &str) -> Result<(), String> {
    let mut decisions: BTreeMap<i32, &'static str> = BTreeMap::new();
    let (mut answered, mut due, mut asked) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    for (place, row) in seen.whole.iter().enumerate() {
        // Texts in blobs do not matter here.
        let stored = rows::event_from_entity(row).map_err(|e| format!("row {}: {e}", row.row_key))?;
        let kind = stored.event.kind.type_name();
        if stored.event.event_id >= 0 && decisions.insert(stored.event.event_id, kind).is_some() {
            return Err(format!("two decisions {}", stored.event.event_id));
        }
        if let EventKind::TimerCreated { fire_at } = stored.event.kind {
            due.insert(stored.event.event_id, fire_at);
        }
        if let EventKind::TaskScheduled { name, .. } = &stored.event.kind {
            asked.insert(stored.event.event_id, (name.clone(), stored.decision_id.clone()));
        }
        if let EventKind::TaskCompleted { task_id, result: Some(result) } = &stored.event.kind
            && let Some((name, decision)) = asked.get(task_id)
            && let Some(input) = program::question(name, result)
            && *decision != Some(DecisionId::new(execution, *task_id, DecisionKind::Activity, name, Some(&input)).text())
        {
            return Err(format!("task {task_id} got {result}, which answers another decision"));
        }
        if let Some(task) = stored.event.kind.completes() {
            let decided = decisions.get(&task).copied();
            if decided != Some(decision_of(&stored)) {
                return Err(format!("{kind} of task {task}, which is {decided:?}"));
            }
            if let EventKind::TimerFired { fire_at, .. } = &stored.event.kind
                && due.get(&task) != Some(fire_at)
            {
                return Err(format!("timer {task} was due at {:?} and fired for {fire_at:?}", due.get(&task)));
            }
            if !answered.insert(task) {
                return Err(format!("a second {kind} of task {task}"));
            }
        }
        if let Some(id) = stored.message_id {
            // What nobody consumed is carried over: in the rows with which the next execution begins, or behind them if the
            // checkpoint was interrupted. Whether it is consumed twice shows in the end.
            let can_be = matches!(stored.event.kind, EventKind::EventRaised { .. } | EventKind::ExecutionSuspended { .. });
            let is_carried = can_be && (place < seen.opened || seen.is_torn);
            let first = seen.applied.insert(id, execution.to_owned()).filter(|first| first != execution);
            if let Some(first) =
                first.filter(|first| !is_carried || !seen.executions.ends_with(&[first.clone(), execution.to_owned()]))
            {
                return Err(format!("the message {id} of {kind} was applied by {first} and by {execution}"));
            }
        }
    }
    if let Some((last, _)) = decisions.last_key_value()
        && usize::try_from(*last).ok() != Some(decisions.len() - 1)
    {
        return Err(format!("{} decisions up to id {last}", decisions.len()));
    }
    let ids: Vec<_> = seen.whole.iter().filter_map(|row| row.text("MessageId")).collect();
    if ids.iter().collect::<BTreeSet<_>>().len() != ids.len() {
        return Err("a message was applied twice".to_owned());
    }
    Ok(())
}

/// The kind of decision that a completion answers.
fn decision_of(stored: &StoredEvent) -> &'static str {
    match stored.event.kind {
        EventKind::TaskCompleted { .. } | EventKind::TaskFailed { .. } => "TaskScheduled",
        EventKind::TimerFired { .. } => "TimerCreated",
        _ => "SubOrchestrationInstanceCreated",
    }
}
