//! Leases among workers whose wall clocks are apart, and leases without dates: who takes what, and when.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::handover::{Account, Running, owned_by, rows, seconds, worker};
use super::overheard::Overheard;
use crate::TaskHub;
use crate::hub::partitions::PartitionRow;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::table::{Entity, Match, Query, TableOp, Value};

/// The hub as a machine opens it whose clock is so many seconds ahead.
async fn hub_ahead(account: &Account, ahead: i64, seed: u64) -> TaskHub {
    let clock = account.clock().skewed(ahead * 10_000_000);
    TaskHub::builder(account.storage.clone(), "Test").clock(clock).rng(Rng::seeded(seed)).open().await.unwrap()
}

/// Every ownership that there is in so many seconds: a queue, its owner, and since when.
async fn ownerships(hub: &TaskHub, time: u64) -> BTreeSet<(String, Option<String>, Option<Timestamp>)> {
    let mut seen = BTreeSet::new();
    for _ in 0..time * 2 {
        seen.extend(rows(hub).await.into_iter().map(|row| (row.queue, row.current_owner, row.owned_since)));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    seen
}

/// How long it takes until the worker owns everything.
async fn until_all_owned_by(hub: &TaskHub, id: &str) -> Duration {
    let begun = Instant::now();
    while owned_by(hub, id).await < hub.partitions() as usize {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn workers_whose_clocks_are_minutes_apart_take_nothing_from_each_other() {
    for ahead in [6, 60, 120, -6, -60, -120] {
        let account = Account::new();
        let (hub, other) = (account.hub(1).await, hub_ahead(&account, ahead, 2).await);
        let a = Running::start(worker(&hub, "a"));
        seconds(1).await;
        let b = Running::start(worker(&other, "b"));
        seconds(30).await;
        let settled = ownerships(&hub, 600).await;
        assert_eq!(settled.len(), 4, "{ahead} s ahead: nobody took over anything in ten minutes: {settled:?}");
        assert_eq!((owned_by(&hub, "a").await, owned_by(&hub, "b").await), (2, 2), "{ahead} s ahead");
        // The one who has watched the other follows him as soon as ever.
        b.crash();
        let took = until_all_owned_by(&hub, "a").await;
        assert!(took <= Duration::from_secs(37), "{ahead} s ahead: {took:?}");
        assert!(took >= Duration::from_secs(15), "{ahead} s ahead: he could still write: {took:?}");
        a.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn three_workers_with_three_times_share_and_survive_each_other() {
    let account = Account::new();
    let hubs = [account.hub(1).await, hub_ahead(&account, 90, 2).await, hub_ahead(&account, -120, 3).await];
    let mut running = Vec::new();
    for (hub, id) in hubs.iter().zip(["a", "b", "c"]) {
        running.push(Running::start(worker(hub, id)));
        seconds(20).await;
    }
    seconds(30).await;
    let settled = ownerships(&hubs[0], 300).await;
    assert_eq!(settled.len(), 4, "{settled:?}");
    running.remove(1).crash();
    seconds(40).await;
    let owned = (owned_by(&hubs[0], "a").await, owned_by(&hubs[0], "c").await);
    assert_eq!(owned.0 + owned.1, 4, "{owned:?}");
    running.remove(0).crash();
    assert!(until_all_owned_by(&hubs[0], "c").await <= Duration::from_secs(37));
    for worker in running {
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_comes_after_a_crash_claims_when_the_dead_one_cannot_write_any_more() {
    // Seconds since the crash, and until everything is owned: a lease of 30 s and its margin, or 25 s of watching.
    for (late, most) in [(0, 35), (5, 31), (20, 26), (300, 26), (1831, 1)] {
        let account = Account::new();
        let (hub, other) = (account.hub(1).await, account.hub(2).await);
        let a = Running::start(worker(&hub, "a"));
        seconds(1).await;
        a.crash();
        seconds(late).await;
        let b = Running::start(worker(&other, "b"));
        let took = until_all_owned_by(&hub, "b").await;
        assert!(took <= Duration::from_secs(most), "{late} s late: {took:?}");
        b.stop().await;
    }
}

async fn change_row(account: &Account, queue: &str, change: impl FnOnce(&mut Entity)) {
    let tables = &account.storage.tables;
    let all = tables.query("TestPartitions", &Query::default()).await.unwrap().rows;
    let mut row = all.into_iter().find(|row| row.entity.row_key == queue).unwrap();
    change(&mut row.entity);
    tables.write("TestPartitions", &TableOp::Replace(row.entity, Match::Etag(row.etag))).await.unwrap();
}

fn expiring(value: Option<Value>) -> impl FnOnce(&mut Entity) {
    move |row| {
        row.properties.remove("ExpiresAt");
        row.set("CurrentOwner", Value::string("ghost"));
        if let Some(value) = value {
            row.set("ExpiresAt", value);
        }
    }
}

async fn row(hub: &TaskHub, queue: &str) -> PartitionRow {
    rows(hub).await.into_iter().find(|row| row.queue == queue).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_lease_without_a_date_that_can_be_is_claimed_after_a_whole_lease_of_silence() {
    let account = Account::new();
    let ten_years = account.now().plus(Duration::from_secs(86_400 * 3650));
    for value in [None, Some(Value::string("tomorrow")), Some(Value::I64(7)), Some(Value::DateTime(ten_years))] {
        let account = Account::new();
        let hub = account.hub(1).await;
        let queue = "test-control-02";
        change_row(&account, queue, expiring(value.clone())).await;
        let heard = Overheard::default();
        let _listening = heard.listen();
        let a = Running::start(worker(&hub, "a"));
        seconds(34).await;
        assert_eq!((owned_by(&hub, "a").await, row(&hub, queue).await.current_owner.as_deref()), (3, Some("ghost")), "{value:?}");
        seconds(3).await;
        assert_eq!(owned_by(&hub, "a").await, 4, "{value:?}");
        let warnings = heard.with("a lease that cannot be");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(queue) && warnings[0].contains("ghost") && warnings[0].contains("clear CurrentOwner"));
        a.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_without_dates_who_gives_signs_of_life_keeps_his_partition_and_is_warned_of_again_and_again() {
    let account = Account::new();
    let hub = account.hub(1).await;
    let queue = "test-control-01";
    let heard = Overheard::default();
    let _listening = heard.listen();
    change_row(&account, queue, expiring(None)).await;
    let a = Running::start(worker(&hub, "a"));
    for _ in 0..30 {
        seconds(10).await;
        // A new version each time, and nothing else.
        change_row(&account, queue, expiring(None)).await;
    }
    assert_eq!((owned_by(&hub, "a").await, row(&hub, queue).await.current_owner.as_deref()), (3, Some("ghost")));
    let warnings = heard.with("a lease that cannot be").len();
    assert!((5..=6).contains(&warnings), "once a minute for five minutes: {warnings}");
    // The remedy.
    change_row(&account, queue, |row| drop(row.properties.remove("CurrentOwner"))).await;
    seconds(3).await;
    assert_eq!(owned_by(&hub, "a").await, 4);
    a.stop().await;
}
