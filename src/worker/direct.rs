//! What this process sends to a queue that this worker reads, and what is for it alone to work on: it is taken in without a receive, as long as
//! there is room.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::Shared;
use super::delivery::Delivery;
use super::partition::{Partition, is_in_order};
use super::work_items::begins_at_once;
use crate::hub::{Held, Hold, Need, QueueId, Reader};
use crate::model::{EventKind, Message, Timestamp};
use crate::window::{Place, Window};

/// Work that takes up more than this part of a hold is slow.
const SLOW: u32 = 12;

/// A queue that this worker reads, as its senders in this process see it.
pub(super) struct Direct {
    pub(super) shared: Arc<Shared>,
    pub(super) to: To,
    /// What lines about its messages are about, whoever sends them.
    pub(super) span: Span,
}

/// Who works on the messages of the queue.
pub(super) enum To {
    /// The instances of a partition.
    Partition(Arc<Partition>),
    /// Activities, until no more of them begin.
    Activities(CancellationToken),
}

impl Reader for Direct {
    fn place_for(&self, message: &Message) -> Option<Place> {
        match &self.to {
            To::Partition(partition) => self.place_in(partition, message),
            To::Activities(until) => self.slot_for(message, until),
        }
    }

    fn seat_for(&self, message: &Message) -> Option<OwnedSemaphorePermit> {
        let To::Partition(partition) = &self.to else { return None };
        if !self.shared.options.fast_path.holds_timers || !is_open_for(partition, message) {
            return None;
        }
        Arc::clone(&partition.timers).try_acquire_owned().ok()
    }

    fn hold(&self) -> Duration {
        self.shared.options.hold
    }

    fn keep(&self, hold: Hold) -> Option<Arc<Hold>> {
        self.shared.keeper.keep(hold)
    }

    fn take_in(self: Arc<Self>, held: Held, place: Place) {
        let _about = self.span.enter();
        let delivery = Delivery::new(held, place);
        match &self.to {
            To::Partition(partition) => self.shared.accept(partition, delivery),
            To::Activities(until) => self.shared.begin_work_item(delivery, until),
        }
    }

    fn take_in_when_due(self: Arc<Self>, held: Held, seat: OwnedSemaphorePermit) {
        let shared = Arc::clone(&self.shared);
        let firing = async move {
            let _seat = seat;
            let (To::Partition(partition), EventKind::TimerFired { fire_at, .. }) = (&self.to, &held.message.event.kind) else {
                return;
            };
            if !self.is_due(partition, *fire_at).await {
                return;
            }
            // Where it finds no place it is received like any other.
            let Some(place) = partition.places.try_enter().filter(|_| self.shared.keeper.keep_on(held.hold())) else { return };
            let _about = self.span.enter();
            self.shared.accept(partition, Delivery::new(held, place));
        };
        shared.tasks.spawn(firing);
    }
}

impl Direct {
    /// Waits until a timer is due. `false` if the partition is given up before.
    async fn is_due(&self, partition: &Partition, fire_at: Timestamp) -> bool {
        loop {
            let wait = fire_at.since(self.shared.hub.now());
            if wait.is_zero() {
                return partition.may_commit();
            }
            tokio::select! {
                biased;
                () = partition.stopping.cancelled() => return false,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn place_in(&self, partition: &Partition, message: &Message) -> Option<Place> {
        if !is_open_for(partition, message) || self.shared.keeper.is_behind(QueueId::Control(partition.id)) {
            return None;
        }
        // It would overtake those that were sent before it and are still in the queue.
        if is_in_order(message) {
            return None;
        }
        if let EventKind::ExecutionStarted(start) = &message.event.kind
            && (start.scheduled_start.is_some() || self.shared.hosting.missing_orchestrator(start).is_some())
        {
            return None;
        }
        enter_if_quick(&partition.places, self.hold())
    }

    fn slot_for(&self, message: &Message, until: &CancellationToken) -> Option<Place> {
        let shared = &self.shared;
        if until.is_cancelled() || shared.keeper.is_behind(QueueId::WorkItems) {
            return None;
        }
        // One that may have to wait here is for others too.
        if !begins_at_once(message, &shared.executor, &shared.hosting) {
            return None;
        }
        enter_if_quick(&shared.activities, self.hold())
    }
}

/// Whether messages for this instance are worked on in the partition.
fn is_open_for(partition: &Partition, message: &Message) -> bool {
    !partition.stopping.is_cancelled() && partition.may_commit() && Need::of_entity(&message.target.instance_id).is_none()
}

/// A place, unless work takes so long that what is held ahead of it would have to be renewed: that would only make it longer.
fn enter_if_quick(window: &Arc<Window>, hold: Duration) -> Option<Place> {
    if window.typical() * SLOW > hold { None } else { window.try_enter() }
}

impl Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = match &self.to {
            To::Partition(partition) => QueueId::Control(partition.id),
            To::Activities(_) => QueueId::WorkItems,
        };
        f.debug_struct("Direct").field("queue", &queue).finish_non_exhaustive()
    }
}
