//! One log line for each call: what, on which target, how it ended and how long it took. Never payloads or secrets.

use tokio::time::Instant;

use super::{Call, Layer, Reply};
use crate::storage::error::Result;

/// Logs calls: success at trace level, failure at debug level, because many failures are part of normal work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traced;

impl Layer for Traced {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let begun = Instant::now();
        let reply = attempt().await;
        let elapsed = begun.elapsed();
        match &reply {
            Ok(reply) => {
                let (carries, brings) = (call.carries, reply.brings());
                tracing::trace!(op = call.op, target = %call.target, carries, brings, ?elapsed, "storage call");
            }
            Err(error) => tracing::debug!(
                op = call.op,
                target = %call.target,
                kind = ?error.kind,
                status = error.status,
                code = error.code,
                ?elapsed,
                "storage call failed"
            ),
        }
        reply
    }
}
