//! The queue port: messages, visibility and pop receipts of Azure Queue storage.

use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use crate::model::Timestamp;

/// Most messages in one receive or peek.
pub(crate) const RECEIVE_MAX: usize = 32;
/// Longest visibility delay that the service takes.
pub(crate) const VISIBILITY_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A message put or received: whoever holds its pop receipt may renew, update or delete it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QueueMessage {
    pub(crate) id: String,
    pub(crate) pop_receipt: String,
    /// Exactly the text that was put. Empty in the answer to a put.
    pub(crate) text: String,
    /// How often it has been received, this time included; zero in the answer to a put.
    pub(crate) dequeue_count: u32,
    /// Resolution one second.
    pub(crate) inserted_on: Timestamp,
    pub(crate) next_visible_on: Timestamp,
}

/// A queue service. Implementations do not retry; the retry layer does.
///
/// Visibility is in whole seconds: implementations round **up**, so that nothing surfaces early.
#[async_trait]
pub(crate) trait QueueStore: Send + Sync {
    /// Creates a queue; creating one that exists is not an error.
    async fn create_queue(&self, queue: &str) -> Result<()>;
    /// Deletes a queue with its messages; `NotFound` if it is not there.
    async fn delete_queue(&self, queue: &str) -> Result<()>;
    /// Puts a message that never expires, invisible for `delay` (at most [`VISIBILITY_MAX`]).
    async fn put(&self, queue: &str, text: &str, delay: Duration) -> Result<QueueMessage>;
    /// Receives up to `max` (at most [`RECEIVE_MAX`]) visible messages and hides them for `visibility` (at least a second).
    async fn receive(&self, queue: &str, max: usize, visibility: Duration) -> Result<Vec<QueueMessage>>;
    /// Hides the message for `visibility` from now (zero: visible at once). The text stays, unless a new one is given.
    /// The new pop receipt; `PopReceipt` or `NotFound` if the message is no longer ours.
    async fn update(&self, queue: &str, id: &str, receipt: &str, visibility: Duration, text: Option<&str>) -> Result<String>;
    /// Deletes the message; `PopReceipt` or `NotFound` if it is no longer ours.
    async fn delete(&self, queue: &str, id: &str, receipt: &str) -> Result<()>;
    /// Up to `max` (at most [`RECEIVE_MAX`]) visible messages, without touching them; their pop receipts are empty.
    async fn peek(&self, queue: &str, max: usize) -> Result<Vec<QueueMessage>>;
    /// About how many messages there are, hidden ones included.
    async fn count(&self, queue: &str) -> Result<u64>;
}
