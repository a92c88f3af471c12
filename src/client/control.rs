//! Messages to instances: events, terminate, suspend, resume; and the poison list.

use std::time::Duration;

use serde::Serialize;

use super::Client;
use crate::authoring::Event;
use crate::bounds;
use crate::error::{Error, ErrorKind, Result};
use crate::hub::PoisonMessage;
use crate::ids;
use crate::model::{EventKind, HistoryEvent, InstanceRef, Message};

impl Client {
    /// An event as a message. Whoever does not know whether it was sent may send it again as it is: it is received once.
    pub(crate) fn event<T: Serialize>(&self, instance_id: &str, event: Event<T>, payload: &T) -> Result<Message> {
        self.event_named(instance_id, event.name(), payload)
    }

    pub(super) fn event_named(&self, instance_id: &str, name: &str, payload: &impl Serialize) -> Result<Message> {
        let json = serde_json::to_string(payload).map_err(|e| {
            let message = format!("the payload of event \"{}\" cannot be written as JSON: {e}", ids::shortened(name));
            Error::new(ErrorKind::Invalid, message)
        })?;
        let (name, input) = (name.to_owned(), Some(json).filter(|json| json != "null"));
        self.message(instance_id, EventKind::EventRaised { name, input, trace: None })
    }

    #[cfg(test)]
    pub(crate) async fn raise<T: Serialize>(&self, id: &(impl AsRef<str> + ?Sized), event: Event<T>, payload: &T) -> Result<()> {
        self.instance(id.as_ref()).raise(event, payload).await
    }

    #[cfg(test)]
    pub(crate) async fn raise_json(&self, id: &(impl AsRef<str> + ?Sized), name: &str, input: Option<String>) -> Result<()> {
        let kind = EventKind::EventRaised { name: name.to_owned(), input, trace: None };
        self.send(self.message(id.as_ref(), kind)?).await
    }

    #[cfg(test)]
    pub(crate) async fn terminate(&self, id: &(impl AsRef<str> + ?Sized), reason: &str) -> Result<()> {
        let kind = EventKind::ExecutionTerminated { reason: Some(reason.to_owned()) };
        self.send(self.message(id.as_ref(), kind)?).await
    }

    pub(crate) async fn suspend(&self, id: &(impl AsRef<str> + ?Sized), reason: &str) -> Result<()> {
        let kind = EventKind::ExecutionSuspended { reason: Some(reason.to_owned()) };
        self.send(self.message(id.as_ref(), kind)?).await
    }

    pub(crate) async fn resume(&self, id: &(impl AsRef<str> + ?Sized), reason: &str) -> Result<()> {
        let kind = EventKind::ExecutionResumed { reason: Some(reason.to_owned()) };
        self.send(self.message(id.as_ref(), kind)?).await
    }

    /// Sends what an event says to an instance.
    #[cfg(feature = "http")]
    pub(crate) async fn tell(&self, instance_id: &str, kind: EventKind) -> Result<()> {
        self.send(self.message(instance_id, kind)?).await
    }

    /// Sends a message to an instance that is there to take it.
    pub(super) async fn send(&self, mut message: Message) -> Result<()> {
        let why = match &message.event.kind {
            EventKind::EventRaised { name, input, .. } => bounds::why_empty("the name of the event", name).or_else(|| {
                let texts = [name.as_str(), input.as_deref().unwrap_or_default()];
                bounds::why_too_large(&format!("the payload of event \"{}\"", ids::shortened(name)), texts)
            }),
            EventKind::ExecutionTerminated { reason }
            | EventKind::ExecutionSuspended { reason }
            | EventKind::ExecutionResumed { reason } => bounds::why_too_large("the reason", reason.as_deref()),
            _ => None,
        };
        if let Some(why) = why {
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        if self.looks {
            self.expect_open(&message.target.instance_id).await?;
        }
        let sending = self.begin_to_raise(&mut message);
        self.put(message).await?;
        self.has_sent(sending);
        Ok(())
    }

    /// One that is shown as failed because a message of it is parked has not ended.
    async fn expect_open(&self, instance_id: &str) -> Result<()> {
        match self.hub.instances.own_status(instance_id).await? {
            None => Err(self.no_instance(instance_id)),
            Some(status) if status.is_terminal() => {
                let message = format!("instance \"{instance_id}\" is {status} already; nothing was sent");
                Err(Error::new(ErrorKind::Ended, message))
            }
            Some(_) => Ok(()),
        }
    }

    pub(super) fn message(&self, instance_id: &str, kind: EventKind) -> Result<Message> {
        ids::check_key(instance_id)?;
        ids::check_orchestration(instance_id)?;
        Ok(Message::from_client(
            self.hub.rng.uuid(),
            HistoryEvent::arriving(self.hub.now(), kind),
            InstanceRef::current(instance_id),
        ))
    }

    /// Puts a message into the queue of its instance.
    pub(crate) async fn put(&self, message: Message) -> Result<()> {
        let queue = self.hub.queues.of_instance(&message.target.instance_id);
        self.hub.queues.send(queue, message, Duration::ZERO).await?;
        Ok(())
    }

    /// The messages that workers have parked because they cannot be read or keep failing, and the reasons. An instance whose
    /// message is parked is shown as Failed until it ends by itself; its history stays as it is, and it goes on with what else
    /// arrives.
    ///
    /// # Errors
    /// `Storage` if storage fails.
    pub async fn poison(&self) -> Result<Vec<PoisonMessage>> {
        self.hub.parked.list().await
    }

    /// Puts a parked message back into its queue, to be called when its cause is repaired. An instance that is shown as Failed
    /// because of it is shown again as it is, unless another message of it is parked.
    ///
    /// # Errors
    /// `NotFound` if no message with this id is parked; `Storage` if storage fails.
    pub async fn retry_poison(&self, id: &str) -> Result<()> {
        self.hub.parked.retry(id).await
    }

    /// Drops a parked message for good. If it is an event, a termination, a suspension or a resumption, its instance is shown
    /// again as it is. An instance that waits for just this message, such as the result of an activity, stays Failed.
    ///
    /// # Errors
    /// `NotFound` if no message with this id is parked; `Storage` if storage fails.
    pub async fn drop_poison(&self, id: &str) -> Result<()> {
        self.hub.parked.drop(id).await
    }
}
