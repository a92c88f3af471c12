//! The awaitable of a call, and its options.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::excess;
use super::failure::TaskFailed;
use super::handle::{Activity, Callable, Orchestrator};
use super::payload;
use super::wait::Timer;
use crate::ids;
use crate::model::FailureDetails;
use crate::replay::{ActionKind, Execution, RetryPolicy, TaskEnd, TaskName, TaskWait};

/// A call that is under way. Await it for the result; drop it to abandon the result, while the task still runs.
///
/// Options apply if they are set right after the call. It is an ordinary future, so every combinator of the `futures` crate
/// works on it; races are decided by the order of history.
///
/// ```
/// use std::time::Duration;
/// use taskhub::{Activity, Failure, OrchestrationContext, RetryPolicy};
///
/// const CHARGE: Activity<u64, String> = Activity::new("Charge");
///
/// async fn pay(ctx: OrchestrationContext, cents: u64) -> Result<String, Failure> {
///     let retry = RetryPolicy::exponential(5, Duration::from_secs(2));
///     Ok(ctx.call(CHARGE, cents).retry(retry).tag("kind", "payment").await?)
/// }
/// # let _ = pay;
/// ```
#[must_use = "the call is made, but its result is abandoned; await it, or use `start_orchestration` for a child that nobody waits for"]
pub struct Call<C> {
    wait: TaskWait,
    handle: PhantomData<fn() -> C>,
}

impl<C: Callable> Call<C> {
    pub(super) fn new(wait: TaskWait) -> Self {
        Self { wait, handle: PhantomData }
    }

    /// Tries again after a failure.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.wait.retry(policy);
        self
    }

    /// Which version to run; a worker [takes](crate::WorkerBuilder::takes_versions) it or leaves it to others. Without this the call of an activity has
    /// none, and a sub-orchestration has [that of the worker](crate::WorkerBuilder::version) or none; it does not inherit that of the caller.
    ///
    /// The call fails at once with a version of more than 2,048 UTF-16 units.
    pub fn version(self, version: impl Into<String>) -> Self {
        let version = version.into();
        self.revised(|kind| set_version(kind, version))
    }

    /// Adds a tag.
    pub fn tag(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let (key, value) = (key.into(), value.into());
        self.revised(|kind| add_tag(kind, key, value))
    }

    /// Gives up waiting after `limit`, with a durable timer that starts now and spans all attempts. It fails then with a [`TaskFailed`] that
    /// [is a timeout](TaskFailed::is_timeout); the task itself goes on, and its result is dropped.
    ///
    /// ```
    /// use std::time::Duration;
    /// use taskhub::{Activity, Failure, OrchestrationContext};
    ///
    /// const QUOTE: Activity<String, u64> = Activity::new("Quote");
    ///
    /// async fn cheapest(ctx: OrchestrationContext, item: String) -> Result<Option<u64>, Failure> {
    ///     match ctx.call(QUOTE, &item).within(Duration::from_secs(60)).await {
    ///         Ok(cents) => Ok(Some(cents)),
    ///         Err(late) if late.is_timeout() => Ok(None),
    ///         Err(failed) => Err(failed.into()),
    ///     }
    /// }
    /// # let _ = cheapest;
    /// ```
    pub fn within(self, limit: Duration) -> CallWithin<C> {
        let execution = self.wait.execution();
        let timer = Timer(execution.timer(execution.now().plus(limit)));
        CallWithin { task: self.wait.name(), call: self, timer, limit }
    }

    /// The call with a change, or one that fails because nothing could store it so.
    fn revised(mut self, change: impl FnOnce(&mut ActionKind)) -> Self {
        let mut excess = None;
        let execution = Rc::clone(self.wait.execution());
        self.wait.revise(|kind| {
            change(kind);
            excess = excess::of_decision(kind, execution.started().tags.as_ref());
        });
        if let Some(excess) = excess {
            self.wait.withdraw(excess);
        }
        self
    }
}

impl<I, O> Call<Activity<I, O>> {
    /// Runs the activity inside the turn, in this process: no message for the call and none for the answer, and no wait for either. What it costs is a part of
    /// the one transaction that commits the turn.
    ///
    /// For work that is short: a turn goes on with local activities for up to [five seconds](crate::WorkerBuilder::local_activity_time), 90 rows of
    /// history or 3 MiB of it, and is committed then, with everything that they have answered. A call that is still to be answered goes on as any other;
    /// the run that is under way answers it. So does a call from the beginning whose activity is not registered here, or has a
    /// [limit of its own](crate::WorkerBuilder::limit_activity), or that is made while the worker stops. A termination ends the turn at once; events and other messages
    /// for the instance wait for it.
    ///
    /// It runs at least once, as every activity. Whatever a crash undoes is the whole turn: all its local activities run again, also those that have
    /// answered. Retry policies wait in durable timers, as ever. History has the call as that of any other activity, so a .NET worker and code with or without
    /// `.local()` replay it alike, and it can be added and taken away at any time.
    ///
    /// ```
    /// use taskhub::{Activity, Failure, OrchestrationContext};
    ///
    /// const PRICE: Activity<String, u64> = Activity::new("Price");
    /// const CHARGE: Activity<u64, ()> = Activity::new("Charge");
    ///
    /// async fn order(ctx: OrchestrationContext, item: String) -> Result<(), Failure> {
    ///     let cents = ctx.call(PRICE, item).local().await?;
    ///     Ok(ctx.call(CHARGE, cents).await?)
    /// }
    /// # let _ = order;
    /// ```
    pub fn local(mut self) -> Self {
        self.wait.revise(|kind| {
            if let ActionKind::Activity { is_local, .. } = kind {
                *is_local = true;
            }
        });
        self
    }
}

impl<I, O> Call<Orchestrator<I, O>> {
    /// The instance id of the sub-orchestration; without it, one is derived. The call fails at once with the parent's own id, with
    /// one that begins with `@`, which are those of entities, and with one that is empty or longer than a table key: 512 UTF-16
    /// units, where each `/`, `\`, `#`, `?`, `^` and control character counts twice.
    ///
    /// The call fails with the type `InstanceIdInUse`, and nothing else changes, as long as an instance with this id has not ended
    /// that is not a child of this orchestration: one that a client has started, or scheduled, or a child of another. A child of
    /// this orchestration that still runs is replaced by a later call, and the earlier one fails with that type, if it waits.
    pub fn instance_id(mut self, id: impl Into<String>) -> Self {
        let id = id.into();
        match refusal(self.wait.execution(), &id) {
            Some(refusal) => self.wait.withdraw(refusal),
            None => self.wait.revise(|kind| set_instance_id(kind, id)),
        }
        self
    }
}

impl<C: Callable> Future for Call<C> {
    type Output = Result<C::Output, TaskFailed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let TaskEnd { task, result } = ready!(self.wait.poll(cx.waker()));
        let value = result.and_then(|json| payload::decode(json.as_deref(), &format!("The output of \"{}\"", task.name)));
        Poll::Ready(value.map_err(|details| TaskFailed::new(task, details)))
    }
}

impl<C> fmt::Debug for Call<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

/// A call that is waited for up to a limit.
#[must_use = "the call is made, but its result is abandoned; await it"]
pub struct CallWithin<C> {
    task: Option<TaskName>,
    call: Call<C>,
    timer: Timer,
    limit: Duration,
}

impl<C: Callable> Future for CallWithin<C> {
    type Output = Result<C::Output, TaskFailed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(result) = Pin::new(&mut self.call).poll(cx) {
            return Poll::Ready(result);
        }
        ready!(Pin::new(&mut self.timer).poll(cx));
        let limit = self.limit;
        self.task.take().map_or(Poll::Pending, |task| Poll::Ready(Err(TaskFailed::timed_out(task, limit))))
    }
}

impl<C> fmt::Debug for CallWithin<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallWithin").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// A call of an activity by name.
pub(super) type NamedActivity<O> = Activity<serde_json::Value, O>;

/// A call of an orchestrator by name.
pub(super) type NamedOrchestrator<O> = Orchestrator<serde_json::Value, O>;

/// A sub-orchestration that was started and that nobody waits for.
///
/// ```
/// use taskhub::{Failure, OrchestrationContext, Orchestrator};
///
/// const CLEAN_UP: Orchestrator<String, ()> = Orchestrator::new("CleanUp");
///
/// async fn close(ctx: OrchestrationContext, account: String) -> Result<(), Failure> {
///     ctx.start_orchestration(CLEAN_UP, &account).instance_id(format!("clean-up-{account}"));
///     Ok(())
/// }
/// # let _ = close;
/// ```
#[derive(Debug)]
pub struct Detached {
    pub(super) execution: Rc<Execution>,
    pub(super) id: i32,
}

impl Detached {
    /// The instance id of the child; without it, one is derived. An id that a call would refuse fails the orchestrator. Nothing is
    /// started, and a warning logged, as long as an instance with this id has not ended that is not a child of this orchestration.
    #[allow(clippy::must_use_candidate, reason = "the child is started either way")]
    pub fn instance_id(self, id: impl Into<String>) -> Self {
        let id = id.into();
        match refusal(&self.execution, &id) {
            Some(refusal) => self.execution.withdraw(self.id, refusal),
            None => self.execution.revise(self.id, |kind| set_instance_id(kind, id)),
        }
        self
    }

    /// Which version of the orchestrator to run; that of the worker unless set. One that a call would refuse fails the orchestrator.
    #[allow(clippy::must_use_candidate, reason = "the child is started either way")]
    pub fn version(self, version: impl Into<String>) -> Self {
        let version = version.into();
        self.revised(|kind| set_version(kind, version))
    }

    /// Adds a tag.
    #[allow(clippy::must_use_candidate, reason = "the child is started either way")]
    pub fn tag(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let (key, value) = (key.into(), value.into());
        self.revised(|kind| add_tag(kind, key, value))
    }

    fn revised(self, change: impl FnOnce(&mut ActionKind)) -> Self {
        let mut excess = None;
        self.execution.revise(self.id, |kind| {
            change(kind);
            excess = excess::of_decision(kind, self.execution.started().tags.as_ref());
        });
        if let Some(excess) = excess {
            self.execution.withdraw(self.id, excess);
        }
        self
    }
}

fn set_version(kind: &mut ActionKind, new: String) {
    if let ActionKind::Activity { version, .. } | ActionKind::SubOrchestration { version, .. } = kind {
        *version = Some(new);
    }
}

fn set_instance_id(kind: &mut ActionKind, id: String) {
    if let ActionKind::SubOrchestration { instance_id, .. } = kind {
        *instance_id = Some(id);
    }
}

pub(super) fn add_tag(kind: &mut ActionKind, key: String, value: String) {
    if let ActionKind::Activity { tags, .. } | ActionKind::SubOrchestration { tags, .. } = kind {
        tags.get_or_insert_default().insert(key, value);
    }
}

/// Why a child cannot have this instance id.
fn refusal(execution: &Execution, id: &str) -> Option<FailureDetails> {
    let is_own = id == execution.started().instance.instance_id;
    let own = || is_own.then(|| "is that of the calling orchestration itself".to_owned());
    ids::why_no_orchestration(id).or_else(own).map(|why| invalid_id(id, &why))
}

/// The failure of a decision that names an instance which cannot be.
pub(super) fn invalid_id(id: &str, why: &str) -> FailureDetails {
    let (error_type, shown) = ("InvalidInstanceId".to_owned(), ids::shortened(id));
    let error_message = format!("The instance id \"{shown}\" {why}.");
    FailureDetails { error_type, error_message, is_non_retriable: true, ..FailureDetails::default() }
}
