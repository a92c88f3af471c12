//! Queues in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

#[cfg(test)]
use super::dump::StoredMessage;
use super::{Refusal, fair, has_char, lock, names};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::error::{ErrorKind, Result};
use crate::storage::queue::{QueueMessage, QueueStore, RECEIVE_MAX, VISIBILITY_MAX};

const TEXT_BYTES_MAX: usize = 64 * 1024;
const TICKS_PER_SECOND: i64 = 10_000_000;

const NO_QUEUE: Refusal = Refusal(ErrorKind::NotFound, 404, "QueueNotFound");
const NO_MESSAGE: Refusal = Refusal(ErrorKind::NotFound, 404, "MessageNotFound");
const OLD_RECEIPT: Refusal = Refusal(ErrorKind::PopReceipt, 400, "PopReceiptMismatch");
const OUT_OF_RANGE: Refusal = Refusal(ErrorKind::Invalid, 400, "OutOfRangeQueryParameterValue");

pub(super) struct MemoryQueues {
    clock: Clock,
    rng: Rng,
    state: Mutex<State>,
    /// Receives take visible messages in any order, as the real service may.
    unordered: AtomicBool,
}

#[derive(Default)]
struct State {
    queues: BTreeMap<String, Queue>,
    puts: u64,
    receipts: u64,
}

#[derive(Default)]
struct Queue {
    /// In the order in which messages become visible, then by age.
    messages: BTreeMap<Place, Message>,
    places: BTreeMap<String, Place>,
}

type Place = (Timestamp, u64);

struct Message {
    id: String,
    receipt: String,
    text: String,
    dequeue_count: u32,
    inserted_on: Timestamp,
}

impl MemoryQueues {
    pub(super) fn new(clock: Clock, rng: Rng) -> Self {
        Self { clock, rng, state: Mutex::default(), unordered: AtomicBool::new(false) }
    }

    #[cfg(test)]
    pub(super) fn set_unordered(&self, unordered: bool) {
        self.unordered.store(unordered, Relaxed);
    }

    #[cfg(test)]
    /// Every message of every queue, hidden ones too, in the order in which they become visible.
    pub(super) fn all(&self) -> BTreeMap<String, Vec<StoredMessage>> {
        let state = lock(&self.state);
        let messages = |queue: &Queue| queue.messages.iter().map(|(place, message)| message.stored(place.0)).collect();
        state.queues.iter().map(|(name, queue)| (name.clone(), messages(queue))).collect()
    }

    #[cfg(test)]
    pub(super) fn surface_held(&self) {
        let now = self.clock.now();
        for queue in lock(&self.state).queues.values_mut() {
            let hidden = queue.messages.split_off(&(now, u64::MAX));
            for (place, message) in hidden {
                // What was put hidden is held from its birth, or waits for its time.
                let is_held = message.dequeue_count > 0 || message.text.contains("\"SeenBefore\":true");
                let place = if is_held { (now, place.1) } else { place };
                queue.insert(place, message);
            }
        }
    }

    fn chosen(&self, visible: impl Iterator<Item = Place>, max: usize) -> Vec<Place> {
        if !self.unordered.load(Relaxed) {
            return visible.take(max).collect();
        }
        let mut all: Vec<(u64, Place)> = visible.map(|place| (self.rng.next(), place)).collect();
        all.sort_unstable();
        all.into_iter().take(max).map(|(_, place)| place).collect()
    }

    pub(super) fn create_raw(&self, queue: &str) {
        lock(&self.state).queues.entry(queue.to_owned()).or_default();
    }

    #[cfg(test)]
    pub(super) fn insert_raw(&self, queue: &str, message: StoredMessage) {
        let mut state = lock(&self.state);
        state.puts += 1;
        let place = (message.visible_on, state.puts);
        let receipt = state.next_receipt();
        let StoredMessage { id, text, dequeue_count, inserted_on, .. } = message;
        let message = Message { id, receipt, text, dequeue_count, inserted_on };
        state.queues.entry(queue.to_owned()).or_default().insert(place, message);
    }
}

#[async_trait]
impl QueueStore for MemoryQueues {
    async fn create_queue(&self, queue: &str) -> Result<()> {
        fair().await;
        names::check_dns(queue).map_err(|refusal| refusal.of("queue.create", queue))?;
        self.create_raw(queue);
        Ok(())
    }

    async fn delete_queue(&self, queue: &str) -> Result<()> {
        fair().await;
        let removed = lock(&self.state).queues.remove(queue);
        removed.map(|_| ()).ok_or_else(|| NO_QUEUE.of("queue.drop", queue))
    }

    async fn put(&self, queue: &str, text: &str, delay: Duration) -> Result<QueueMessage> {
        fair().await;
        let fail = |refusal: Refusal| refusal.of("queue.put", queue);
        check_text(text).map_err(fail)?;
        let delay = whole_seconds(delay, 0).map_err(fail)?;
        let id = self.rng.uuid().to_string();
        let now = self.clock.now();
        let mut state = lock(&self.state);
        state.puts += 1;
        let place = (now.plus(delay), state.puts);
        let receipt = state.next_receipt();
        let queue = state.queues.get_mut(queue).ok_or_else(|| fail(NO_QUEUE))?;
        let inserted_on = Timestamp::from_ticks(now.ticks() / TICKS_PER_SECOND * TICKS_PER_SECOND);
        let message = Message { id, receipt, text: text.to_owned(), dequeue_count: 0, inserted_on };
        let answer = QueueMessage { text: String::new(), ..message.shown(place.0) };
        queue.insert(place, message);
        Ok(answer)
    }

    async fn receive(&self, queue: &str, max: usize, visibility: Duration) -> Result<Vec<QueueMessage>> {
        fair().await;
        let fail = |refusal: Refusal| refusal.of("queue.receive", queue);
        check_max(max).map_err(fail)?;
        let visibility = whole_seconds(visibility, 1).map_err(fail)?;
        let now = self.clock.now();
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let queue = state.queues.get_mut(queue).ok_or_else(|| fail(NO_QUEUE))?;
        let places = self.chosen(queue.visible(now).map(|(place, _)| *place), max);
        let mut received = Vec::with_capacity(places.len());
        for place in places {
            let Some(mut message) = queue.messages.remove(&place) else { continue };
            state.receipts += 1;
            message.receipt = receipt(state.receipts);
            message.dequeue_count += 1;
            let place = (now.plus(visibility), place.1);
            received.push(message.shown(place.0));
            queue.insert(place, message);
        }
        Ok(received)
    }

    async fn update(&self, queue: &str, id: &str, receipt: &str, visibility: Duration, text: Option<&str>) -> Result<String> {
        fair().await;
        let fail = |refusal: Refusal| refusal.of("queue.update", format!("{queue}/{id}"));
        text.map_or(Ok(()), check_text).map_err(fail)?;
        let visibility = whole_seconds(visibility, 0).map_err(fail)?;
        let mut state = lock(&self.state);
        let next = state.next_receipt();
        let queue = state.queues.get_mut(queue).ok_or_else(|| fail(NO_QUEUE))?;
        let (place, mut message) = queue.take(id, receipt).map_err(fail)?;
        if let Some(text) = text {
            text.clone_into(&mut message.text);
        }
        message.receipt.clone_from(&next);
        queue.insert((self.clock.now().plus(visibility), place.1), message);
        Ok(next)
    }

    async fn delete(&self, queue: &str, id: &str, receipt: &str) -> Result<()> {
        fair().await;
        let fail = |refusal: Refusal| refusal.of("queue.delete", format!("{queue}/{id}"));
        let mut state = lock(&self.state);
        let queue = state.queues.get_mut(queue).ok_or_else(|| fail(NO_QUEUE))?;
        queue.take(id, receipt).map_err(fail)?;
        queue.places.remove(id);
        Ok(())
    }

    async fn peek(&self, queue: &str, max: usize) -> Result<Vec<QueueMessage>> {
        fair().await;
        let fail = |refusal: Refusal| refusal.of("queue.peek", queue);
        check_max(max).map_err(fail)?;
        let now = self.clock.now();
        let state = lock(&self.state);
        let queue = state.queues.get(queue).ok_or_else(|| fail(NO_QUEUE))?;
        let shown = |(place, message): (&Place, &Message)| QueueMessage { pop_receipt: String::new(), ..message.shown(place.0) };
        Ok(queue.visible(now).take(max).map(shown).collect())
    }

    async fn count(&self, queue: &str) -> Result<u64> {
        fair().await;
        let state = lock(&self.state);
        let queue = state.queues.get(queue).ok_or_else(|| NO_QUEUE.of("queue.count", queue))?;
        Ok(queue.messages.len() as u64)
    }
}

impl State {
    fn next_receipt(&mut self) -> String {
        self.receipts += 1;
        receipt(self.receipts)
    }
}

impl Queue {
    fn visible(&self, now: Timestamp) -> impl Iterator<Item = (&Place, &Message)> {
        self.messages.range(..=(now, u64::MAX))
    }

    fn insert(&mut self, place: Place, message: Message) {
        self.places.insert(message.id.clone(), place);
        self.messages.insert(place, message);
    }

    /// Takes a message out of its place, if the receipt is the newest. It stays valid after the visibility has passed,
    /// until somebody else receives the message.
    fn take(&mut self, id: &str, receipt: &str) -> std::result::Result<(Place, Message), Refusal> {
        let place = *self.places.get(id).ok_or(NO_MESSAGE)?;
        if self.messages.get(&place).is_some_and(|message| message.receipt != receipt) {
            return Err(OLD_RECEIPT);
        }
        let message = self.messages.remove(&place).ok_or(NO_MESSAGE)?;
        Ok((place, message))
    }
}

impl Message {
    fn shown(&self, next_visible_on: Timestamp) -> QueueMessage {
        QueueMessage {
            id: self.id.clone(),
            pop_receipt: self.receipt.clone(),
            text: self.text.clone(),
            dequeue_count: self.dequeue_count,
            inserted_on: self.inserted_on,
            next_visible_on,
        }
    }

    #[cfg(test)]
    fn stored(&self, visible_on: Timestamp) -> StoredMessage {
        StoredMessage {
            id: self.id.clone(),
            text: self.text.clone(),
            dequeue_count: self.dequeue_count,
            inserted_on: self.inserted_on,
            visible_on,
        }
    }
}

fn receipt(number: u64) -> String {
    BASE64_STANDARD.encode(number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
}

/// Up to whole seconds, so that nothing surfaces early.
fn whole_seconds(duration: Duration, least: u64) -> std::result::Result<Duration, Refusal> {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    if seconds < least || seconds > VISIBILITY_MAX.as_secs() { Err(OUT_OF_RANGE) } else { Ok(Duration::from_secs(seconds)) }
}

fn check_max(max: usize) -> std::result::Result<(), Refusal> {
    if (1..=RECEIVE_MAX).contains(&max) { Ok(()) } else { Err(OUT_OF_RANGE) }
}

/// A message travels as XML, and so much of it may be its text: what XML cannot hold, or would change (a carriage return), cannot be
/// stored.
fn check_text(text: &str) -> std::result::Result<(), Refusal> {
    let escapes = || text.bytes().filter(|byte| matches!(byte, b'&' | b'<' | b'>')).count();
    // This is done for every message: most need no second look.
    if 4 * text.len() > TEXT_BYTES_MAX && text.len() + 3 * escapes() > TEXT_BYTES_MAX {
        return Err(Refusal(ErrorKind::Invalid, 413, "RequestBodyTooLarge"));
    }
    let is_spoiled = |c: char| (c < ' ' && c != '\t' && c != '\n') || matches!(c, '\u{fffe}' | '\u{ffff}');
    if has_char(text, is_spoiled) { Err(Refusal(ErrorKind::Invalid, 400, "InvalidXmlDocument")) } else { Ok(()) }
}
