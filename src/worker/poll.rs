//! The one loop that receives from a queue: at once after a message, ever more seldom while there is none, woken by what is known to come.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::delivery::Delivery;
use crate::error::Result;
use crate::hub::{Arrival, Doorbell, QueueId, Reader, Received};
use crate::window::Room;

/// The shortest pause between two empty receives, the longest unless another is asked for, and the longest that can be asked for.
const PAUSE_MIN: Duration = Duration::from_millis(50);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30);
const PAUSE_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// A pause is this part of the time since the last message: what comes next waits no longer than a fiftieth of what nobody waited for.
const PAUSE_SHARE: u32 = 50;
/// A pause is at least so many times as long as the receive before it took: who waits for slow storage does not ask for more of it.
const RECEIVES_APART: u32 = 4;
/// The shortest pause after a receive that failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

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

    /// When what was left to other workers since this was asked last becomes visible to them, if anything was.
    fn left_until(&self) -> Option<Instant> {
        None
    }

    /// The longest pause between two empty receives, unless the user has set one.
    fn pause_max(&self) -> Duration {
        PAUSE_MAX
    }

    /// A receive has succeeded, or has not.
    fn received(&self, _is_ok: bool) {}

    fn take_in(&self, delivery: Delivery<Received>);

    /// Who takes what is sent to the queue in this process.
    fn reader(&self) -> Arc<dyn Reader>;
}

impl Shared {
    /// Receives from a queue until it ends.
    pub(crate) async fn poll(&self, source: impl Source) {
        let bell = self.hub.queues.bell(source.queue());
        let (mut quiet, mut left_until, mut was_due) = (Quiet::new(), None, false);
        let _listening = bell.listen();
        let reader = self.options.fast_path.holds_own_messages.then(|| source.reader());
        let _reading = reader.map(|reader| self.hub.queues.readers(source.queue()).add(reader));
        while let Some(mut room) = source.room().await {
            let left = source.leaves().await;
            let begun = Instant::now();
            // A receive under way is finished, not dropped: what it brings would stay hidden from everybody.
            let received = if left.is_some() { Ok(Vec::new()) } else { self.receive(&source, room.places()).await };
            let at_least = match received {
                Ok(received) if !received.is_empty() => {
                    for received in received {
                        let Some(place) = room.take() else { break };
                        source.take_in(Delivery::new(received, place));
                    }
                    // That something comes when it was to come tells nothing of when others send, however many receives it takes.
                    if was_due {
                        quiet.goes_on();
                    } else {
                        quiet.ends();
                    }
                    continue;
                }
                Ok(_) => left.unwrap_or(begun.elapsed() * RECEIVES_APART),
                Err(_) => PAUSE_AFTER_ERROR,
            };
            drop(room);
            if let Some(until) = source.left_until() {
                quiet.goes_on();
                left_until = Some(until);
            }
            let most = self.options.poll_interval_max.unwrap_or(source.pause_max()).clamp(PAUSE_MIN, PAUSE_LIMIT);
            let pause = quiet.next_pause().max(at_least).min(most);
            let next = past_what_is_left(Instant::now() + pause, pause, left_until);
            tokio::select! {
                biased;
                () = source.ending().cancelled() => return,
                woken = woken(bell, next) => {
                    was_due = woken == Woken::Due;
                    if woken != Woken::Late {
                        quiet.ends();
                    }
                }
            }
        }
    }

    /// Receives once. What it brings is kept from here on, before anything else happens to it.
    async fn receive(&self, source: &impl Source, max: usize) -> Result<Vec<Received>> {
        const FAILED: &str = "receive failed";
        let queue = source.queue();
        let received = self.hub.queues.receive(queue, max, self.options.hold).await;
        let name = self.hub.queues.name(queue);
        if let Some((error, failures)) = self.outages.after(FAILED, || name.to_owned(), &received) {
            tracing::warn!(queue = name, failures, %error, "receive failed");
        }
        source.received(received.is_ok());
        let mut kept = Vec::new();
        let (measures, now) = (self.executor.measures(), self.hub.now());
        for Arrival { hold, content } in received? {
            match self.keeper.keep(hold) {
                Some(hold) => {
                    let received = Received::of(hold, content);
                    received.first_since().into_iter().for_each(|since| measures.received(queue, since, now));
                    kept.push(received);
                }
                None => tracing::debug!(?queue, "a message came again while work on it goes on"),
            }
        }
        kept.sort_by_key(Received::order);
        Ok(kept)
    }

    /// Waits until what is held of a queue is renewed in time.
    pub(crate) async fn renewals_in_time(&self, queue: QueueId) {
        while self.keeper.is_behind(queue) {
            tokio::time::sleep(BEHIND_PAUSE).await;
        }
    }
}

/// When to look next, where something becomes visible that was left to others: not before they, who look about as often, have looked.
fn past_what_is_left(next: Instant, pause: Duration, left_until: Option<Instant>) -> Instant {
    let theirs = left_until.map(|visible| visible..visible + pause);
    theirs.filter(|theirs| theirs.contains(&next)).map_or(next, |theirs| theirs.end)
}

/// How long a queue has been quiet: the longer, the longer are the pauses of its poller.
#[derive(Debug)]
struct Quiet {
    /// When the last message came, or was known to have come; before the first, when the poller began.
    since: Instant,
    /// The same before the last message.
    before: Instant,
}

impl Quiet {
    fn new() -> Self {
        let since = Instant::now();
        Self { since, before: since }
    }

    fn next_pause(&self) -> Duration {
        (self.since.elapsed() / PAUSE_SHARE).max(PAUSE_MIN)
    }

    /// Something was received, or there is something to receive: the next pause is short.
    fn ends(&mut self) {
        (self.before, self.since) = (self.since, Instant::now());
    }

    /// What was received is left to others: whoever looks for it more often than they do has it again.
    fn goes_on(&mut self) {
        self.since = self.before;
    }
}

/// What has ended a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// Something was sent in this process.
    Rung,
    /// Something that this process has delayed is due.
    Due,
    /// Nothing; it is over.
    Late,
}

/// Pauses until then, unless the bell rings or something falls due.
async fn woken(bell: &Doorbell, next: Instant) -> Woken {
    loop {
        let until = bell.next_due().map_or(next, |due| due.min(next));
        tokio::select! {
            biased;
            is_visible = bell.rung() => {
                if is_visible {
                    return Woken::Rung;
                }
            }
            () = tokio::time::sleep_until(until) => {
                if bell.forget_past() {
                    return Woken::Due;
                }
                if until == next {
                    return Woken::Late;
                }
            }
        }
    }
}
