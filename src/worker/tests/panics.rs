//! Panics of the worker itself, at each of its calls in turn: whatever task they strike, no partition stays owned and idle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::handover::{Account, DO, Running, owned_by, seconds, worker};
use crate::hub::partition_of;
use crate::storage::error::Result;
use crate::storage::layer::{Call, Layer, Reply};
use crate::{Client, TaskHub};

/// Panics at one call, or at all of a kind from then on.
#[derive(Clone, Default)]
struct Panics(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// From the first look at the partition table on: a panic before that is one of starting the worker.
    has_begun: AtomicBool,
    at: AtomicUsize,
    /// Operation and beginning of the target of every call that panics.
    always: Mutex<Option<(&'static str, &'static str)>>,
    /// Every call by its kind, in order.
    seen: Mutex<Vec<String>>,
}

impl Layer for Panics {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let inner = &self.0;
        if call.target.0 == "TestPartitions" && call.op == "table.query" || call.op == "container.lease" {
            inner.has_begun.store(true, SeqCst);
        }
        let always = *inner.always.lock().unwrap();
        if always.is_some_and(|(op, target)| call.op == op && call.target.0.starts_with(target)) {
            panic!("{} {}", call.op, call.target);
        }
        if inner.has_begun.load(SeqCst) {
            let number = {
                let mut seen = inner.seen.lock().unwrap();
                seen.push(format!("{} {}", call.op, call.target.0));
                seen.len()
            };
            assert!(number != inner.at.load(SeqCst), "{} {}", call.op, call.target);
        }
        attempt().await
    }
}

/// An id for each partition.
fn ids(prefix: &str) -> Vec<String> {
    (0..4).map(|p| (0..).map(|n| format!("{prefix}{n}")).find(|id| partition_of(id, 4) == p).unwrap()).collect()
}

async fn all_end(client: &Client, ids: &[String], limit: u64, at: &str) {
    for id in ids {
        let ended = client.wait(id, Duration::from_secs(limit)).await;
        assert!(ended.is_ok_and(|status| status.status.is_terminal()), "{id}, {at}");
    }
}

async fn start(client: &Client, ids: &[String], time: u64) {
    for id in ids {
        client.start(DO, time).instance_id(id).await.unwrap();
    }
}

async fn panicking(account: &Account) -> (TaskHub, Panics) {
    let panics = Panics::default();
    (account.hub_on(account.storage.clone().layered(panics.clone()), 1).await, panics)
}

/// Runs a worker that panics at the call of this number, or never at 0. The kinds of its calls before it was told to stop.
async fn panic_at(number: usize) -> Vec<String> {
    let account = Account::new();
    let (hub, panics) = panicking(&account).await;
    // Opening the hub looks at the partition table too.
    panics.0.has_begun.store(false, SeqCst);
    panics.0.seen.lock().unwrap().clear();
    panics.0.at.store(number, SeqCst);
    let client = Client::new(&account.hub(3).await);
    let a = Running::start(worker(&hub, "a").app_name("one").max_poll_interval(Duration::from_secs(5)));
    seconds(1).await;
    // As long as holds and leases have to be renewed.
    let first = ids("first");
    start(&client, &first, 25).await;
    seconds(45).await;
    let seen = panics.0.seen.lock().unwrap().clone();
    let at = format!("a panic at call {number}, {:?}", number.checked_sub(1).and_then(|index| seen.get(index)));
    let second = ids("second");
    start(&client, &second, 1).await;
    all_end(&client, &first, 120, &at).await;
    all_end(&client, &second, 60, &at).await;
    assert_eq!(owned_by(&hub, "a").await, 4, "{at}");
    let stopped = tokio::time::timeout(Duration::from_secs(30), a.stop()).await;
    assert!(stopped.is_ok(), "{at}: it does not stop");
    seen
}

#[tokio::test(start_paused = true)]
async fn a_panic_at_any_call_leaves_no_partition_owned_and_idle() {
    let mut kinds = BTreeMap::<String, Vec<usize>>::new();
    for (index, kind) in panic_at(0).await.into_iter().enumerate() {
        kinds.entry(kind).or_default().push(index + 1);
    }
    // The poller, the ownership, the app lease, the keeper, the instances, and the work items.
    for call in [
        "queue.receive test-control-00",
        "table.query TestPartitions",
        "table.transact TestPartitions",
        "table.replace TestPartitions",
        "container.lease test-applease",
        "queue.update test-workitems",
        "table.transact TestHistory",
        "queue.receive test-workitems",
    ] {
        assert!(kinds.contains_key(call), "there was no {call}: {kinds:#?}");
    }
    for (kind, numbers) in kinds {
        let few = BTreeSet::from([0, numbers.len() / 2, numbers.len() - 1]);
        for number in few.into_iter().map(|index| numbers[index]) {
            assert_eq!(panic_at(number).await.get(number - 1), Some(&kind));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_a_worker_panics_again_and_again_no_partition_stays_idle() {
    for (op, target) in
        [("table.transact", "TestPartitions"), ("table.query", "TestPartitions"), ("container.lease", "test-applease")]
    {
        let account = Account::new();
        let (hub, panics) = panicking(&account).await;
        let other = account.hub(3).await;
        let client = Client::new(&other);
        let a = Running::start(worker(&hub, "a").app_name("one"));
        seconds(5).await;
        assert_eq!(owned_by(&hub, "a").await, 4);
        *panics.0.always.lock().unwrap() = Some((op, target));
        let b = Running::start(worker(&other, "b").app_name("one").max_poll_interval(Duration::from_secs(5)));
        // It may still work between two panics, or lose its partitions; nobody waits for it longer than for one that died.
        for time in ["soon", "later", "late"] {
            let late = ids(time);
            start(&client, &late, 1).await;
            all_end(&client, &late, 60, &format!("{op} {target} panics, {time}")).await;
            seconds(33).await;
        }
        a.crash();
        b.stop().await;
    }
}
