//! Messages of owned partitions, by instance: run a pass over those that wait, hand back what remains.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};

use super::Shared;
use super::bodies::Arrived;
use super::inbox::Partition;
use super::orchestration::{Pass, Passed};
use super::poison::Trouble;
use crate::hub::Held;

/// Messages that are handed back at once.
const HAND_BACK_PARALLEL: usize = 16;

impl Shared {
    /// Gives a message to the task of its instance, and starts that if there is none.
    pub(crate) fn accept(self: &Arc<Self>, partition: &Arc<Partition>, arrived: Arrived) {
        let instance_id = arrived.held.message.target.instance_id.clone();
        if partition.push(arrived) {
            let (shared, partition) = (Arc::clone(self), Arc::clone(partition));
            self.tasks.spawn(async move {
                let serving = AssertUnwindSafe(Arc::clone(&shared).serve_instance(&partition, &instance_id));
                if serving.catch_unwind().await.is_err() {
                    // Nobody would work on the instance again: the partition begins anew.
                    tracing::error!(
                        hub = shared.hub.names_hub(),
                        partition = partition.id,
                        instance = instance_id,
                        "the work on an instance broke off"
                    );
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
            let Some(mut waiting) = partition.take(instance_id) else { return };
            let messages: Vec<_> = waiting.iter().map(|w| Arc::clone(&w.held)).collect();
            if partition.stopping.is_cancelled() {
                self.give_back_now(messages).await;
                continue;
            }
            let (hub, registry, hosting, watch) = (&*self.hub, &self.registry, &self.hosting, &*self.watch);
            let pass = Pass { hub, registry, hosting, instance_id, partition, watch };
            let passed = tokio::select! {
                biased;
                // What the pass has begun is as after a crash here: refused, recognised or repaired.
                () = partition.lost.cancelled() => None,
                passed = AssertUnwindSafe(pass.run(messages.clone()).boxed()).catch_unwind() => Some(passed),
            };
            drop(turn);
            if partition.serves_only_one() {
                // It stands in nobody's way, however long its turns are: fewer messages for each would only make more of them.
                waiting.iter_mut().for_each(|arrived| arrived.place.excuse());
                partition.places.widen_to(partition.places.width() + waiting.len());
            }
            match passed {
                None => {
                    let (hub, partition) = (self.hub.names_hub(), partition.id);
                    tracing::info!(hub, partition, instance = instance_id, "a pass over a lost partition was dropped");
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

    pub(crate) async fn give_back(&self, messages: Vec<(Arc<Held>, Duration)>) {
        let give_back = async |(held, delay): (Arc<Held>, Duration)| {
            let given = self.hub.queues.give_back(&held, delay).await;
            self.handed_back(&held, given);
        };
        several_at_once(messages.into_iter().map(|message| give_back(message).boxed()).collect()).await;
    }
}

/// A hand-over must not wait for hundreds of calls in a row.
pub(super) async fn several_at_once(all: Vec<BoxFuture<'_, ()>>) {
    stream::iter(all).for_each_concurrent(HAND_BACK_PARALLEL, |giving_back| giving_back).await;
}
