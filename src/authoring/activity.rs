//! What an activity knows about the call that it serves.

use tokio_util::sync::CancellationToken;

use crate::model::Tags;

/// The call that an activity serves.
///
/// An activity runs at least once: after a crash it can run again. The [idempotency key](Self::idempotency_key) is the same then, for work
/// that must not be done twice.
///
/// ```
/// use taskhub::{ActivityContext, Failure};
/// # async fn next_page(_key: &str) -> Result<bool, std::io::Error> { Ok(false) }
///
/// async fn download(ctx: ActivityContext, _from: String) -> Result<(), Failure> {
///     let key = ctx.idempotency_key();
///     // Between two pages it can stop: what fails then runs again elsewhere, and is no failure of the call.
///     while next_page(&key).await? {
///         if ctx.is_cancelled() {
///             return Err(Failure::new("Stopped", "the worker stops"));
///         }
///     }
///     Ok(())
/// }
/// # let _ = download;
/// ```
#[derive(Clone, Debug)]
pub struct ActivityContext {
    pub(super) instance_id: String,
    pub(super) execution_id: String,
    pub(super) task_id: i32,
    pub(super) name: String,
    pub(super) tags: Tags,
    pub(super) attempt: u32,
    pub(super) ends: Ends,
}

/// When nobody wants the work of an activity any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    /// The worker stops.
    pub(crate) stopping: CancellationToken,
    /// Somebody else may have received the work item.
    pub(crate) lost: CancellationToken,
}

impl Ends {
    pub(crate) fn have_come(&self) -> bool {
        self.stopping.is_cancelled() || self.lost.is_cancelled()
    }

    /// Until they have.
    pub(crate) async fn come(&self) {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => {}
            () = self.lost.cancelled() => {}
        }
    }
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

    /// The id of the task within the execution. Each attempt of a retry policy is a task of its own.
    #[must_use]
    pub fn task_id(&self) -> i32 {
        self.task_id
    }

    /// A key that is the same whenever this call runs again, and of no other call: instance, execution and task id. Another attempt of a
    /// retry policy is another call; what must not be done twice by several attempts needs a key from the input.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        format!("{}/{}/{}", self.instance_id, self.execution_id, self.task_id)
    }

    /// Which attempt of its [retry policy](crate::RetryPolicy) the call is, from 1. A call of a .NET worker is always the first, and so is one
    /// that runs again because a worker was lost.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
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

    /// Whether the activity should end: its worker stops, and waits for the [grace period](crate::WorkerBuilder::grace_period) only, or
    /// storage did not let it keep the work item, which may run elsewhere. A result that comes all the same counts; a failure does not: the call
    /// then runs again.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.ends.have_come()
    }

    /// Completes when the activity [should end](Self::is_cancelled).
    pub async fn cancelled(&self) {
        self.ends.come().await;
    }
}
