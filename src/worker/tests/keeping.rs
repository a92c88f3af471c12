//! Messages that are held: none lapses because another queue, body or instance hangs, and none is worked on twice at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::handover::{Account, DO, Running, seconds, worker};
use super::overheard::Overheard;
use crate::authoring::{Activity, ActivityContext, Event, Orchestrator};
use crate::hub::{Arrival, QueueId, Received, partition_of};
use crate::model::{EventKind, HistoryEvent, InstanceRef, Message, RuntimeStatus};
use crate::rng::Rng;
use crate::storage::error::Result;
use crate::storage::layer::faulty::{Faults, Faulty, Moment, Verdict};
use crate::storage::layer::{Call, Layer, Reply};
use crate::worker::keeper::{Holds, Keeper};
use crate::worker::renewals::Pulse;
use crate::{Client, TaskHub, Worker};

const SLOW: Activity<(), ()> = Activity::new("Slow");
const RUN: Orchestrator<(), ()> = Orchestrator::new("Run");
const COUNT: Orchestrator<usize, usize> = Orchestrator::new("Count");
const ITEM: Event<String> = Event::new("item");
const HOLD: Duration = Duration::from_secs(30);

/// Every update of a message takes 20 ms.
struct SlowUpdates;

impl Layer for SlowUpdates {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        if call.op == "queue.update" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        attempt().await
    }
}

fn faulty_account() -> (Account, Faulty) {
    (Account::new(), Faulty::new(Faults::default(), Rng::seeded(2)))
}

fn hang(faulty: &Faulty, hangs: impl Fn(&Call<'_>) -> bool + Send + Sync + 'static) {
    faulty.on_call(move |call, _, moment| if moment == Moment::Before && hangs(call) { Verdict::Hang } else { Verdict::Proceed });
}

async fn put(hub: &TaskHub, queue: QueueId) {
    let message = Message::from_client(
        hub.0.rng.uuid(),
        HistoryEvent::arriving(hub.0.now(), EventKind::Generic { data: None, was: None }),
        InstanceRef::current("i"),
    );
    hub.0.queues.send(queue, message, Duration::ZERO).await.unwrap();
}

/// An instance id of this partition of four.
fn id_in(partition: u32, prefix: &str) -> String {
    (0..).map(|n| format!("{prefix}{n}")).find(|id| partition_of(id, 4) == partition).unwrap()
}

#[tokio::test(start_paused = true)]
async fn thousands_of_held_messages_are_renewed_in_time() {
    let account = Account::new();
    let hub = account.hub_on(account.storage.clone().layered(SlowUpdates), 1).await;
    let keeper = Keeper::default();
    let mut held = Vec::new();
    for partition in 0..4 {
        for _ in 0..1024 {
            put(&hub, QueueId::Control(partition)).await;
        }
        loop {
            let received = hub.0.queues.receive(QueueId::Control(partition), 32, HOLD).await.unwrap();
            if received.is_empty() {
                break;
            }
            held.extend(received.into_iter().map(|arrival| keeper.keep(arrival.hold).unwrap()));
        }
    }
    assert_eq!(held.len(), 4096);
    let pulse = Pulse::default();
    let keeping =
        tokio::time::timeout(Duration::from_secs(180), keeper.run(&hub.0, Holds { first: HOLD, renewed: HOLD }, &pulse));
    assert!(keeping.await.is_err());
    for partition in 0..4 {
        assert_eq!(hub.0.storage.queues.peek(hub.0.queues.name(QueueId::Control(partition)), 32).await.unwrap(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_does_not_answer_costs_no_message_of_another_its_hold() {
    let (account, faulty) = faulty_account();
    let hub = account.hub_on(account.storage.clone().layered(faulty.clone()), 1).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let slow = move |_: ActivityContext, ()| {
        counted.fetch_add(1, SeqCst);
        async {
            seconds(150).await;
            Ok(())
        }
    };
    let run = async |ctx: crate::OrchestrationContext, ()| Ok(ctx.call(SLOW, ()).await?);
    let builder = Worker::builder(&hub).activity(SLOW, slow).orchestrator(RUN, run);
    let a = Running::start(builder.orchestrator(DO, async |_, _: u64| Ok(())));
    let client = Client::new(&hub);
    let (long, stuck) = (id_in(0, "long"), id_in(1, "stuck"));
    client.start(RUN, ()).instance_id(&long).await.unwrap();
    seconds(2).await;
    // Deletes and updates of one control queue hang from now on.
    hang(&faulty, |call| call.target.0 == "test-control-01" && ["queue.delete", "queue.update"].contains(&call.op));
    client.start(DO, 0).instance_id(&stuck).await.unwrap();
    assert_eq!(client.wait(&long, Duration::from_secs(300)).await.unwrap().status, RuntimeStatus::Completed);
    assert_eq!(runs.load(SeqCst), 1, "the activity was received again although it ran");
    faulty.on_call(|_, _, _| Verdict::Proceed);
    a.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_activity_whose_message_comes_again_while_it_runs_runs_once() {
    let (account, faulty) = faulty_account();
    let hub = account.hub_on(account.storage.clone().layered(faulty.clone()), 1).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let slow = move |_: ActivityContext, ()| {
        counted.fetch_add(1, SeqCst);
        async {
            seconds(120).await;
            Ok(())
        }
    };
    let run = async |ctx: crate::OrchestrationContext, ()| Ok(ctx.call(SLOW, ()).await?);
    let builder = Worker::builder(&hub).activity(SLOW, slow).orchestrator(RUN, run);
    let a = Running::start(builder.max_poll_interval(Duration::from_secs(1)));
    let client = Client::new(&hub);
    let id = client.start(RUN, ()).await.unwrap();
    seconds(2).await;
    hang(&faulty, |call| call.target.0 == "test-workitems" && call.op == "queue.update");
    seconds(50).await;
    faulty.on_call(|_, _, _| Verdict::Proceed);
    assert_eq!(client.wait(&id, Duration::from_secs(300)).await.unwrap().status, RuntimeStatus::Completed);
    assert_eq!(runs.load(SeqCst), 1);
    seconds(40).await;
    assert_eq!(account.storage.queues.count("test-workitems").await.unwrap(), 0, "the newer receipt deletes it");
    a.stop().await;
}

/// Takes so many events.
async fn count(ctx: crate::OrchestrationContext, events: usize) -> std::result::Result<usize, crate::Failure> {
    for _ in 0..events {
        ctx.wait_for_event(ITEM).await;
    }
    Ok(events)
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_slow_to_read_holds_up_no_other_message() {
    let (account, faulty) = faulty_account();
    let hub = account.hub_on(account.storage.clone().layered(faulty.clone()), 1).await;
    let client = Client::new(&hub);
    let (slow, quick) = (id_in(2, "slow"), id_in(2, "quick"));
    for id in [&slow, &quick] {
        client.start(COUNT, 1).instance_id(id).await.unwrap();
    }
    let prefix = slow.clone();
    hang(&faulty, move |call| call.op == "blob.get" && call.target.1.is_some_and(|name| name.starts_with(&prefix)));
    client.raise(&slow, ITEM, &"x".repeat(100_000)).await.unwrap();
    client.raise(&quick, ITEM, &"x".repeat(100_000)).await.unwrap();
    let a = Running::start(worker(&hub, "a").orchestrator(COUNT, count).max_poll_interval(Duration::from_secs(1)));
    assert_eq!(client.wait(&quick, Duration::from_secs(10)).await.unwrap().status, RuntimeStatus::Completed);
    // The slow one has been held all the time, and goes on when its body comes.
    seconds(100).await;
    assert_eq!(client.status(&slow).await.unwrap().unwrap().status, RuntimeStatus::Running);
    a.crash();
    faulty.on_call(|_, _, _| Verdict::Proceed);
    let other = account.hub(2).await;
    let b = Running::start(worker(&other, "b").orchestrator(COUNT, count).max_poll_interval(Duration::from_secs(1)));
    assert_eq!(client.wait(&slow, Duration::from_secs(90)).await.unwrap().status, RuntimeStatus::Completed);
    b.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_whose_turn_hangs_leaves_places_to_the_others_of_its_partition() {
    let (account, faulty) = faulty_account();
    let hub = account.hub_on(account.storage.clone().layered(faulty.clone()), 1).await;
    let client = Client::new(&account.hub(2).await);
    let (crowded, other) = (id_in(3, "crowded"), id_in(3, "other"));
    client.start(COUNT, 600).instance_id(&crowded).await.unwrap();
    let key = crowded.clone();
    hang(&faulty, move |call| call.op == "table.transact" && call.target.1 == Some(key.as_str()));
    for _ in 0..600 {
        client.raise(&crowded, ITEM, &"x".to_owned()).await.unwrap();
    }
    let a = Running::start(worker(&hub, "a").orchestrator(COUNT, count).max_poll_interval(Duration::from_secs(1)));
    seconds(5).await;
    client.start(COUNT, 0).instance_id(&other).await.unwrap();
    assert_eq!(client.wait(&other, Duration::from_secs(30)).await.unwrap().status, RuntimeStatus::Completed);
    faulty.on_call(|_, _, _| Verdict::Proceed);
    assert_eq!(client.wait(&crowded, Duration::from_secs(900)).await.unwrap().status, RuntimeStatus::Completed);
    a.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_deletion_failed_can_still_be_given_back() {
    let (account, faulty) = faulty_account();
    let hub = account.hub_on(account.storage.clone().layered(faulty.clone()), 1).await;
    put(&hub, QueueId::Control(0)).await;
    let Arrival { hold, content } = hub.0.queues.receive(QueueId::Control(0), 1, HOLD).await.unwrap().remove(0);
    let Received::Held(held) = Received::of(Arc::new(hold), content) else { panic!("it is small and whole") };
    faulty.set_outage(true);
    hub.0.queues.delete(&held).await.unwrap_err();
    faulty.set_outage(false);
    hub.0.queues.give_back(&held, Duration::ZERO).await.unwrap();
    assert_eq!(hub.0.storage.queues.peek("test-control-00", 32).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_runs_out_during_a_checkpoint_is_told_as_that_and_as_nothing_else() {
    let (account, faulty) = faulty_account();
    let hub = account.hub_on(account.storage.clone().layered(faulty.clone()), 1).await;
    let a = Running::start(worker(&hub, "a").max_poll_interval(Duration::from_secs(1)));
    seconds(2).await;
    let heard = Overheard::default();
    let _hears = heard.listen();
    // From now on no row of an instance can be written, and no lease be renewed.
    let writes = |call: &Call<'_>| !["table.get", "table.query"].contains(&call.op);
    hang(&faulty, move |call| call.target.0 == "TestPartitions" || call.target.0 == "TestInstances" && writes(call));
    Client::new(&account.hub(2).await).start(DO, 0).await.unwrap();
    seconds(40).await;
    let told = heard.with("the lease ran out during the checkpoint; its row is left to the next owner");
    assert_eq!(told.len(), 1, "{:?}", heard.lines());
    assert_eq!(heard.with("another worker"), Vec::<String>::new());
    a.crash();
}
