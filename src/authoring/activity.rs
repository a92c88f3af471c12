//! What an activity knows about the call that it serves.

use crate::model::Tags;

/// The call that an activity serves.
///
/// An activity runs at least once: after a crash it can run again with the same instance, execution and task id, which together
/// make a good key for work that must not be done twice.
#[derive(Clone, Debug)]
pub struct ActivityContext {
    pub(super) instance_id: String,
    pub(super) execution_id: String,
    pub(super) task_id: i32,
    pub(super) name: String,
    pub(super) tags: Tags,
}

impl ActivityContext {
    /// The instance that called.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// The execution of that instance.
    #[must_use]
    pub fn execution_id(&self) -> &str {
        &self.execution_id
    }

    /// The id of the task within the execution.
    #[must_use]
    pub fn task_id(&self) -> i32 {
        self.task_id
    }

    /// The name under which the activity was called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tags of the call.
    #[must_use]
    pub fn tags(&self) -> &Tags {
        &self.tags
    }
}
