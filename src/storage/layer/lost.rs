//! Loses the first answer to one kind of call, before or after the call takes effect, for tests of who has to find out.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::{Call, Layer, Reply};
use crate::storage::error::{Error, ErrorKind, Result};

pub(crate) struct LostAnswer {
    op: &'static str,
    target: &'static str,
    takes_effect: bool,
    first: AtomicBool,
}

impl LostAnswer {
    /// To this operation on this table, queue or container.
    pub(crate) fn to(op: &'static str, target: &'static str, takes_effect: bool) -> Self {
        Self { op, target, takes_effect, first: AtomicBool::new(true) }
    }
}

impl Layer for LostAnswer {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        if call.op != self.op || call.target.0 != self.target || !self.first.swap(false, SeqCst) {
            return attempt().await;
        }
        if self.takes_effect {
            drop(attempt().await?);
        }
        Err(Error::new(ErrorKind::Unknown, call.op, call.target.0))
    }
}
