//! Rules of queues.

use std::time::Duration;

use super::refused;
use crate::storage::Storage;
use crate::storage::error::ErrorKind::{NotFound, PopReceipt};
use crate::storage::queue::{QueueMessage, QueueStore};

const NOW: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(300);

pub(super) async fn run(storage: &Storage, prefix: &str) {
    let queues = storage.queues.as_ref();
    a_queue_may_be_created_twice_and_must_exist(queues, &format!("{prefix}-missing")).await;
    let queue = &format!("{prefix}-messages");
    queues.create_queue(queue).await.unwrap();
    texts_come_back_exactly(queues, queue).await;
    a_put_gives_a_usable_receipt(queues, queue).await;
    receiving_hides_and_changes_the_receipt(queues, queue).await;
    an_update_moves_visibility_and_may_change_the_text(queues, queue).await;
    a_receipt_outlives_visibility_until_the_next_receive(queues, queue).await;
    messages_come_in_order_up_to_the_number_asked(queues, queue).await;
    queues.delete_queue(queue).await.unwrap();
}

async fn a_queue_may_be_created_twice_and_must_exist(queues: &dyn QueueStore, queue: &str) {
    refused(queues.put(queue, "m", NOW).await, NotFound);
    refused(queues.receive(queue, 1, LONG).await, NotFound);
    refused(queues.peek(queue, 1).await, NotFound);
    refused(queues.count(queue).await, NotFound);
    refused(queues.delete_queue(queue).await, NotFound);
    queues.create_queue(queue).await.unwrap();
    queues.put(queue, "m", NOW).await.unwrap();
    queues.create_queue(queue).await.unwrap();
    assert_eq!(queues.count(queue).await.unwrap(), 1, "creating again changes nothing");
    queues.delete_queue(queue).await.unwrap();
    refused(queues.count(queue).await, NotFound);
}

async fn texts_come_back_exactly(queues: &dyn QueueStore, queue: &str) {
    let long = "x".repeat(60 * 1024);
    for text in ["{\"a\":\"<&>'\\\"\"}", " spaces around ", "line\nand tab\t", "\u{e9} \u{1f600} ]]>", "", &long] {
        let put = queues.put(queue, text, NOW).await.unwrap();
        assert_eq!((put.text.as_str(), put.dequeue_count), ("", 0));
        let peeked = one(queues.peek(queue, 32).await.unwrap());
        assert_eq!((peeked.id.as_str(), peeked.text.as_str(), peeked.pop_receipt.as_str()), (put.id.as_str(), text, ""));
        let got = one(queues.receive(queue, 32, LONG).await.unwrap());
        assert_eq!((&got.id, got.text.as_str(), got.dequeue_count), (&put.id, text, 1));
        assert_eq!(got.inserted_on, put.inserted_on);
        queues.delete(queue, &got.id, &got.pop_receipt).await.unwrap();
    }
}

async fn a_put_gives_a_usable_receipt(queues: &dyn QueueStore, queue: &str) {
    let put = queues.put(queue, "m", LONG).await.unwrap();
    assert_eq!(queues.peek(queue, 1).await.unwrap(), [], "a delayed message is hidden");
    assert_eq!(queues.count(queue).await.unwrap(), 1, "but counted");
    assert!(put.next_visible_on >= put.inserted_on.plus(LONG));
    let receipt = queues.update(queue, &put.id, &put.pop_receipt, NOW, None).await.unwrap();
    assert_eq!(queues.peek(queue, 1).await.unwrap().len(), 1);
    queues.delete(queue, &put.id, &receipt).await.unwrap();
    assert_eq!(queues.count(queue).await.unwrap(), 0);
}

async fn receiving_hides_and_changes_the_receipt(queues: &dyn QueueStore, queue: &str) {
    let put = queues.put(queue, "m", NOW).await.unwrap();
    let first = one(queues.receive(queue, 1, LONG).await.unwrap());
    assert_eq!(queues.receive(queue, 1, LONG).await.unwrap(), []);
    refused(queues.delete(queue, &put.id, &put.pop_receipt).await, PopReceipt);
    refused(queues.update(queue, &put.id, &put.pop_receipt, LONG, None).await, PopReceipt);
    queues.update(queue, &first.id, &first.pop_receipt, NOW, None).await.unwrap();
    let second = one(queues.receive(queue, 1, LONG).await.unwrap());
    assert_eq!((second.dequeue_count, &second.id), (2, &first.id));
    assert_ne!(second.pop_receipt, first.pop_receipt);
    refused(queues.delete(queue, &first.id, &first.pop_receipt).await, PopReceipt);
    queues.delete(queue, &second.id, &second.pop_receipt).await.unwrap();
    refused(queues.delete(queue, &second.id, &second.pop_receipt).await, NotFound);
    refused(queues.update(queue, &second.id, &second.pop_receipt, LONG, None).await, NotFound);
}

async fn an_update_moves_visibility_and_may_change_the_text(queues: &dyn QueueStore, queue: &str) {
    queues.put(queue, "old", NOW).await.unwrap();
    let got = one(queues.receive(queue, 1, SECOND).await.unwrap());
    let kept = queues.update(queue, &got.id, &got.pop_receipt, LONG, None).await.unwrap();
    assert_ne!(kept, got.pop_receipt);
    refused(queues.update(queue, &got.id, &got.pop_receipt, LONG, None).await, PopReceipt);
    let shown = queues.update(queue, &got.id, &kept, NOW, None).await.unwrap();
    assert_eq!(one(queues.peek(queue, 1).await.unwrap()).text, "old");
    queues.update(queue, &got.id, &shown, NOW, Some("new <text>")).await.unwrap();
    let again = one(queues.receive(queue, 1, LONG).await.unwrap());
    assert_eq!((again.text.as_str(), again.dequeue_count), ("new <text>", 2), "an update is not a receive");
    queues.delete(queue, &again.id, &again.pop_receipt).await.unwrap();
}

async fn a_receipt_outlives_visibility_until_the_next_receive(queues: &dyn QueueStore, queue: &str) {
    let delayed = queues.put(queue, "delayed", SECOND).await.unwrap();
    queues.put(queue, "received", NOW).await.unwrap();
    let first = one(queues.receive(queue, 32, SECOND).await.unwrap());
    assert_eq!(first.text, "received", "the other is still hidden");
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(queues.peek(queue, 32).await.unwrap().len(), 2, "both surface by themselves");
    let receipt = queues.update(queue, &first.id, &first.pop_receipt, NOW, None).await.unwrap();
    let mut both = queues.receive(queue, 32, LONG).await.unwrap();
    both.sort_by_key(|message| message.dequeue_count);
    assert_eq!(both.iter().map(|m| (m.text.as_str(), m.dequeue_count)).collect::<Vec<_>>(), [("delayed", 1), ("received", 2)]);
    refused(queues.delete(queue, &first.id, &receipt).await, PopReceipt);
    refused(queues.delete(queue, &delayed.id, &delayed.pop_receipt).await, PopReceipt);
    for message in both {
        queues.delete(queue, &message.id, &message.pop_receipt).await.unwrap();
    }
}

async fn messages_come_in_order_up_to_the_number_asked(queues: &dyn QueueStore, queue: &str) {
    for i in 0..35 {
        queues.put(queue, &i.to_string(), NOW).await.unwrap();
    }
    assert_eq!(queues.peek(queue, 32).await.unwrap().len(), 32);
    assert_eq!(queues.count(queue).await.unwrap(), 35);
    let mut received = Vec::new();
    for max in [1, 3, 31] {
        let messages = queues.receive(queue, max, LONG).await.unwrap();
        assert_eq!(messages.len(), max);
        received.extend(messages.into_iter().map(|message| message.text));
    }
    received.sort_by_key(|text| text.parse::<u32>().unwrap());
    assert_eq!(received, (0..35).map(|i| i.to_string()).collect::<Vec<_>>(), "each once");
}

#[track_caller]
fn one(mut messages: Vec<QueueMessage>) -> QueueMessage {
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages.remove(0)
}
