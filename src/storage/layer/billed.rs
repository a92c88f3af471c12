//! Counts every request that reaches the account, those too that fail or whose answer is lost: the account bills them.

use super::{Call, Layer, Reply};
use crate::storage::error::Result;
use crate::usage::{CallKind, Meter};

/// The innermost layer: each attempt of a call is one.
#[derive(Clone, Debug)]
pub(crate) struct Billed(pub(crate) Meter);

impl Layer for Billed {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let kind = kind(call.op);
        if call.op != "queue.receive" {
            self.0.count(kind);
            return attempt().await;
        }
        // What it brings says which kind it is.
        let mut counting = Counting { meter: &self.0, kind };
        let reply = attempt().await;
        counting.kind = answered_kind(call, &reply);
        reply
    }
}

/// Counts when it is dropped: a receive that nobody waits for any more was sent all the same.
struct Counting<'a> {
    meter: &'a Meter,
    kind: CallKind,
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.meter.count(self.kind);
    }
}

/// The kind of a call that was answered so: a receive that brings nothing is a poll.
pub(super) fn answered_kind<T: Reply>(call: &Call<'_>, reply: &Result<T>) -> CallKind {
    let is_poll = call.op == "queue.receive" && reply.as_ref().is_ok_and(Reply::is_empty_receive);
    if is_poll { CallKind::Poll } else { kind(call.op) }
}

fn kind(op: &str) -> CallKind {
    match op {
        "table.get" => CallKind::TableRead,
        "table.query" | "table.list" => CallKind::TableQuery,
        "table.transact" => CallKind::TableBatch,
        "blob.get" => CallKind::BlobRead,
        "blob.list" | "container.create" | "container.drop" => CallKind::BlobList,
        "blob.delete" => CallKind::BlobDelete,
        op if op.starts_with("table.") => CallKind::TableWrite,
        op if op.starts_with("queue.") => CallKind::Queue,
        _ => CallKind::BlobWrite,
    }
}
