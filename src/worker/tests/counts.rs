//! Exact storage calls per orchestration, empty polls and leases apart: what a scenario costs must not grow unnoticed.

use std::time::Duration;

use crate::authoring::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::layer::metered::{EMPTY_RECEIVE, Metered};
use crate::{Client, TaskHub, Worker};

const HELLO: Activity<String, String> = Activity::new("Hello");
const CHAIN: Orchestrator<(), ()> = Orchestrator::new("Chain");
const FAN: Orchestrator<(), ()> = Orchestrator::new("Fan");
const NAP: Orchestrator<(), ()> = Orchestrator::new("Nap");
const WAIT: Orchestrator<(), ()> = Orchestrator::new("Wait");
const PARENT: Orchestrator<(), ()> = Orchestrator::new("Parent");
const CHILD: Orchestrator<(), ()> = Orchestrator::new("Child");
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

/// Runs one instance and gives the calls that it cost, from start to the deletion of its last message.
async fn calls_of(orchestrator: Orchestrator<(), ()>, event: bool) -> String {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let rng = Rng::seeded(1);
    let metered = Metered::default();
    let storage = Storage::memory(clock.clone(), rng.fork()).layered(metered.clone());
    let hub = TaskHub::builder(storage, "Test").partitions(1).clock(clock).rng(rng).open().await.unwrap();
    let worker = Worker::builder(&hub)
        .activity(HELLO, async |_: ActivityContext, name: String| Ok(name))
        .orchestrator(CHAIN, chain)
        .orchestrator(FAN, fan)
        .orchestrator(NAP, async |ctx, ()| {
            ctx.timer(Duration::from_secs(3)).await;
            Ok(())
        })
        .orchestrator(WAIT, async |ctx, ()| {
            ctx.wait_for_event(GO).await;
            Ok(())
        })
        .orchestrator(PARENT, async |ctx, ()| Ok(ctx.call(CHILD, ()).await?))
        .orchestrator(CHILD, async |_, ()| Ok(()));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let acting = async {
        let client = Client::new(&hub);
        // Between the renewals of the lease, at 0 and 10 seconds.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = metered.snapshot();
        let id = client.start(orchestrator, ()).await.unwrap();
        if event {
            tokio::time::sleep(Duration::from_secs(1)).await;
            client.raise(&id, GO, &()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(7)).await;
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

#[tokio::test(start_paused = true)]
async fn hello_with_three_activities() {
    let calls = "35: queue.delete 7, queue.put 7, queue.receive 7, table.get 1, table.insert 1, table.merge 4, table.query 4, table.transact 4";
    assert_eq!(calls_of(CHAIN, false).await, calls);
}

#[tokio::test(start_paused = true)]
async fn fan_out_of_ten() {
    let calls = "53: queue.delete 21, queue.put 21, queue.receive 3, table.get 1, table.insert 1, table.merge 2, table.query 2, table.transact 2";
    assert_eq!(calls_of(FAN, false).await, calls);
}

#[tokio::test(start_paused = true)]
async fn one_timer() {
    let calls = "14: queue.delete 2, queue.put 2, queue.receive 2, table.get 1, table.insert 1, table.merge 2, table.query 2, table.transact 2";
    assert_eq!(calls_of(NAP, false).await, calls);
}

#[tokio::test(start_paused = true)]
async fn one_event() {
    // One read more than the timer: the client looks for the instance before it raises the event.
    let calls = "15: queue.delete 2, queue.put 2, queue.receive 2, table.get 2, table.insert 1, table.merge 2, table.query 2, table.transact 2";
    assert_eq!(calls_of(WAIT, true).await, calls);
}

#[tokio::test(start_paused = true)]
async fn one_sub_orchestration() {
    let calls = "20: queue.delete 3, queue.put 3, queue.receive 3, table.get 1, table.insert 2, table.merge 2, table.query 3, table.transact 3";
    assert_eq!(calls_of(PARENT, false).await, calls);
}
