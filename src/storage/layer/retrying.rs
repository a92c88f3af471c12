//! Retries: which failed calls are tried again, how often and after how long.
//!
//! | call | throttled or transient (nothing applied) | outcome unknown, or no answer in time |
//! | --- | --- | --- |
//! | reads | again | again |
//! | upserts, merge and replace of any version, unconditional blob put | again | again |
//! | queue put | again | again: a second copy of a message is tolerated by every reader |
//! | queue receive | again | again: what the lost answer held surfaces later |
//! | queue update | again | again; `PopReceipt` if the lost one took effect: the message is ours no longer |
//! | deletes of any version, of messages, blobs, tables, queues, containers | again | again; `NotFound` then means done |
//! | creation of tables, queues, containers | again | again; `AlreadyExists` may be our own |
//! | lease acquire, renew, change | again | again |
//! | lease release | again | again; `Lease` then means done |
//! | insert, transaction, writes and deletes of one version, conditional blob put | again | **never**: the caller reads back |
//!
//! Other failures are answers and are never retried. Once an attempt had an unknown outcome, giving up says so, even if
//! a later attempt was refused without effect.

use std::time::Duration;

use tokio::time::Instant;

use super::{Call, Class, Layer, Reply};
use crate::rng::Rng;
use crate::storage::error::{Error, ErrorKind, Result};

/// Limits of the retries of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryPolicy {
    /// Most attempts, the first included.
    pub(crate) attempts: u32,
    /// No attempt begins later than this after the first.
    pub(crate) total: Duration,
    /// The shortest wait between attempts.
    pub(crate) least_wait: Duration,
    /// The longest wait, unless the service asks for more.
    pub(crate) most_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            total: Duration::from_secs(60),
            least_wait: Duration::from_millis(100),
            most_wait: Duration::from_secs(5),
        }
    }
}

/// Tries failed calls again, as the table of this module says.
#[derive(Clone, Debug)]
pub(crate) struct Retrying {
    policy: RetryPolicy,
    rng: Rng,
}

impl Retrying {
    pub(crate) fn new(policy: RetryPolicy, rng: Rng) -> Self {
        Self { policy, rng }
    }

    /// Decorrelated jitter: between the shortest wait and three times the last one.
    fn wait(&self, last: Duration, error: &Error) -> Duration {
        let high = (last * 3).min(self.policy.most_wait).max(self.policy.least_wait);
        let wait = self.rng.between(self.policy.least_wait, high);
        wait.max(error.retry_after.unwrap_or_default())
    }
}

impl Layer for Retrying {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let begun = Instant::now();
        let mut wait = self.policy.least_wait;
        let mut unknown = false;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match attempt().await {
                Ok(reply) => return Ok(reply),
                Err(error) if unknown && call.settled_by == Some(error.kind) => return T::done().ok_or(error),
                Err(error) => error,
            };
            unknown |= call.class != Class::Read && error.outcome_unknown();
            wait = self.wait(wait, &error);
            let spent = attempts >= self.policy.attempts || begun.elapsed() + wait > self.policy.total;
            if spent || !may_repeat(call.class, error.kind) {
                let kind = if unknown && error.is_retriable() { ErrorKind::Unknown } else { error.kind };
                return Err(Error { kind, ..error });
            }
            tracing::debug!(op = call.op, target = %call.target, %error, ?wait, attempts, "storage call is tried again");
            tokio::time::sleep(wait).await;
        }
    }
}

fn may_repeat(class: Class, kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Throttled | ErrorKind::Transient => true,
        ErrorKind::Unknown => class != Class::Once,
        ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::Precondition
        | ErrorKind::PopReceipt
        | ErrorKind::Lease
        | ErrorKind::Denied
        | ErrorKind::Untrusted
        | ErrorKind::Invalid => false,
    }
}
