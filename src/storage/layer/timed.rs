//! How long one attempt of a call may take. The time begins when the call has its place among those under way, so that waiting
//! for one is not taken for a slow answer.

use std::time::Duration;

use super::{Call, Class, Layer, Reply};
use crate::storage::error::{Error, ErrorKind, Result};

/// Ends attempts that get no answer in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timed {
    attempt: Duration,
    payloads: bool,
}

impl Timed {
    pub(crate) fn new(attempt: Duration) -> Self {
        Self { attempt, payloads: true }
    }

    /// Leaves blobs to the transport, which gives them time by their size.
    pub(crate) fn except_payloads(attempt: Duration) -> Self {
        Self { attempt, payloads: false }
    }
}

impl Layer for Timed {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        if !self.payloads && matches!(call.op, "blob.get" | "blob.put") {
            return attempt().await;
        }
        let Ok(reply) = tokio::time::timeout(self.attempt, attempt()).await else {
            let kind = if call.class == Class::Read { ErrorKind::Transient } else { ErrorKind::Unknown };
            let message = format!("no answer within {:?}", self.attempt);
            return Err(Error::new(kind, call.op, call.target.to_string()).with_message(message));
        };
        reply
    }
}
