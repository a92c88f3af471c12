//! How many calls of a worker or client are under way at once: beyond what storage takes, calls only wait in its queue, and
//! the few calls that keep a lease would wait behind all of them.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{Call, Layer, Reply};
use crate::storage::error::Result;

/// Lets so many calls pass at once, in their order. Calls about leases pass freely.
#[derive(Clone, Debug)]
pub(crate) struct Limited {
    places: Arc<Semaphore>,
    /// The table of partition leases.
    leases: String,
}

impl Limited {
    pub(crate) fn new(calls: usize, leases: &str) -> Self {
        Self { places: Arc::new(Semaphore::new(calls.max(1))), leases: leases.to_owned() }
    }

    fn is_free(&self, call: &Call<'_>) -> bool {
        call.target.0 == self.leases || call.op == "container.lease"
    }
}

impl Layer for Limited {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        if self.is_free(call) {
            return attempt().await;
        }
        let _place = self.places.acquire().await.expect("the semaphore is never closed");
        attempt().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::model::Timestamp;
    use crate::rng::Rng;
    use crate::storage::Storage;
    use crate::storage::layer::faulty::{Faults, Faulty, Odds};
    use crate::storage::table::Query;

    #[tokio::test(start_paused = true)]
    async fn data_waits_its_turn_and_leases_do_not() {
        let (clock, delay) = (Clock::paused(Timestamp::UNIX_EPOCH), Duration::from_secs(1));
        let slow = Faulty::new(Faults::everywhere(Odds { delay_before: 1.0, ..Odds::default() }, delay), Rng::seeded(1));
        let storage = Storage::memory(clock, Rng::seeded(1));
        for table in ["Data", "Leases"] {
            storage.tables.create_table(table).await.unwrap();
        }
        let storage = storage.layered(slow).layered(Limited::new(2, "Leases"));
        let query = Query::default();
        let begun = tokio::time::Instant::now();
        let data = futures::future::join_all((0..40).map(|_| storage.tables.query("Data", &query)));
        let lease = async {
            storage.tables.query("Leases", &query).await.unwrap();
            begun.elapsed()
        };
        let (data, lease) = tokio::join!(data, lease);
        assert!(data.iter().all(Result::is_ok));
        assert!(lease <= delay && begun.elapsed() > 5 * delay, "{lease:?}, {:?}", begun.elapsed());
    }
}
