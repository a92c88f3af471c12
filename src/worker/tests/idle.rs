//! What a worker does while nothing happens, call by call, and how soon it finds what comes then.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::handover::{Account, DO, Running, seconds, worker};
use crate::authoring::Orchestrator;
use crate::storage::layer::metered::Metered;
use crate::{Client, TaskHub, Worker, WorkerBuilder};

const NOTE: Orchestrator<(), ()> = Orchestrator::new("Note");

/// A worker that notes when it begins an instance.
fn noting(hub: &TaskHub) -> (WorkerBuilder, Arc<Mutex<Vec<Instant>>>) {
    let begun: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let note = Arc::clone(&begun);
    let worker = Worker::builder(hub).orchestrator(NOTE, move |_, ()| {
        note.lock().unwrap().push(Instant::now());
        async { Ok(()) }
    });
    (worker, begun)
}

/// The calls of an hour in which nothing happens.
async fn an_idle_hour(longest_poll: Option<Duration>) -> String {
    let (account, metered) = (Account::new(), Metered::default());
    let hub = account.hub_on(account.storage.clone().layered(metered.clone()), 1).await;
    let worker = Worker::builder(&hub);
    let running = Running::start(match longest_poll {
        Some(interval) => worker.max_poll_interval(interval),
        None => worker,
    });
    // Everything is owned, and the polls are as rare as they become.
    seconds(5 * 3600).await;
    let before = metered.snapshot();
    seconds(3600).await;
    let counts = metered.since(&before);
    running.stop().await;
    format!("{}: {counts}", counts.total(""))
}

/// What docs/getting-started.md tells of a worker that has nothing to do.
#[tokio::test(start_paused = true)]
async fn an_idle_hour_costs_so_many_calls() {
    assert_eq!(an_idle_hour(None).await, "839: container.lease 90, poll 492, table.transact 257");
    assert_eq!(an_idle_hour(Some(Duration::from_secs(1))).await, "18347: container.lease 90, poll 18000, table.transact 257");
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_polled_ever_more_seldom_after_a_message_and_after_the_start_of_its_poller() {
    let (account, metered) = (Account::new(), Metered::default());
    let hub = account.hub_on(account.storage.clone().layered(metered.clone()), 1).await;
    let (worker, begun) = noting(&hub);
    let running = Running::start(worker);
    let polls_of = async |time| {
        let before = metered.snapshot();
        seconds(time).await;
        metered.since(&before).of("poll")
    };
    // Four control queues and the work items.
    let never_used = [polls_of(10).await, polls_of(290).await, polls_of(3300).await];
    // A message in one of them makes that one quick again.
    let at_rest = [polls_of(10).await, polls_of(290).await, polls_of(3300).await];
    Client::new(&account.hub(2).await).start(NOTE, ()).await.unwrap();
    while begun.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let after_one = [polls_of(10).await, polls_of(290).await, polls_of(3300).await];
    assert_eq!(never_used, [5 * 120, 5 * 172, 729]);
    assert_eq!((at_rest, after_one), ([0, 44, 471], [119, 204, 500]));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_another_process_starts_waits_for_a_fiftieth_of_the_quiet_time_before() {
    let account = Account::new();
    let (hub, other) = (account.hub(1).await, account.hub(2).await);
    let (worker, begun) = noting(&hub);
    let running = Running::start(worker);
    let client = Client::new(&other);
    for (quiet, most) in [(1, 50), (10, 200), (60, 1200), (300, 6000), (1000, 20_000), (4000, 30_000)] {
        for step in 0..10 {
            tokio::time::sleep(Duration::from_millis(quiet * 1000 + step)).await;
            let (started, known) = (Instant::now(), begun.lock().unwrap().len());
            // Always in the same queue.
            client.start(NOTE, ()).instance_id("one").await.unwrap();
            while begun.lock().unwrap().len() == known {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let waited = started.elapsed();
            assert!(waited <= Duration::from_millis(most + 5), "{waited:?} after {quiet} quiet seconds");
        }
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn three_processes_that_were_idle_for_a_minute_run_an_activity_within_a_second_and_a_half() {
    for step in 0..20 {
        let account = Account::new();
        let (a, b, third) = (account.hub(1).await, account.hub(2).await, account.hub(3 + step).await);
        let workers = [Running::start(worker(&a, "a")), Running::start(worker(&b, "b"))];
        tokio::time::sleep(Duration::from_millis(60_000 + 61 * step)).await;
        let (client, started) = (Client::new(&third), Instant::now());
        let id = client.start(DO, 0).await.unwrap();
        client.wait(&id, Duration::from_secs(60)).await.unwrap();
        assert!(started.elapsed() <= Duration::from_millis(1500), "{:?} in run {step}", started.elapsed());
        for worker in workers {
            worker.stop().await;
        }
    }
}
