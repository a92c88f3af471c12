//! Exact counts of the calls that reach the store within, for tests and cost figures.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Call, Layer, Reply};
use crate::storage::error::Result;

/// Receives that bring nothing are counted under this name: they depend on how long one waits, all others on what is done.
pub(crate) const EMPTY_RECEIVE: &str = "poll";

/// Counts calls by operation. Inside a retrying layer it counts every attempt. Clones share their counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metered(Arc<Mutex<Counts>>);

/// How often each operation was called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(pub(crate) BTreeMap<&'static str, u64>);

impl Metered {
    /// The counts since the beginning.
    pub(crate) fn snapshot(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The counts since an earlier snapshot.
    pub(crate) fn since(&self, earlier: &Counts) -> Counts {
        self.snapshot().minus(earlier)
    }
}

impl Layer for Metered {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let reply = attempt().await;
        let is_poll = call.op == "queue.receive" && reply.as_ref().is_ok_and(Reply::is_empty_receive);
        let op = if is_poll { EMPTY_RECEIVE } else { call.op };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).0.entry(op).or_default() += 1;
        reply
    }
}

impl Counts {
    /// What was counted beyond `earlier`; operations without a call are left out.
    pub(crate) fn minus(&self, earlier: &Self) -> Self {
        let rest = self.0.iter().map(|(op, count)| (*op, count - earlier.of(op)));
        Self(rest.filter(|(_, count)| *count > 0).collect())
    }

    pub(crate) fn of(&self, op: &str) -> u64 {
        self.0.get(op).copied().unwrap_or(0)
    }

    /// All calls whose operation begins so: `table.`, or nothing for every call.
    pub(crate) fn total(&self, prefix: &str) -> u64 {
        self.0.iter().filter(|(op, _)| op.starts_with(prefix)).map(|(_, count)| count).sum()
    }
}

/// `blob.put 1, table.get 2`: one line for an assertion of exact figures.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (op, count)) in self.0.iter().enumerate() {
            write!(f, "{}{op} {count}", if i > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}
