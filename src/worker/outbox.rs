//! The messages of a turn that are held for readers of this process: they reach them when the turn is committed, and nobody if it never is.

use std::sync::{Mutex, PoisonError};

use futures::FutureExt;
use uuid::Uuid;

use super::dispatcher::several_at_once;
use crate::hub::{Hub, Sent};

/// What a turn has sent and nobody has yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    sent: Mutex<Vec<Sent>>,
}

impl Outbox {
    pub(super) fn add(&self, sent: Sent) {
        if sent.is_held() {
            self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
        }
    }

    /// Whether it has a message of this identity.
    pub(super) fn holds(&self, activity_id: Uuid) -> bool {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.iter().any(|sent| sent.message().is_some_and(|message| message.activity_id == activity_id))
    }

    /// The turn is committed.
    pub(super) fn hand_over(&self) {
        self.take().into_iter().for_each(Sent::hand_over);
    }

    /// Nothing of the turn is in the history, nor ever will be: it is as if nothing had been sent.
    pub(super) async fn withdraw(&self, hub: &Hub) {
        let back = self.take().into_iter().map(|sent| async {
            if let Err(error) = hub.queues.take_back(sent).await {
                tracing::debug!(%error, "a message that is not needed stays until somebody finds it void");
            }
        });
        several_at_once(back.map(FutureExt::boxed).collect()).await;
    }

    /// What has become of the turn is not known, or for others to find out: everybody may receive what it has sent.
    pub(super) async fn let_go(&self, hub: &Hub) {
        let gone = self.take().into_iter().map(|sent| async {
            if let Err(error) = hub.queues.let_go(sent).await {
                tracing::debug!(%error, "a message that was held for this process stays hidden until its visibility timeout expires");
            }
        });
        several_at_once(gone.map(FutureExt::boxed).collect()).await;
    }

    fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
