//! What keeps failing by itself is parked with its reason, and its instance is shown as Failed; what storage or a crash delays is not.

use std::any::Any;
use std::sync::Arc;

use super::Shared;
use super::inbox::{Partition, Waiting};
use super::orchestration::back_off;
use crate::error::{Error, Result};
use crate::hub::{Bodiless, Culprit, Held, Unreadable, blob_names};
use crate::model::EventKind;

/// Longer reasons are cut: they are shown in lists and must fit a column.
const REASON_CHARS_MAX: usize = 2000;

/// Why work on messages failed.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    reason: String,
    /// Nothing but a repair helps. Only such failures make poison: crashes and outages raise dequeue counts too.
    lasting: bool,
}

impl Trouble {
    pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let reason = shortened(&format!("the worker panicked: {}", words.unwrap_or("without words")));
        Self { reason, lasting: true }
    }
}

impl From<&Error> for Trouble {
    fn from(error: &Error) -> Self {
        Self { reason: shortened(&error.to_string()), lasting: error.is_lasting() }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(REASON_CHARS_MAX).collect()
}

impl Shared {
    /// One bad instance never slows another: its messages go back for longer each time, and end up parked.
    pub(crate) async fn turn_failed(&self, partition: &Partition, instance_id: &str, trouble: &Trouble, waiting: &[Waiting]) {
        tracing::error!(
            hub = self.hub.names_hub(),
            partition = partition.id,
            instance = instance_id,
            reason = trouble.reason,
            "a turn failed"
        );
        // Whoever owns the partition now may do better.
        let may_park = partition.may_commit();
        for waiting in waiting {
            let held = &waiting.held;
            if may_park && self.is_poison(held, trouble) {
                self.park_or_postpone(held, trouble, Culprit::Instance(instance_id)).await;
            } else {
                self.give_back(vec![(Arc::clone(held), back_off(held.dequeue_count))]).await;
            }
        }
    }

    /// A work item could not be run, or its answer could not be sent.
    pub(crate) async fn work_item_failed(&self, held: &Arc<Held>, trouble: &Trouble) {
        let target = &held.message.target;
        tracing::error!(
            hub = self.hub.names_hub(),
            instance = target.instance_id,
            reason = trouble.reason,
            "an activity could not be run or answered"
        );
        if self.is_poison(held, trouble) {
            let instance_id = target.instance_id.as_str();
            let culprit = match target.execution_id.as_deref() {
                Some(execution_id) => Culprit::Execution(instance_id, execution_id),
                None => Culprit::Instance(instance_id),
            };
            self.park_or_postpone(held, trouble, culprit).await;
        } else {
            self.give_back(vec![(Arc::clone(held), back_off(held.dequeue_count))]).await;
        }
    }

    /// Counted by receives, because nothing else survives a worker; but only this very failure can be the last.
    fn is_poison(&self, held: &Held, trouble: &Trouble) -> bool {
        trouble.lasting && held.dequeue_count >= self.options.poison_after
    }

    async fn park_or_postpone(&self, held: &Arc<Held>, trouble: &Trouble, culprit: Culprit<'_>) {
        if let Err(error) = self.park(held, trouble, culprit).await {
            tracing::warn!(instance = held.message.target.instance_id, %error, "a message that keeps failing could not be parked");
            self.give_back(vec![(Arc::clone(held), back_off(held.dequeue_count))]).await;
        }
    }

    async fn park(&self, held: &Held, trouble: &Trouble, culprit: Culprit<'_>) -> Result<()> {
        let event = &held.message.event.kind;
        tracing::error!(
            hub = self.hub.names_hub(),
            instance = held.message.target.instance_id,
            event = event.type_name(),
            id = held.id,
            "a message that keeps failing is parked"
        );
        let what = match event {
            EventKind::TaskScheduled { name, .. } => format!("activity \"{name}\""),
            other => format!("message {}", other.type_name()),
        };
        let output = parked_output(&what, held.dequeue_count, &trouble.reason, &held.id);
        // First the row: if parking fails, the message comes again and finds the row final.
        self.show_as_failed(culprit, &output).await?;
        self.hub.park_held(held, &trouble.reason).await
    }

    /// A row that cannot be read cannot show anything; the message is parked all the same.
    async fn show_as_failed(&self, culprit: Culprit<'_>, output: &str) -> Result<()> {
        match self.hub.show_as_failed(culprit, output).await {
            Err(error) if error.is_lasting() => {
                tracing::warn!(%error, "an instance whose message is parked cannot be shown as failed");
                Ok(())
            }
            other => other,
        }
    }

    /// Deals with messages that cannot be worked on.
    pub(crate) async fn unreadable(&self, unreadable: Vec<Unreadable>, bodiless: Vec<Bodiless>) {
        for unreadable in unreadable {
            self.park_or_postpone_unreadable(unreadable).await;
        }
        for bodiless in bodiless {
            tracing::warn!(blob = bodiless.blob, "the body of a message is gone: its twin was handled, or its instance purged");
            if let Err(error) = self.hub.delete_bodiless(&bodiless).await {
                tracing::warn!(%error, "a message without its body stays in its queue");
            }
        }
    }

    /// Parks a message that cannot be read once it has been received often enough; until then it may be read by another version.
    async fn park_or_postpone_unreadable(&self, unreadable: Unreadable) {
        let raw = &unreadable.raw;
        let poison = unreadable.error.is_lasting() && raw.dequeue_count >= self.options.poison_after;
        let result = if poison {
            self.park_unreadable(&unreadable).await
        } else {
            self.hub.postpone_unreadable(&unreadable, back_off(raw.dequeue_count)).await
        };
        if let Err(error) = result {
            tracing::warn!(%error, "a message that cannot be read stays in its queue");
        }
    }

    async fn park_unreadable(&self, unreadable: &Unreadable) -> Result<()> {
        let (raw, reason) = (&unreadable.raw, unreadable.error.to_string());
        tracing::error!(
            hub = self.hub.names_hub(),
            queue = self.hub.queue_name(unreadable.queue),
            id = raw.id,
            reason,
            "a message that cannot be read is parked"
        );
        // Without its start an instance would be shown as pending for ever.
        if let Some(blob) = unreadable.blob.as_deref()
            && let Some((instance_id, _)) = blob_names::parse_message_blob(blob).filter(|_| blob_names::is_start_message(blob))
        {
            let output = parked_output("the start message", raw.dequeue_count, &shortened(&reason), &raw.id);
            self.show_as_failed(Culprit::StartIn(instance_id, blob), &output).await?;
        }
        self.hub.park_unreadable(unreadable).await
    }
}

/// In the form of every failure: type, colon, message.
fn parked_output(what: &str, receives: u32, reason: &str, message_id: &str) -> String {
    let times = if receives == 1 { "time" } else { "times" };
    format!(
        "PoisonMessage: {what} was received {receives} {times}, failed, and is parked: {reason}. \
         Repair the cause, then run `taskhub poison retry {message_id}`."
    )
}
