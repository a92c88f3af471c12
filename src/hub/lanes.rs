//! Lanes to storage: calls about leases, about held messages, about payloads and all others do not queue behind each other.

use std::time::Duration;

use crate::metrics::Sink;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::layer::billed::Billed;
use crate::storage::layer::limited::Limited;
#[cfg(feature = "metrics")]
use crate::storage::layer::measured::Measured;
use crate::storage::layer::retrying::{RetryPolicy, Retrying};
use crate::storage::layer::timed::Timed;
use crate::storage::layer::traced::Traced;
use crate::storage::pool;
use crate::usage::Meter;
use crate::window::Bounds;

/// The timeout of one attempt.
const ATTEMPT: Duration = Duration::from_secs(10);
/// The same for leases, as in .NET.
const LEASE_ATTEMPT: Duration = Duration::from_secs(2);
/// The same for held messages: several attempts must fit between the renewal of a hold and its expiry.
const HOLD_ATTEMPT: Duration = Duration::from_secs(4);
/// A slower call has queued within the storage service, where lease calls, whose timeout is only a few times as long, would queue too.
/// The limit on concurrent calls shrinks then.
const LATE: Duration = LEASE_ATTEMPT.checked_div(4).expect("four is not zero");
/// The lowest limit on concurrent calls, however slow storage is.
const CALLS_LEAST: usize = 4;
/// The limit before anybody knows how slow storage is. It widens with every quick call, so that a quick store is soon used in full, and a slow one
/// never has a long line in front of the first renewal of a lease.
const CALLS_FIRST: usize = 16;
/// A renewal or hand-back that takes longer is late: each has several attempts.
const HOLD_LATE: Duration = HOLD_ATTEMPT.checked_div(4).expect("four is not zero");
/// The most concurrent renewals and hand-backs of one queue.
const HOLDS_AT_ONCE: usize = 16;

/// One account, reached in several ways.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// Partition rows and the app lease. A new attempt is worth more than a late answer, and all attempts end before the next renewal is
    /// due.
    pub(crate) leases: Storage,
    /// Renewing and giving back what is held.
    pub(crate) holds: Storage,
    /// Everything else. Blobs have a limit of their own, because a payload can take minutes on a slow connection.
    pub(crate) data: Storage,
    /// Counts the calls of all of them.
    pub(crate) meter: Meter,
    /// Where the metrics of the hub go.
    pub(crate) metrics: Sink,
}

impl Lanes {
    pub(crate) fn to(storage: &Storage, rng: &Rng) -> Self {
        Self::measured(storage, rng, Sink::default())
    }

    /// The same, with metrics of all calls.
    pub(crate) fn measured(storage: &Storage, rng: &Rng, metrics: Sink) -> Self {
        let meter = Meter::default();
        let storage = storage.clone().layered(Billed(meter.clone()));
        #[cfg(feature = "metrics")]
        let storage = if metrics.is_on() { storage.layered(Measured::new(&metrics)) } else { storage };
        // The trace covers each attempt with its outcome, timeouts included, but not the time that it was queued.
        let traced = |limit: Timed| storage.clone().layered(limit).layered(Traced);
        let retrying = |policy| Retrying::new(policy, rng.fork());
        let within = |attempt: Duration| RetryPolicy { attempts: 3, total: 3 * attempt, ..RetryPolicy::default() };
        // A call that backs off before its next attempt does not count against the limit.
        let patient = |limited: Storage| limited.layered(retrying(RetryPolicy::default()));
        let payloads = traced(Timed::except_payloads(ATTEMPT)).layered(Limited::new(calls_at_once() / 2));
        let payloads = patient(payloads).blobs;
        let calls = Bounds { least: CALLS_LEAST, first: CALLS_FIRST, most: calls_at_once(), late: LATE };
        let of_one = Bounds { least: 1, late: ATTEMPT / 2, ..calls };
        let data = traced(Timed::new(ATTEMPT)).layered(Limited::within(calls)).layered(Limited::per_target(of_one));
        let renewals = Bounds { least: 1, first: HOLDS_AT_ONCE, most: HOLDS_AT_ONCE, late: HOLD_LATE };
        let impatient = RetryPolicy { most_wait: Duration::from_millis(500), ..within(LEASE_ATTEMPT) };
        let holds = traced(Timed::new(HOLD_ATTEMPT)).layered(Limited::per_target(renewals));
        Self {
            meter,
            metrics,
            data: Storage { blobs: payloads, ..patient(data) },
            holds: holds.layered(retrying(within(HOLD_ATTEMPT))),
            leases: traced(Timed::new(LEASE_ATTEMPT)).layered(retrying(impatient)),
        }
    }
}

/// From now on this thread has connections of its own, for the renewal of leases and held messages.
pub(crate) fn renew_on_this_thread() {
    pool::renews();
}

/// As many concurrent storage calls as .NET allows by default, but at least as many as on two cores.
fn calls_at_once() -> usize {
    25 * std::thread::available_parallelism().map_or(2, usize::from).max(2)
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use tokio::time::Instant;

    use super::*;
    use crate::clock::Clock;
    use crate::model::Timestamp;
    use crate::storage::layer::faulty::{Faults, Faulty, Moment, Verdict};
    use crate::storage::table::Query;

    /// An account with a table and two queues, and the faults before it.
    async fn account() -> (Storage, Faulty) {
        let memory = Storage::memory(Clock::paused(Timestamp::UNIX_EPOCH), Rng::seeded(1));
        memory.tables.create_table("Table").await.unwrap();
        for queue in ["throttled", "healthy"] {
            memory.queues.create_queue(queue).await.unwrap();
        }
        let faulty = Faulty::new(Faults::default(), Rng::seeded(2));
        (memory.layered(faulty.clone()), faulty)
    }

    fn hang(faulty: &Faulty, target: &'static str) {
        faulty.on_call(
            move |call, _, moment| {
                if moment == Moment::Before && call.target.0 == target { Verdict::Hang } else { Verdict::Proceed }
            },
        );
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_wait_for_their_next_attempt_keep_nobody_waiting() {
        let (storage, faulty) = account().await;
        hang(&faulty, "throttled");
        let lanes = Lanes::to(&storage, &Rng::seeded(3));
        let stuck = join_all((0..2 * calls_at_once()).map(|_| lanes.data.queues.count("throttled")));
        let healthy = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let begun = Instant::now();
            lanes.data.queues.count("healthy").await.unwrap();
            begun.elapsed()
        };
        // Two rounds of places at ten seconds each, and not six attempts of each call.
        let waited = tokio::select! {
            biased;
            waited = healthy => waited,
            _ = stuck => unreachable!("they hang for longer"),
        };
        assert!(waited < 3 * ATTEMPT, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn leases_and_holds_do_not_wait_behind_data() {
        let (storage, faulty) = account().await;
        hang(&faulty, "throttled");
        let lanes = Lanes::to(&storage, &Rng::seeded(3));
        let put = lanes.data.queues.put("healthy", "m", Duration::ZERO).await.unwrap();
        let stuck = join_all((0..2 * calls_at_once()).map(|_| lanes.data.queues.count("throttled")));
        let quick = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let begun = Instant::now();
            lanes.leases.tables.query("Table", &Query::default()).await.unwrap();
            lanes.holds.queues.update("healthy", &put.id, &put.pop_receipt, Duration::from_secs(30), None).await.unwrap();
            begun.elapsed()
        };
        let waited = tokio::select! {
            biased;
            waited = quick => waited,
            _ = stuck => unreachable!("they hang for longer"),
        };
        assert_eq!(waited, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_about_leases_ends_before_the_next_renewal() {
        let (storage, faulty) = account().await;
        hang(&faulty, "Table");
        let lanes = Lanes::to(&storage, &Rng::seeded(3));
        let begun = Instant::now();
        lanes.leases.tables.query("Table", &Query::default()).await.unwrap_err();
        assert!((4..10).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_payload_may_take_longer_than_another_call() {
        let (storage, faulty) = account().await;
        let lanes = Lanes::to(&storage, &Rng::seeded(3));
        lanes.data.blobs.create_container("large").await.unwrap();
        let slow = crate::storage::layer::faulty::Odds { delay_before: 1.0, ..Default::default() };
        faulty.set_faults(Faults::everywhere(slow, Duration::from_secs(60)));
        let put = |n: u8| {
            let condition = crate::storage::blob::PutCondition::Always;
            let lanes = &lanes;
            async move { lanes.data.blobs.put("large", &n.to_string(), vec![n].into(), condition).await }
        };
        let begun = Instant::now();
        let all = join_all((0..20).map(put)).await;
        assert!(all.iter().all(Result::is_ok) && begun.elapsed() > 3 * ATTEMPT, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn payloads_that_take_long_keep_no_other_call_waiting() {
        let (storage, faulty) = account().await;
        hang(&faulty, "large");
        let lanes = Lanes::to(&storage, &Rng::seeded(3));
        let stuck = join_all((0..2 * calls_at_once()).map(|_| lanes.data.blobs.get("large", "payload", 1000)));
        let others = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            lanes.data.queues.count("healthy").await.unwrap();
        };
        tokio::select! {
            biased;
            () = others => {}
            _ = stuck => unreachable!("they hang for longer"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_call_about_a_held_message_or_a_lease_ends_before_the_hold_or_the_lease_does() {
        let (storage, faulty) = account().await;
        let lanes = Lanes::to(&storage, &Rng::seeded(3));
        for target in ["healthy", "info"] {
            hang(&faulty, target);
            let begun = Instant::now();
            match target {
                "healthy" => drop(lanes.holds.queues.update("healthy", "id", "receipt", Duration::ZERO, None).await.unwrap_err()),
                _ => drop(lanes.leases.blobs.get("info", "blob", 1000).await.unwrap_err()),
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{target}: {:?}", begun.elapsed());
        }
    }
}
