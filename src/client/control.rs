//! Messages to instances: events, terminate, suspend, resume; and the poison list.

use std::time::Duration;

use serde::Serialize;

use super::Client;
use super::start::check_id;
use crate::authoring::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::hub::PoisonMessage;
use crate::model::{EventKind, HistoryEvent, InstanceRef, Message, Sender};

impl Client {
    /// Raises an event to an instance. It waits in the instance until somebody awaits it; an instance that does not exist or
    /// has ended never sees it.
    ///
    /// # Errors
    /// `Invalid` if the payload cannot be written as JSON, or the id is none that an instance can have (see
    /// [`Start::instance_id`](super::Start::instance_id)); `Storage` if storage fails.
    pub async fn raise<T: Serialize>(&self, instance_id: &str, event: Event<T>, payload: &T) -> Result<()> {
        self.put(self.event(instance_id, event, payload)?).await
    }

    /// An event as a message. Whoever does not know whether it was sent may send it again as it is: it is received once.
    pub(crate) fn event<T: Serialize>(&self, instance_id: &str, event: Event<T>, payload: &T) -> Result<Message> {
        let name = event.name().to_owned();
        let json = serde_json::to_string(payload).map_err(|e| {
            Error::new(ErrorKind::Invalid, format!("the payload of event \"{name}\" cannot be written as JSON: {e}"))
        })?;
        self.message(instance_id, EventKind::EventRaised { name, input: Some(json).filter(|j| j != "null"), trace: None })
    }

    /// Raises an event whose payload is JSON text already; `None` is null.
    ///
    /// # Errors
    /// `Invalid` if the id is none that an instance can have; `Storage` if storage fails.
    pub async fn raise_json(&self, instance_id: &str, name: &str, payload: Option<String>) -> Result<()> {
        self.send(instance_id, EventKind::EventRaised { name: name.to_owned(), input: payload, trace: None }).await
    }

    /// Ends an instance. Its activities finish, its sub-orchestrations go on; one that is pending never starts.
    ///
    /// # Errors
    /// `Invalid` if the id is none that an instance can have; `Storage` if storage fails.
    pub async fn terminate(&self, instance_id: &str, reason: &str) -> Result<()> {
        self.send(instance_id, EventKind::ExecutionTerminated { reason: Some(reason.to_owned()) }).await
    }

    /// Pauses an instance: what arrives is kept until it is resumed.
    ///
    /// # Errors
    /// `Invalid` if the id is none that an instance can have; `Storage` if storage fails.
    pub async fn suspend(&self, instance_id: &str, reason: &str) -> Result<()> {
        self.send(instance_id, EventKind::ExecutionSuspended { reason: Some(reason.to_owned()) }).await
    }

    /// Lets a suspended instance go on.
    ///
    /// # Errors
    /// `Invalid` if the id is none that an instance can have; `Storage` if storage fails.
    pub async fn resume(&self, instance_id: &str, reason: &str) -> Result<()> {
        self.send(instance_id, EventKind::ExecutionResumed { reason: Some(reason.to_owned()) }).await
    }

    async fn send(&self, instance_id: &str, kind: EventKind) -> Result<()> {
        self.put(self.message(instance_id, kind)?).await
    }

    fn message(&self, instance_id: &str, kind: EventKind) -> Result<Message> {
        check_id(instance_id)?;
        Ok(Message {
            activity_id: self.hub.rng.uuid(),
            event: HistoryEvent::arriving(self.hub.now(), kind),
            target: InstanceRef::current(instance_id),
            context_tags: None,
            sequence_number: 0,
            episode: None,
            sender: Sender::client(),
            decision_id: None,
        })
    }

    /// Puts a message into the queue of its instance.
    pub(crate) async fn put(&self, message: Message) -> Result<()> {
        let queue = self.hub.control_queue_of(&message.target.instance_id);
        self.hub.send(queue, message, Duration::ZERO).await?;
        Ok(())
    }

    /// The messages that workers have parked because they cannot be read or keep failing, and the reasons. An instance whose
    /// message is parked is shown as Failed until it ends by itself; its history stays as it is, and it goes on with what else
    /// arrives.
    ///
    /// # Errors
    /// `Storage` if storage fails.
    pub async fn poison(&self) -> Result<Vec<PoisonMessage>> {
        self.hub.list_poison().await
    }

    /// Puts a parked message back into its queue, to be called when its cause is repaired. An instance that is shown as Failed
    /// because of it is shown again as it is, unless another message of it is parked.
    ///
    /// # Errors
    /// `NotFound` if no message with this id is parked; `Storage` if storage fails.
    pub async fn retry_poison(&self, id: &str) -> Result<()> {
        self.hub.retry_poison(id).await
    }

    /// Drops a parked message for good. If it is an event, a termination, a suspension or a resumption, its instance is shown
    /// again as it is. An instance that waits for just this message, such as the result of an activity, stays Failed.
    ///
    /// # Errors
    /// `NotFound` if no message with this id is parked; `Storage` if storage fails.
    pub async fn drop_poison(&self, id: &str) -> Result<()> {
        self.hub.drop_poison(id).await
    }
}
