//! How many calls are under way at once: beyond what storage takes, calls only wait in its queue, and the few that keep leases and
//! messages would wait behind all of them. So each kind of call has places of its own.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{Call, Layer, Reply};
use crate::storage::error::Result;

/// Lets so many attempts pass at once, in their order. Between two attempts a call has no place.
#[derive(Clone, Debug)]
pub(crate) struct Limited(Arc<Semaphore>);

impl Limited {
    pub(crate) fn new(calls: usize) -> Self {
        Self(Arc::new(Semaphore::new(calls.max(1))))
    }
}

impl Layer for Limited {
    async fn run<T, F, Fut>(&self, _: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let _place = self.0.acquire().await.expect("the semaphore is never closed");
        attempt().await
    }
}
