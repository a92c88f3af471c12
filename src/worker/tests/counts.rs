//! Exact storage calls per orchestration, empty polls and leases apart: what a scenario costs must not grow unnoticed.

use std::time::Duration;

use crate::authoring::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::layer::metered::{EMPTY_RECEIVE, Metered};
use crate::worker::FastPath;
use crate::{Client, TaskHub, Worker};

const HELLO: Activity<String, String> = Activity::new("Hello");
const CHAIN: Orchestrator<(), ()> = Orchestrator::new("Chain");
const FAN: Orchestrator<(), ()> = Orchestrator::new("Fan");
const LOCAL_CHAIN: Orchestrator<(), ()> = Orchestrator::new("LocalChain");
const LOCAL_FAN_40: Orchestrator<(), ()> = Orchestrator::new("LocalFan40");
const LOCAL_FAN_100: Orchestrator<(), ()> = Orchestrator::new("LocalFan100");
const NAP: Orchestrator<(), ()> = Orchestrator::new("Nap");
const WAIT: Orchestrator<(), ()> = Orchestrator::new("Wait");
const PARENT: Orchestrator<(), ()> = Orchestrator::new("Parent");
const NAMING: Orchestrator<(), ()> = Orchestrator::new("Naming");
const AGAIN: Orchestrator<(), ()> = Orchestrator::new("Again");
const CHILD: Orchestrator<(), ()> = Orchestrator::new("Child");
const ROUNDS: Orchestrator<u32, u32> = Orchestrator::new("Rounds");
const GO: Event<()> = Event::new("go");

async fn chain(ctx: OrchestrationContext, (): ()) -> Result<(), Failure> {
    for city in ["Tokyo", "Seattle", "London"] {
        ctx.call(HELLO, city).await?;
    }
    Ok(())
}

async fn fan(ctx: OrchestrationContext, (): ()) -> Result<(), Failure> {
    futures::future::try_join_all((0..10).map(|n| ctx.call(HELLO, n.to_string()))).await?;
    Ok(())
}

async fn local_chain(ctx: OrchestrationContext, (): ()) -> Result<(), Failure> {
    for city in ["Tokyo", "Seattle", "London"] {
        ctx.call(HELLO, city).local().await?;
    }
    Ok(())
}

async fn local_fan(ctx: OrchestrationContext, width: u32) -> Result<(), Failure> {
    futures::future::try_join_all((0..width).map(|n| ctx.call(HELLO, n.to_string()).local())).await?;
    Ok(())
}

/// Who starts an instance, and which short cuts its worker takes.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Another process starts it, and no short cut is taken.
    Plain,
    /// Another process starts it.
    Other,
    /// The process of its worker starts it.
    Own,
}

/// What who starts an instance does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Nothing,
    Raises,
    Waits,
}

/// Runs one instance and gives the calls that it cost, from start to the deletion of its last message.
async fn calls_of(orchestrator: Orchestrator<(), ()>, then: Then, way: Way) -> String {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let rng = Rng::seeded(1);
    let metered = Metered::default();
    let storage = Storage::memory(clock.clone(), rng.fork()).layered(metered.clone());
    let open = || TaskHub::builder(storage.clone(), "Test").partitions(1).clock(clock.clone()).rng(rng.fork()).open();
    let (hub, other) = (open().await.unwrap(), open().await.unwrap());
    let worker = Worker::builder(&hub)
        .activity(HELLO, async |_: ActivityContext, name: String| Ok(name))
        .orchestrator(CHAIN, chain)
        .orchestrator(FAN, fan)
        .orchestrator(LOCAL_CHAIN, local_chain)
        .orchestrator(LOCAL_FAN_40, async |ctx, ()| local_fan(ctx, 40).await)
        .orchestrator(LOCAL_FAN_100, async |ctx, ()| local_fan(ctx, 100).await)
        .orchestrator(NAP, async |ctx, ()| {
            ctx.timer(Duration::from_secs(3)).await;
            Ok(())
        })
        .orchestrator(WAIT, async |ctx, ()| {
            ctx.wait_for_event(GO).await;
            Ok(())
        })
        .orchestrator(PARENT, async |ctx, ()| Ok(ctx.call(CHILD, ()).await?))
        .orchestrator(NAMING, async |ctx, ()| Ok(ctx.call(CHILD, ()).instance_id("named").await?))
        .orchestrator(AGAIN, async |ctx, ()| {
            ctx.call(CHILD, ()).instance_id("named").await?;
            Ok(ctx.call(CHILD, ()).instance_id("named").await?)
        })
        .orchestrator(CHILD, async |_, ()| Ok(()))
        .orchestrator(ROUNDS, async |ctx: OrchestrationContext, left: u32| {
            ctx.call(HELLO, left.to_string()).await?;
            if left == 0 { Ok(0) } else { ctx.continue_as_new(ROUNDS, left - 1) }
        });
    let worker = if matches!(way, Way::Plain) { worker.fast_path(FastPath::NONE) } else { worker };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let acting = async {
        let client = Client::new(if matches!(way, Way::Own) { &hub } else { &other });
        // Between the renewals of the lease, at 0 and 10 seconds.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = metered.snapshot();
        let input = (orchestrator.name() == ROUNDS.name()).then(|| "5".to_owned());
        let id = client.start_json(orchestrator.name(), input).await.unwrap();
        let acting = async {
            match then {
                Then::Nothing => {}
                Then::Raises => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    client.raise(&id, GO, &()).await.unwrap();
                }
                Then::Waits => drop(id.result().await.unwrap()),
            }
        };
        tokio::join!(acting, tokio::time::sleep(Duration::from_secs(8)));
        let mut counts = metered.since(&before);
        counts.0.remove(EMPTY_RECEIVE);
        assert!(client.status(&id).await.unwrap().unwrap().status.is_terminal());
        drop(stop);
        format!("{}: {counts}", counts.total(""))
    };
    let (ran, calls) = tokio::join!(worker.max_poll_interval(Duration::from_secs(1)).run(async { drop(stopped.await) }), acting);
    ran.unwrap();
    calls
}

async fn check(orchestrator: Orchestrator<(), ()>, then: Then, expected: [&str; 3]) {
    let mut found = Vec::new();
    for way in [Way::Plain, Way::Other, Way::Own] {
        found.push(calls_of(orchestrator, then, way).await);
    }
    assert_eq!(found, expected, "without short cuts, started by another process, started by the process of the worker");
}

#[tokio::test(start_paused = true)]
async fn hello_with_three_activities() {
    let plain = "35: queue.delete 7, queue.put 7, queue.receive 7, table.get 1, table.insert 1, table.merge 4, table.query 4, table.transact 4";
    let other = "17: queue.delete 4, queue.put 4, queue.receive 1, table.get 1, table.insert 1, table.merge 2, table.transact 4";
    let own = "15: queue.delete 4, queue.put 4, table.insert 1, table.merge 2, table.transact 4";
    check(CHAIN, Then::Nothing, [plain, other, own]).await;
}

#[tokio::test(start_paused = true)]
async fn fan_out_of_ten() {
    let plain = "53: queue.delete 21, queue.put 21, queue.receive 3, table.get 1, table.insert 1, table.merge 2, table.query 2, table.transact 2";
    let other =
        "29: queue.delete 11, queue.put 11, queue.receive 1, table.get 1, table.insert 1, table.merge 2, table.transact 2";
    let own = "27: queue.delete 11, queue.put 11, table.insert 1, table.merge 2, table.transact 2";
    check(FAN, Then::Nothing, [plain, other, own]).await;
}

#[tokio::test(start_paused = true)]
async fn three_local_activities_in_sequence() {
    let plain = "35: queue.delete 7, queue.put 7, queue.receive 7, table.get 1, table.insert 1, table.merge 4, table.query 4, table.transact 4";
    let other = "7: queue.delete 1, queue.put 1, queue.receive 1, table.get 1, table.insert 1, table.merge 1, table.transact 1";
    let own = "5: queue.delete 1, queue.put 1, table.insert 1, table.merge 1, table.transact 1";
    check(LOCAL_CHAIN, Then::Nothing, [plain, other, own]).await;
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_of_local_activities_that_fits_one_transaction() {
    let other = "7: queue.delete 1, queue.put 1, queue.receive 1, table.get 1, table.insert 1, table.merge 1, table.transact 1";
    let own = "5: queue.delete 1, queue.put 1, table.insert 1, table.merge 1, table.transact 1";
    for (way, expected) in [(Way::Other, other), (Way::Own, own)] {
        assert_eq!(calls_of(LOCAL_FAN_40, Then::Nothing, way).await, expected);
    }
}

/// In three transactions, none of which separates a call from its answer.
#[tokio::test(start_paused = true)]
async fn a_fan_out_of_a_hundred_local_activities() {
    let plain = "429: queue.delete 201, queue.put 201, queue.receive 12, table.get 1, table.insert 1, table.merge 4, table.query 4, table.transact 5";
    let other = "9: queue.delete 1, queue.put 1, queue.receive 1, table.get 1, table.insert 1, table.merge 1, table.transact 3";
    let own = "7: queue.delete 1, queue.put 1, table.insert 1, table.merge 1, table.transact 3";
    check(LOCAL_FAN_100, Then::Nothing, [plain, other, own]).await;
}

#[tokio::test(start_paused = true)]
async fn one_timer() {
    let plain = "14: queue.delete 2, queue.put 2, queue.receive 2, table.get 1, table.insert 1, table.merge 2, table.query 2, table.transact 2";
    let other = "11: queue.delete 2, queue.put 2, queue.receive 1, table.get 1, table.insert 1, table.merge 2, table.transact 2";
    let own = "9: queue.delete 2, queue.put 2, table.insert 1, table.merge 2, table.transact 2";
    check(NAP, Then::Nothing, [plain, other, own]).await;
}

#[tokio::test(start_paused = true)]
async fn one_event() {
    // One read more than the timer: the client looks for the instance before it raises the event.
    let plain = "15: queue.delete 2, queue.put 2, queue.receive 2, table.get 2, table.insert 1, table.merge 2, table.query 2, table.transact 2";
    let other = "13: queue.delete 2, queue.put 2, queue.receive 2, table.get 2, table.insert 1, table.merge 2, table.transact 2";
    let own = "11: queue.delete 2, queue.put 2, queue.receive 1, table.get 1, table.insert 1, table.merge 2, table.transact 2";
    check(WAIT, Then::Raises, [plain, other, own]).await;
}

#[tokio::test(start_paused = true)]
async fn one_sub_orchestration() {
    let plain = "20: queue.delete 3, queue.put 3, queue.receive 3, table.get 1, table.insert 2, table.merge 2, table.query 3, table.transact 3";
    let other = "15: queue.delete 3, queue.put 3, queue.receive 1, table.get 1, table.insert 2, table.merge 2, table.transact 3";
    let own = "13: queue.delete 3, queue.put 3, table.insert 2, table.merge 2, table.transact 3";
    check(PARENT, Then::Nothing, [plain, other, own]).await;
}

/// Only a derived id needs no look whether it is somebody else's: the history of another is read before any code runs, and the row, which tells of starts by clients.
#[tokio::test(start_paused = true)]
async fn sub_orchestrations_with_an_id_of_their_own() {
    let plain = "21: queue.delete 3, queue.put 3, queue.receive 3, table.get 2, table.insert 2, table.merge 2, table.query 3, table.transact 3";
    let other = "17: queue.delete 3, queue.put 3, queue.receive 1, table.get 2, table.insert 2, table.merge 2, table.query 1, table.transact 3";
    let own = "15: queue.delete 3, queue.put 3, table.get 1, table.insert 2, table.merge 2, table.query 1, table.transact 3";
    check(NAMING, Then::Nothing, [plain, other, own]).await;
    let plain = "37: queue.delete 5, queue.put 5, queue.receive 5, table.get 5, table.insert 2, table.merge 4, table.query 6, table.transact 5";
    let other = "29: queue.delete 5, queue.put 5, queue.receive 1, table.get 5, table.insert 2, table.merge 3, table.query 3, table.transact 5";
    let own = "27: queue.delete 5, queue.put 5, table.get 4, table.insert 2, table.merge 3, table.query 3, table.transact 5";
    check(AGAIN, Then::Nothing, [plain, other, own]).await;
}

#[tokio::test(start_paused = true)]
async fn five_continuations_as_new_with_an_activity_each() {
    let plain = "62: queue.delete 13, queue.put 13, queue.receive 13, table.get 1, table.insert 1, table.merge 7, table.query 7, table.transact 7";
    let other = "31: queue.delete 7, queue.put 7, queue.receive 1, table.get 1, table.insert 1, table.merge 7, table.transact 7";
    let own = "29: queue.delete 7, queue.put 7, table.insert 1, table.merge 7, table.transact 7";
    check(Orchestrator::new("Rounds"), Then::Nothing, [plain, other, own]).await;
}

/// Nobody looks while he is told: the row is read when the wait begins and when the instance has ended, and once in two seconds in between.
#[tokio::test(start_paused = true)]
async fn waiting_for_a_result_beside_its_worker() {
    let own = "7: queue.delete 1, queue.put 1, table.get 2, table.insert 1, table.merge 1, table.transact 1";
    assert_eq!(calls_of(LOCAL_CHAIN, Then::Waits, Way::Own).await, own);
    let own = "12: queue.delete 2, queue.put 2, table.get 3, table.insert 1, table.merge 2, table.transact 2";
    assert_eq!(calls_of(NAP, Then::Waits, Way::Own).await, own);
}
