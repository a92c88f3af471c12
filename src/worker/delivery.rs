//! A message that this worker holds, from its receipt until it is finished, tried again, given back or parked.

use std::borrow::Cow;
use std::future::Future;
use std::ops::Deref;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use super::memory::Room;
use crate::error::Error;
use crate::hub::{Held, Hold, Hub, InBlob, Received, Unreadable};
use crate::window::Place;

/// A message that this worker holds, and what it takes up here: a place, and memory if its body is large.
///
/// `T` says how far the message has been read. Whoever has a delivery ends it by exactly one of [`done`](Self::done),
/// [`Partition::retry`](super::partition::Partition::retry), [`release`](Self::release) and [`park`](Self::park), all of which take it by
/// value. One that is merely dropped, as in a crash, stays hidden in its queue until its visibility timeout expires.
#[derive(Debug)]
#[must_use = "a delivery that is dropped stays hidden until its visibility timeout expires"]
pub(crate) struct Delivery<T = Held> {
    content: T,
    place: Place,
    /// Memory for the body, given back with the delivery.
    room: Option<Room>,
}

/// What is to become of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// It has taken effect, or never can: delete the message and its body.
    Done,
    /// Look at it again in this process: a commit may have made it timely.
    Retry,
    /// Give it back to its queue, visible after this time.
    Later(Duration),
    /// It keeps failing for this reason: move it to the parked messages.
    Park(String),
}

impl Disposition {
    /// How long the message is away, if it goes back to its queue.
    pub(crate) fn delay(&self) -> Option<Duration> {
        if let Self::Later(delay) = self { Some(*delay) } else { None }
    }
}

/// What a delivery that has been deleted took up.
#[derive(Debug)]
pub(crate) struct Spent {
    _place: Place,
    _room: Option<Room>,
}

/// A delivery that could not be ended, and is therefore still held.
#[derive(Debug)]
pub(crate) struct Undone {
    pub(crate) delivery: Delivery,
    /// What storage answered; nothing if the caller did not wait for the answer.
    pub(crate) error: Option<Error>,
}

/// A delivery that has just been received, by how far its message has been read.
#[derive(Debug)]
pub(crate) enum Incoming {
    Read(Delivery),
    InBlob(Delivery<InBlob>),
    Unreadable(Delivery<Unreadable>),
}

/// A message that is held, however far it has been read.
pub(crate) trait Holding {
    fn hold(&self) -> &Arc<Hold>;
    /// The instance that the message is for; empty if that is not known.
    fn instance_id(&self) -> Cow<'_, str>;
    /// An answer that was never sent, or what else is held.
    fn into_answer(self) -> Result<Held, Arc<Hold>>;
}

impl<T> Delivery<T> {
    pub(crate) fn new(content: T, place: Place) -> Self {
        Self { content, place, room: None }
    }

    /// The same delivery, read further.
    pub(crate) fn map<U>(self, read: impl FnOnce(T) -> U) -> Delivery<U> {
        let Self { content, place, room } = self;
        Delivery { content: read(content), place, room }
    }

    /// The same delivery, whose body takes up this memory.
    pub(crate) fn in_room(self, room: Option<Room>) -> Self {
        Self { room, ..self }
    }

    /// The message alone: what it took up here is free.
    pub(crate) fn into_content(self) -> T {
        self.content
    }

    /// The place that the delivery takes up.
    pub(crate) fn place(&mut self) -> &mut Place {
        &mut self.place
    }
}

impl<T: Holding> Delivery<T> {
    /// Gives the message back to its queue, visible after `delay`. What it takes up here is free at once, before anything is
    /// awaited. If storage does not take it, it becomes visible by itself when its visibility timeout expires.
    pub(crate) fn release(self, shared: &Shared, delay: Duration) -> impl Future<Output = ()> + Send {
        let content = self.into_content().into_answer();
        async move {
            let (hold, released) = match content {
                Ok(answer) => (Arc::clone(answer.hold()), shared.hub.queues.send_answer(&answer, delay).await),
                Err(hold) => (Arc::clone(&hold), shared.hub.queues.give_back(&hold, delay).await),
            };
            shared.tell_of_release(&hold, &released);
        }
    }

    /// The same for other workers, of a work item: the poller of this process is not told when it becomes visible.
    pub(crate) fn leave_to_others(self, shared: &Shared, delay: Duration) -> impl Future<Output = ()> + Send {
        let hold = Arc::clone(self.content.hold());
        drop(self);
        *shared.left_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + delay);
        async move {
            let released = shared.hub.queues.leave_to_others(&hold, delay).await;
            shared.tell_of_release(&hold, &released);
        }
    }
}

impl Shared {
    fn tell_of_release(&self, hold: &Hold, released: &crate::error::Result<()>) {
        const FAILED: &str = "a message could not be handed back";
        let (queue, message_id) = (self.hub.queues.name(hold.queue), &hold.id);
        if let Some((error, failures)) = self.outages.after(FAILED, || queue.to_owned(), released) {
            tracing::warn!(queue, message_id, failures, %error, "a message could not be handed back");
        }
    }
}

impl Delivery {
    /// Deletes the message and its body, unless `given_up` completes before storage has answered. What it took up here is free when
    /// the answer is dropped: who deletes many frees all at once, so that the next receive brings many.
    pub(crate) async fn done(self, hub: &Hub, given_up: impl Future<Output = ()>) -> Result<Spent, Box<Undone>> {
        let deleted = tokio::select! {
            biased;
            () = given_up => None,
            deleted = hub.queues.delete(&self.content) => Some(deleted),
        };
        match deleted {
            Some(Ok(())) => Ok(Spent { _place: self.place, _room: self.room }),
            other => Err(Box::new(Undone { delivery: self, error: other.and_then(Result::err) })),
        }
    }

    /// Moves the message to the parked ones, for this reason.
    pub(crate) async fn park(self, hub: &Hub, reason: &str) -> Result<(), Box<Undone>> {
        let parked = hub.parked.park_held(&self.content, reason).await;
        parked.map_err(|error| Box::new(Undone { delivery: self, error: Some(error) }))
    }
}

impl Delivery<Received> {
    pub(crate) fn incoming(self) -> Incoming {
        let Self { content, place, room } = self;
        match content {
            Received::Held(content) => Incoming::Read(Delivery { content, place, room }),
            Received::InBlob(content) => Incoming::InBlob(Delivery { content, place, room }),
            Received::Unreadable(content) => Incoming::Unreadable(Delivery { content, place, room }),
        }
    }
}

impl<T> Deref for Delivery<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.content
    }
}

impl Holding for Held {
    fn hold(&self) -> &Arc<Hold> {
        Self::hold(self)
    }

    fn into_answer(self) -> Result<Held, Arc<Hold>> {
        if self.is_answer() { Ok(self) } else { Err(Arc::clone(Self::hold(&self))) }
    }

    fn instance_id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.message.target.instance_id)
    }
}

impl Holding for InBlob {
    fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }

    fn into_answer(self) -> Result<Held, Arc<Hold>> {
        Err(self.hold)
    }

    fn instance_id(&self) -> Cow<'_, str> {
        Cow::Owned(Self::instance_id(self))
    }
}

impl Holding for Unreadable {
    fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }

    fn into_answer(self) -> Result<Held, Arc<Hold>> {
        Err(self.hold)
    }

    fn instance_id(&self) -> Cow<'_, str> {
        Cow::Owned(self.of_instance().map(|(instance_id, _)| instance_id).unwrap_or_default())
    }
}

impl Holding for Received {
    fn hold(&self) -> &Arc<Hold> {
        Self::hold(self)
    }

    fn into_answer(self) -> Result<Held, Arc<Hold>> {
        match self {
            Self::Held(held) => held.into_answer(),
            Self::InBlob(message) => message.into_answer(),
            Self::Unreadable(unreadable) => unreadable.into_answer(),
        }
    }

    fn instance_id(&self) -> Cow<'_, str> {
        match self {
            Self::Held(held) => Holding::instance_id(held),
            Self::InBlob(message) => Holding::instance_id(message),
            Self::Unreadable(unreadable) => Holding::instance_id(unreadable),
        }
    }
}
