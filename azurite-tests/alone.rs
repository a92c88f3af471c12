//! Several worker processes on one hub in scenarios that measure, and in a full run have the machine to themselves.

use std::time::Duration;

use taskhub::Client;
use taskhub::internals::leftovers;
use tokio::time::Instant;

use crate::fleet::{Leave, alone, come_and_go, open, size};
use crate::harness::azurite;
use crate::load::Load;

/// Who waits for so long has waited for something that only time ends.
const LEASE_HALF: f64 = 15.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_leave_in_order_stall_nobody() {
    let _alone = alone().await;
    let latencies = come_and_go(Leave::Gracefully).await;
    let (p99, max) = (latencies[latencies.len() * 99 / 100], latencies[latencies.len() - 1]);
    println!("hand-off in order: p50 {:.2} s, p99 {p99:.2} s, max {max:.2} s", latencies[latencies.len() / 2]);
    assert!(max < LEASE_HALF || size(true, false), "{max:.2} s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_start_at_once_into_a_backlog_leave_none_open() {
    let _alone = alone().await;
    let (place, hub) = open("backlog").await;
    let client = Client::new(&hub);
    let mut load = Load::new(&client);
    let sequences = size(60, 500);
    load.start_sequences(sequences, 5).await;
    let begun = Instant::now();
    let workers = [place.start("a"), place.start("b")];
    load.finish(Duration::from_secs(180)).await;
    println!("a backlog of {sequences} sequences: {:?}", begun.elapsed());
    for worker in workers {
        worker.stop(Duration::from_secs(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stops_in_the_midst_leaves_nothing_hidden() {
    let _alone = alone().await;
    let (place, hub) = open("stopped").await;
    let client = Client::new(&hub);
    let mut load = Load::new(&client);
    let a = place.start("a");
    load.start_sequences(30, 20).await;
    // Before that it does not listen to signals yet.
    while !client.hub_status().await.expect("partitions can be read").partitions.iter().any(|p| p.owner.as_deref() == Some("a")) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    a.stop(Duration::from_secs(20)).await;
    assert!(load.ended().await < 30, "the worker was stopped in the midst of its work");
    // No queue has more than a peek shows: one message for each instance.
    let left = leftovers(&azurite().storage(), &hub).await.expect("queues can be read");
    assert_eq!(left.messages, left.visible.len() as u64, "messages are hidden although nobody works on them");
    // Neither a lease nor a hold is waited for.
    let begun = Instant::now();
    let b = place.start("b");
    load.finish(Duration::from_secs(25)).await;
    println!("30 sequences after a stop: {:?}", begun.elapsed());
    b.stop(Duration::from_secs(20)).await;
}
