//! The awaitables of timers and external events.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::payload;
use crate::replay::{EventWait, TimerWait};

/// A durable timer. Dropping it cancels the wait, not the timer.
#[derive(Debug)]
#[must_use = "a timer does nothing unless it is awaited"]
pub struct Timer(pub(super) TimerWait);

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll(cx.waker())
    }
}

/// The wait for an external event.
///
/// Waits for one name are served in the order in which they were made; an event that nobody waits for is kept. A wait that is
/// dropped gives up its place, and an event that it had but nobody saw.
///
/// A payload that does not fit the type fails the orchestrator with a failure that names event and type, because to pass over it would
/// hide what somebody has sent. Where senders are not to be trusted, wait for a `serde_json::Value`, or for a
/// `Box<`[`RawValue`](crate::RawValue)`>` that keeps every digit, and read that in the orchestrator.
#[must_use = "an event is only received by awaiting it"]
pub struct WaitForEvent<T> {
    wait: EventWait,
    name: &'static str,
    payload: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> WaitForEvent<T> {
    pub(super) fn new(wait: EventWait, name: &'static str) -> Self {
        Self { wait, name, payload: PhantomData }
    }

    /// Gives up after `limit`, with a durable timer that starts now.
    ///
    /// ```
    /// use std::time::Duration;
    /// use taskhub::{Elapsed, Event, Failure, OrchestrationContext};
    ///
    /// const APPROVAL: Event<bool> = Event::new("Approval");
    ///
    /// async fn purchase(ctx: OrchestrationContext, _cents: u64) -> Result<String, Failure> {
    ///     match ctx.wait_for_event(APPROVAL).within(Duration::from_secs(3 * 86_400)).await {
    ///         Ok(true) => Ok("approved".to_owned()),
    ///         Ok(false) => Ok("rejected".to_owned()),
    ///         Err(Elapsed) => Ok("nobody answered".to_owned()),
    ///     }
    /// }
    /// # let _ = purchase;
    /// ```
    pub fn within(self, limit: Duration) -> Within<T> {
        let execution = self.wait.execution();
        let timer = Timer(execution.timer(execution.now().plus(limit)));
        Within { event: self, timer }
    }
}

impl<T: DeserializeOwned> Future for WaitForEvent<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let json = ready!(self.wait.poll(cx.waker()));
        let what = format!("The payload of the event \"{}\"", self.name);
        match payload::decode(json.as_deref(), &what) {
            Ok(value) => Poll::Ready(value),
            Err(failure) => {
                self.wait.execution().fault(failure);
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for WaitForEvent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitForEvent").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The wait for an external event, up to a limit.
#[derive(Debug)]
#[must_use = "an event is only received by awaiting it"]
pub struct Within<T> {
    event: WaitForEvent<T>,
    timer: Timer,
}

impl<T: DeserializeOwned> Future for Within<T> {
    type Output = Result<T, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(payload) = Pin::new(&mut self.event).poll(cx) {
            return Poll::Ready(Ok(payload));
        }
        Pin::new(&mut self.timer).poll(cx).map(|()| Err(Elapsed))
    }
}

/// The time was over before the event came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time was over before the event came")]
pub struct Elapsed;
