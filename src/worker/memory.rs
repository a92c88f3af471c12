//! Bodies of large messages: read from their blobs within a budget of bytes, which is charged before anything is read.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Result;
use crate::hub::{Body, Hub, InBlob};

/// Large bodies of one queue in memory, and what reading them takes. One that takes more than this takes it all.
const BUDGET_BYTES: usize = 128 * 1024 * 1024;
/// Sizes at which reading a body is tried: a larger one is not read, and tried again when there is room for the next size.
/// Only the blob itself tells how large its text is.
const SIZES: [usize; 3] = [1024 * 1024, 8 * 1024 * 1024, crate::limits::PAYLOAD_BYTES_MAX];

/// What reading takes, as a multiple of the text: the blob, its text, and the message.
const READING: usize = 3;

/// The memory for large bodies of one queue.
#[derive(Debug)]
pub(crate) struct Bodies(Arc<Semaphore>);

/// How large the next try may be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size(usize);

/// What a body takes up in memory.
#[derive(Debug)]
pub(crate) struct Room(OwnedSemaphorePermit);

impl Default for Bodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET_BYTES)))
    }
}

impl Bodies {
    /// Waits for room. Those who wait get it in their order, so a large body is not overtaken for ever.
    pub(crate) async fn room(&self, size: Size) -> Room {
        let bytes = u32::try_from((READING * size.bytes()).min(BUDGET_BYTES)).unwrap_or(u32::MAX);
        Room(Arc::clone(&self.0).acquire_many_owned(bytes).await.expect("the semaphore is never closed"))
    }
}

impl Size {
    fn bytes(self) -> usize {
        SIZES[self.0.min(SIZES.len() - 1)]
    }

    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Room {
    /// Reads a body into the room, and gives back what is left of it. `None` if the body is too large: it stays in its blob.
    pub(crate) async fn read(mut self, hub: &Hub, message: &InBlob, size: Size) -> Result<Option<(Body, Self)>> {
        let Some(body) = hub.queues.read_body(message, size.bytes()).await? else { return Ok(None) };
        drop(self.0.split(self.0.num_permits().saturating_sub(body.bytes)));
        Ok(Some((body, self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_body_that_is_larger_than_the_budget_takes_all_of_it_in_its_turn() {
        let bodies = Bodies::default();
        let (small, whole) = (Size::default(), Size(2));
        let first = bodies.room(small).await;
        let mut largest = Box::pin(bodies.room(whole));
        assert!((&mut largest).now_or_never().is_none());
        let mut later = Box::pin(bodies.room(small));
        assert!((&mut later).now_or_never().is_none(), "nothing overtakes it");
        drop(first);
        let largest = largest.await;
        assert!((&mut later).now_or_never().is_none());
        drop(largest);
        later.await;
    }
}
