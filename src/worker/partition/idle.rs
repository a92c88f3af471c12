//! Whether work goes on for a partition: whoever gives it up waits until none does.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Partition;

/// Work that goes on beside the instances of a partition.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Partition>);

impl Partition {
    /// Something goes on beside the instances, for as long as the answer lives.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.beside.fetch_add(1, Relaxed);
        Busy(Arc::clone(self))
    }

    /// Waits until nothing more is received, no instance has messages in memory and nothing goes on beside them.
    pub(crate) async fn idle(&self) {
        self.polled.cancelled().await;
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if *self.instances().served() == 0 && self.beside.load(Relaxed) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.beside.fetch_sub(1, Relaxed) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
