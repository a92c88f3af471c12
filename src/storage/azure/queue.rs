//! The queue port: exact texts and endless lives by the pipeline, the rest by the queue crate.

use std::time::Duration;

use async_trait::async_trait;
use azure_core::Method;
use azure_core::headers::HeaderName;
use azure_storage_queues::{PopReceipt, QueueServiceClient, QueueServiceClientBuilder};
use bytes::Bytes;

use super::account::{Call, Service, refused, unreadable};
use super::failure::{Effect, describe};
use super::xml::{self, Element};
use crate::model::Timestamp;
use crate::storage::error::{Error, ErrorKind, Result};
use crate::storage::queue::{QueueMessage, QueueStore, RECEIVE_MAX, VISIBILITY_MAX};

/// Longest message text, in bytes of UTF-8.
const TEXT_BYTES_MAX: usize = 64 * 1024;
const OUT_OF_RANGE: &str = "OutOfRangeQueryParameterValue";
const TICKS_PER_SECOND: i64 = 10_000_000;

pub(super) struct AzureQueues {
    service: Service,
    client: QueueServiceClient,
}

impl AzureQueues {
    pub(super) fn new(service: Service) -> Self {
        let client = QueueServiceClientBuilder::with_location(service.location(), service.credentials.clone())
            .client_options(service.options.clone())
            .build();
        Self { service, client }
    }

    /// Messages of an answer: the crate's own reading of them trims their texts.
    async fn messages(&self, call: Call<'_>) -> Result<Vec<QueueMessage>> {
        let (about, method) = ((call.operation, call.target), call.method);
        let answer = self.service.call(call).await?;
        let root = xml::parse(&answer.body).ok_or_else(|| unreadable(about, method, "no XML"))?;
        let messages: Option<Vec<_>> = root.all("QueueMessage").map(message).collect();
        messages.ok_or_else(|| unreadable(about, method, "an incomplete message"))
    }
}

#[async_trait]
impl QueueStore for AzureQueues {
    async fn create_queue(&self, queue: &str) -> Result<()> {
        let created = self.client.queue_client(queue).create().into_future().await;
        match created.map(drop).map_err(failed("queue.create", queue)) {
            // There already, with other metadata.
            Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    async fn delete_queue(&self, queue: &str) -> Result<()> {
        let deleted = self.client.queue_client(queue).delete().into_future().await;
        deleted.map(drop).map_err(failed("queue.drop", queue))
    }

    async fn put(&self, queue: &str, text: &str, delay: Duration) -> Result<QueueMessage> {
        let about = ("queue.put", queue);
        let mut url = self.service.url(&[queue, "messages"]);
        // Without a life of -1 a message is lost after seven days; the crate cannot say it.
        let pairs = [("messagettl", "-1"), ("visibilitytimeout", &seconds(about, delay)?.to_string())];
        url.query_pairs_mut().extend_pairs(pairs);
        let call = Call { body: Some(body(about, text)?), ..Call::new(about.0, queue, Method::Post, url) };
        let mut messages = self.messages(call).await?;
        messages.pop().ok_or_else(|| unreadable(about, Method::Post, "no message"))
    }

    async fn receive(&self, queue: &str, max: usize, visibility: Duration) -> Result<Vec<QueueMessage>> {
        let mut url = self.service.url(&[queue, "messages"]);
        let about = ("queue.receive", queue);
        if visibility.is_zero() {
            return Err(refused(about.0, queue, OUT_OF_RANGE, "a received message is hidden for at least a second"));
        }
        let (count, visibility) = (count(about, max)?, seconds(about, visibility)?.to_string());
        url.query_pairs_mut().extend_pairs([("numofmessages", &count), ("visibilitytimeout", &visibility)]);
        self.messages(Call::new("queue.receive", queue, Method::Get, url)).await
    }

    async fn update(&self, queue: &str, id: &str, receipt: &str, visibility: Duration, text: Option<&str>) -> Result<String> {
        let target = format!("{queue}/{id}");
        let about = ("queue.update", target.as_str());
        let mut url = self.service.url(&[queue, "messages", id]);
        let visibility = seconds(about, visibility)?.to_string();
        url.query_pairs_mut().extend_pairs([("popreceipt", receipt), ("visibilitytimeout", &visibility)]);
        // Without a body the text stays; the crate always sends one, and an empty one empties the message.
        let body = text.map(|text| body(about, text)).transpose()?;
        let answer = self.service.call(Call { body, ..Call::new(about.0, &target, Method::Put, url) }).await?;
        let receipt = answer.headers.get_optional_string(&HeaderName::from_static("x-ms-popreceipt"));
        receipt.ok_or_else(|| unreadable(about, Method::Put, "no pop receipt"))
    }

    async fn delete(&self, queue: &str, id: &str, receipt: &str) -> Result<()> {
        let message = self.client.queue_client(queue).pop_receipt_client(PopReceipt::new(id, receipt));
        let deleted = message.delete().into_future().await;
        deleted.map(drop).map_err(failed("queue.delete", &format!("{queue}/{id}")))
    }

    async fn peek(&self, queue: &str, max: usize) -> Result<Vec<QueueMessage>> {
        let mut url = self.service.url(&[queue, "messages"]);
        let count = count(("queue.peek", queue), max)?;
        url.query_pairs_mut().extend_pairs([("peekonly", "true"), ("numofmessages", &count)]);
        self.messages(Call::new("queue.peek", queue, Method::Get, url)).await
    }

    async fn count(&self, queue: &str) -> Result<u64> {
        let metadata = self.client.queue_client(queue).get_metadata().into_future().await;
        let metadata = metadata.map_err(|error| describe(Effect::Reads, &error, "queue.count", queue))?;
        Ok(metadata.approximate_messages_count as u64)
    }
}

fn failed<'a>(operation: &'static str, target: &'a str) -> impl Fn(azure_core::Error) -> Error + 'a {
    move |error| describe(Effect::Writes, &error, operation, target)
}

/// Whole seconds, rounded up so that nothing surfaces early.
fn seconds((operation, target): (&'static str, &str), duration: Duration) -> Result<u64> {
    if duration > VISIBILITY_MAX {
        return Err(refused(operation, target, OUT_OF_RANGE, "a message can be hidden for at most seven days"));
    }
    Ok(duration.as_secs() + u64::from(duration.subsec_nanos() > 0))
}

fn count((operation, target): (&'static str, &str), max: usize) -> Result<String> {
    if !(1..=RECEIVE_MAX).contains(&max) {
        return Err(refused(operation, target, OUT_OF_RANGE, "between 1 and 32 messages are received at once"));
    }
    Ok(max.to_string())
}

fn body((operation, target): (&'static str, &str), text: &str) -> Result<Bytes> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("a text of {} bytes exceeds 64 KiB", text.len());
        return Err(refused(operation, target, "RequestBodyTooLarge", message));
    }
    let escaped = xml::escape(text)
        .ok_or_else(|| refused(operation, target, "InvalidXmlDocument", "the text holds a character that XML cannot carry"))?;
    Ok(Bytes::from(format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><QueueMessage><MessageText>{escaped}</MessageText></QueueMessage>"
    )))
}

fn message(element: &Element) -> Option<QueueMessage> {
    let time = |name| {
        let time = azure_core::date::parse_rfc1123(element.text_of(name)?).ok()?;
        Some(Timestamp::UNIX_EPOCH.plus_ticks(time.unix_timestamp().saturating_mul(TICKS_PER_SECOND)))
    };
    let text = |name| element.text_of(name).unwrap_or_default().to_owned();
    let inserted_on = time("InsertionTime")?;
    Some(QueueMessage {
        id: element.text_of("MessageId")?.to_owned(),
        pop_receipt: text("PopReceipt"),
        text: text("MessageText"),
        dequeue_count: text("DequeueCount").parse().unwrap_or(0),
        inserted_on,
        // A peeked message is visible, and the service does not say since when.
        next_visible_on: time("TimeNextVisible").unwrap_or(inserted_on),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        let check = |millis, expected| assert_eq!(seconds(("queue.put", "q"), Duration::from_millis(millis)).unwrap(), expected);
        check(0, 0);
        check(1, 1);
        check(1000, 1);
        check(1001, 2);
        check(604_800_000, 604_800);
        assert!(seconds(("queue.put", "q"), Duration::from_millis(604_800_001)).is_err());
    }

    #[test]
    fn a_text_that_cannot_be_carried_is_refused() {
        assert!(body(("queue.put", "q"), &"x".repeat(TEXT_BYTES_MAX)).is_ok());
        assert!(body(("queue.put", "q"), &"x".repeat(TEXT_BYTES_MAX + 1)).is_err());
        assert!(body(("queue.put", "q"), "a\u{0}").is_err());
    }
}
