//! What keeps failing by itself is parked with its reason, and its instance is shown as Failed; what storage or a crash delays is not.

use std::any::Any;
use std::time::Duration;

use super::Shared;
use super::delivery::{Delivery, Disposition, Holding, Undone};
use super::drop_reason::DropReason;
use super::hosting::Waiting;
use super::log::shown;
use super::partition::Partition;
use super::step::back_off;
use super::tasks::words_of;
use crate::error::{Error, Result};
use crate::hub::instances::Culprit;
use crate::hub::{AwaitedKind, Held, Need, QueueId, Unreadable, blob_names};
use crate::ids::shortened as shortened_name;
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
        let reason = shortened(&format!("the worker panicked: {}", words_of(panic)));
        Self { reason, lasting: true }
    }

    pub(crate) fn no_work_item() -> Self {
        Self { reason: "the queue of work items is for activities, and this is none".to_owned(), lasting: true }
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
    /// What becomes of messages on which the work has failed. One bad instance never slows another: its messages go back for longer
    /// each time, and end up parked.
    pub(crate) async fn turn_failed(
        &self,
        partition: &Partition,
        trouble: &Trouble,
        deliveries: &[&Delivery],
    ) -> Vec<Disposition> {
        // Whoever owns the partition now may do better.
        let may_park = partition.may_commit();
        let (mut decided, mut back) = (Vec::new(), Vec::new());
        for delivery in deliveries {
            if may_park && !delivery.is_answer() && self.is_poison(delivery, trouble).await {
                decided.push(Disposition::Park(trouble.reason.clone()));
            } else {
                decided.push(Disposition::Later(back_off(delivery.dequeue_count)));
                back.push(*delivery);
            }
        }
        self.log_failed_turn(trouble, if back.len() == deliveries.len() { &back } else { &[] });
        decided
    }

    /// Of those that go back and will be parked, the first is named; what is parked already is told of there.
    fn log_failed_turn(&self, trouble: &Trouble, back: &[&Delivery]) {
        let reason = shown(&trouble.reason);
        if !trouble.lasting {
            tracing::warn!(reason, "a turn failed");
        } else if let Some(first) = back.iter().max_by_key(|held| held.dequeue_count) {
            let (event, message_id, messages) = (first.message.event.kind.type_name(), &first.id, back.len());
            let (receives, parked_at) = (first.dequeue_count, self.options.poison_after);
            tracing::warn!(
                event,
                message_id,
                messages,
                receives,
                parked_at,
                reason,
                "a turn fails by itself; its messages are parked unless the cause is repaired"
            );
        }
    }

    /// A work item could not be run, or its answer could not be sent.
    pub(crate) async fn work_item_failed(&self, item: Delivery, trouble: &Trouble) {
        if self.is_poison(&item, trouble).await {
            self.park(item, &trouble.reason).await;
        } else {
            self.log_failed_item(&item, trouble);
            let delay = back_off(item.dequeue_count);
            item.release(self, delay).await;
        }
    }

    fn log_failed_item(&self, held: &Held, trouble: &Trouble) {
        let (event, message_id, reason) = (held.message.event.kind.type_name(), &held.id, shown(&trouble.reason));
        if trouble.lasting {
            let (receives, parked_at) = (held.dequeue_count, self.options.poison_after);
            tracing::warn!(
                event,
                message_id,
                receives,
                parked_at,
                reason,
                "a work item fails by itself; it is parked unless the cause is repaired"
            );
        } else {
            tracing::warn!(event, message_id, reason, "an activity could not be run or answered");
        }
    }

    /// Only this very failure can be the last.
    async fn is_poison(&self, held: &Held, trouble: &Trouble) -> bool {
        let limit = self.options.poison_after;
        trouble.lasting && self.hosting.tries(&self.hub, held, limit).await >= limit
    }

    /// Parks a message for this reason, and shows its instance as failed. It goes back if that is not possible now.
    pub(crate) async fn park(&self, delivery: Delivery, reason: &str) {
        let queue = delivery.queue;
        // First the row: if parking fails, the message comes again and finds the row final.
        let parked = match self.show_parked(&delivery, reason).await {
            Ok(()) => delivery.park(&self.hub, reason).await,
            Err(error) => Err(Box::new(Undone { delivery, error: Some(error) })),
        };
        if parked.is_ok() {
            self.executor.measures().parked(queue);
        }
        if let Err(undone) = parked {
            let Undone { delivery, error } = *undone;
            let (instance, message_id) = (&delivery.message.target.instance_id, &delivery.id);
            let error = error.map(tracing::field::display);
            tracing::warn!(instance, message_id, error, "a message that keeps failing could not be parked");
            let delay = back_off(delivery.dequeue_count);
            delivery.release(self, delay).await;
        }
    }

    async fn show_parked(&self, held: &Held, reason: &str) -> Result<()> {
        let event = &held.message.event.kind;
        tracing::error!(
            execution = held.message.target.execution_id.as_deref(),
            event = event.type_name(),
            message_id = held.id,
            receives = held.dequeue_count,
            reason = shown(reason),
            "a message that keeps failing is parked"
        );
        let what = match event {
            EventKind::TaskScheduled { name, .. } => format!("activity \"{}\"", shortened_name(name)),
            other => format!("message {}", other.type_name()),
        };
        let output = parked_output(&what, held.dequeue_count, reason, &held.id);
        self.show_as_failed(culprit(held), &output).await
    }

    /// A row that cannot be read cannot show anything; the message is parked all the same.
    async fn show_as_failed(&self, culprit: Culprit<'_>, output: &str) -> Result<()> {
        match self.hub.instances.show_as_failed(culprit, output).await {
            Err(error) if error.is_lasting() => {
                tracing::warn!(%error, "an instance whose message is parked cannot be shown as failed");
                Ok(())
            }
            other => other,
        }
    }

    /// Parks a message that cannot be read once it has been received often enough; until then it may be read by another version.
    /// `partition`: whose control queue it came from.
    pub(crate) async fn unreadable(&self, delivery: Delivery<Unreadable>, partition: Option<&Partition>) {
        let ended = match self.decide_unreadable(&delivery).await {
            Ok(Disposition::Later(delay)) => {
                return match partition {
                    Some(partition) => self.put_back(partition, delivery, delay).await,
                    None => delivery.release(self, delay).await,
                };
            }
            Ok(Disposition::Retry) => return delivery.release(self, Duration::ZERO).await,
            Ok(Disposition::Done) => self.hub.queues.delete_unreadable(&delivery).await,
            Ok(Disposition::Park(reason)) => self.park_unreadable(&delivery, &reason).await,
            Err(error) => Err(error),
        };
        if let Some(partition) = partition {
            partition.is_gone(&Holding::instance_id(&*delivery), &delivery.hold.id);
        }
        if let Err(error) = ended {
            let message_id = &delivery.hold.id;
            tracing::warn!(message_id, %error, "a message that cannot be read stays in its queue");
        }
    }

    async fn decide_unreadable(&self, unreadable: &Unreadable) -> Result<Disposition> {
        let (hold, lasting) = (&unreadable.hold, unreadable.error.is_lasting());
        if let Some(kind) = unreadable.error.unknown_event() {
            // No damage: another version reads it.
            let code = Need::new(AwaitedKind::Event, kind, None);
            let instance_id = Holding::instance_id(unreadable);
            let waiting =
                Waiting { queue: hold.queue, instance_id: &instance_id, since: hold.inserted_on, receives: hold.dequeue_count };
            self.hosting.note(&self.hub, &code, waiting);
            return Ok(Disposition::Later(self.hosting.pause(&code, waiting, 1)));
        }
        if lasting && self.is_of_no_use(unreadable).await? {
            let (message_id, why) = (&hold.id, DropReason::CopyForEndedInstance);
            self.executor.measures().dropped(why);
            tracing::debug!(message_id, reason = why.label(), "message dropped: {why}");
            return Ok(Disposition::Done);
        }
        if lasting && hold.dequeue_count >= self.options.poison_after {
            return Ok(Disposition::Park(unreadable.error.to_string()));
        }
        self.log_unreadable(unreadable);
        Ok(Disposition::Later(back_off(hold.dequeue_count)))
    }

    fn log_unreadable(&self, unreadable: &Unreadable) {
        let (hold, reason) = (&unreadable.hold, shown(&unreadable.error.to_string()));
        let (queue, message_id, receives) = (self.hub.queues.name(hold.queue), &hold.id, hold.dequeue_count);
        if unreadable.error.is_lasting() {
            let parked_at = self.options.poison_after;
            tracing::warn!(
                queue,
                message_id,
                receives,
                parked_at,
                reason,
                "a message cannot be read; it is parked unless another version of the worker takes it"
            );
        } else {
            tracing::warn!(queue, message_id, receives, reason, "the body of a message could not be read; it goes back");
        }
    }

    /// Whether the message, whatever it says, is for an instance that has ended, or was purged, which takes the bodies too. Most often it is
    /// a copy that a lost reply has made, whose body went with the other copy. The body of a start stays until its execution is purged: such
    /// a start is one that was to begin later, or a copy.
    async fn is_of_no_use(&self, unreadable: &Unreadable) -> Result<bool> {
        let Some(blob) = unreadable.blob.as_deref() else { return Ok(false) };
        let Some((instance_id, _)) = unreadable.of_instance() else { return Ok(false) };
        let (hub, is_start) = (&self.hub, blob_names::is_start_message(blob));
        let status = hub.instances.own_status(&instance_id).await?;
        if !is_start && let Some(status) = status {
            return Ok(status.is_terminal());
        }
        if hub.payloads.has(blob).await? {
            return Ok(false);
        }
        let is_waited_for = match status {
            None => hub.histories.is_there(&instance_id).await?,
            Some(status) => !status.is_terminal() && hub.instances.blobs(&instance_id).await?.iter().any(|known| known == blob),
        };
        if is_start && !is_waited_for {
            let (hub, message_id) = (self.hub.name(), &unreadable.hold.id);
            tracing::warn!(hub, instance = instance_id, message_id, "a start is dropped whose body is gone");
        }
        Ok(!is_waited_for)
    }

    async fn park_unreadable(&self, unreadable: &Unreadable, reason: &str) -> Result<()> {
        let hold = &unreadable.hold;
        tracing::error!(
            queue = self.hub.queues.name(hold.queue),
            message_id = hold.id,
            receives = hold.dequeue_count,
            reason = shown(reason),
            "a message that cannot be read is parked"
        );
        // The blob tells by its name whose message it was. If it is missing, this may be a copy whose body went with the other one,
        // and nothing is wrong; but the body of a start stays.
        if let Some(blob) = unreadable.blob.as_deref()
            && let Some((instance_id, event)) = unreadable.of_instance()
            && (blob_names::is_start_message(blob) || self.hub.payloads.has(blob).await?)
        {
            let is_start = blob_names::is_start_message(blob);
            let culprit = if is_start { Culprit::StartIn(&instance_id, blob) } else { Culprit::Begun(&instance_id) };
            let output = parked_output(&format!("message {event}"), hold.dequeue_count, &shortened(reason), &hold.id);
            self.show_as_failed(culprit, &output).await?;
        }
        self.hub.parked.park_unreadable(unreadable).await?;
        self.executor.measures().parked(hold.queue);
        Ok(())
    }
}

/// What is shown as failed when this message is parked.
fn culprit(held: &Held) -> Culprit<'_> {
    let target = &held.message.target;
    let instance_id = target.instance_id.as_str();
    match (held.queue, &held.message.event.kind, target.execution_id.as_deref()) {
        (QueueId::WorkItems, _, Some(execution_id)) => Culprit::Execution(instance_id, execution_id),
        (QueueId::Control(_), EventKind::ExecutionStarted(_), _) => Culprit::Any(instance_id),
        _ => Culprit::Begun(instance_id),
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
