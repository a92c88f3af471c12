//! Who in this process waits for a change of an instance: whoever writes its row here tells them, so that they need not wait for their next
//! look at storage.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Those who wait, by the keys of their instances. Nothing is kept for an instance for which nobody waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watchers(Arc<Mutex<BTreeMap<String, Arc<Notify>>>>);

/// One who waits, until it is dropped.
#[derive(Debug)]
pub(crate) struct Watching {
    watchers: Watchers,
    key: String,
    bell: Arc<Notify>,
}

impl Watchers {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to wait for changes of the row with this key.
    pub(super) fn watch(&self, key: String) -> Watching {
        let bell = Arc::clone(self.all().entry(key.clone()).or_default());
        Watching { watchers: self.clone(), key, bell }
    }

    /// The row with this key has changed.
    pub(super) fn tell(&self, key: &str) {
        if let Some(bell) = self.all().get(key) {
            bell.notify_waiters();
        }
    }
}

impl Watching {
    /// Completes at the first change after this call.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.bell.notified()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut all = self.watchers.all();
        // One is in the map, one here.
        if Arc::strong_count(&self.bell) == 2 {
            all.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_who_wait_for_a_row_are_told_of_its_changes_and_of_no_others_and_leave_nothing_behind() {
        let watchers = Watchers::default();
        watchers.tell("i");
        let (first, second, other) = (watchers.watch("i".into()), watchers.watch("i".into()), watchers.watch("j".into()));
        let mut unchanged = Box::pin(other.changed());
        {
            let changes = (first.changed(), second.changed());
            watchers.tell("i");
            tokio::join!(changes.0, changes.1);
        }
        assert!(futures::poll!(unchanged.as_mut()).is_pending());
        drop(unchanged);
        drop(first);
        assert_eq!(watchers.all().len(), 2);
        drop((second, other));
        assert_eq!(watchers.all().len(), 0);
    }
}
