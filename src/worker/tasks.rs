//! The worker's task set: the only place that spawns, so that dropping the worker stops everything it began.

use std::future::{Future, poll_fn};
use std::sync::{Mutex, PoisonError};
use std::task::Context;

use tokio::task::JoinSet;

/// Tasks that end with the set.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    /// Starts a task.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.lock();
        while set.try_join_next().is_some() {}
        set.spawn(task);
    }

    /// Stops every task where it stands, as a crash does.
    pub(crate) fn abort_all(&self) {
        self.lock().abort_all();
    }

    /// Waits until every task has ended. The set stays where it is, so that giving up the wait stops no task.
    pub(crate) async fn finish(&self) {
        let next = |cx: &mut Context<'_>| self.lock().poll_join_next(cx);
        while poll_fn(next).await.is_some() {}
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
