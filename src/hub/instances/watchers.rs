//! Who in this process waits for a change of an instance: whoever writes its row here tells them, so that they need not wait for their next
//! look at storage.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Those who wait, by the keys of their instances. Nothing is kept for an instance for which nobody waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watchers(Arc<Mutex<BTreeMap<String, Watched>>>);

/// An instance for which somebody waits.
#[derive(Debug, Default)]
struct Watched {
    bells: Arc<Bells>,
    /// By how many.
    by: usize,
}

/// What is rung for those who wait for one instance.
#[derive(Debug, Default)]
struct Bells {
    change: Notify,
    /// Not rung at a change after which the instance goes on.
    end: Notify,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Any change of the row.
    Change,
    /// One after which the instance has ended, or may have.
    End,
}

/// One who waits, until it is dropped.
#[derive(Debug)]
pub(crate) struct Watching {
    watchers: Watchers,
    key: String,
    bells: Arc<Bells>,
    until: Until,
}

impl Watchers {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to wait for changes of the row with this key.
    pub(super) fn watch(&self, key: String, until: Until) -> Watching {
        let mut all = self.all();
        let watched = all.entry(key.clone()).or_default();
        watched.by += 1;
        let bells = Arc::clone(&watched.bells);
        drop(all);
        Watching { watchers: self.clone(), key, bells, until }
    }

    /// The row with this key has changed. `goes_on`: it shows that the instance has not ended.
    pub(super) fn tell(&self, key: &str, goes_on: bool) {
        let Some(bells) = self.all().get(key).map(|watched| Arc::clone(&watched.bells)) else { return };
        bells.change.notify_waiters();
        if !goes_on {
            bells.end.notify_waiters();
        }
    }
}

impl Watching {
    /// Completes at the first change after this call that is waited for.
    pub(crate) fn changed(&self) -> Notified<'_> {
        match self.until {
            Until::Change => self.bells.change.notified(),
            Until::End => self.bells.end.notified(),
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut all = self.watchers.all();
        let Some(watched) = all.get_mut(&self.key) else { return };
        watched.by -= 1;
        if watched.by == 0 {
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
        watchers.tell("i", false);
        let watch = |key: &str| watchers.watch(key.into(), Until::Change);
        let (first, second, other) = (watch("i"), watch("i"), watch("j"));
        let mut unchanged = Box::pin(other.changed());
        {
            let changes = (first.changed(), second.changed());
            watchers.tell("i", true);
            tokio::join!(changes.0, changes.1);
        }
        assert!(futures::poll!(unchanged.as_mut()).is_pending());
        drop(unchanged);
        drop(first);
        assert_eq!(watchers.all().len(), 2);
        drop((second, other));
        assert_eq!(watchers.all().len(), 0);
    }

    #[tokio::test]
    async fn who_waits_for_the_end_is_not_told_of_changes_after_which_the_instance_goes_on() {
        let watchers = Watchers::default();
        let watching = watchers.watch("i".into(), Until::End);
        let mut ended = Box::pin(watching.changed());
        watchers.tell("i", true);
        assert!(futures::poll!(ended.as_mut()).is_pending());
        watchers.tell("i", false);
        assert!(futures::poll!(ended.as_mut()).is_ready());
    }
}
