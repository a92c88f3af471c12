//! Sagas: steps that are taken back in reverse order when a later one fails; and joins that wait for every branch.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, join_all};

use super::context::OrchestrationContext;
use super::failure::Failure;

/// The property of a failure that tells which compensations failed too.
const FAILED_TOO: &str = "compensationFailures";

type Compensation = Box<dyn FnOnce(OrchestrationContext) -> LocalBoxFuture<'static, Option<Failure>>>;

/// What to do to take back the steps of a saga that are done. [`OrchestrationContext::saga`] makes one.
#[derive(Default)]
pub struct Saga {
    compensations: RefCell<Vec<Compensation>>,
}

impl OrchestrationContext {
    /// Runs steps that are taken back if a later one fails: each leaves behind how to [compensate](Saga::compensate) it, and when the
    /// steps fail, the compensations run one after the other, the last first. Then the saga fails as its steps did.
    ///
    /// A compensation that fails keeps no other from running; the failure of the saga then has the property `compensationFailures`, a list of
    /// texts. Compensations should be activities that can run twice, with a [retry policy](crate::Call::retry) that is patient.
    ///
    /// Nothing is compensated if the steps succeed or [continue as new](Self::continue_as_new), if the instance is terminated, or if the code
    /// panics.
    ///
    /// ```
    /// use taskhub::{Activity, Failure, OrchestrationContext};
    ///
    /// const BOOK_HOTEL: Activity<String, u64> = Activity::new("BookHotel");
    /// const CANCEL_HOTEL: Activity<u64, ()> = Activity::new("CancelHotel");
    /// const BOOK_FLIGHT: Activity<String, u64> = Activity::new("BookFlight");
    ///
    /// async fn travel(ctx: OrchestrationContext, to: String) -> Result<(u64, u64), Failure> {
    ///     ctx.saga(async |saga| {
    ///         let hotel = ctx.call(BOOK_HOTEL, &to).await?;
    ///         saga.compensate(move |ctx| ctx.call(CANCEL_HOTEL, hotel));
    ///         let flight = ctx.call(BOOK_FLIGHT, &to).await?;
    ///         Ok((hotel, flight))
    ///     })
    ///     .await
    /// }
    /// # let _ = travel;
    /// ```
    ///
    /// What the code cannot catch, such as an event whose payload does not fit its type, is compensated too; then the orchestrator fails.
    ///
    /// # Errors
    /// The failure of the steps.
    pub async fn saga<T>(&self, steps: impl AsyncFnOnce(&Saga) -> Result<T, Failure>) -> Result<T, Failure> {
        let saga = Saga::default();
        let (outcome, is_fault) = self.until_fault(steps(&saga)).await;
        let Err(failure) = outcome else { return outcome };
        let failure = saga.take_back(self, failure).await;
        if is_fault {
            self.execution.fault(failure.details().clone());
        }
        Err(failure)
    }
}

impl OrchestrationContext {
    /// Runs steps to their end, or to what ends the execution without asking them; that is told beside its failure.
    async fn until_fault<T>(&self, steps: impl Future<Output = Result<T, Failure>>) -> (Result<T, Failure>, bool) {
        let mut steps = pin!(steps);
        poll_fn(|cx| {
            let polled = steps.as_mut().poll(cx);
            match self.execution.take_fault() {
                Some(fault) => Poll::Ready((Err(fault.into()), true)),
                None => polled.map(|outcome| (outcome, false)),
            }
        })
        .await
    }
}

impl Saga {
    /// How to take back the step that is done: a call, or whatever else the context gives. It is made only if it is needed.
    pub fn compensate<R, T, E>(&self, undo: impl FnOnce(OrchestrationContext) -> R + 'static)
    where
        R: Future<Output = Result<T, E>> + 'static,
        E: Into<Failure> + 'static,
        T: 'static,
    {
        let compensation = |ctx| undo(ctx).map(|undone| undone.err().map(Into::into)).boxed_local();
        self.compensations.borrow_mut().push(Box::new(compensation));
    }

    async fn take_back(self, ctx: &OrchestrationContext, failure: Failure) -> Failure {
        let mut failed_too = Vec::new();
        for compensation in self.compensations.into_inner().into_iter().rev() {
            failed_too.extend(compensation(ctx.clone()).await.map(|failure| failure.to_string()));
        }
        if failed_too.is_empty() { failure } else { failure.property(FAILED_TOO, failed_too) }
    }
}

impl fmt::Debug for Saga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saga").field("compensations", &self.compensations.borrow().len()).finish()
    }
}

/// Waits for every branch, also when one fails, as .NET's `Task.WhenAll` does: all values in the order of the branches, or the failure of the
/// first branch in that order that failed. `try_join_all` of the `futures` crate ends with the first failure instead, while the other branches
/// still run; `join_all` gives the result of each.
///
/// ```
/// use taskhub::{Activity, Failure, OrchestrationContext, wait_all};
///
/// const COPY: Activity<String, u64> = Activity::new("Copy");
///
/// async fn backup(ctx: OrchestrationContext, files: Vec<String>) -> Result<u64, Failure> {
///     let sizes = wait_all(files.iter().map(|file| ctx.call(COPY, file))).await?;
///     Ok(sizes.iter().sum())
/// }
/// # let _ = backup;
/// ```
///
/// # Errors
/// The failure of the first branch that failed, in the order of the branches.
pub async fn wait_all<T, E, B>(branches: impl IntoIterator<Item = B>) -> Result<Vec<T>, E>
where
    B: Future<Output = Result<T, E>>,
{
    join_all(branches).await.into_iter().collect()
}
