//! Faults of the queue crate.

use std::time::Duration;

use azure_core::Method;

use super::assert_failed;
use crate::storage::Storage;
use crate::storage::azure::account::Call;
use crate::storage::azure::config::account;
use crate::storage::azure::exchange::TimeLimits;
use crate::storage::azure::xml;
use crate::storage::error::{Error, ErrorKind, Result};

const SECOND: Duration = Duration::from_secs(1);

/// Texts come back to the last space, whatever XML makes of them; the largest one passes and a larger one does not.
///
/// # Errors
/// Of a call that should have worked.
pub async fn texts_come_back_exactly(storage: &Storage, queue: &str) -> Result<()> {
    let queues = &storage.queues;
    queues.create_queue(queue).await?;
    queues.create_queue(queue).await?;
    let largest = "x".repeat(64 * 1024);
    // Of three bytes each: characters lie across every border of the chunks in which a body arrives.
    let long = format!("a{}", "漢字仮名".repeat(5 * 1024));
    let texts = [
        " lead and trail ",
        "a\r\nb\tc\n",
        "<a>&amp;]]></a>\"'",
        "Grüße 🚀 \u{85}\u{2028}",
        "{\"a\":\"b\"}",
        "=",
        &largest,
        &long,
    ];
    for text in texts {
        let put = queues.put(queue, text, Duration::ZERO).await?;
        assert_eq!((put.text.as_str(), put.dequeue_count), ("", 0));
        let peeked = queues.peek(queue, 1).await?;
        assert_eq!((peeked[0].text.as_str(), peeked[0].pop_receipt.as_str(), peeked[0].dequeue_count), (text, "", 0));
        let received = queues.receive(queue, 32, SECOND * 30).await?.remove(0);
        assert_eq!((received.id.as_str(), received.text.as_str(), received.dequeue_count), (put.id.as_str(), text, 1));
        assert_eq!(received.inserted_on, put.inserted_on);
        assert!(received.next_visible_on.since(received.inserted_on) >= SECOND * 29);
        queues.delete(queue, &received.id, &received.pop_receipt).await?;
    }
    assert_failed(queues.put(queue, &format!("{largest}x"), Duration::ZERO).await, ErrorKind::Invalid, "RequestBodyTooLarge");
    assert_failed(queues.put(queue, "a\u{1}b", Duration::ZERO).await, ErrorKind::Invalid, "InvalidXmlDocument");
    assert_failed(queues.put(queue, "a", SECOND * 604_801).await, ErrorKind::Invalid, "OutOfRangeQueryParameterValue");
    for (max, visibility) in [(0, SECOND), (33, SECOND), (1, Duration::ZERO)] {
        let received = queues.receive(queue, max, visibility).await;
        assert_failed(received, ErrorKind::Invalid, "OutOfRangeQueryParameterValue");
    }
    queues.delete_queue(queue).await?;
    assert_failed(queues.delete_queue(queue).await, ErrorKind::NotFound, "QueueNotFound");
    assert_failed(queues.put(queue, "a", Duration::ZERO).await, ErrorKind::NotFound, "QueueNotFound");
    Ok(())
}

/// Hiding a message again keeps its text; a receipt ends when it is used or the message is received again.
///
/// # Errors
/// Of a call that should have worked.
pub async fn a_renewal_keeps_the_text(storage: &Storage, queue: &str) -> Result<()> {
    let queues = &storage.queues;
    queues.create_queue(queue).await?;
    queues.put(queue, " kept ", Duration::ZERO).await?;
    queues.put(queue, "late", SECOND * 3600).await?;
    assert_eq!(queues.count(queue).await?, 2);
    let first = queues.receive(queue, 32, SECOND * 30).await?.remove(0);
    assert!(queues.receive(queue, 32, SECOND).await?.is_empty());
    let renewed = queues.update(queue, &first.id, &first.pop_receipt, Duration::ZERO, None).await?;
    let stale = queues.update(queue, &first.id, &first.pop_receipt, SECOND, None).await;
    assert_failed(stale, ErrorKind::PopReceipt, "PopReceiptMismatch");
    let second = queues.receive(queue, 32, SECOND * 30).await?.remove(0);
    assert_eq!((second.text.as_str(), second.dequeue_count), (" kept ", 2));
    assert_failed(queues.delete(queue, &first.id, &renewed).await, ErrorKind::PopReceipt, "PopReceiptMismatch");
    let changed = queues.update(queue, &second.id, &second.pop_receipt, Duration::ZERO, Some(" new & ")).await?;
    assert_eq!(queues.peek(queue, 32).await?[0].text, " new & ");
    queues.delete(queue, &second.id, &changed).await?;
    assert_failed(queues.delete(queue, &second.id, &changed).await, ErrorKind::NotFound, "MessageNotFound");
    let gone = queues.update(queue, &second.id, &changed, SECOND, None).await;
    assert_failed(gone, ErrorKind::NotFound, "MessageNotFound");
    assert_eq!(queues.count(queue).await?, 1);
    Ok(())
}

/// A message is put to live for ever: the service shows the year 9999.
///
/// # Errors
/// Of a call that should have worked.
pub async fn a_message_never_expires(connection_string: &str, queue: &str) -> Result<()> {
    let storage = Storage::connect(connection_string)?;
    storage.queues.create_queue(queue).await?;
    storage.queues.put(queue, "text", Duration::ZERO).await?;
    let service = account(connection_string)?.queue_service(TimeLimits::default())?;
    let mut url = service.url(&[queue, "messages"]);
    url.query_pairs_mut().append_pair("peekonly", "true");
    let answer = service.call(Call::new("queue.peek", queue, Method::Get, url)).await?;
    let root = xml::parse(&answer.body).ok_or_else(|| Error::new(ErrorKind::Invalid, "queue.peek", queue))?;
    let expiry = root.child("QueueMessage").and_then(|message| message.text_of("ExpirationTime"));
    assert_eq!(expiry, Some("Fri, 31 Dec 9999 23:59:59 GMT"));
    Ok(())
}
