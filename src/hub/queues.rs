//! The queues of a hub: sending, receiving and deleting messages, with large bodies in blobs.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use tokio::time::Instant;

use super::codec::Encoding;
use super::lanes::Lanes;
use super::names::Names;
use super::payloads::Payloads;
use super::readers::Readers;
use super::received::{Arrival, Body, Held, InBlob, Unreadable};
use super::waiting::waits_since;
use super::{Doorbell, fnv};
use crate::error::{Error, Result};
use crate::limits;
use crate::model::{Message, Timestamp};
use crate::rng::Rng;
use crate::storage::queue::{QueueStore, RECEIVE_MAX};

/// Which queue of the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum QueueId {
    /// Messages to the instances of one partition.
    Control(u32),
    /// Activity requests, read by every worker.
    WorkItems,
}

/// The queues of a hub.
#[derive(Debug)]
pub(crate) struct Queues {
    pub(super) store: Arc<dyn QueueStore>,
    /// The same queues through the lane of held messages: see [`super::lanes`].
    pub(super) holds: Arc<dyn QueueStore>,
    pub(super) payloads: Payloads,
    pub(super) encoding: Encoding,
    pub(super) rng: Rng,
    control: Vec<Queue>,
    work_items: Queue,
    /// How many messages this process has sent, which orders messages of the same second (docs/storage-layout.md, Envelope).
    pub(super) sent: AtomicI64,
}

#[derive(Debug)]
struct Queue {
    name: String,
    bell: Doorbell,
    readers: Readers,
}

impl Queue {
    fn named(name: String) -> Self {
        Self { name, bell: Doorbell::default(), readers: Readers::default() }
    }
}

impl Queues {
    pub(super) fn new(names: &Names, partitions: u32, lanes: &Lanes, payloads: Payloads, encoding: Encoding, rng: Rng) -> Self {
        Self {
            store: Arc::clone(&lanes.data.queues),
            holds: Arc::clone(&lanes.holds.queues),
            payloads,
            encoding,
            rng,
            control: (0..partitions).map(|partition| Queue::named(names.control_queue(partition))).collect(),
            work_items: Queue::named(names.work_items.clone()),
            sent: AtomicI64::new(0),
        }
    }

    /// The queue of an instance.
    pub(crate) fn of_instance(&self, instance_id: &str) -> QueueId {
        let count = u32::try_from(self.control.len()).unwrap_or(limits::PARTITIONS_MAX);
        QueueId::Control(fnv::partition_of(instance_id, count))
    }

    fn get(&self, queue: QueueId) -> &Queue {
        match queue {
            QueueId::Control(partition) => &self.control[partition as usize],
            QueueId::WorkItems => &self.work_items,
        }
    }

    pub(crate) fn name(&self, queue: QueueId) -> &str {
        &self.get(queue).name
    }

    /// The queue of this name, if it is one of the hub's.
    pub(super) fn named(&self, name: &str) -> Option<QueueId> {
        let control = (0..).map(QueueId::Control).take(self.control.len());
        control.chain([QueueId::WorkItems]).find(|queue| self.name(*queue) == name)
    }

    /// The doorbell of a queue in this process.
    pub(crate) fn bell(&self, queue: QueueId) -> &Doorbell {
        &self.get(queue).bell
    }

    /// Those who read a queue in this process.
    pub(crate) fn readers(&self, queue: QueueId) -> &Readers {
        &self.get(queue).readers
    }

    /// Puts a text that was in this queue before, letter by letter.
    pub(super) async fn put_text(&self, name: &str, text: &str) -> Result<()> {
        self.store.put(name, text, Duration::ZERO).await?;
        Ok(())
    }

    /// Receives up to `max` messages and holds them for `visibility`.
    pub(crate) async fn receive(&self, queue: QueueId, max: usize, visibility: Duration) -> Result<Vec<Arrival>> {
        let expires = Instant::now() + visibility;
        let raw = self.store.receive(self.name(queue), max, visibility).await?;
        Ok(raw.into_iter().map(|raw| Arrival::of(queue, raw, expires)).collect())
    }

    /// Reads the body of a message from its blob; `None` if it has more than `max` bytes.
    pub(crate) async fn read_body(&self, message: &InBlob, max: usize) -> Result<Option<Body>> {
        let blob = &message.blob;
        let Some(json) = self.payloads.get_up_to(blob, max).await? else { return Ok(None) };
        match Message::from_json(&json) {
            Ok(message) => Ok(Some(Body { bytes: json.len(), message: Box::new(message) })),
            Err(bad) => Err(Error::corrupt(format!("blob \"{blob}\": {bad}"), &bad)),
        }
    }

    /// About how many messages a queue has, hidden ones included.
    pub(crate) async fn length(&self, queue: QueueId) -> Result<u64> {
        Ok(self.store.count(self.name(queue)).await?)
    }

    /// About how many messages a queue has, hidden ones included, and since when the oldest visible one waits.
    pub(crate) async fn look_at(&self, queue: QueueId) -> Result<(u64, Option<Timestamp>)> {
        let name = self.name(queue);
        let count = self.store.count(name).await?;
        let visible = self.store.peek(name, RECEIVE_MAX).await?;
        Ok((count, visible.iter().map(waits_since).min()))
    }

    /// The ids of the messages that are visible, up to as many as a receive brings.
    pub(crate) async fn visible_ids(&self, queue: QueueId) -> Result<Vec<String>> {
        let visible = self.store.peek(self.name(queue), RECEIVE_MAX).await?;
        Ok(visible.into_iter().map(|message| message.id).collect())
    }

    /// Deletes a held message, and the blob that carried its body.
    pub(crate) async fn delete(&self, held: &Held) -> Result<()> {
        // If another process has received the message meanwhile, it needs the body.
        let deleted = self.delete_hold(held).await?;
        if let Some(blob) = held.blob.as_deref().filter(|_| deleted && held.blob_is_garbage()) {
            self.payloads.delete(blob).await?;
        }
        Ok(())
    }

    /// Deletes a message that could not be read.
    pub(crate) async fn delete_unreadable(&self, unreadable: &Unreadable) -> Result<()> {
        self.delete_hold(&unreadable.hold).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::hub::{Hub, Received, TaskHub};
    use crate::model::{EventKind, HistoryEvent, InstanceRef};
    use crate::storage::Storage;

    const HIDDEN: Duration = Duration::from_secs(30);

    async fn hub() -> Arc<Hub> {
        let clock = Clock::paused(Timestamp::UNIX_EPOCH);
        let builder = TaskHub::builder(Storage::memory(clock.clone(), Rng::seeded(1)), "Test");
        builder.clock(clock).rng(Rng::seeded(2)).open().await.unwrap().0
    }

    fn large(hub: &Hub) -> Message {
        let result = Some("x".repeat(100_000));
        Message::from_client(
            hub.rng.uuid(),
            HistoryEvent::arriving(hub.now(), EventKind::TaskCompleted { task_id: 0, result }),
            InstanceRef::new("i", "x"),
        )
    }

    async fn received(hub: &Hub) -> InBlob {
        let Arrival { hold, content } = hub.queues.receive(QueueId::Control(0), 1, HIDDEN).await.unwrap().remove(0);
        let Received::InBlob(message) = Received::of(Arc::new(hold), content) else { panic!("a large message lies in a blob") };
        message
    }

    async fn read(hub: &Hub) -> Held {
        let message = received(hub).await;
        let body = hub.queues.read_body(&message, 1 << 20).await.unwrap().expect("it is small enough");
        message.with(body)
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_lost_a_message_leaves_its_body_to_the_next_holder() {
        let hub = hub().await;
        hub.queues.send(QueueId::Control(0), large(&hub), Duration::ZERO).await.unwrap();
        let lost = read(&hub).await;
        tokio::time::sleep(HIDDEN).await;
        let next = received(&hub).await;
        hub.queues.delete(&lost).await.unwrap();
        assert!(hub.queues.read_body(&next, 1 << 20).await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_larger_than_asked_for_stays_in_its_blob() {
        let hub = hub().await;
        hub.queues.send(QueueId::Control(0), large(&hub), Duration::ZERO).await.unwrap();
        let message = received(&hub).await;
        assert_eq!(message.instance_id(), "i");
        // The blob is larger than that, then only its text.
        for max in [10, 10_000] {
            assert_eq!(hub.payloads.get_up_to(&message.blob, max).await.unwrap(), None);
        }
        assert!(hub.queues.read_body(&message, 1 << 20).await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_message_that_is_sent_again_has_a_body_of_its_own() {
        let hub = hub().await;
        let message = large(&hub);
        for _ in 0..2 {
            hub.queues.send(QueueId::Control(0), message.clone(), Duration::ZERO).await.unwrap();
        }
        for _ in 0..2 {
            hub.queues.delete(&read(&hub).await).await.unwrap();
        }
        assert_eq!(hub.queues.look_at(QueueId::Control(0)).await.unwrap(), (0, None));
    }
}
