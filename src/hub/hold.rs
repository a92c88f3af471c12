//! A message that this process holds: one pop receipt, one lock around its use, and one way to end.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::queues::{QueueId, Queues};
use crate::error::Result;
use crate::model::Timestamp;
use crate::storage;
use crate::storage::error::OrNone;
use crate::storage::queue::{QueueMessage, VISIBILITY_MAX};

/// A received message. Its hold ends in exactly one way: it is deleted, given back, or expires.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) queue: QueueId,
    pub(crate) id: String,
    pub(crate) dequeue_count: u32,
    pub(crate) inserted_on: Timestamp,
    /// Locked during a call, because every update changes the receipt.
    calls: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// Cancelled when the message has surfaced. Work on it may go on all the same under a newer receipt.
    pub(crate) lost: CancellationToken,
}

#[derive(Clone, Debug)]
enum State {
    Held {
        receipt: String,
        expires: Instant,
        is_renewed: bool,
    },
    /// It has surfaced, and somebody may have received it.
    Lost,
    /// Deleted or given back.
    Ended,
}

impl Hold {
    /// A message that is hidden from others until `expires`.
    pub(crate) fn of(queue: QueueId, message: QueueMessage, expires: Instant) -> (Self, String) {
        let (calls, state) =
            (tokio::sync::Mutex::default(), Mutex::new(State::Held { receipt: message.pop_receipt, expires, is_renewed: false }));
        let QueueMessage { id, dequeue_count, inserted_on, text, .. } = message;
        (Self { queue, id, dequeue_count, inserted_on, calls, state, lost: CancellationToken::new() }, text)
    }

    /// When the message surfaces for others. `None` if it has ended, or a call about it is under way.
    pub(crate) fn expires(&self) -> Option<Instant> {
        let _free = self.calls.try_lock().ok()?;
        self.held_until()
    }

    /// The same, also while a call about it is under way.
    pub(crate) fn held_until(&self) -> Option<Instant> {
        match &*self.state() {
            State::Held { expires, .. } => Some(*expires),
            State::Lost | State::Ended => None,
        }
    }

    /// Whether the message has been renewed since it was received.
    pub(crate) fn is_renewed(&self) -> bool {
        matches!(&*self.state(), State::Held { is_renewed: true, .. })
    }

    /// Takes over the receipt of the same message, received again while work on it goes on. Gives it back if this one has ended.
    pub(crate) fn adopt(&self, newer: Self) -> Option<Self> {
        let mut state = self.state();
        if matches!(*state, State::Ended) {
            drop(state);
            return Some(newer);
        }
        *state = std::mem::replace(&mut *newer.state(), State::Ended);
        None
    }

    /// The current receipt, as far as this process knows.
    fn receipt(&self) -> Option<String> {
        match &*self.state() {
            State::Held { receipt, .. } => Some(receipt.clone()),
            State::Lost | State::Ended => None,
        }
    }

    /// Records the outcome of a call that used this receipt. `false` if a newer receipt has replaced it meanwhile.
    fn settle(&self, used: &str, next: State) -> bool {
        let mut state = self.state();
        let is_current = matches!(&*state, State::Held { receipt, .. } if receipt == used);
        if is_current {
            if matches!(next, State::Lost) {
                self.lost.cancel();
            }
            *state = next;
        }
        is_current
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if matches!(&*self.state(), State::Held { .. }) {
            tracing::debug!(queue = ?self.queue, id = self.id, "a held message was left to its expiry");
        }
    }
}

impl Queues {
    /// Deletes a held message. `false` if another process has received it. After an error it is still held.
    pub(super) async fn delete_hold(&self, hold: &Hold) -> Result<bool> {
        let _call = hold.calls.lock().await;
        let mut deleted = false;
        while let Some(receipt) = hold.receipt() {
            let result = self.store.delete(self.name(hold.queue), &hold.id, &receipt).await;
            deleted = result.is_ok();
            lost_is_fine(result)?;
            hold.settle(&receipt, State::Ended);
        }
        Ok(deleted)
    }

    /// Gives a held message back, visible after `delay`. After an error it is still held.
    pub(crate) async fn give_back(&self, hold: &Hold, delay: Duration) -> Result<()> {
        self.hand_back(hold, delay, true).await
    }

    /// The same for other processes: the poller of this one is not told when the message becomes visible.
    pub(crate) async fn leave_to_others(&self, hold: &Hold, delay: Duration) -> Result<()> {
        self.hand_back(hold, delay, false).await
    }

    async fn hand_back(&self, hold: &Hold, delay: Duration, rings: bool) -> Result<()> {
        let _call = hold.calls.lock().await;
        let (queue, delay) = (self.name(hold.queue), delay.min(VISIBILITY_MAX));
        while let Some(receipt) = hold.receipt() {
            lost_is_fine(self.holds.update(queue, &hold.id, &receipt, delay, None).await.map(drop))?;
            if hold.settle(&receipt, State::Ended) && rings {
                self.bell(hold.queue).ring(delay);
            }
        }
        Ok(())
    }

    /// Extends the hold to `visibility` from now. `false` if it was lost.
    pub(crate) async fn renew(&self, hold: &Hold, visibility: Duration) -> Result<bool> {
        let _call = hold.calls.lock().await;
        let Some(receipt) = hold.receipt() else { return Ok(false) };
        let expires = Instant::now() + visibility;
        let renewed = self.holds.update(self.name(hold.queue), &hold.id, &receipt, visibility, None).await;
        match renewed {
            Ok(newer) => {
                hold.settle(&receipt, State::Held { receipt: newer, expires, is_renewed: true });
                Ok(true)
            }
            Err(e) if is_lost(&e) => Ok(!hold.settle(&receipt, State::Lost)),
            Err(e) => Err(e.into()),
        }
    }
}

fn is_lost(error: &storage::Error) -> bool {
    matches!(error.kind, storage::ErrorKind::PopReceipt | storage::ErrorKind::NotFound)
}

/// A message that another process has received belongs to that process; losing it is not an error.
pub(super) fn lost_is_fine(result: storage::error::Result<()>) -> Result<()> {
    match result {
        Err(e) if is_lost(&e) => Ok(()),
        other => Ok(other.or_none().map(drop)?),
    }
}
