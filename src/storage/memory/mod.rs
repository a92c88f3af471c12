//! A storage account in memory, as strict as Azure: for embedding, tests and simulation.

mod blob;
#[cfg(test)]
pub(crate) mod dump;
mod filter;
mod names;
mod queue;
mod rules;
mod table;

use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Storage;
use super::error::{Error, ErrorKind};
use crate::clock::Clock;
use crate::rng::Rng;

/// The account itself. [`Memory::storage`] gives the ports; what is here besides them is for tests: looking at
/// everything, writing rows without conditions, and making pages short.
#[derive(Clone)]
pub(crate) struct Memory {
    tables: Arc<table::MemoryTables>,
    queues: Arc<queue::MemoryQueues>,
    blobs: Arc<blob::MemoryBlobs>,
}

impl Memory {
    pub(crate) fn new(clock: Clock, rng: Rng) -> Self {
        Self {
            tables: Arc::new(table::MemoryTables::new(clock.clone())),
            queues: Arc::new(queue::MemoryQueues::new(clock.clone(), rng)),
            blobs: Arc::new(blob::MemoryBlobs::new(clock)),
        }
    }

    /// The three ports. All clones speak to the same account.
    pub(crate) fn storage(&self) -> Storage {
        Storage { tables: self.tables.clone(), queues: self.queues.clone(), blobs: self.blobs.clone(), in_process: true }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Storage {
    /// An empty account in memory, gone when the last clone is dropped.
    ///
    /// ```
    /// let storage = taskhub::Storage::in_memory();
    /// let same_account = storage.clone();
    /// # drop(same_account);
    /// ```
    #[must_use]
    pub fn in_memory() -> Self {
        Self::memory(Clock::system(), Rng::system())
    }

    /// An empty account in memory whose times and ids come from `clock` and `rng`, so that a run can repeat.
    #[must_use]
    pub(crate) fn memory(clock: Clock, rng: Rng) -> Self {
        Memory::new(clock, rng).storage()
    }
}

/// A panic while the lock was held cannot leave a write half done: all checks come before the first change.
fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives other tasks a turn now and then: without it a loop over a store that never waits starves its runtime.
async fn fair() {
    tokio::task::coop::consume_budget().await;
}

/// Whether a text has a character that is so. Most texts are ASCII, where each byte is one, and are looked through without a branch.
fn has_char(text: &str, is_so: impl Fn(char) -> bool) -> bool {
    if text.is_ascii() { text.bytes().fold(false, |any, byte| any | is_so(char::from(byte))) } else { text.chars().any(is_so) }
}

/// What the service answers: the kind, the HTTP status and the storage code.
#[derive(Clone, Copy, Debug)]
struct Refusal(ErrorKind, u16, &'static str);

impl Refusal {
    fn of(self, operation: &'static str, target: impl Into<String>) -> Error {
        Error::new(self.0, operation, target).with_status(self.1, self.2)
    }
}

#[cfg(test)]
mod tests;
