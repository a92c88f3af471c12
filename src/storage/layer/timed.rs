//! How long one attempt of a call may take. The time begins when the call has its place among those under way, so that waiting
//! for one is not taken for a slow answer.

use std::time::Duration;

use super::{Call, Class, Layer, Reply};
use crate::storage::error::{Error, ErrorKind, Result};

/// Ends attempts that get no answer in time. Payloads are left to the transport, which gives them time by their size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timed(Duration);

impl Timed {
    pub(crate) fn new(attempt: Duration) -> Self {
        Self(attempt)
    }
}

impl Layer for Timed {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        if matches!(call.op, "blob.get" | "blob.put") {
            return attempt().await;
        }
        let Ok(reply) = tokio::time::timeout(self.0, attempt()).await else {
            let kind = if call.class == Class::Read { ErrorKind::Transient } else { ErrorKind::Unknown };
            let message = format!("no answer within {:?}", self.0);
            return Err(Error::new(kind, call.op, call.target.to_string()).with_message(message));
        };
        reply
    }
}
