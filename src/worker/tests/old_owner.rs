//! The second in which a .NET worker still receives from a partition that it has released, beside ours: it does no harm.

use std::time::Duration;

use super::handover::{Account, Running, seconds, worker};
use super::mixed_hub::{dotnet, two_workers};
use super::scripted::Scripted;
use crate::authoring::{Event, Failure, OrchestrationContext, Orchestrator};
use crate::hub::golden::ownership::Act;
use crate::hub::histories::History;
use crate::hub::rows;
use crate::model::{EventKind, HistoryEvent, Message};
use crate::rng::Rng;
use crate::storage::layer::faulty::{Faults, Faulty, Odds};
use crate::storage::layer::tapped::{Effect, Seen, Tap};
use crate::storage::queue::QueueMessage;
use crate::storage::table::{Match, TableOp, Value};
use crate::storage::{self, ErrorKind, Storage};
use crate::{Client, RuntimeStatus, TaskHub, WorkerBuilder};

const ITEM: Event<u32> = Event::new("item");
const SUM: Orchestrator<u32, u32> = Orchestrator::new("Sum");
const QUEUE: &str = "test-control-00";
/// An instance of that partition.
const INSTANCE: &str = "b1-3";

async fn sum(ctx: OrchestrationContext, count: u32) -> Result<u32, Failure> {
    let mut sum = 0;
    for _ in 0..count {
        sum += ctx.wait_for_event(ITEM).await;
    }
    Ok(sum)
}

fn summing(hub: &TaskHub) -> WorkerBuilder {
    worker(hub, "ours").orchestrator(SUM, sum).max_poll_interval(Duration::from_secs(1))
}

/// A .NET worker that owned everything and has just released a partition to ours.
struct Released {
    account: Account,
    plain: TaskHub,
    net: Scripted,
    ours: Running,
    /// Makes the writes of ours slow.
    slow: Faulty,
    tap: Tap,
}

impl Released {
    async fn new() -> Self {
        let (account, tap) = Account::tapped();
        let slow = Faulty::new(Faults::default(), Rng::seeded(3));
        let hub = account.hub_on(account.storage.clone().layered(slow.clone()), 1).await;
        let plain = account.hub(2).await;
        assert_eq!(plain.0.queues.name(plain.0.queues.of_instance(INSTANCE)), QUEUE);
        let net = dotnet(&account, "golden-a");
        net.play(&two_workers(), Duration::from_millis(40), Duration::from_millis(168)).await;
        let ours = Running::start(summing(&hub));
        seconds(1).await;
        let drained = [("IsDraining", Value::Bool(true)), ("LastRenewal", Value::DateTime(account.now()))];
        net.change(QUEUE, &drained).await;
        net.change(QUEUE, &[("CurrentOwner", Value::Null), ("IsDraining", Value::Bool(false))]).await;
        Self { account, plain, net, ours, slow, tap }
    }

    /// What the old owner receives, as the recorded one did: 32 messages, hidden for five minutes.
    async fn receive(&self) -> Vec<QueueMessage> {
        let recorded = two_workers().0.into_iter().find_map(|step| match step.act {
            Act::Receive { queue, hidden } if queue.ends_with("control-00") => Some(hidden),
            _ => None,
        });
        self.storage().queues.receive(QUEUE, 32, recorded.unwrap()).await.unwrap()
    }

    fn storage(&self) -> &Storage {
        &self.net.storage
    }

    async fn give_back(&self, message: &QueueMessage, after: u64) {
        let after = Duration::from_secs(after);
        self.storage().queues.update(QUEUE, &message.id, &message.pop_receipt, after, None).await.unwrap();
    }

    /// The turn of a .NET worker that applies an event and decides nothing: rows without columns of ours, the sentinel over the
    /// version that it read.
    async fn commit(&self, read: &History, message: &QueueMessage) -> storage::error::Result<()> {
        let EventKind::EventRaised { name, input, trace } = Message::from_json(&message.text).unwrap().event.kind else {
            panic!("{message:?}")
        };
        let execution = read.execution_id.clone().unwrap();
        let now = self.account.now();
        let kinds =
            [EventKind::OrchestratorStarted, EventKind::EventRaised { name, input, trace }, EventKind::OrchestratorCompleted];
        let mut ops = Vec::new();
        for (ordinal, kind) in (read.stored_rows..).zip(kinds) {
            let event = HistoryEvent::arriving(now, kind).into();
            ops.push(TableOp::UpsertReplace(rows::event_to_entity(INSTANCE, ordinal, &execution, &event)));
        }
        let sentinel =
            rows::Sentinel { execution_id: execution, is_complete: true, completed_at: Some(now), ..rows::Sentinel::default() };
        let mut sentinel = rows::sentinel_to_entity(INSTANCE, &sentinel);
        sentinel.properties.remove("Taskhub");
        ops.push(TableOp::Merge(sentinel, Match::Etag(read.etag.clone().unwrap())));
        self.storage().tables.transact("TestHistory", &ops).await.map(drop)
    }

    /// Ends well: the sum, each event once.
    async fn ends_with(self, output: &str, limit: u64) {
        let client = Client::new(&self.plain);
        let ended = client.wait(INSTANCE, Duration::from_secs(limit)).await.unwrap();
        assert_eq!((ended.status, ended.output.as_deref()), (RuntimeStatus::Completed, Some(output)));
        let history = client.history(INSTANCE).await.unwrap();
        let events = history.iter().filter(|e| matches!(e.kind, EventKind::EventRaised { .. })).count();
        assert_eq!(events, 2);
        self.ours.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_old_owner_received_and_gave_back_is_done_by_ours() {
    let world = Released::new().await;
    let client = Client::new(&world.plain);
    client.start(SUM, 2).instance_id(INSTANCE).await.unwrap();
    client.raise(INSTANCE, ITEM, &1).await.unwrap();
    // It finds that the partition is another's, and abandons what it holds.
    let held = world.receive().await;
    assert_eq!(held.len(), 2);
    for message in &held {
        world.give_back(message, 2).await;
    }
    client.raise(INSTANCE, ITEM, &2).await.unwrap();
    world.ends_with("3", 10).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_old_owner_received_and_kept_to_its_death_is_done_by_ours_when_it_surfaces() {
    let world = Released::new().await;
    let client = Client::new(&world.plain);
    client.start(SUM, 2).instance_id(INSTANCE).await.unwrap();
    seconds(3).await;
    client.raise(INSTANCE, ITEM, &1).await.unwrap();
    let held = world.receive().await;
    client.raise(INSTANCE, ITEM, &2).await.unwrap();
    assert_eq!(held.len(), 1);
    seconds(100).await;
    let status = client.status(INSTANCE).await.unwrap().unwrap();
    assert_eq!(status.status, RuntimeStatus::Running, "one event is hidden for five minutes");
    world.ends_with("3", 220).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_the_old_owner_is_refused_once_ours_has_committed() {
    let world = Released::new().await;
    let client = Client::new(&world.plain);
    client.start(SUM, 2).instance_id(INSTANCE).await.unwrap();
    seconds(3).await;
    client.raise(INSTANCE, ITEM, &1).await.unwrap();
    let held = world.receive().await;
    let read = world.plain.0.histories.load(INSTANCE).await.unwrap();
    client.raise(INSTANCE, ITEM, &2).await.unwrap();
    seconds(3).await;
    let refused = world.commit(&read, &held[0]).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Precondition);
    world.give_back(&held[0], 2).await;
    world.ends_with("3", 10).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_ours_is_refused_once_the_old_owner_has_committed_and_its_inputs_run_again() {
    let world = Released::new().await;
    let client = Client::new(&world.plain);
    client.start(SUM, 2).instance_id(INSTANCE).await.unwrap();
    seconds(3).await;
    client.raise(INSTANCE, ITEM, &1).await.unwrap();
    let held = world.receive().await;
    let read = world.plain.0.histories.load(INSTANCE).await.unwrap();
    let before_the_call = Odds { delay_before: 1.0, ..Odds::default() };
    world.slow.set_faults(Faults { once: before_the_call, delay_max: Duration::from_secs(4), ..Faults::default() });
    client.raise(INSTANCE, ITEM, &2).await.unwrap();
    // Ours has loaded by now, and is on its way to commit the second event.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(world.slow.injected().contains_key("delay_before"));
    world.commit(&read, &held[0]).await.unwrap();
    world.storage().queues.delete(QUEUE, &held[0].id, &held[0].pop_receipt).await.unwrap();
    seconds(5).await;
    world.slow.set_faults(Faults::default());
    let refused = |seen: &Seen| !seen.done && matches!(&seen.effect, Effect::Rows { table, .. } if table == "TestHistory");
    assert_eq!(world.tap.seen().iter().filter(|seen| refused(seen)).count(), 1);
    world.ends_with("3", 30).await;
}
