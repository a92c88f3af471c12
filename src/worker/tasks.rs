//! The worker's task set: the only place that spawns, so that dropping the worker stops everything it began; and what becomes of
//! a task that panics.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::Context;
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tracing::Instrument as _;
use tracing::instrument::WithSubscriber as _;

use super::Shared;

/// Between a panic of the worker itself and the next try.
const PAUSE_AFTER_PANIC: Duration = Duration::from_secs(1);

impl Shared {
    /// Does something of the worker itself. `None`, and an error in the log, if it panics.
    pub(super) fn unless_it_panics<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Option<T>> {
        let tell =
            move |panic: &Panic| tracing::error!(reason = words_of(&**panic), "{what} broke off: a panic of the worker itself");
        AssertUnwindSafe(work).catch_unwind().map(move |done| done.inspect_err(tell).ok())
    }

    /// Does it anew, after a pause, whenever it panics: nothing else would ever do it. It is told whether it is done again.
    pub(super) async fn steadily<F: Future<Output = ()>>(&self, what: &'static str, work: impl Fn(bool) -> F) {
        let mut is_again = false;
        while self.unless_it_panics(what, work(is_again)).await.is_none() {
            is_again = true;
            tokio::time::sleep(PAUSE_AFTER_PANIC).await;
        }
    }
}

/// What a panic leaves.
type Panic = Box<dyn Any + Send>;

/// What a panic says of itself.
pub(super) fn words_of(panic: &(dyn Any + Send)) -> &str {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    words.unwrap_or("without words")
}

/// Tasks that end with the set.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    set: Mutex<JoinSet<()>>,
    runtimes: OnceLock<Runtimes>,
}

/// Where tasks run.
#[derive(Debug)]
struct Runtimes {
    /// All that do nothing but renew.
    renewing: Handle,
    /// All others, and code of users.
    working: Handle,
}

impl Tasks {
    /// From now on tasks run in the runtime of the caller, but those that renew.
    pub(super) fn run_in(&self, renewing: Handle) {
        drop(self.runtimes.set(Runtimes { renewing, working: Handle::current() }));
    }

    /// Starts a task, whose log lines are about what those of the caller are about.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(|runtimes| &runtimes.working, task.in_current_span());
    }

    /// The same for one that must go on whatever code of users does.
    pub(super) fn spawn_renewing(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(|runtimes| &runtimes.renewing, task.in_current_span().with_current_subscriber());
    }

    fn spawn_on(&self, of: impl Fn(&Runtimes) -> &Handle, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.lock();
        while set.try_join_next().is_some() {}
        match self.runtimes.get() {
            Some(runtimes) => set.spawn_on(task, of(runtimes)),
            None => set.spawn(task),
        };
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
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
