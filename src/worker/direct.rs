//! What this process sends to a queue that this worker reads, and what is for it alone to work on: it is taken in without a receive, as long as
//! there is room.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::Shared;
use super::delivery::Delivery;
use super::partition::{Partition, is_in_order};
use super::work_items::task_of;
use crate::authoring::Ends;
use crate::hub::{Held, Hold, Need, QueueId, Reader};
use crate::model::{EventKind, Message};
use crate::window::{Place, Window};

/// Work that takes up more than this part of a hold is slow.
const SLOW: u32 = 12;

/// The reader of a partition.
pub(super) struct ToPartition {
    pub(super) shared: Arc<Shared>,
    pub(super) partition: Arc<Partition>,
    /// What lines about its messages are about, whoever sends them.
    pub(super) span: Span,
}

/// The reader of work items.
pub(super) struct ToActivities {
    pub(super) shared: Arc<Shared>,
    pub(super) until: CancellationToken,
    /// What lines about activities are about, whoever calls them.
    pub(super) span: Span,
}

impl Reader for ToPartition {
    fn place_for(&self, message: &Message) -> Option<Place> {
        let (shared, partition) = (&self.shared, &self.partition);
        let is_open = !partition.stopping.is_cancelled() && partition.may_commit();
        if !is_open || shared.keeper.is_behind(QueueId::Control(partition.id)) {
            return None;
        }
        // It would overtake those that were sent before it and are still in the queue.
        if is_in_order(message) || Need::of_entity(&message.target.instance_id).is_some() {
            return None;
        }
        if let EventKind::ExecutionStarted(start) = &message.event.kind
            && (start.scheduled_start.is_some() || shared.hosting.missing_orchestrator(start).is_some())
        {
            return None;
        }
        enter_if_quick(&partition.places, self.hold())
    }

    fn hold(&self) -> Duration {
        self.shared.options.hold
    }

    fn keep(&self, hold: Hold) -> Option<Arc<Hold>> {
        self.shared.keeper.keep(hold)
    }

    fn take_in(self: Arc<Self>, held: Held, place: Place) {
        let _about = self.span.enter();
        self.shared.accept(&self.partition, Delivery::new(held, place));
    }
}

impl Reader for ToActivities {
    fn place_for(&self, message: &Message) -> Option<Place> {
        let shared = &self.shared;
        if self.until.is_cancelled() || shared.keeper.is_behind(QueueId::WorkItems) {
            return None;
        }
        let task = task_of(message, Ends::default())?;
        // One that may have to wait here is for others too.
        if shared.executor.throttles().activity(&task.name).is_some() || shared.hosting.missing_activity(&task).is_some() {
            return None;
        }
        enter_if_quick(&shared.activities, self.hold())
    }

    fn hold(&self) -> Duration {
        self.shared.options.hold
    }

    fn keep(&self, hold: Hold) -> Option<Arc<Hold>> {
        self.shared.keeper.keep(hold)
    }

    fn take_in(self: Arc<Self>, held: Held, place: Place) {
        let _about = self.span.enter();
        self.shared.begin_work_item(Delivery::new(held, place), &self.until);
    }
}

/// A place, unless work takes so long that what is held ahead of it would have to be renewed: that would only make it longer.
fn enter_if_quick(window: &Arc<Window>, hold: Duration) -> Option<Place> {
    if window.typical() * SLOW > hold { None } else { window.try_enter() }
}

impl Debug for ToPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToPartition").field("partition", &self.partition.id).finish_non_exhaustive()
    }
}

impl Debug for ToActivities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToActivities").finish_non_exhaustive()
    }
}
