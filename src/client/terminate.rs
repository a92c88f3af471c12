//! Terminating an instance, alone or with its sub-orchestrations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use super::Client;
use crate::error::{ErrorKind, Result};
use crate::model::{Descendants, EventKind};

/// A termination that is being prepared; awaiting it sends it. Made by [`Instance::terminate`](super::Instance::terminate).
///
/// A worker ends the instance when it next takes its messages: its code is not run again, and its activities finish for nobody. One that is
/// pending, or scheduled, never begins. The reason is the output, and what a parent that waits for the instance gets as the failure.
///
/// The sub-orchestrations of a [recursive](Self::recursive) one are ended by the worker that ends the instance: their terminations
/// leave before its end is recorded, so that no crash loses them, and they reach a child whose start is still on its way. Workers of .NET
/// end the instance alone. To call it again ends what is left: for an instance that has ended it looks for those of its
/// sub-orchestrations that have not, which reads the rows of all sub-orchestrations of the hub.
///
/// # Errors
/// `NotFound` if there is no such instance, `Ended` if it has ended, and a recursive termination has found nothing that still runs below
/// it; neither if the client is [`unchecked`](Client::unchecked). `Invalid` if the reason is larger than 240 MiB, or no
/// orchestration can have the id; `Storage` if storage fails.
#[must_use = "nothing is sent until it is awaited"]
pub struct Terminate<'a> {
    client: &'a Client,
    id: &'a str,
    reason: String,
    descendants: Option<Descendants>,
}

impl<'a> Terminate<'a> {
    pub(super) fn new(client: &'a Client, id: &'a str, reason: &str) -> Self {
        Self { client, id, reason: reason.to_owned(), descendants: None }
    }

    /// Whether its sub-orchestrations end too, and theirs, for the same reason: those that have not ended, of earlier generations too, but
    /// those that were left to themselves. Otherwise they go on.
    pub fn recursive(mut self, recursive: bool) -> Self {
        self.descendants = recursive.then_some(Descendants::Attached);
        self
    }

    /// Ends all sub-orchestrations, also those that were left to themselves: [recursive](Self::recursive), and more.
    pub fn with_detached(mut self) -> Self {
        self.descendants = Some(Descendants::All);
        self
    }

    async fn send(self) -> Result<()> {
        match (self.send_to(self.id).await, self.descendants) {
            (Err(error), Some(descendants)) if error.kind() == ErrorKind::Ended => {
                if self.end_below(descendants).await? {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            (sent, _) => sent,
        }
    }

    async fn send_to(&self, id: &str) -> Result<()> {
        let mut message = self.client.message(id, EventKind::ExecutionTerminated { reason: Some(self.reason.clone()) })?;
        message.descendants = self.descendants;
        self.client.send(message).await
    }

    /// Ends what still runs below an instance that has ended. `false` if that is nothing.
    async fn end_below(&self, descendants: Descendants) -> Result<bool> {
        let hub = &self.client.hub;
        let mut family = BTreeMap::<String, Vec<String>>::new();
        for (parent, child) in hub.parents_and_children().await? {
            family.entry(parent).or_default().push(child);
        }
        let (mut ended, mut seen, mut found) = (vec![self.id.to_owned()], BTreeSet::new(), false);
        while let Some(parent) = ended.pop() {
            let named = hub.children_of_ended(&parent).await?.unwrap_or_default();
            let children: BTreeSet<_> = named.into_iter().chain(family.remove(&parent).unwrap_or_default()).collect();
            for id in children {
                let Some(child) = hub.instances.child(&id).await? else { continue };
                let is_another = child.parent.as_ref().is_some_and(|known| *known != parent);
                let is_spared = child.is_detached && descendants == Descendants::Attached;
                if is_another || is_spared || !seen.insert(id.clone()) {
                    continue;
                }
                if child.status.is_terminal() {
                    ended.push(id);
                    continue;
                }
                match self.send_to(&id).await {
                    Ok(()) => found = true,
                    Err(error) if matches!(error.kind(), ErrorKind::Ended | ErrorKind::NotFound) => ended.push(id),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(found)
    }
}

impl<'a> IntoFuture for Terminate<'a> {
    type Output = Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl fmt::Debug for Terminate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminate").field("id", &self.id).field("descendants", &self.descendants).finish_non_exhaustive()
    }
}
