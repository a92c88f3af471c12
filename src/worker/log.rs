//! Log lines about instances and their tasks, each where what it says has become so: a committed turn, an answered work item.

use super::checkpoint::Commit;
use super::recorder::Record;
use super::watch::Code;
use crate::authoring::MISFIT;
use crate::hub::{Held, InstanceRow};
use crate::model::{EventKind, ExecutionStarted, FailureDetails, RuntimeStatus, StoredEvent};
use crate::replay::{Difference, is_panic};

/// Longer reasons are cut: whoever needs all of it looks at the instance.
const REASON_CHARS_MAX: usize = 500;

impl Commit<'_> {
    /// Tells what a turn has brought. Called once its history is committed, so that no turn is told of twice.
    pub(super) fn log(&self, record: &Record) {
        for held in self.applied {
            self.log_input(held);
        }
        let execution = record.execution_id.as_str();
        for retry in &record.retries {
            let (name, task, attempt, pause) = (&retry.name, retry.id, retry.attempt, retry.pause);
            tracing::info!(execution, name, task, attempt, ?pause, "a failed task will be tried again");
        }
        let Some(status) = record.status else { return };
        let started = started(self.history.events.iter().chain(&record.events));
        let name = started.map(|started| started.name.as_str());
        let version = started.and_then(version_of);
        match status {
            RuntimeStatus::Failed => {
                let reason = end(&record.events).unwrap_or_default();
                tracing::warn!(execution, name, version, reason, "instance failed");
            }
            RuntimeStatus::Terminated => {
                let reason = end(&record.events);
                tracing::info!(execution, name, version, reason, "instance terminated");
            }
            _ => tracing::info!(execution, name, version, "instance completed"),
        }
    }

    fn log_input(&self, held: &Held) {
        let execution = held.message.target.execution_id.as_deref().or(self.history.execution_id.as_deref());
        match &held.message.event.kind {
            // One whose code is missing ends, and has never begun.
            EventKind::ExecutionStarted(_) if self.without_code => {}
            EventKind::ExecutionStarted(start) => {
                let (name, version) = (&start.name, version_of(start));
                let parent = start.parent.as_ref().map(|parent| parent.instance.instance_id.as_str());
                tracing::info!(execution, name, version, parent, "instance started");
            }
            EventKind::SubOrchestrationFailed { task_id: task, reason, failure, .. } => {
                let reason = failure.as_ref().map(shown_failure).or_else(|| reason.as_deref().map(shown));
                let (name, child) = self.child(*task).unwrap_or_default();
                tracing::warn!(execution, name, task, child, reason, "sub-orchestration failed");
            }
            EventKind::ExecutionSuspended { reason } => {
                let reason = reason.as_deref().map(shown);
                tracing::info!(execution, reason, "instance suspended");
            }
            EventKind::ExecutionResumed { reason } => {
                let reason = reason.as_deref().map(shown);
                tracing::info!(execution, reason, "instance resumed");
            }
            _ => {}
        }
    }

    /// The name and the instance of the child behind a task.
    fn child(&self, task: i32) -> Option<(&str, &str)> {
        self.history.events.iter().find_map(|stored| match &stored.event.kind {
            EventKind::SubOrchestrationCreated { name, instance_id, .. } if stored.event.event_id == task => {
                Some((name.as_str(), instance_id.as_str()))
            }
            _ => None,
        })
    }
}

/// Tells, in one line, of calls that the code makes again with something else in them.
pub(super) fn differences(code: &Code, differences: &[Difference]) {
    let Some(Difference { id: task, name: call, part, .. }) = differences.first() else { return };
    let more = differences.len() - 1;
    code.span.in_scope(|| tracing::warn!(call, task, part, more, "a call is not what its history has"));
}

/// Tells of an orchestrator that does not do the same when it goes through its history again.
pub(super) fn not_repeatable(differs: &FailureDetails) {
    tracing::warn!(reason = shown(&differs.error_message), "an orchestrator does not do the same when it is replayed");
}

/// Tells of an instance that was terminated while it waited for its start.
pub(super) fn terminated_before_start(row: &InstanceRow, reason: Option<&str>) {
    let (execution, name, reason) = (row.execution_id.as_deref(), row.name.as_deref(), reason.map(shown));
    tracing::info!(execution, name, reason, "instance terminated before it started");
}

/// Tells of an activity that has failed, once its orchestration has the answer.
pub(super) fn activity_failed(failure: &FailureDetails) {
    let reason = shown_failure(failure);
    if is_panic(failure) {
        tracing::warn!(reason, "activity panicked");
    } else {
        tracing::warn!(reason, "activity failed");
    }
}

/// Tells of an activity that failed after it was told to end, which is no failure of its call.
pub(super) fn activity_ended_early(failure: &FailureDetails) {
    tracing::info!(reason = shown_failure(failure), "activity ended early because it was told to; it runs again");
}

/// The name of the orchestrator that these events start.
pub(super) fn orchestrator<'a>(events: impl IntoIterator<Item = &'a StoredEvent>) -> Option<&'a str> {
    started(events).map(|started| started.name.as_str())
}

fn started<'a>(events: impl IntoIterator<Item = &'a StoredEvent>) -> Option<&'a ExecutionStarted> {
    events.into_iter().find_map(|stored| match &stored.event.kind {
        EventKind::ExecutionStarted(start) => Some(&**start),
        _ => None,
    })
}

fn version_of(started: &ExecutionStarted) -> Option<&str> {
    started.version.as_deref().filter(|version| !version.is_empty())
}

/// Why an execution has ended.
fn end(events: &[StoredEvent]) -> Option<String> {
    events.iter().rev().find_map(|stored| match &stored.event.kind {
        EventKind::ExecutionCompleted { failure: Some(failure), .. } => Some(shown_failure(failure)),
        EventKind::ExecutionCompleted { result, .. } => result.as_deref().map(shown),
        _ => None,
    })
}

fn shown_failure(failure: &FailureDetails) -> String {
    shown(&failure.to_string())
}

/// A reason on one line, of a bearable length, and without the payload that a reader of payloads quotes.
pub(super) fn shown(reason: &str) -> String {
    let reason = without_payload(reason);
    let mut chars = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = chars.by_ref().take(REASON_CHARS_MAX).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Behind the name of the type and the place, a payload that does not fit it is quoted.
fn without_payload(reason: &str) -> &str {
    let Some(at) = reason.find(MISFIT) else { return reason };
    let from = at + MISFIT.len();
    reason[from..].find(": ").map_or(reason, |end| &reason[..from + end])
}
