//! Answers as an account of Azure does: after a round trip, no faster than its published limits, and with a refusal where the line is long.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Call, Class, Layer, Reply};
use crate::rng::Rng;
use crate::storage::error::{Error, ErrorKind, Result};

/// This share of the refusals is a timeout of the service, after which nobody knows whether a write was done.
const TIMED_OUT: f64 = 0.1;

/// What a storage account can do: the published targets of a standard account of Azure, and the round trips of its region, unless set.
///
/// Each queue, each partition of a table, each blob and the account as a whole works off its calls one after the other, each for as long as its
/// limit says. A call for which a line is longer than [`patience`](Self::patience) is refused and changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(unreachable_pub, reason = "it is public with the feature `testing`")]
pub struct AccountLimits {
    /// Messages a second that one queue takes, hands out, renews or deletes, all together; a receive that brings none counts as one. 2,000.
    pub queue_messages: u32,
    /// Rows a second that one partition of a table reads or writes, all together; a query that finds none counts as one. 2,000.
    pub partition_rows: u32,
    /// Calls a second of the whole account. 20,000.
    pub account_calls: u32,
    /// Bytes a second of one blob. 60 MiB.
    pub blob_bytes: u32,
    /// The shortest round trip of a call that waits in no line. 5 ms.
    pub round_trip_min: Duration,
    /// The longest one; all between are equally frequent. 10 ms.
    pub round_trip_max: Duration,
    /// How long a line may be. Beyond it the account answers 503 `ServerBusy`, and one time in ten 500 `OperationTimedOut`. 250 ms.
    pub patience: Duration,
}

/// Calls of an account on its limits. Clones are of one account.
#[derive(Clone)]
pub(crate) struct Modelled(Arc<Shared>);

struct Shared {
    limits: AccountLimits,
    rng: Rng,
    lines: Mutex<Lines>,
    refused: AtomicU64,
}

/// When each line will have worked off what stands in it.
#[derive(Default)]
struct Lines {
    account: Option<Instant>,
    /// Of queues, partitions of tables, and blobs. What has no line is idle.
    servers: BTreeMap<Server, Instant>,
}

/// A part of the account that works by itself: the service, the queue, table or container, and the partition or blob.
type Server = (&'static str, String, String);

impl Default for AccountLimits {
    fn default() -> Self {
        Self::AZURE
    }
}

impl AccountLimits {
    /// A standard account of Azure, and a program in its region.
    pub const AZURE: Self = Self {
        queue_messages: 2_000,
        partition_rows: 2_000,
        account_calls: 20_000,
        blob_bytes: 60 << 20,
        round_trip_min: Duration::from_millis(5),
        round_trip_max: Duration::from_millis(10),
        patience: Duration::from_millis(250),
    };

    /// How long the server of a call works on so many messages, rows or bytes.
    fn work(&self, call: &Call<'_>, units: usize) -> Duration {
        let a_second = match service(call) {
            "queue" => self.queue_messages,
            "table" => self.partition_rows,
            _ if matches!(call.op, "blob.put" | "blob.get") => self.blob_bytes,
            // Blobs are found and listed at the pace of the account.
            _ => return Duration::ZERO,
        };
        Duration::from_secs(units as u64) / a_second.max(1)
    }
}

impl Modelled {
    pub(crate) fn new(limits: AccountLimits, rng: Rng) -> Self {
        Self(Arc::new(Shared { limits, rng, lines: Mutex::default(), refused: AtomicU64::new(0) }))
    }

    /// How many calls were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.0.refused.load(Relaxed)
    }

    /// Puts a call at the ends of its lines. When it has been worked off; nothing if one of the lines is too long.
    fn enqueue(&self, call: &Call<'_>) -> Option<Instant> {
        let Shared { limits, lines, .. } = &*self.0;
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let server = server(call);
        let account = lines.account.map_or(now, |free| free.max(now));
        let free = lines.servers.get(&server).map_or(now, |free| (*free).max(now));
        if account.max(free) > now + limits.patience {
            return None;
        }
        let account = account + Duration::from_secs(1) / limits.account_calls.max(1);
        let free = free + limits.work(call, call.carries);
        lines.account = Some(account);
        lines.servers.insert(server, free);
        Some(account.max(free))
    }

    /// The server works on for what an answer brings beyond what was counted when the call came. When it has done so.
    fn work_on(&self, call: &Call<'_>, brings: usize) -> Instant {
        let Shared { limits, lines, .. } = &*self.0;
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let more = limits.work(call, brings.saturating_sub(call.carries));
        let server = server(call);
        let free = lines.servers.get(&server).map_or(now, |free| (*free).max(now)) + more;
        if free > now {
            lines.servers.insert(server, free);
        } else {
            lines.servers.remove(&server);
        }
        now + more
    }

    fn refusal(&self, call: &Call<'_>) -> Error {
        self.0.refused.fetch_add(1, Relaxed);
        let (kind, status, code) = match call.class {
            _ if !self.0.rng.chance(TIMED_OUT) => (ErrorKind::Throttled, 503, "ServerBusy"),
            Class::Read => (ErrorKind::Transient, 500, "OperationTimedOut"),
            Class::Repeatable | Class::Once => (ErrorKind::Unknown, 500, "OperationTimedOut"),
        };
        Error::new(kind, call.op, call.target.to_string()).with_status(status, code)
    }
}

impl Layer for Modelled {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let limits = &self.0.limits;
        let one_way = self.0.rng.between(limits.round_trip_min, limits.round_trip_max) / 2;
        tokio::time::sleep(one_way).await;
        let Some(worked_off) = self.enqueue(call) else {
            tokio::time::sleep(one_way).await;
            return Err(self.refusal(call));
        };
        tokio::time::sleep_until(worked_off).await;
        let reply = attempt().await;
        let answered = self.work_on(call, reply.as_ref().map_or(0, Reply::brings));
        tokio::time::sleep_until(answered + one_way).await;
        reply
    }
}

impl fmt::Debug for Modelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Modelled").field("limits", &self.0.limits).field("refused", &self.refused()).finish_non_exhaustive()
    }
}

fn service(call: &Call<'_>) -> &'static str {
    call.op.split_once('.').map_or(call.op, |(service, _)| service)
}

fn server(call: &Call<'_>) -> Server {
    let part = if service(call) == "queue" { None } else { call.target.1 };
    (service(call), call.target.0.to_owned(), part.unwrap_or_default().to_owned())
}
