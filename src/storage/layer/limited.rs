//! How many calls are under way at once: beyond what storage takes, calls only wait in its queue, and the few that keep leases and
//! messages would wait behind all of them. So each kind of call has places of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Call, Layer, Reply};
use crate::storage::error::{Error, Result};
use crate::window::{Bounds, Window};

/// Lets so many attempts pass at once, in their order. Between two attempts a call has no place.
#[derive(Debug)]
pub(crate) struct Limited {
    calls: Bounds,
    /// Whether each queue, table or container has places of its own. Only then it is told apart who does not answer: calls
    /// that run out of time narrow its places, and nobody else's.
    is_per_target: bool,
    places: Mutex<BTreeMap<String, Arc<Window>>>,
}

impl Limited {
    pub(crate) fn new(calls: usize) -> Self {
        Self { calls: Bounds::fixed(calls), is_per_target: false, places: Mutex::default() }
    }

    /// As many as are answered in time.
    pub(crate) fn within(calls: Bounds) -> Self {
        Self { calls, is_per_target: false, places: Mutex::default() }
    }

    /// The same, of each queue, table or container by itself: one that does not answer holds up no other.
    pub(crate) fn per_target(calls: Bounds) -> Self {
        Self { calls, is_per_target: true, places: Mutex::default() }
    }

    fn places(&self, call: &Call<'_>) -> Arc<Window> {
        let target = if self.is_per_target { call.target.0 } else { "" };
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        match places.get(target) {
            Some(places) => Arc::clone(places),
            None => Arc::clone(places.entry(target.to_owned()).or_insert_with(|| Window::new(self.calls))),
        }
    }
}

impl Layer for Limited {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let places = self.places(call);
        let place = places.enter().await;
        let reply = attempt().await;
        if reply.as_ref().is_err_and(Error::is_retriable) {
            // A refusal tells nothing about the work. A call that ran out of time does: storage goes on with it, in vain, and
            // more calls at once would only make more of them run out of time.
            if self.is_per_target { place.abstain_unless_late() } else { place.abstain() }
        }
        reply
    }
}
