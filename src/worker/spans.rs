//! What log lines are about: of a worker, of a partition, of an instance, of code of users. Lines of users' code have it too.
//!
//! The spans are of the level of errors, so that a filter which lets only warnings through does not take away what they are about.

use tracing::{Span, error_span};

use crate::authoring::ActivityTask;
use crate::hub::Hub;

/// Everything that a worker does.
pub(super) fn worker(hub: &Hub, worker: &str) -> Span {
    error_span!("worker", hub = hub.name(), worker)
}

/// Work on a partition that the worker owns.
pub(super) fn partition(partition: u32) -> Span {
    error_span!("partition", partition)
}

/// Turns of an instance, and what becomes of its messages.
pub(super) fn instance(instance: &str) -> Span {
    error_span!("instance", instance)
}

/// The code of an orchestrator, within a turn of its instance.
pub(super) fn orchestrator(execution: &str, name: &str) -> Span {
    error_span!("orchestrator", execution, name)
}

/// An activity: its code, and the answer to its call.
pub(super) fn activity(task: &ActivityTask) -> Span {
    let (instance, execution) = (&task.instance.instance_id, task.instance.execution_id.as_deref());
    error_span!("activity", instance, execution, name = task.name, task = task.task_id)
}
