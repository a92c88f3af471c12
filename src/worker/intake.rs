//! What a partition receives, until its instance works on it: a count and bytes bound it, bodies are read by instance, and what
//! makes no progress gives way.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use tokio_util::sync::DropGuard;

use super::Shared;
use super::bodies::{Arrived, Room, Size};
use super::dispatcher::several_at_once;
use super::hosting::Waiting;
use super::inbox::{Arriving, Partition};
use super::orchestration::back_off;
use super::poll::BackOff;
use crate::error::Error;
use crate::hub::{Hold, InBlob, Need, QueueId, Received};
use crate::model::{EventKind, Message};
use crate::storage::queue::RECEIVE_MAX;
use crate::window;

/// How often a poller looks whether a lease or messages that could not be renewed are fresh again.
const FENCE_PAUSE: Duration = Duration::from_millis(250);
/// How often those who wait for room look for messages that make no progress.
const CROWD_PAUSE: Duration = Duration::from_millis(250);

/// The longest delay of a message that is handed back for want of room.
const CROWDED_OUT_MAX: Duration = Duration::from_secs(30);

/// A body that was too large for the first try.
type Large = (InBlob, window::Place);

impl Shared {
    /// Receives from a control queue until the partition is given up.
    pub(crate) async fn poll_partition(self: Arc<Self>, partition: Arc<Partition>) {
        // Dropped by the last who brings in messages: this poller, or a task that reads bodies.
        let receiving = Arc::new(partition.polled.clone().drop_guard());
        let mut back_off = BackOff::new(self.options.poll_interval_max);
        let queue = QueueId::Control(partition.id);
        let _listening = self.hub.queues.bell(queue).listen();
        while let Some(mut places) = self.free_places(&partition).await {
            // A receive under way is finished, not dropped: what it brings would stay hidden from everybody.
            if let Some(received) = self.receive(queue, places.places()).await {
                for received in received {
                    let Some(place) = places.take() else { break };
                    self.take_in(&partition, received, place, &receiving);
                }
                back_off.reset();
            } else {
                drop(places);
                tokio::select! {
                    biased;
                    () = partition.stopping.cancelled() => return,
                    () = back_off.wait(self.hub.queues.bell(queue)) => {}
                }
            }
        }
    }

    /// Places for a receive: at least one, at most what one receive can bring. `None` when the partition is given up.
    async fn free_places(&self, partition: &Partition) -> Option<window::Room> {
        // What is received while the lease is not renewed could only be handed back, again and again.
        while !partition.may_commit() && !partition.stopping.is_cancelled() {
            tokio::time::sleep(FENCE_PAUSE).await;
        }
        let free = async {
            self.renewals_in_time(QueueId::Control(partition.id)).await;
            partition.places.room(RECEIVE_MAX).await
        };
        self.make_room(partition, free).await
    }

    /// Waits until what is held of a queue is renewed in time.
    pub(crate) async fn renewals_in_time(&self, queue: QueueId) {
        while self.keeper.is_behind(queue) {
            tokio::time::sleep(FENCE_PAUSE).await;
        }
    }

    /// Waits for what messages in memory take up. An instance that makes no progress must not keep the others out: most of what it
    /// has in memory goes back, and so does what would be renewed more often than worked on. `None` when the partition is given up.
    async fn make_room<T>(&self, partition: &Partition, room: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(room);
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                () = partition.stopping.cancelled() => return None,
                room = &mut room => return Some(room),
                () = tokio::time::sleep(pause) => {}
            }
            let surplus = partition.surplus(self.options.hold);
            let surplus: Vec<_> = surplus.into_iter().map(|hold| (Arc::clone(&hold), crowded_out(&hold))).collect();
            pause = if surplus.is_empty() { CROWD_PAUSE } else { Duration::ZERO };
            if surplus.is_empty() {
                partition.make_way();
            } else {
                tracing::debug!(partition = partition.id, count = surplus.len(), "messages that wait for long go back");
                self.let_go(surplus).await;
            }
        }
    }

    /// Hands a message to its instance; one whose order counts, behind those whose bodies are still to be read.
    fn take_in(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        received: Received,
        place: window::Place,
        receiving: &Arc<DropGuard>,
    ) {
        let instance_id = match &received {
            Received::Held(held) => held.message.target.instance_id.clone(),
            Received::InBlob(message) => message.instance_id(),
            Received::Unreadable(_) => String::new(),
        };
        let (shared, guard) = (Arc::clone(self), Arc::clone(receiving));
        if let Some(entity) = Need::of_entity(&instance_id) {
            let back = self.entity_back(&entity, received.hold(), &instance_id);
            self.tasks.spawn(async move {
                shared.let_go(vec![back]).await;
                drop((guard, place));
            });
            return;
        }
        match received {
            Received::Unreadable(unreadable) => self.tasks.spawn(async move {
                shared.unreadable(&unreadable).await;
                drop((guard, place));
            }),
            Received::Held(held) if !is_in_order(&held.message) || !partition.is_arriving(&instance_id) => {
                self.accept(partition, Arrived { held, place, _room: None });
            }
            received => {
                if partition.arrives(&instance_id, Arriving { received, place }) {
                    let partition = Arc::clone(partition);
                    self.tasks.spawn(async move {
                        let reading = AssertUnwindSafe(shared.read_bodies(&partition, &instance_id));
                        if reading.catch_unwind().await.is_err() {
                            // Nobody would read for the instance again: the partition begins anew.
                            tracing::error!(
                                hub = shared.hub.names_hub(),
                                partition = partition.id,
                                instance = instance_id,
                                "reading messages broke off"
                            );
                            partition.lose();
                            partition.forget_arrivals(&instance_id);
                        }
                        drop(guard);
                    });
                }
            }
        }
    }

    /// What is for an entity goes back as it is: nobody looks into it who does not host it.
    fn entity_back(&self, entity: &Need, hold: &Arc<Hold>, instance_id: &str) -> (Arc<Hold>, Duration) {
        let waiting = Waiting { queue: hold.queue, instance_id, since: hold.inserted_on, receives: hold.dequeue_count };
        self.hosting.note(&self.hub, entity, waiting);
        (Arc::clone(hold), self.hosting.pause(entity, waiting, 1))
    }

    /// Reads the bodies of one instance as long as there are any: a blob that does not answer keeps nobody else waiting.
    async fn read_bodies(self: &Arc<Self>, partition: &Arc<Partition>, instance_id: &str) {
        while let Some(arrivals) = partition.arrivals(instance_id) {
            let mut large = Vec::new();
            let mut read = Vec::new();
            for outcome in join_all(arrivals.into_iter().map(|arriving| self.read_arriving(partition, arriving))).await {
                match outcome {
                    Some(Ok(waiting)) => read.push(waiting),
                    Some(Err(too_large)) => large.push(too_large),
                    None => {}
                }
            }
            read.sort_by_key(|w| (w.held.inserted_on, w.held.message.sequence_number));
            read.into_iter().for_each(|waiting| self.accept(partition, waiting));
            // One at a time, and only now: who waits for much room must not have any.
            for (message, place) in large {
                if let Some(waiting) = self.read_large(partition, message, place).await {
                    self.accept(partition, waiting);
                }
            }
        }
    }

    /// Reads a message that is not too large. `None` if it has been handed back, or parked.
    async fn read_arriving(&self, partition: &Partition, arriving: Arriving) -> Option<Result<Arrived, Large>> {
        let Arriving { received, place } = arriving;
        let (received, room) = match received {
            Received::InBlob(message) => {
                let (received, room) = self.read_in(partition, message, Size::default()).await?;
                (received, Some(room))
            }
            received => (received, None),
        };
        match received {
            Received::Held(held) => Some(Ok(Arrived { held, place, _room: room })),
            Received::InBlob(message) => Some(Err((message, place))),
            Received::Unreadable(unreadable) => {
                self.unreadable(&unreadable).await;
                None
            }
        }
    }

    async fn read_large(&self, partition: &Partition, mut message: InBlob, place: window::Place) -> Option<Arrived> {
        let mut size = Size::default();
        loop {
            size = size.next();
            match self.read_in(partition, message, size).await? {
                (Received::Held(held), room) => {
                    return Some(Arrived { held, place, _room: Some(room) });
                }
                (Received::InBlob(still_too_large), _) => message = still_too_large,
                (Received::Unreadable(unreadable), _) => {
                    self.unreadable(&unreadable).await;
                    return None;
                }
            }
        }
    }

    /// Reads a body when there is room for it. `None` if the partition is given up: the message has been handed back.
    async fn read_in(&self, partition: &Partition, message: InBlob, size: Size) -> Option<(Received, Room)> {
        let hold = Arc::clone(&message.hold);
        let reading = async {
            let room = self.make_room(partition, partition.bodies.room(size)).await?;
            Some(room.read(&self.hub, message, size).await)
        };
        let read = tokio::select! {
            biased;
            () = partition.stopping.cancelled() => None,
            read = reading => read,
        };
        if read.is_none() {
            self.let_go(vec![(hold, Duration::ZERO)]).await;
        }
        read
    }

    /// Receives from a queue. What it brings is kept from here on, before anything else happens to it. `None` if it brings nothing.
    pub(crate) async fn receive(&self, queue: QueueId, max: usize) -> Option<Vec<Received>> {
        const FAILED: &str = "receive failed";
        let received = match self.hub.queues.receive(queue, max, self.options.hold).await {
            Ok(received) => received,
            Err(error) => {
                let (hub, queue) = (self.hub.names_hub(), self.hub.queues.name(queue));
                if let Some(failures) = self.outages.failed(FAILED, &queue) {
                    tracing::warn!(hub, queue, failures, %error, "receive failed");
                }
                return None;
            }
        };
        self.outages.worked(self.hub.names_hub(), FAILED, || self.hub.queues.name(queue).to_owned());
        if received.is_empty() {
            return None;
        }
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

    /// What could not be handed back surfaces by itself when its hold ends.
    pub(crate) fn handed_back(&self, hold: &Hold, given: Result<(), Error>) {
        const FAILED: &str = "a message could not be handed back";
        let (hub, queue) = (self.hub.names_hub(), || self.hub.queues.name(hold.queue).to_owned());
        match given {
            Ok(()) => self.outages.worked(hub, FAILED, queue),
            Err(error) => {
                if let Some(failures) = self.outages.failed(FAILED, &queue()) {
                    let (queue, message_id) = (queue(), &hold.id);
                    tracing::warn!(hub, queue, message_id, failures, %error, "a message could not be handed back");
                }
            }
        }
    }

    /// Hands messages back that nobody has begun to work on.
    pub(crate) async fn let_go(&self, holds: Vec<(Arc<Hold>, Duration)>) {
        let give_back = async |(hold, delay): (Arc<Hold>, Duration)| {
            let given = self.hub.queues.give_back(&hold, delay).await;
            self.handed_back(&hold, given);
        };
        several_at_once(holds.into_iter().map(|message| give_back(message).boxed()).collect()).await;
    }
}

/// Whether the message counts in the order in which its sender put it: what a turn waits for by its task does not.
pub(super) fn is_in_order(message: &Message) -> bool {
    let event = &message.event.kind;
    event.completes().is_none() && !matches!(event, EventKind::ExecutionStarted(_))
}

/// How long a message that finds no room stays away: longer each time, but not for long once there is room again.
pub(crate) fn crowded_out(hold: &Hold) -> Duration {
    back_off(hold.dequeue_count).min(CROWDED_OUT_MAX)
}
