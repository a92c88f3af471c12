//! The one loop that receives from a queue: at once after a message, backing off while there is none, woken by what is known to come.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::delivery::Delivery;
use crate::hub::{Doorbell, QueueId, Received};
use crate::window::Room;

/// The shortest wait between two empty receives, and the longest that can be asked for.
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// How often a poller looks whether what could not be renewed in time is renewed again.
const BEHIND_PAUSE: Duration = Duration::from_millis(250);

/// A queue from which this worker receives, and what it does with what it gets.
pub(crate) trait Source {
    fn queue(&self) -> QueueId;

    /// Cancelled when nothing more is to be received.
    fn ending(&self) -> &CancellationToken;

    /// Room for at least one message and at most as many as one receive can bring. `None` when nothing more is to be received.
    fn room(&self) -> impl Future<Output = Option<Room>> + Send;

    /// How long what is in the queue is left to other workers, if it is.
    fn leaves(&self) -> impl Future<Output = Option<Duration>> + Send {
        std::future::ready(None)
    }

    /// A receive has succeeded, or has not.
    fn received(&self, _is_ok: bool) {}

    fn take_in(&self, delivery: Delivery<Received>);
}

impl Shared {
    /// Receives from a queue until it ends.
    pub(crate) async fn poll(&self, source: impl Source) {
        let bell = self.hub.queues.bell(source.queue());
        let mut back_off = BackOff::new(self.options.poll_interval_max);
        let _listening = bell.listen();
        while let Some(mut room) = source.room().await {
            let left = source.leaves().await;
            // A receive under way is finished, not dropped: what it brings would stay hidden from everybody.
            let received = if left.is_some() { None } else { self.receive(&source, room.places()).await };
            if let Some(received) = received {
                for received in received {
                    let Some(place) = room.take() else { break };
                    source.take_in(Delivery::new(received, place));
                }
                back_off.reset();
            } else {
                drop(room);
                left.into_iter().for_each(|left| back_off.at_least(left));
                tokio::select! {
                    biased;
                    () = source.ending().cancelled() => return,
                    () = back_off.wait(bell) => {}
                }
            }
        }
    }

    /// Receives once. What it brings is kept from here on, before anything else happens to it. `None` if it brings nothing.
    async fn receive(&self, source: &impl Source, max: usize) -> Option<Vec<Received>> {
        const FAILED: &str = "receive failed";
        let queue = source.queue();
        let received = self.hub.queues.receive(queue, max, self.options.hold).await;
        let name = self.hub.queues.name(queue);
        if let Some((error, failures)) = self.outages.after(FAILED, || name.to_owned(), &received) {
            tracing::warn!(queue = name, failures, %error, "receive failed");
        }
        source.received(received.is_ok());
        let received = received.ok().filter(|received| !received.is_empty())?;
        let mut kept = Vec::new();
        for (hold, text) in received {
            match self.keeper.keep(hold) {
                Some(hold) => kept.push(Received::of(hold, text)),
                None => tracing::debug!(?queue, "a message came again while work on it goes on"),
            }
        }
        kept.sort_by_key(Received::order);
        Some(kept)
    }

    /// Waits until what is held of a queue is renewed in time.
    pub(crate) async fn renewals_in_time(&self, queue: QueueId) {
        while self.keeper.is_behind(queue) {
            tokio::time::sleep(BEHIND_PAUSE).await;
        }
    }
}

/// The back-off of one poller.
#[derive(Debug)]
pub(crate) struct BackOff {
    wait: Duration,
    max: Duration,
}

impl BackOff {
    pub(crate) fn new(max: Duration) -> Self {
        Self { wait: WAIT_MIN, max: max.clamp(WAIT_MIN, WAIT_MAX) }
    }

    /// Something was received: the next receive comes at once.
    pub(crate) fn reset(&mut self) {
        self.wait = WAIT_MIN;
    }

    /// What there is, is left to others: the next look is not before this.
    pub(crate) fn at_least(&mut self, wait: Duration) {
        self.wait = self.wait.max(wait).min(self.max);
    }

    /// Nothing was received: waits, for longer each time, unless the bell rings or something falls due.
    pub(crate) async fn wait(&mut self, bell: &Doorbell) {
        let deadline = Instant::now() + self.wait;
        loop {
            let until = bell.next_due().map_or(deadline, |due| due.min(deadline));
            tokio::select! {
                biased;
                visible = bell.rung() => {
                    if visible {
                        self.reset();
                        return;
                    }
                }
                () = tokio::time::sleep_until(until) => {
                    if bell.forget_past() {
                        self.reset();
                        return;
                    }
                    if until == deadline {
                        self.wait = (self.wait * 2).min(self.max);
                        return;
                    }
                }
            }
        }
    }
}
