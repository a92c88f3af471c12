//! Messages of owned partitions: receive them, group them by instance, run a pass per instance, hand back what remains.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;

use super::Shared;
use super::bodies::Arrived;
use super::inbox::Partition;
use super::orchestration::{Pass, Passed, back_off};
use super::poison::Trouble;
use super::poll::BackOff;
use crate::hub::{Held, QueueId};
use crate::storage::queue::RECEIVE_MAX;

/// How often a poller looks whether a lease that could not be renewed is fresh again.
const FENCE_PAUSE: Duration = Duration::from_millis(250);
/// Messages that are handed back at once.
const HAND_BACK_PARALLEL: usize = 16;

impl Shared {
    /// Receives from a control queue until the partition is given up.
    pub(crate) async fn poll_partition(self: Arc<Self>, partition: Arc<Partition>) {
        let _ended = partition.polled.clone().drop_guard();
        let mut back_off = BackOff::new(self.options.poll_interval_max);
        let queue = QueueId::Control(partition.id);
        let _listening = self.hub.bell(queue).listen();
        while let Some(places) = self.free_places(&partition).await {
            let max = places.num_permits();
            // A receive under way is finished, not dropped: what it brings would stay hidden from everybody.
            let received = match self.hub.receive(queue, max, self.options.hold).await {
                Ok(received) => received,
                Err(error) => {
                    tracing::warn!(hub = self.hub.names_hub(), partition = partition.id, %error, "receive failed");
                    Vec::new()
                }
            };
            let empty = received.is_empty();
            let (shared, to) = (Arc::clone(&self), Arc::clone(&partition));
            self.take_in(received, places, &partition.bodies, move |arrived| shared.accept(&to, arrived)).await;
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

    fn accept(self: &Arc<Self>, partition: &Arc<Partition>, arrived: Arrived) {
        let instance_id = arrived.held.message.target.instance_id.clone();
        if partition.push(arrived) {
            let (shared, partition) = (Arc::clone(self), Arc::clone(partition));
            self.tasks.spawn(async move {
                let serving = AssertUnwindSafe(Arc::clone(&shared).serve_instance(&partition, &instance_id));
                if serving.catch_unwind().await.is_err() {
                    // Nobody would work on the instance again: the partition begins anew.
                    tracing::error!(partition = partition.id, instance = instance_id, "the work on an instance broke off");
                    partition.lose();
                }
            });
        }
    }

    /// Works on one instance until it has no messages left.
    async fn serve_instance(self: Arc<Self>, partition: &Partition, instance_id: &str) {
        loop {
            // A partition that is given up does not wait for its turn: its messages go back at once.
            let turn = tokio::select! {
                biased;
                () = partition.stopping.cancelled() => None,
                turn = partition.turns.acquire() => turn.ok(),
            };
            let Some(waiting) = partition.take(instance_id) else { return };
            let messages: Vec<_> = waiting.iter().map(|w| Arc::clone(&w.held)).collect();
            if partition.stopping.is_cancelled() {
                self.give_back_now(messages).await;
                continue;
            }
            let pass = Pass { hub: &self.hub, registry: &self.registry, instance_id, partition };
            let passed = tokio::select! {
                biased;
                // What the pass has begun is as after a crash here: refused, recognised or repaired.
                () = partition.lost.cancelled() => None,
                passed = AssertUnwindSafe(pass.run(messages.clone()).boxed()).catch_unwind() => Some(passed),
            };
            drop(turn);
            match passed {
                None => {
                    tracing::info!(partition = partition.id, instance = instance_id, "a pass over a lost partition was dropped");
                    self.give_back_now(messages).await;
                }
                Some(Ok(Ok(passed))) => self.settle(partition, instance_id, passed, waiting).await,
                Some(Ok(Err(error))) => self.turn_failed(partition, instance_id, &Trouble::from(&error), &waiting).await,
                Some(Err(panic)) => self.turn_failed(partition, instance_id, &Trouble::of_panic(&*panic), &waiting).await,
            }
        }
    }

    async fn settle(&self, partition: &Partition, instance_id: &str, passed: Passed, waiting: Vec<Arrived>) {
        let again = waiting.into_iter().filter(|w| passed.again.iter().any(|held| Arc::ptr_eq(held, &w.held))).collect();
        partition.put_back(instance_id, again);
        self.give_back(passed.postponed).await;
    }

    async fn give_back_now(&self, messages: Vec<Arc<Held>>) {
        self.give_back(messages.into_iter().map(|held| (held, Duration::ZERO)).collect()).await;
    }

    /// Several at once: a hand-over must not wait for hundreds of calls in a row.
    pub(crate) async fn give_back(&self, messages: Vec<(Arc<Held>, Duration)>) {
        let give_back = async |(held, delay): (Arc<Held>, Duration)| {
            if let Err(error) = self.hub.give_back(&held, delay).await {
                // It surfaces by itself when the hold ends.
                tracing::warn!(instance = held.message.target.instance_id, %error, "a message could not be handed back");
            }
        };
        let all: Vec<_> = messages.into_iter().map(|message| give_back(message).boxed()).collect();
        stream::iter(all).for_each_concurrent(HAND_BACK_PARALLEL, |giving_back| giving_back).await;
    }

    /// Places for a receive: at least one, at most what one receive can bring. `None` when the partition is given up.
    async fn free_places(&self, partition: &Partition) -> Option<OwnedSemaphorePermit> {
        // What is received while the lease is not renewed could only be handed back, again and again.
        while !partition.may_commit() && !partition.stopping.is_cancelled() {
            tokio::time::sleep(FENCE_PAUSE).await;
        }
        if partition.places.available_permits() == 0 {
            // One instance whose turn takes long must not keep the others of its partition waiting.
            let surplus = partition.surplus();
            self.give_back(surplus.iter().map(|a| (Arc::clone(&a.held), back_off(a.held.dequeue_count))).collect()).await;
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
}
