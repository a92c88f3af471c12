//! Several worker processes on one hub, end to end: they share the work, they come and go, some are killed. `alone.rs` has those that
//! measure.

use std::time::Duration;

use taskhub::internals::{Leftovers, leftovers};
use taskhub::{Client, Storage, TaskHub};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::Instant;

use crate::harness::{azurite, unique_hub_name};
use crate::load::{Load, latencies};
use crate::workers::Place;

/// In a full run scenarios that measure have the machine to themselves, and those that wait for leases share it. An ordinary run has no time
/// for that: everything runs at once, and what the load of others may spoil is not asserted.
static STAGE: RwLock<()> = RwLock::const_new(());

/// For a scenario that measures.
pub(crate) async fn alone() -> Option<RwLockWriteGuard<'static, ()>> {
    if size(false, true) { Some(STAGE.write().await) } else { None }
}

/// For a scenario that keeps the machine busy.
pub(crate) async fn beside_others() -> RwLockReadGuard<'static, ()> {
    STAGE.read().await
}

/// How large a scenario is: an ordinary run has little time; `TASKHUB_FULL=1` runs all in full, as `.ci/run` does.
pub(crate) fn size<T>(ordinary: T, full: T) -> T {
    if std::env::var_os("TASKHUB_FULL").is_some() { full } else { ordinary }
}

/// A crash costs a lease of 30 seconds and its margin of five, and what has piled up meanwhile; longer where other tests have the machine too.
fn crash_stall_max() -> f64 {
    size(120.0, 45.0)
}

/// What lies in the queues once that is settled, or when the patience is over. Also under a paused clock.
pub(crate) async fn leftovers_until(
    storage: &Storage,
    hub: &TaskHub,
    patience: Duration,
    is_settled: impl Fn(&Leftovers) -> bool,
) -> Result<Leftovers, String> {
    let deadline = Instant::now() + patience;
    loop {
        let left = leftovers(storage, hub).await.map_err(|error| error.to_string())?;
        if is_settled(&left) || Instant::now() > deadline {
            return Ok(left);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

pub(crate) async fn open(prefix: &str) -> (Place, TaskHub) {
    let hub = unique_hub_name(prefix);
    let opened = TaskHub::open(azurite().storage(), &hub).await.expect("a hub can be created");
    (Place { connection_string: azurite().connection_string(), hub }, opened)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    Gracefully,
    Killed,
}

/// A steady load of five sequences of five activities a second for 20 seconds, or for 12 in an ordinary run. B joins after three, A leaves
/// when half is over, C joins when two thirds are. The latencies in seconds, shortest first.
pub(crate) async fn come_and_go(leave: Leave) -> Vec<f64> {
    let (place, hub) = open("handoff").await;
    let client = Client::new(&hub);
    let mut load = Load::new(&client);
    let mut a = Some(place.start("a"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begun = Instant::now();
    let (mut b, mut c, mut leaving) = (None, None, None);
    let ticks = size(60, 100);
    for tick in 0..ticks {
        match tick {
            15 => b = Some(place.start("b")),
            _ if tick == ticks / 2 => {
                let a = a.take().expect("a runs");
                match leave {
                    // Beside the load, which goes on.
                    Leave::Gracefully => leaving = Some(a.stop(Duration::from_secs(20))),
                    Leave::Killed => a.kill(),
                }
            }
            _ if tick == ticks * 2 / 3 => c = Some(place.start("c")),
            _ => {}
        }
        load.start_sequences(1, 5).await;
        let next = tokio::time::sleep_until(begun + Duration::from_millis(200) * (tick + 1));
        match leaving.take() {
            None => next.await,
            Some(stop) => {
                let (took, ()) = tokio::join!(stop, next);
                assert!(took < Duration::from_secs(10), "a worker without long activities took {took:?} to stop");
            }
        }
    }
    let all = load.finish(Duration::from_secs(60)).await;
    // What a killed worker had is hidden for half a minute, also where it needed only to be deleted.
    let (storage, patience) = (azurite().storage(), Duration::from_secs(60));
    leftovers_until(&storage, &hub, patience, |left| left.messages == 0).await.expect("queues can be read");
    for worker in [b, c].into_iter().flatten() {
        worker.stop(Duration::from_secs(20)).await;
    }
    let left = leftovers(&storage, &hub).await.expect("queues can be read");
    assert_eq!((left.messages, left.visible.len()), (0, 0), "messages that nobody needs are left");
    latencies(&all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_costs_its_lease_and_no_more() {
    let _beside = beside_others().await;
    let latencies = come_and_go(Leave::Killed).await;
    let max = latencies[latencies.len() - 1];
    println!("hand-off after a kill: p50 {:.2} s, max {max:.2} s", latencies[latencies.len() / 2]);
    assert!(max < crash_stall_max(), "{max:.2} s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_one_of_two_workers_is_killed() {
    let _beside = beside_others().await;
    let (place, hub) = open("killed").await;
    let client = Client::new(&hub);
    let mut load = Load::new(&client);
    let (a, b) = (place.start("a"), place.start("b"));
    load.start_mixed(200).await;
    load.wait_for(60, Duration::from_secs(60)).await;
    a.kill();
    load.finish(Duration::from_secs(100)).await;
    b.stop(Duration::from_secs(20)).await;
}
