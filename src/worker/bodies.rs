//! Received messages on their way to whoever works on them: kept from the first moment, read at once and within a budget of
//! memory, so that neither a slow nor a large nor a damaged one holds up the others.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Shared;
use crate::hub::{Held, Hold, Hub};

/// Large bodies of one queue in memory altogether, beside those that are just being read. A larger one takes it all.
const BUDGET_BYTES: usize = 128 * 1024 * 1024;
/// What the budget is counted in.
const UNIT_BYTES: usize = 64 * 1024;
/// Bodies of one queue that are read from blobs at once.
const READERS: usize = 8;
/// How long a receive waits for bodies, so that messages stay in their order; those that take longer follow when they are there.
const PATIENCE: Duration = Duration::from_secs(2);

/// The memory for large bodies of one queue.
#[derive(Debug)]
pub(crate) struct Bodies {
    readers: Semaphore,
    room: Arc<Semaphore>,
}

/// A message that was read, with what it takes; both are given back when it leaves memory.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) held: Arc<Held>,
    pub(crate) _place: OwnedSemaphorePermit,
    pub(crate) _room: Option<OwnedSemaphorePermit>,
}

impl Default for Bodies {
    fn default() -> Self {
        Self { readers: Semaphore::new(READERS), room: Arc::new(Semaphore::new(BUDGET_BYTES / UNIT_BYTES)) }
    }
}

impl Bodies {
    /// Room for a body that has been read. The reader keeps its place meanwhile, so that no more than a few wait in memory.
    async fn room_for(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = bytes.div_ceil(UNIT_BYTES).min(BUDGET_BYTES / UNIT_BYTES);
        Arc::clone(&self.room).acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX)).await.ok()
    }
}

impl Shared {
    /// Keeps and reads what was received, and delivers it: in the order of its senders, as far as it is there in time.
    pub(crate) async fn take_in(
        self: &Arc<Self>,
        received: Vec<(Hold, String)>,
        mut places: OwnedSemaphorePermit,
        bodies: &Arc<Bodies>,
        deliver: impl Fn(Arrived) + Send + Sync + 'static,
    ) {
        let mut reading = FuturesUnordered::new();
        for (hold, text) in received {
            let Some(place) = places.split(1) else { break };
            match self.keeper.keep(hold) {
                Some(hold) => reading.push(Arc::clone(self).read(Arc::clone(bodies), hold, text, place).boxed()),
                None => tracing::debug!("a message came again while work on it goes on"),
            }
        }
        drop(places);
        let (mut read, patience) = (Vec::new(), tokio::time::sleep(PATIENCE));
        tokio::pin!(patience);
        loop {
            tokio::select! {
                biased;
                next = reading.next() => match next {
                    Some(arrived) => read.extend(arrived),
                    None => break,
                },
                () = &mut patience => break,
            }
        }
        read.sort_by_key(|arrived: &Arrived| (arrived.held.inserted_on, arrived.held.message.sequence_number));
        read.into_iter().for_each(&deliver);
        if !reading.is_empty() {
            self.tasks.spawn(async move {
                while let Some(arrived) = reading.next().await {
                    arrived.into_iter().for_each(&deliver);
                }
            });
        }
    }

    /// Reads one message; one that cannot be read is settled here.
    async fn read(
        self: Arc<Self>,
        bodies: Arc<Bodies>,
        hold: Arc<Hold>,
        text: String,
        place: OwnedSemaphorePermit,
    ) -> Option<Arrived> {
        let reader = if Hub::is_in_blob(&text) { bodies.readers.acquire().await.ok() } else { None };
        match self.hub.read(hold, text).await {
            Ok(held) => {
                let room = if reader.is_some() { bodies.room_for(held.bytes).await } else { None };
                Some(Arrived { held: Arc::new(held), _place: place, _room: room })
            }
            Err(unreadable) => {
                drop(reader);
                self.unreadable(&unreadable).await;
                None
            }
        }
    }
}
