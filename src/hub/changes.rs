//! What tells, on virtual time, that tables have changed: who waits for the end of an instance need not look again and again, which
//! would take longer than the years that pass.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::storage::error::Result;
use crate::storage::layer::{Call, Class, Layer, Reply};

/// Shared by the layer that sees the changes and those who wait for them.
#[derive(Debug)]
pub(crate) struct Changes {
    changed: Notify,
    /// How long a wait without a limit of its own waits.
    pub(crate) patience: Duration,
}

/// The layer of an account that tells.
pub(crate) struct Telling(pub(crate) Arc<Changes>);

impl Changes {
    pub(crate) fn new(patience: Duration) -> Arc<Self> {
        Arc::new(Self { changed: Notify::new(), patience })
    }

    /// Completes at the next change after this call.
    pub(crate) fn next(&self) -> impl Future<Output = ()> + '_ {
        self.changed.notified()
    }
}

impl Layer for Telling {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let result = attempt().await;
        if call.class != Class::Read && call.op.starts_with("table.") {
            self.0.changed.notify_waiters();
        }
        result
    }
}
