//! The model of an account: what it lets through in a second, what slows what, and that nothing is lost where it refuses.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use tokio::time::Instant;

use super::modelled::{AccountLimits, Modelled};
use super::retrying::{RetryPolicy, Retrying};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::blob::PutCondition;
use crate::storage::error::Error;
use crate::storage::table::{Entity, Filter, Query, TableOp};

const SECOND: Duration = Duration::from_secs(1);
/// Azure's limits, and short lines, so that few callers overload them.
const BRIEF: AccountLimits = AccountLimits { patience: Duration::from_millis(50), ..AccountLimits::AZURE };

async fn account(limits: AccountLimits) -> (Storage, Modelled) {
    let memory = Storage::memory(Clock::paused(Timestamp::UNIX_EPOCH), Rng::seeded(1));
    for queue in 0..16 {
        memory.queues.create_queue(&format!("queue-{queue}")).await.unwrap();
    }
    memory.tables.create_table("Table").await.unwrap();
    memory.blobs.create_container("container").await.unwrap();
    let model = Modelled::new(limits, Rng::seeded(2));
    (memory.layered(model.clone()), model)
}

type Calling<'a> = Box<dyn Fn() -> BoxFuture<'a, Result<(), Error>> + 'a>;

/// Lets so many callers make each call again and again, and counts what was done of each in the second and the third second.
async fn done_a_second<const N: usize>(loads: [(usize, Calling<'_>); N]) -> [[usize; 2]; N] {
    let (begun, done) = (Instant::now(), Mutex::new([[0; 2]; N]));
    let callers = loads.iter().enumerate().flat_map(|(load, (callers, call))| std::iter::repeat_n((load, call), *callers));
    join_all(callers.map(async |(load, call)| {
        while begun.elapsed() < 3 * SECOND {
            let is_done = call().await.is_ok();
            match begun.elapsed().as_secs() {
                second @ (1 | 2) if is_done => done.lock().unwrap()[load][second as usize - 1] += 1,
                _ => {}
            }
        }
    }))
    .await;
    done.into_inner().unwrap()
}

fn put<'a>(storage: &'a Storage, queue: &'a str) -> Calling<'a> {
    Box::new(move || Box::pin(async move { storage.queues.put(queue, "m", Duration::ZERO).await.map(drop) }))
}

fn write<'a>(storage: &'a Storage, partition: &'a str) -> Calling<'a> {
    let op = TableOp::UpsertReplace(Entity::new(partition, "row"));
    Box::new(move || {
        let op = op.clone();
        Box::pin(async move { storage.tables.write("Table", &op).await.map(drop) })
    })
}

#[tokio::test(start_paused = true)]
async fn each_queue_and_each_partition_lets_through_its_limit_and_slows_no_other() {
    let (storage, model) = account(BRIEF).await;
    let loads = [
        (150, put(&storage, "queue-0")),
        (150, put(&storage, "queue-1")),
        (150, write(&storage, "busy")),
        (1, put(&storage, "queue-2")),
        (1, write(&storage, "quiet")),
    ];
    let [queue, other_queue, partition, quiet_queue, quiet_partition] = done_a_second(loads).await;
    // Answers come on whole milliseconds, each of which has two.
    for seconds in [queue, other_queue, partition] {
        assert!(seconds.iter().all(|done| (1996..=2004).contains(done)), "{seconds:?}");
    }
    // Round trips of 5 to 10 ms, half a millisecond of work, and the rest of a millisecond.
    for seconds in [quiet_queue, quiet_partition] {
        assert!(seconds.iter().all(|done| (90..=140).contains(done)), "{seconds:?}");
    }
    assert!(model.refused() > 1000);
}

#[tokio::test(start_paused = true)]
async fn the_account_lets_through_the_sum_of_its_parts_as_far_as_its_own_limit() {
    let limits = AccountLimits { queue_messages: 400, account_calls: 4_000, ..BRIEF };
    for (queues, expected) in [(2, 800), (8, 3_200), (16, 4_000)] {
        let (storage, _) = account(limits).await;
        let names: Vec<_> = (0..queues).map(|queue| format!("queue-{queue}")).collect();
        let all = Cell::new(0);
        let put_anywhere: Calling<'_> = Box::new(|| {
            let queue = &names[all.replace(all.get() + 1) % queues];
            put(&storage, queue)()
        });
        let [seconds] = done_a_second([(30 * queues, put_anywhere)]).await;
        assert!(seconds.iter().all(|done| done.abs_diff(expected) <= expected / 100), "{queues} queues: {seconds:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_answered_as_azure_does_and_has_not_been_done() {
    let (storage, model) = account(AccountLimits { queue_messages: 100, ..BRIEF }).await;
    let puts = (0..300).map(|n| storage.queues.put("queue-0", ["a", "b"][n % 2], Duration::ZERO));
    let (done, refused): (Vec<_>, Vec<_>) = join_all(puts).await.into_iter().partition(Result::is_ok);
    assert_eq!((storage.queues.count("queue-0").await.unwrap(), model.refused()), (done.len() as u64, refused.len() as u64));
    let answers: BTreeMap<_, usize> = refused.into_iter().map(Result::unwrap_err).fold(BTreeMap::new(), |mut answers, error| {
        *answers.entry((error.status.unwrap(), error.code.unwrap(), format!("{:?}", error.kind))).or_default() += 1;
        answers
    });
    let kinds: Vec<_> = answers.keys().map(|(status, code, kind)| (*status, &**code, &**kind)).collect();
    assert_eq!(kinds, [(500, "OperationTimedOut", "Unknown"), (503, "ServerBusy", "Throttled")], "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_tried_again_until_it_is_done_once() {
    let (storage, model) = account(AccountLimits { queue_messages: 100, ..BRIEF }).await;
    let patient = RetryPolicy { attempts: u32::MAX, ..RetryPolicy::default() };
    let storage = storage.layered(Retrying::new(patient, Rng::seeded(3)));
    let puts = (0..1000).map(|_| storage.queues.put("queue-0", "m", Duration::ZERO));
    assert!(join_all(puts).await.iter().all(Result::is_ok));
    assert_eq!(storage.queues.count("queue-0").await.unwrap(), 1000);
    assert!(model.refused() > 1000);
}

#[tokio::test(start_paused = true)]
async fn messages_and_rows_count_and_not_calls() {
    let (storage, _) = account(AccountLimits::default()).await;
    for n in 0..64 {
        storage.queues.put("queue-0", &n.to_string(), Duration::ZERO).await.unwrap();
    }
    let ops: Vec<_> = (0..100).map(|n| TableOp::UpsertReplace(Entity::new("p", format!("{n:03}")))).collect();
    let took = async |call: std::pin::Pin<Box<dyn Future<Output = ()> + '_>>| {
        let begun = Instant::now();
        call.await;
        begun.elapsed().as_millis()
    };
    // A round trip, and half a millisecond for each of them.
    let one = 5..=13;
    let receive =
        took(Box::pin(async { assert_eq!(storage.queues.receive("queue-0", 32, SECOND).await.unwrap().len(), 32) })).await;
    assert!((5 + 15..=13 + 16).contains(&receive), "{receive}");
    let transaction = took(Box::pin(async { drop(storage.tables.transact("Table", &ops).await.unwrap()) })).await;
    assert!((5 + 49..=13 + 50).contains(&transaction), "{transaction}");
    let query = Query { filter: Some(Filter::eq("PartitionKey", "p")), ..Query::default() };
    let query = took(Box::pin(async { assert_eq!(storage.tables.query("Table", &query).await.unwrap().rows.len(), 100) })).await;
    assert!((5 + 49..=13 + 50).contains(&query), "{query}");
    let row = took(Box::pin(async { drop(storage.tables.get("Table", "p", "001", &[]).await.unwrap()) })).await;
    assert!(one.contains(&row), "{row}");
    let blob = took(Box::pin(async {
        storage.blobs.put("container", "b", vec![0; 6 << 20].into(), PutCondition::Always).await.unwrap();
    }))
    .await;
    assert!((5 + 99..=13 + 100).contains(&blob), "{blob}");
}
