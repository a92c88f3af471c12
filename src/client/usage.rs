//! What the workers of a hub have cost.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::Client;
use crate::error::Result;
use crate::hub::WorkerUsage;
use crate::usage::{CallKind, Calls, Prices};

/// What workers have cost at some prices, as the command `taskhub cost` and the HTTP API show it in JSON.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct UsageReport {
    /// What each worker has counted.
    pub workers: Vec<WorkerUsage>,
    /// What calls cost.
    pub prices: Prices,
}

impl UsageReport {
    /// The calls of these workers, as [`Client::usage`] gives them, at these prices.
    #[must_use]
    pub fn new(workers: Vec<WorkerUsage>, prices: Prices) -> Self {
        Self { workers, prices }
    }

    /// The calls of all workers.
    #[must_use]
    pub fn total(&self) -> Calls {
        self.workers.iter().map(|worker| worker.calls).sum()
    }

    fn calls(&self, calls: &Calls) -> Value {
        let mut all: Map<String, Value> =
            CallKind::ALL.into_iter().map(|kind| (kind.name().to_owned(), calls.of(kind).into())).collect();
        all.insert("total".to_owned(), calls.total().into());
        all.insert("cost".to_owned(), json!(calls.cost(&self.prices)));
        Value::Object(all)
    }

    fn by_name(&self, names: &BTreeMap<String, Calls>) -> Map<String, Value> {
        names.iter().map(|(name, calls)| (name.clone(), self.calls(calls))).collect()
    }
}

impl Serialize for UsageReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let worker = |worker: &WorkerUsage| {
            json!({
                "worker": worker.worker,
                "since": worker.since.to_string(),
                "until": worker.until.to_string(),
                "calls": self.calls(&worker.calls),
                "orchestrators": self.by_name(&worker.orchestrators),
                "activities": self.by_name(&worker.activities),
            })
        };
        let all = json!({
            "prices": self.prices,
            "total": self.calls(&self.total()),
            "workers": self.workers.iter().map(worker).collect::<Vec<_>>(),
        });
        all.serialize(serializer)
    }
}

impl Client {
    /// The storage calls of the workers of this crate, each since it started; those first that have told last. A worker tells every five minutes while it
    /// works, every hour while it only waits, and when it stops; what it has told is kept for three months.
    ///
    /// # Errors
    /// `Storage` if storage fails.
    pub async fn usage(&self) -> Result<Vec<WorkerUsage>> {
        self.hub.usage.all().await
    }

    /// The storage calls that this process has made on the hub since it opened it: of this client, and of workers and clients that share its
    /// [`TaskHub`](crate::TaskHub).
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.hub.meter.read()
    }
}
