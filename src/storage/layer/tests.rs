//! Tests of the layers: exact counts, what is retried and what is not, and faults that repeat with their seed.

use std::time::Duration;

use tokio::time::Instant;

use super::faulty::{Faults, Faulty, Moment, Odds, Verdict};
use super::metered::Metered;
use super::retrying::{RetryPolicy, Retrying};
use super::timed::Timed;
use super::traced::Traced;
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::blob::{Lease, PutCondition};
use crate::storage::error::ErrorKind;
use crate::storage::table::{Entity, Match, TableOp, Value};

const LOST: Odds = Odds { delay_before: 0.0, delay_after: 0.0, refused: 0.0, lost_reply: 1.0 };
const REFUSED: Odds = Odds { delay_before: 0.0, delay_after: 0.0, refused: 1.0, lost_reply: 0.0 };

const ATTEMPT: Duration = Duration::from_secs(7);

/// Retries around faults around counts around memory, with a table, a queue and a container.
async fn stack(odds: Odds, policy: RetryPolicy) -> (Storage, Faulty, Metered) {
    let memory = Storage::memory(Clock::paused(Timestamp::UNIX_EPOCH), Rng::seeded(1));
    memory.tables.create_table("table").await.unwrap();
    memory.queues.create_queue("queue").await.unwrap();
    memory.blobs.create_container("container").await.unwrap();
    let metered = Metered::default();
    let faulty = Faulty::new(Faults::everywhere(odds, Duration::from_secs(1)), Rng::seeded(2));
    let retrying = Retrying::new(policy, Rng::seeded(3));
    let storage = memory.layered(metered.clone()).layered(faulty.clone()).layered(Traced).layered(Timed::new(ATTEMPT));
    (storage.layered(retrying), faulty, metered)
}

/// Loses the answer of the first call only.
fn lose_first(faulty: &Faulty) {
    let handle = faulty.clone();
    faulty.on_call(move |_, number, moment| {
        if number == 1 && moment == Moment::After {
            handle.set_faults(Faults::default());
        }
        Verdict::Proceed
    });
}

#[tokio::test(start_paused = true)]
async fn writes_of_unknown_outcome_are_repeated_only_where_that_is_safe() {
    let entity = || Entity::new("p", "r");
    for (op, lost_once_then) in [
        (TableOp::Insert(entity()), Err(ErrorKind::Unknown)),
        (TableOp::UpsertMerge(entity()), Ok(2)),
        (TableOp::UpsertReplace(entity()), Ok(2)),
    ] {
        let (storage, faulty, metered) = stack(LOST, RetryPolicy::default()).await;
        lose_first(&faulty);
        let answer = storage.tables.write("table", &op).await;
        assert_eq!(answer.map(|_| metered.snapshot().total("")).map_err(|e| e.kind), lost_once_then, "{op:?}");
        assert!(storage.tables.get("table", "p", "r", &[]).await.is_ok(), "the lost answer was of a write that was done");
    }
    let (storage, faulty, metered) = stack(LOST, RetryPolicy::default()).await;
    lose_first(&faulty);
    let transaction = storage.tables.transact("table", &[TableOp::UpsertMerge(entity())]).await;
    assert_eq!(transaction.unwrap_err().kind, ErrorKind::Unknown);
    assert_eq!(metered.snapshot().to_string(), "table.transact 1");
}

#[tokio::test(start_paused = true)]
async fn a_delete_whose_answer_was_lost_is_done_when_the_thing_is_gone() {
    let (storage, faulty, metered) = stack(Odds::default(), RetryPolicy::default()).await;
    storage.tables.write("table", &TableOp::Insert(Entity::new("p", "r"))).await.unwrap();
    let message = storage.queues.put("queue", "m", Duration::ZERO).await.unwrap();
    storage.blobs.put("container", "b", vec![1].into(), PutCondition::Always).await.unwrap();
    let id = "00000000-0000-0000-0000-000000000001".to_owned();
    storage.blobs.lease("container", &Lease::Acquire { id: id.clone(), duration: Duration::from_secs(15) }).await.unwrap();
    let before = metered.snapshot();
    // Every first answer is lost: odd attempts from here on.
    let (handle, first) = (faulty.clone(), faulty.calls() + 1);
    faulty.on_call(move |_, number, moment| {
        if moment == Moment::After {
            let odds = if (number - first).is_multiple_of(2) { Odds::default() } else { LOST };
            handle.set_faults(Faults::everywhere(odds, Duration::ZERO));
        }
        Verdict::Proceed
    });
    faulty.set_faults(Faults::everywhere(LOST, Duration::ZERO));

    let any = TableOp::Delete { partition_key: "p".into(), row_key: "r".into(), condition: Match::Any };
    assert_eq!(storage.tables.write("table", &any).await.unwrap(), None);
    storage.queues.delete("queue", &message.id, &message.pop_receipt).await.unwrap();
    storage.blobs.delete("container", "b").await.unwrap();
    storage.blobs.lease("container", &Lease::Release { id }).await.unwrap();
    storage.queues.delete_queue("queue").await.unwrap();
    let counts = metered.since(&before);
    assert_eq!(counts.to_string(), "blob.delete 2, container.lease 2, queue.delete 2, queue.drop 2, table.delete 2");
    assert_eq!((counts.total("table."), counts.of("queue.delete")), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn refusals_are_retried_until_the_attempts_or_the_time_are_spent() {
    let (storage, faulty, metered) = stack(REFUSED, RetryPolicy { attempts: 4, ..RetryPolicy::default() }).await;
    let error = storage.tables.write("table", &TableOp::Insert(Entity::new("p", "r"))).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Throttled | ErrorKind::Transient));
    assert_eq!((faulty.injected()["refused"], metered.snapshot().total("table.insert")), (4, 0));

    let patient = RetryPolicy { attempts: u32::MAX, total: Duration::from_secs(20), ..RetryPolicy::default() };
    let (storage, faulty, _) = stack(Odds::default(), patient).await;
    faulty.set_outage(true);
    let begun = Instant::now();
    storage.queues.count("queue").await.unwrap_err();
    assert!((Duration::from_secs(10)..=Duration::from_secs(20)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    faulty.set_outage(false);
    assert_eq!(storage.queues.count("queue").await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn giving_up_tells_that_an_earlier_attempt_may_have_taken_effect() {
    let (storage, faulty, _) = stack(LOST, RetryPolicy { attempts: 3, ..RetryPolicy::default() }).await;
    let handle = faulty.clone();
    faulty.on_call(move |_, _, moment| {
        if moment == Moment::After {
            handle.set_faults(Faults::everywhere(REFUSED, Duration::ZERO));
        }
        Verdict::Proceed
    });
    let error = storage.queues.put("queue", "m", Duration::ZERO).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_answer_ends_and_other_failures_are_not_retried() {
    let hanging = RetryPolicy { attempts: 2, ..RetryPolicy::default() };
    let (storage, faulty, metered) = stack(Odds::default(), hanging).await;
    storage.tables.write("table", &TableOp::Merge(Entity::new("p", "r"), Match::Any)).await.unwrap_err();
    assert_eq!(metered.snapshot().to_string(), "table.merge 1");
    faulty.on_call(|_, _, moment| if moment == Moment::Before { Verdict::Hang } else { Verdict::Proceed });
    let begun = Instant::now();
    assert_eq!(storage.tables.get("table", "p", "r", &[]).await.unwrap_err().kind, ErrorKind::Transient);
    assert!(begun.elapsed() >= Duration::from_secs(14));
    let insert = storage.tables.write("table", &TableOp::Insert(Entity::new("p", "r"))).await.unwrap_err();
    assert_eq!(insert.kind, ErrorKind::Unknown);
    faulty.set_enabled(false);
    assert!(storage.tables.write("table", &TableOp::Insert(Entity::new("p", "r"))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_put_makes_two_messages() {
    let (storage, faulty, metered) = stack(Odds::default(), RetryPolicy::default()).await;
    faulty.set_faults(Faults { duplicate_put: 1.0, ..Faults::default() });
    storage.queues.put("queue", "m", Duration::ZERO).await.unwrap();
    assert_eq!((storage.queues.count("queue").await.unwrap(), metered.snapshot().of("queue.put")), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_injects_the_same_faults() {
    let mut runs = Vec::new();
    for seed in [5, 5, 6] {
        let odds = Odds { delay_before: 0.2, delay_after: 0.2, refused: 0.2, lost_reply: 0.2 };
        let (storage, faulty, metered) = stack(Odds::default(), RetryPolicy::default()).await;
        let own = Faulty::new(
            Faults {
                outage: 0.02,
                outage_max: Duration::from_secs(3),
                duplicate_put: 0.1,
                ..Faults::everywhere(odds, Duration::from_secs(1))
            },
            Rng::seeded(seed),
        );
        let storage = storage.layered(own.clone()).layered(Retrying::new(RetryPolicy::default(), Rng::seeded(seed)));
        let begun = Instant::now();
        for i in 0..100 {
            let row = Entity::new("p", i.to_string()).with("n", Value::I32(i));
            let _ = storage.tables.write("table", &TableOp::Insert(row)).await;
            let _ = storage.queues.put("queue", "m", Duration::ZERO).await;
        }
        assert!(own.injected().values().all(|count| *count > 0) && own.injected().len() == 6);
        assert_eq!(faulty.injected().len(), 0);
        runs.push((own.injected(), metered.snapshot(), begun.elapsed()));
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}
