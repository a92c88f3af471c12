//! A worker that has much to do leases its partitions for a shorter time: who joins has its share soon, and a crash costs less.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::handover::{Account, DO, Running, owned_by, rows, seconds, worker};
use crate::rng::Rng;
use crate::storage::layer::faulty::{Faults, Faulty};
use crate::{Client, TaskHub, size};

/// Ten orchestrations of one activity that takes no time, each second; how long each took.
async fn load(hub: &TaskHub, duration: u64) -> Vec<Duration> {
    let client = Client::new(hub);
    let one = async |number: u64| {
        tokio::time::sleep(Duration::from_millis(100 * number)).await;
        let begun = Instant::now();
        client.start(DO, 0).await.unwrap().result().await.unwrap();
        begun.elapsed()
    };
    join_all((0..10 * duration).map(one)).await
}

async fn lease_lengths(hub: &TaskHub) -> Vec<u64> {
    let length = |row: crate::hub::partitions::PartitionRow| row.expires_at.unwrap().since(row.last_renewal.unwrap()).as_secs();
    rows(hub).await.into_iter().map(length).collect()
}

#[tokio::test(start_paused = true)]
async fn leases_are_short_while_there_is_much_to_do_and_no_longer() {
    let account = Account::new();
    let (hub, outside) = (account.hub(1).await, account.hub(2).await);
    let running = Running::start(worker(&hub, "a"));
    seconds(30).await;
    assert_eq!(lease_lengths(&hub).await, [30; 4]);
    tokio::join!(load(&outside, 20), async {
        seconds(5).await;
        assert_eq!(lease_lengths(&hub).await, [15; 4]);
    });
    seconds(25).await;
    assert_eq!(lease_lengths(&hub).await, [30; 4]);
    // One now and then is not much.
    for _ in 0..10 {
        Client::new(&outside).start(DO, 0).await.unwrap();
        seconds(3).await;
        assert_eq!(lease_lengths(&hub).await, [30; 4]);
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_busy_worker_has_its_share_within_four_seconds() {
    let account = Account::new();
    let (a, b, outside) = (account.hub(1).await, account.hub(2).await, account.hub(3).await);
    let first = Running::start(worker(&a, "a"));
    let (latencies, second) = tokio::join!(load(&outside, 30), async {
        seconds(10).await;
        let second = Running::start(worker(&b, "b"));
        seconds(4).await;
        assert_eq!((owned_by(&a, "a").await, owned_by(&a, "b").await), (2, 2));
        second
    });
    let longest = latencies.iter().max().unwrap();
    assert!(*longest < Duration::from_secs(3), "{longest:?}");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_busy_worker_leaves_that_dies_waits_for_25_seconds_at_most() {
    for moment in size::of(4..6, 0..10) {
        let account = Account::new();
        let (a, b, outside) = (account.hub(1).await, account.hub(2).await, account.hub(3).await);
        let (first, second) = (Running::start(worker(&a, "a")), Running::start(worker(&b, "b")));
        let (mut latencies, ()) = tokio::join!(load(&outside, 60), async {
            tokio::time::sleep(Duration::from_millis(20_000 + 700 * moment)).await;
            first.crash();
        });
        latencies.sort();
        let (half, longest) = (latencies[latencies.len() / 2], latencies[latencies.len() - 1]);
        assert!(half < Duration::from_secs(5) && longest < Duration::from_secs(25), "{moment}: {half:?}, {longest:?}");
        second.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_worker_that_storage_leaves_for_some_seconds_keeps_its_partitions() {
    let account = Account::new();
    let faulty = Faulty::new(Faults::default(), Rng::seeded(2));
    let hub = account.hub_on(account.storage.clone().layered(faulty.clone()), 1).await;
    let (other, outside) = (account.hub(2).await, account.hub(3).await);
    let (first, second) = (Running::start(worker(&hub, "a")), Running::start(worker(&other, "b")));
    tokio::join!(load(&outside, 40), async {
        seconds(20).await;
        let owners = async || rows(&other).await.into_iter().map(|row| (row.current_owner, row.owned_since)).collect::<Vec<_>>();
        let before = owners().await;
        faulty.set_outage(true);
        seconds(8).await;
        faulty.set_outage(false);
        seconds(8).await;
        assert_eq!(before, owners().await);
    });
    first.stop().await;
    second.stop().await;
}
