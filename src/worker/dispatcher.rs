//! Messages of owned partitions, by instance: run a pass over those that wait, and do with each what the pass has decided.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use tracing::Instrument as _;

use super::Shared;
use super::delivery::{Delivery, Disposition, Holding, Undone};
use super::options::Options;
use super::outbox::Outbox;
use super::park::Trouble;
use super::partition::{Next, Ordered, Partition, is_in_order};
use super::spans;
use super::step::Step;
use crate::usage;
use crate::window::Place;

/// Calls of one kind that nothing waits for but their end, under way at once: deletions, hand-backs.
const ENDING_PARALLEL: usize = 16;

impl Shared {
    /// Gives a message to the task of its instance, and starts that if there is none.
    pub(crate) fn accept(self: &Arc<Self>, partition: &Arc<Partition>, delivery: Delivery) {
        let instance_id = delivery.message.target.instance_id.clone();
        if partition.push(delivery) {
            let (shared, partition) = (Arc::clone(self), Arc::clone(partition));
            let span = spans::instance(&instance_id);
            let serving = async move {
                let serving = AssertUnwindSafe(Arc::clone(&shared).serve_instance(&partition, &instance_id));
                if serving.catch_unwind().await.is_err() {
                    // Nobody would work on the instance again: the partition begins anew.
                    tracing::error!("the work on an instance broke off");
                    partition.lose();
                }
            };
            self.tasks.spawn(serving.instrument(span));
        }
    }

    /// Works on one instance until it has no messages left.
    async fn serve_instance(self: Arc<Self>, partition: &Arc<Partition>, instance_id: &str) {
        loop {
            match partition.next(instance_id) {
                Next::End => return,
                Next::Turn => self.usage.turns.of(self.serve_turn(partition, instance_id)).await,
                Next::Follow(deliveries, delay) => {
                    let later = vec![Disposition::Later(delay); deliveries.len()];
                    self.dispose(partition, instance_id, pairs(deliveries, later)).await;
                }
                Next::Gather(news, until) => {
                    tokio::select! {
                        biased;
                        () = partition.stopping.cancelled() => self.give_back(partition, instance_id, partition.take_all(instance_id)).await,
                        () = news.notified() => {}
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
            }
        }
    }

    /// Runs a pass over the next messages of an instance.
    async fn serve_turn(self: &Arc<Self>, partition: &Arc<Partition>, instance_id: &str) {
        let turn = tokio::select! {
            biased;
            () = partition.stopping.cancelled() => None,
            turn = partition.turns.enter() => Some(turn),
        };
        let mut deliveries = partition.take(instance_id);
        if deliveries.is_empty() {
            return;
        }
        let Some(turn) = (match turn {
            Some(turn) => Some(turn),
            None => self.last_turn(partition, &deliveries).await,
        }) else {
            return self.give_back(partition, instance_id, deliveries).await;
        };
        let decided = self.decide(partition, instance_id, &deliveries).await;
        if partition.serves_only_one() {
            // It stands in nobody's way, however long its turns are: fewer messages for each would only make more of them.
            deliveries.iter_mut().for_each(|delivery| delivery.place().excuse());
            partition.places.widen_to(partition.places.width() + deliveries.len());
        }
        let (done, others): (Vec<_>, Vec<_>) =
            pairs(deliveries, decided).into_iter().partition(|(_, decided)| *decided == Disposition::Done);
        if !done.is_empty() {
            self.traffic.note_turn();
        }
        if self.options.fast_path.deletes_beside {
            self.end_beside(partition, instance_id, done, turn);
        } else {
            self.end(partition, instance_id, done).await;
            drop(turn);
        }
        self.dispose(partition, instance_id, others).await;
    }

    /// Deletes what is done with while the instance goes on: nothing waits for it but whoever is to own the partition next.
    /// It keeps the place of the turn, so that no more is under way than the worker was told.
    fn end_beside(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        instance_id: &str,
        done: Vec<(Delivery, Disposition)>,
        turn: Place,
    ) {
        if done.is_empty() {
            return;
        }
        let (shared, partition, instance_id) = (Arc::clone(self), Arc::clone(partition), instance_id.to_owned());
        let (busy, bill) = (partition.busy(), usage::billed());
        self.tasks.spawn(async move {
            let (_busy, _turn) = (busy, turn);
            let ending = async {
                bill.iter().for_each(|name| usage::bill(name));
                shared.end(&partition, &instance_id, done).await;
            };
            shared.unless_it_panics("deleting messages", shared.usage.turns.of(ending)).await;
        });
    }

    /// Deletes what is done with. What cannot be deleted goes back or is parked.
    async fn end(&self, partition: &Partition, instance_id: &str, done: Vec<(Delivery, Disposition)>) {
        let undone = self.delete(partition, done).await;
        let undone = self.decide_undone(partition, undone).await;
        self.dispose(partition, instance_id, undone).await;
    }

    /// A turn of a partition that is given up. Its messages go back at once, unless their order counts: whoever owns it next would
    /// receive them behind those that were sent later.
    async fn last_turn(&self, partition: &Partition, deliveries: &[Delivery]) -> Option<Place> {
        if !deliveries.iter().any(|delivery| is_in_order(&delivery.message)) {
            return None;
        }
        tokio::select! {
            biased;
            () = partition.lost.cancelled() => None,
            turn = partition.turns.enter() => Some(turn),
        }
    }

    /// Gives messages back at once.
    async fn give_back(&self, partition: &Partition, instance_id: &str, deliveries: Vec<Delivery>) {
        let back = all_back(&deliveries);
        self.dispose(partition, instance_id, pairs(deliveries, back)).await;
    }

    /// Runs a pass over the messages of an instance, and says what is to become of each of them.
    async fn decide(&self, partition: &Partition, instance_id: &str, deliveries: &[Delivery]) -> Vec<Disposition> {
        let (hub, executor, hosting) = (&*self.hub, &self.executor, &self.hosting);
        let outbox = Outbox::default();
        let Options { stores_inputs, fast_path, .. } = self.options;
        let step = Step {
            hub,
            executor,
            local: &self.local,
            hosting,
            instance_id,
            partition,
            stores_inputs,
            fast_path,
            sends_again: false,
            outbox: &outbox,
        };
        let passed = tokio::select! {
            biased;
            // What the step has begun is as after a crash here: refused, recognised or repaired.
            () = partition.lost.cancelled() => None,
            passed = AssertUnwindSafe(step.run(deliveries).boxed()).catch_unwind() => Some(passed),
        };
        outbox.let_go(hub).await;
        let trouble = match passed {
            None => {
                tracing::info!("a pass over a lost partition was dropped");
                return all_back(deliveries);
            }
            Some(Ok(Ok(decided))) => return decided,
            Some(Ok(Err(error))) => Trouble::from(&error),
            Some(Err(panic)) => Trouble::of_panic(&*panic),
        };
        self.turn_failed(partition, &trouble, &deliveries.iter().collect::<Vec<_>>()).await
    }

    /// Deletes what is done with, several at once. What could not be deleted is still held.
    async fn delete(&self, partition: &Partition, done: Vec<(Delivery, Disposition)>) -> Vec<Undone> {
        let delete = |(delivery, _): (Delivery, _)| delivery.done(&self.hub, partition.lost.cancelled()).boxed();
        let deletes: Vec<_> = done.into_iter().map(delete).collect();
        let ended: Vec<_> = stream::iter(deletes).buffer_unordered(ENDING_PARALLEL).collect().await;
        let (_spent, undone): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
        undone.into_iter().filter_map(Result::err).map(|undone| *undone).collect()
    }

    /// What becomes of messages that could not be deleted.
    async fn decide_undone(&self, partition: &Partition, undone: Vec<Undone>) -> Vec<(Delivery, Disposition)> {
        let decided = match undone.iter().find_map(|undone| undone.error.as_ref()) {
            Some(error) => {
                let deliveries: Vec<_> = undone.iter().map(|undone| &undone.delivery).collect();
                self.turn_failed(partition, &Trouble::from(error), &deliveries).await
            }
            None => vec![Disposition::Later(Duration::ZERO); undone.len()],
        };
        pairs(undone.into_iter().map(|undone| undone.delivery).collect(), decided)
    }

    /// Gives a message back to its queue for so long. What was sent after it waits for it, if its order counts.
    pub(super) fn put_back<'a, T: Ordered + Holding>(
        &'a self,
        partition: &'a Partition,
        delivery: Delivery<T>,
        delay: Duration,
    ) -> impl Future<Output = ()> + Send + use<'a, T> {
        partition.leaves(&delivery, delay);
        let (instance_id, hold) = (delivery.instance_id().into_owned(), Arc::clone(delivery.hold()));
        let releasing = delivery.release(self, delay);
        async move {
            releasing.await;
            if let Some(until) = hold.held_until() {
                partition.is_delayed(&instance_id, &hold.id, until);
            }
        }
    }

    /// Does with each message what was decided, beside deleting it.
    async fn dispose(&self, partition: &Partition, instance_id: &str, mut decided: Vec<(Delivery, Disposition)>) {
        come_back_together(&mut decided);
        let (mut again, mut parked, mut releases) = (Vec::new(), Vec::new(), Vec::new());
        for (delivery, disposition) in decided {
            match disposition {
                Disposition::Retry => again.push(delivery),
                Disposition::Park(reason) => parked.push((delivery, reason)),
                Disposition::Later(delay) => releases.push(self.put_back(partition, delivery, delay).boxed()),
                Disposition::Done => unreachable!("it has been deleted"),
            }
        }
        partition.retry(instance_id, again);
        several_at_once(releases).await;
        for (delivery, reason) in parked {
            self.park(delivery, &reason).await;
        }
    }
}

/// Those of the messages that go back and whose order counts come again at one time.
fn come_back_together(decided: &mut [(Delivery, Disposition)]) {
    let in_order = |(delivery, decided): &(Delivery, Disposition)| decided.delay().filter(|_| delivery.order().is_some());
    let longest = decided.iter().filter_map(in_order).max();
    for leaving in decided.iter_mut().filter(|leaving| in_order(leaving).is_some()) {
        leaving.1 = Disposition::Later(longest.unwrap_or_default());
    }
}

fn all_back(deliveries: &[Delivery]) -> Vec<Disposition> {
    vec![Disposition::Later(Duration::ZERO); deliveries.len()]
}

fn pairs(deliveries: Vec<Delivery>, decided: Vec<Disposition>) -> Vec<(Delivery, Disposition)> {
    deliveries.into_iter().zip(decided).collect()
}

/// A hand-over must not wait for hundreds of calls in a row.
pub(super) async fn several_at_once(all: Vec<BoxFuture<'_, ()>>) {
    stream::iter(all).for_each_concurrent(ENDING_PARALLEL, |call| call).await;
}
