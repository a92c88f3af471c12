//! Those who read a queue in this process: what is sent to it is hidden there as if they had received it, and goes to them without a receive.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::hold::Hold;
use super::received::Held;
use crate::model::Message;
use crate::window::Place;

/// Somebody who reads a queue in this process.
pub(crate) trait Reader: Debug + Send + Sync {
    /// A place for a message that would be worked on here at once. `None` leaves it to whoever receives it, so that what there is no room for here
    /// waits for nobody.
    fn place_for(&self, message: &Message) -> Option<Place>;

    /// A seat for a timer that is to fire here from memory when it is due.
    fn seat_for(&self, message: &Message) -> Option<OwnedSemaphorePermit>;

    /// For how long messages are hidden unless they are renewed.
    fn hold(&self) -> Duration;

    /// Keeps a message from now on.
    fn keep(&self, hold: Hold) -> Option<Arc<Hold>>;

    /// Takes a message as if it had been received.
    fn take_in(self: Arc<Self>, held: Held, place: Place);

    /// Takes a timer as if it had been received when it is due. One that cannot be worked on then is left to the end of its visibility timeout.
    fn take_in_when_due(self: Arc<Self>, held: Held, seat: OwnedSemaphorePermit);
}

/// The readers of one queue.
#[derive(Debug, Default)]
pub(crate) struct Readers(Mutex<Vec<Arc<dyn Reader>>>);

/// Reads until it is dropped.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    readers: &'a Readers,
    reader: Arc<dyn Reader>,
}

impl Readers {
    /// From now on messages may go to this reader.
    pub(crate) fn add(&self, reader: Arc<dyn Reader>) -> Reading<'_> {
        self.lock().push(Arc::clone(&reader));
        Reading { readers: self, reader }
    }

    /// Whether there is any.
    pub(crate) fn is_any(&self) -> bool {
        !self.lock().is_empty()
    }

    /// The first who has a place for this message.
    pub(crate) fn place_for(&self, message: &Message) -> Option<(Arc<dyn Reader>, Place)> {
        self.first(|reader| reader.place_for(message))
    }

    /// The first who has a seat for this timer.
    pub(crate) fn seat_for(&self, message: &Message) -> Option<(Arc<dyn Reader>, OwnedSemaphorePermit)> {
        self.first(|reader| reader.seat_for(message))
    }

    fn first<T>(&self, has: impl Fn(&dyn Reader) -> Option<T>) -> Option<(Arc<dyn Reader>, T)> {
        self.lock().iter().find_map(|reader| Some((Arc::clone(reader), has(&**reader)?)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<dyn Reader>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.readers.lock().retain(|reader| !Arc::ptr_eq(reader, &self.reader));
    }
}
