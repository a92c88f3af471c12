//! Messages of owned partitions: receive them, group them by instance, run a pass per instance, hand back what remains.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::OwnedSemaphorePermit;

use super::Shared;
use super::inbox::{Partition, Waiting};
use super::orchestration::{Pass, Passed};
use super::poison::Trouble;
use super::poll::BackOff;
use crate::hub::{Held, QueueId, Received};
use crate::storage::queue::RECEIVE_MAX;

/// What one place in memory holds: the largest message that a queue takes.
const PLACE_BYTES: usize = 64 * 1024;
/// How often a poller looks whether a lease that could not be renewed is fresh again.
const FENCE_PAUSE: Duration = Duration::from_millis(250);

impl Shared {
    /// Receives from a control queue until the partition is given up.
    pub(crate) async fn poll_partition(self: Arc<Self>, partition: Arc<Partition>) {
        let _ended = partition.polled.clone().drop_guard();
        let mut back_off = BackOff::new(self.options.poll_interval_max);
        let queue = QueueId::Control(partition.id);
        let _listening = self.hub.bell(queue).listen();
        while let Some(mut places) = free_places(&partition).await {
            let max = places.num_permits();
            // A receive under way is finished, not dropped: what it brings would stay hidden from everybody.
            let received = match self.hub.receive(queue, max, self.options.hold).await {
                Ok(received) => received,
                Err(error) => {
                    tracing::warn!(hub = self.hub.names_hub(), partition = partition.id, %error, "receive failed");
                    Received::default()
                }
            };
            let empty = received.is_empty();
            self.unreadable(received.unreadable, received.bodiless).await;
            for held in received.held {
                let Some(place) = places.split(1) else { break };
                let place = for_large_body(&partition, place, held.bytes);
                self.accept(&partition, Waiting { held: self.keeper.keep(held), _place: place });
            }
            drop(places);
            if empty {
                tokio::select! {
                    biased;
                    () = partition.stopping.cancelled() => return,
                    () = back_off.wait(self.hub.bell(queue)) => {}
                }
            } else {
                back_off.reset();
            }
        }
    }

    fn accept(self: &Arc<Self>, partition: &Arc<Partition>, waiting: Waiting) {
        let instance_id = waiting.held.message.target.instance_id.clone();
        if partition.push(waiting) {
            self.tasks.spawn(Arc::clone(self).serve_instance(Arc::clone(partition), instance_id));
        }
    }

    /// Works on one instance until it has no messages left.
    async fn serve_instance(self: Arc<Self>, partition: Arc<Partition>, instance_id: String) {
        loop {
            // A partition that is given up does not wait for its turn: its messages go back at once.
            let turn = tokio::select! {
                biased;
                () = partition.stopping.cancelled() => None,
                turn = Arc::clone(&self.turns).acquire_owned() => turn.ok(),
            };
            let Some(waiting) = partition.take(&instance_id) else { return };
            if partition.stopping.is_cancelled() {
                let back = waiting.iter().map(|w| (Arc::clone(&w.held), Duration::ZERO)).collect();
                self.give_back(back).await;
                continue;
            }
            let messages: Vec<_> = waiting.iter().map(|w| Arc::clone(&w.held)).collect();
            let pass = Pass { hub: &self.hub, registry: &self.registry, instance_id: &instance_id, partition: &partition };
            let passed = AssertUnwindSafe(pass.run(messages).boxed()).catch_unwind().await;
            drop(turn);
            match passed {
                Ok(Ok(passed)) => self.settle(&partition, &instance_id, passed, waiting).await,
                Ok(Err(error)) => self.turn_failed(&partition, &instance_id, &Trouble::from(&error), &waiting).await,
                Err(panic) => self.turn_failed(&partition, &instance_id, &Trouble::of_panic(&*panic), &waiting).await,
            }
        }
    }

    async fn settle(&self, partition: &Partition, instance_id: &str, passed: Passed, waiting: Vec<Waiting>) {
        let again = waiting.into_iter().filter(|w| passed.again.iter().any(|held| Arc::ptr_eq(held, &w.held))).collect();
        partition.put_back(instance_id, again);
        self.give_back(passed.postponed).await;
    }

    pub(crate) async fn give_back(&self, messages: Vec<(Arc<Held>, Duration)>) {
        for (held, delay) in messages {
            if let Err(error) = self.hub.give_back(&held, delay).await {
                // It surfaces by itself when the hold ends.
                tracing::warn!(instance = held.message.target.instance_id, %error, "a message could not be handed back");
            }
        }
    }
}

/// A large body takes further places, as far as there are any: the next receive waits for them.
fn for_large_body(partition: &Partition, mut place: OwnedSemaphorePermit, bytes: usize) -> OwnedSemaphorePermit {
    for _ in 0..bytes / PLACE_BYTES {
        let Ok(more) = Arc::clone(&partition.places).try_acquire_owned() else { break };
        place.merge(more);
    }
    place
}

/// Places for a receive: at least one, at most what one receive can bring. `None` when the partition is given up.
async fn free_places(partition: &Partition) -> Option<OwnedSemaphorePermit> {
    // What is received while the lease is not renewed could only be handed back, again and again.
    while !partition.may_commit() && !partition.stopping.is_cancelled() {
        tokio::time::sleep(FENCE_PAUSE).await;
    }
    let first = tokio::select! {
        biased;
        () = partition.stopping.cancelled() => return None,
        first = Arc::clone(&partition.places).acquire_owned() => first.ok()?,
    };
    let mut places = first;
    while places.num_permits() < RECEIVE_MAX {
        let Ok(more) = Arc::clone(&partition.places).try_acquire_owned() else { break };
        places.merge(more);
    }
    Some(places)
}
