//! What a partition receives, until its instance works on it: a count and bytes bound it, bodies are read by instance, and what
//! makes no progress gives way.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument as _, Span};

use super::Shared;
use super::delivery::{Delivery, Holding, Incoming};
use super::direct::{Direct, To};
use super::dispatcher::several_at_once;
use super::hosting::Waiting;
use super::memory::{Room, Size};
use super::partition::{Partition, is_in_order};
use super::poll::Source;
use super::spans;
use crate::error::Result;
use crate::hub::{Body, Hold, InBlob, Need, QueueId, Reader, Received};
use crate::storage::queue::RECEIVE_MAX;
use crate::window;

/// How often a poller looks whether a lease that could not be renewed is fresh again.
const FENCE_PAUSE: Duration = Duration::from_millis(250);
/// How often those who wait for room look for messages that make no progress.
const CROWD_PAUSE: Duration = Duration::from_millis(250);

/// The control queue of a partition.
struct ControlQueue<'a> {
    shared: &'a Arc<Shared>,
    partition: Arc<Partition>,
    /// Dropped by the last who brings in messages: the poller, or a task that reads bodies.
    receiving: Arc<DropGuard>,
}

impl Source for ControlQueue<'_> {
    fn queue(&self) -> QueueId {
        QueueId::Control(self.partition.id)
    }

    fn ending(&self) -> &CancellationToken {
        &self.partition.stopping
    }

    fn room(&self) -> impl Future<Output = Option<window::Room>> + Send {
        self.shared.free_places(&self.partition)
    }

    fn received(&self, is_ok: bool) {
        self.partition.received(is_ok);
    }

    fn take_in(&self, delivery: Delivery<Received>) {
        self.shared.take_in(&self.partition, delivery, &self.receiving);
    }

    fn reader(&self) -> Arc<dyn Reader> {
        let (shared, to) = (Arc::clone(self.shared), To::Partition(Arc::clone(&self.partition)));
        Arc::new(Direct { shared, to, span: Span::current() })
    }
}

impl Shared {
    /// Receives from a control queue until the partition is given up.
    pub(crate) async fn poll_partition(self: Arc<Self>, partition: Arc<Partition>) {
        let receiving = Arc::new(partition.polled.clone().drop_guard());
        self.poll(ControlQueue { shared: &self, partition, receiving }).await;
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
        self.make_room(partition, free, partition.stopping.cancelled()).await
    }

    /// Waits for what messages in memory take up. An instance that makes no progress must not keep the others out: most of what it
    /// has in memory goes back, and so does what would be renewed more often than worked on. `None` when nothing is waited for any more.
    async fn make_room<T>(
        &self,
        partition: &Partition,
        room: impl Future<Output = T>,
        ends: impl Future<Output = ()>,
    ) -> Option<T> {
        tokio::pin!(room, ends);
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                () = &mut ends => return None,
                room = &mut room => return Some(room),
                () = tokio::time::sleep(pause) => {}
            }
            let surplus = partition.surplus(self.options.hold);
            pause = if surplus.is_empty() { CROWD_PAUSE } else { Duration::ZERO };
            if surplus.is_empty() {
                partition.make_way();
            } else {
                tracing::debug!(count = surplus.len(), "messages that wait for long go back");
                let releases = surplus.into_iter().map(|(delivery, delay)| self.put_back(partition, delivery, delay).boxed());
                several_at_once(releases.collect()).await;
            }
        }
    }

    /// Hands a message to its instance; one whose order counts, behind those whose bodies are still to be read.
    fn take_in(self: &Arc<Self>, partition: &Arc<Partition>, delivery: Delivery<Received>, receiving: &Arc<DropGuard>) {
        let instance_id = Holding::instance_id(&*delivery).into_owned();
        let (shared, guard) = (Arc::clone(self), Arc::clone(receiving));
        if let Some(entity) = Need::of_entity(&instance_id) {
            let pause = self.pause_of_entity(&entity, delivery.hold(), &instance_id);
            self.tasks.spawn(async move {
                delivery.release(&shared, pause).await;
                drop(guard);
            });
            return;
        }
        let delivery = match delivery.incoming() {
            Incoming::Unreadable(unreadable) => {
                let partition = Arc::clone(partition);
                return self.tasks.spawn(async move {
                    shared.unreadable(unreadable, Some(&partition)).await;
                    drop(guard);
                });
            }
            Incoming::Read(delivery) if !is_in_order(&delivery.message) || !partition.is_arriving(&instance_id) => {
                return self.accept(partition, delivery);
            }
            Incoming::Read(delivery) => delivery.map(Received::Held),
            Incoming::InBlob(delivery) => delivery.map(Received::InBlob),
        };
        if partition.arrives(&instance_id, delivery) {
            let partition = Arc::clone(partition);
            let span = spans::instance(&instance_id);
            let reading = async move {
                let reading = AssertUnwindSafe(shared.read_bodies(&partition, &instance_id));
                if reading.catch_unwind().await.is_err() {
                    // Nobody would read for the instance again: the partition begins anew.
                    tracing::error!("reading messages broke off");
                    partition.lose();
                    partition.forget_arrivals(&instance_id);
                }
                drop(guard);
            };
            self.tasks.spawn(reading.instrument(span));
        }
    }

    /// What is for an entity goes back as it is: nobody looks into it who does not host it.
    fn pause_of_entity(&self, entity: &Need, hold: &Hold, instance_id: &str) -> Duration {
        let waiting = Waiting { queue: hold.queue, instance_id, since: hold.inserted_on, receives: hold.dequeue_count };
        self.hosting.note(&self.hub, entity, waiting);
        self.hosting.pause(entity, waiting, 1)
    }

    /// Reads the bodies of one instance as long as there are any: a blob that does not answer keeps nobody else waiting.
    async fn read_bodies(self: &Arc<Self>, partition: &Arc<Partition>, instance_id: &str) {
        while let Some(arrivals) = partition.arrivals(instance_id) {
            let (mut read, mut large) = (Vec::new(), Vec::new());
            for outcome in join_all(arrivals.into_iter().map(|delivery| self.read_arriving(partition, delivery))).await {
                match outcome {
                    Some(Read::Whole(delivery)) => read.push(delivery),
                    Some(Read::TooLarge(delivery)) => large.push(delivery),
                    None => {}
                }
            }
            read.sort_by_key(|delivery| (delivery.inserted_on, delivery.message.sequence_number));
            read.into_iter().for_each(|delivery| self.accept(partition, delivery));
            // One at a time, and only now: who waits for much room must not have any.
            for delivery in large {
                if let Some(delivery) = self.read_large(partition, delivery).await {
                    self.accept(partition, delivery);
                }
            }
        }
    }

    /// Reads a message that is not too large. `None` if it has been released or parked.
    async fn read_arriving(&self, partition: &Partition, delivery: Delivery<Received>) -> Option<Read> {
        match delivery.incoming() {
            Incoming::Read(delivery) => Some(Read::Whole(delivery)),
            Incoming::InBlob(delivery) => self.read_in(partition, delivery, Size::default()).await,
            Incoming::Unreadable(delivery) => {
                self.unreadable(delivery, Some(partition)).await;
                None
            }
        }
    }

    /// Reads a message for which more and more room is needed. `None` if it has been released or parked.
    async fn read_large(&self, partition: &Partition, mut delivery: Delivery<InBlob>) -> Option<Delivery> {
        let mut size = Size::default();
        loop {
            size = size.next();
            match self.read_in(partition, delivery, size).await? {
                Read::Whole(delivery) => return Some(delivery),
                Read::TooLarge(still_too_large) => delivery = still_too_large,
            }
        }
    }

    /// Reads a body when there is room for it. `None` if the message has been parked, or released because the partition is given up.
    async fn read_in(&self, partition: &Partition, delivery: Delivery<InBlob>, size: Size) -> Option<Read> {
        let reading = async {
            let room = self.make_room(partition, partition.bodies.room(size), partition.reading_ends()).await?;
            Some(room.read(&self.hub, &delivery, size).await)
        };
        let read = tokio::select! {
            biased;
            () = partition.reading_ends() => None,
            read = reading => read,
        };
        if let Some(read) = read {
            return self.with_body(delivery, read, Some(partition)).await;
        }
        self.put_back(partition, delivery, Duration::ZERO).await;
        None
    }

    /// What has become of a delivery by reading its body. `None` if it could not be read, and was released or parked.
    pub(super) async fn with_body(
        &self,
        delivery: Delivery<InBlob>,
        read: Result<Option<(Body, Room)>>,
        partition: Option<&Partition>,
    ) -> Option<Read> {
        match read {
            Ok(None) => Some(Read::TooLarge(delivery)),
            Ok(Some((body, room))) => Some(Read::Whole(delivery.map(|message| message.with(body)).in_room(Some(room)))),
            Err(error) => {
                self.unreadable(delivery.map(|message| message.without_body(error)), partition).await;
                None
            }
        }
    }
}

/// What an attempt to read a body has led to.
pub(super) enum Read {
    Whole(Delivery),
    TooLarge(Delivery<InBlob>),
}
