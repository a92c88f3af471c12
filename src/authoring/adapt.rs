//! Functions of other shapes as activities: with a state of their own, or synchronous.

use std::future::Future;
use std::panic::resume_unwind;

use futures::future::BoxFuture;

use super::activity::ActivityContext;
use super::failure::Failure;

/// A function that takes a state as an activity: each call gets a clone of the state, such as an `Arc`, a pool or a client.
///
/// ```
/// use std::sync::Arc;
/// use taskhub::{Activity, ActivityContext, Failure, WorkerBuilder, with_state};
///
/// const CHARGE: Activity<u64, String> = Activity::new("Charge");
/// const REFUND: Activity<String, ()> = Activity::new("Refund");
///
/// struct Bank;
///
/// impl Bank {
///     async fn charge(self: Arc<Self>, _: ActivityContext, cents: u64) -> Result<String, Failure> {
///         Ok(format!("receipt of {cents}"))
///     }
///
///     async fn refund(self: Arc<Self>, _: ActivityContext, _receipt: String) -> Result<(), Failure> {
///         Ok(())
///     }
/// }
///
/// fn register(worker: WorkerBuilder, bank: &Arc<Bank>) -> WorkerBuilder {
///     worker.activity(CHARGE, with_state(bank, Bank::charge)).activity(REFUND, with_state(bank, Bank::refund))
/// }
/// # let _ = register;
/// ```
pub fn with_state<S, I, R>(
    state: &S,
    run: impl Fn(S, ActivityContext, I) -> R + Send + Sync + 'static,
) -> impl Fn(ActivityContext, I) -> R + Send + Sync + 'static
where
    S: Clone + Send + Sync + 'static,
    I: 'static,
    R: 'static,
{
    let state = state.clone();
    move |ctx, input| run(state.clone(), ctx, input)
}

/// A synchronous function as an activity. It runs on a thread of its own beside the runtime, so it may compute for long and block.
///
/// Nothing can end it early: after the grace period of a worker that stops its result is dropped, while the thread goes on. One that takes
/// long should ask [`ActivityContext::is_cancelled`] from time to time.
///
/// ```
/// use taskhub::{Activity, ActivityContext, WorkerBuilder, blocking};
///
/// const COUNT: Activity<String, usize> = Activity::new("CountWords");
///
/// fn register(worker: WorkerBuilder) -> WorkerBuilder {
///     worker.activity(COUNT, blocking(|_: ActivityContext, path: String| {
///         Ok(std::fs::read_to_string(path)?.split_whitespace().count())
///     }))
/// }
/// # let _ = register;
/// ```
pub fn blocking<I, O>(
    run: impl Fn(ActivityContext, I) -> Result<O, Failure> + Clone + Send + Sync + 'static,
) -> impl Fn(ActivityContext, I) -> BoxFuture<'static, Result<O, Failure>> + Send + Sync + 'static
where
    I: Send + 'static,
    O: Send + 'static,
{
    move |ctx, input| {
        let run = run.clone();
        Box::pin(on_a_thread(move || run(ctx, input)))
    }
}

#[allow(clippy::disallowed_methods, reason = "code of the user that blocks; nothing of the worker waits for the thread")]
fn on_a_thread<T: Send + 'static>(code: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> + Send {
    let thread = tokio::task::spawn_blocking(code);
    async move { thread.await.unwrap_or_else(|error| resume_unwind(error.into_panic())) }
}
