//! Calls of activities that wait in their queue: nobody has taken them yet.

use super::codec;
use super::queues::{QueueId, Queues};
use crate::error::Result;
use crate::model::{Incoming, Message};
use crate::storage::queue::RECEIVE_MAX;

impl Queues {
    /// The calls of this instance among the first messages that are visible, as many as a peek shows. What cannot be read is left out.
    pub(crate) async fn visible_calls(&self, instance_id: &str) -> Result<Vec<Message>> {
        let mut calls = Vec::new();
        for visible in self.store.peek(self.name(QueueId::WorkItems), RECEIVE_MAX).await? {
            let message = match codec::decode(&visible.text) {
                Ok(Incoming::Message(message)) => Some(*message),
                Ok(Incoming::InBlob(blob)) => self.body_of(&blob).await?,
                Err(_) => None,
            };
            calls.extend(message.filter(|message| message.target.instance_id == instance_id));
        }
        Ok(calls)
    }

    async fn body_of(&self, blob: &str) -> Result<Option<Message>> {
        match self.payloads.get(blob).await {
            Ok(body) => Ok(Message::from_json(&body).ok()),
            Err(error) if error.is_lasting() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
