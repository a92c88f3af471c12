//! Rewinding an instance that has failed, with the sub-orchestrations by which it failed.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use super::Client;
use crate::bounds;
use crate::error::{Error, ErrorKind, Result};
use crate::hub::{Called, Hub, Stand, Standing};
use crate::ids;
use crate::model::{EventKind, HistoryEvent, InstanceRef, Message, RuntimeStatus, Sender};

/// How often an instance is looked at again because somebody else writes, or the reply to a write was lost.
const TRIES_MAX: usize = 50;

/// A rewind that is being prepared; awaiting it lets the instance go on from where it failed. Made by
/// [`Instance::rewind`](super::Instance::rewind).
///
/// What has failed is run again, and nothing that has completed: an activity by the parent that called it, a sub-orchestration by a rewind of its own, which
/// keeps what it has completed. The failures are those behind the last step that completed, with everything that was decided
/// since, so that a call with a retry policy has all its attempts again; a failure before it was caught, and stays. Without any the code itself has failed,
/// and runs on from its last turn, as it may be mended now. A sub-orchestration that was purged, or has ended in another way than by a failure, is
/// started anew; one that has completed meanwhile answers again.
///
/// The rows are those that .NET writes, so that a worker of either side goes on. The instance is shown as pending until its first turn.
/// Whoever stops it, or is killed, in the midst can call it again, which goes on: all that failed is reopened before anything is run, and
/// the parent before its sub-orchestrations.
///
/// # Errors
/// `NotFound` if there is no such instance, `Open` if it has not ended, `Ended` if it has ended but not failed; `Invalid` if no orchestration
/// can have the id, or the reason is larger than 240 MiB; `Corrupt` if rows of it cannot be read; `Storage` if storage fails.
#[must_use = "nothing is rewound until it is awaited"]
pub struct Rewind<'a> {
    client: &'a Client,
    id: &'a str,
    reason: String,
    from_first: bool,
}

/// What a rewind has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RewindReport {
    /// How many instances were reopened: the instance, and sub-orchestrations that had failed. None, if an earlier call had done that and
    /// was cut off before it woke them.
    pub instances: u64,
}

/// A rewind under way.
struct Run<'a> {
    hub: &'a Hub,
    from_first: bool,
    report: RewindReport,
    /// What is sent once everything is open.
    messages: Vec<Message>,
}

impl<'a> Rewind<'a> {
    pub(super) fn new(client: &'a Client, id: &'a str, reason: &str) -> Self {
        Self { client, id, reason: reason.to_owned(), from_first: false }
    }

    /// Goes back to the first failure of each instance, though it was caught: whatever was decided since is decided again, and what has
    /// completed since runs again. For what failed in parallel with steps that began later.
    pub fn to_first_failure(mut self) -> Self {
        self.from_first = true;
        self
    }

    async fn run(self) -> Result<RewindReport> {
        ids::check_orchestration(self.id)?;
        if let Some(why) = bounds::why_too_large("the reason", Some(self.reason.as_str())) {
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        let hub = &*self.client.hub;
        let mut run = Run { hub, from_first: self.from_first, report: RewindReport::default(), messages: Vec::new() };
        let (mut open, mut stand) = (vec![self.id.to_owned()], None);
        while let Some(id) = open.pop() {
            let standing = run.reopen(&id, &self.reason).await?;
            // The last one is looked at first.
            let children = standing.as_ref().map(|(_, children)| children.iter().rev().cloned()).into_iter().flatten();
            open.extend(children);
            stand.get_or_insert(standing.map(|(stand, _)| stand));
        }
        if run.report.instances == 0 && run.messages.is_empty() {
            return Err(self.refusal(stand.flatten()));
        }
        for message in run.messages {
            self.client.put(message).await?;
        }
        Ok(run.report)
    }

    /// Why nothing was rewound.
    fn refusal(&self, stand: Option<Stand>) -> Error {
        let (id, rule) = (self.id, "only an instance that is Failed can be rewound");
        match stand {
            None => self.client.no_instance(id),
            Some(Stand::Ended(RuntimeStatus::Failed)) => {
                let message = format!("instance \"{id}\" is Failed, but its history does not tell how; restart it");
                Error::new(ErrorKind::Ended, message)
            }
            Some(Stand::Ended(status)) => Error::new(ErrorKind::Ended, format!("instance \"{id}\" is {status}; {rule}")),
            Some(Stand::Open(status, true)) => {
                let remedy = "a message of it is parked, which `taskhub poison retry` puts back once its cause is repaired";
                Error::new(ErrorKind::Open, format!("instance \"{id}\" is {status}: {remedy}; {rule}"))
            }
            Some(Stand::Open(status, false)) => Error::new(ErrorKind::Open, format!("instance \"{id}\" is {status}; {rule}")),
            Some(Stand::Rewound { .. } | Stand::Failed(_)) => {
                Error::new(ErrorKind::Open, format!("instance \"{id}\" was rewound and goes on; {rule}"))
            }
        }
    }
}

impl Run<'_> {
    /// Opens the history of one instance, if it has failed. Gives how it stood, and the children to go on with.
    async fn reopen(&mut self, id: &str, reason: &str) -> Result<Option<(Stand, Vec<String>)>> {
        for _ in 0..TRIES_MAX {
            let Some(standing) = self.hub.standing(id).await? else { return Ok(None) };
            let has_gone_on = match standing.stand {
                Stand::Failed(_) => false,
                Stand::Rewound { has_gone_on } => has_gone_on,
                stand @ (Stand::Ended(_) | Stand::Open(..)) => return Ok(Some((stand, Vec::new()))),
            };
            let (stays, children, answers) = self.children(&standing).await?;
            let is_failed = matches!(standing.stand, Stand::Failed(_));
            let written = match is_failed {
                true => self.hub.take_back(&standing, self.from_first, &stays).await?,
                false => self.hub.show_rewound(&standing).await?,
            };
            if written.is_none() {
                tracing::debug!(hub = self.hub.name(), instance = id, "the instance has changed, and is looked at again");
                continue;
            }
            self.report.instances += u64::from(is_failed);
            self.messages.extend(answers);
            if !has_gone_on {
                let wakes =
                    HistoryEvent::arriving(self.hub.now(), EventKind::Generic { data: Some(reason.to_owned()), was: None });
                self.messages.push(Message::from_client(self.hub.rng.uuid(), wakes, InstanceRef::current(id)));
            }
            return Ok(Some((standing.stand, children)));
        }
        let message = format!("instance \"{id}\" changed during each of {TRIES_MAX} tries to rewind it; try again later");
        Err(Error::new(ErrorKind::Storage, message))
    }

    /// The failed children of an instance: whose calls stay, which of them are to be looked at, and what those that have completed answer.
    async fn children(&self, parent: &Standing) -> Result<(Vec<Called>, Vec<String>, Vec<Message>)> {
        let (mut stays, mut children, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for called in parent.failed_children(self.from_first) {
            let child = self.hub.standing(&called.instance_id).await?.filter(|child| child.is_child_of(parent, &called));
            let Some(child) = child else { continue };
            match child.stand {
                Stand::Failed(_) | Stand::Rewound { .. } => children.push(called.instance_id.clone()),
                Stand::Ended(RuntimeStatus::Completed) => answers.push(self.answer(parent, &child, &called).await?),
                Stand::Open(..) => {}
                Stand::Ended(_) => continue,
            }
            stays.push(called);
        }
        Ok((stays, children, answers))
    }

    /// What a child that has completed answers: its own answer came when the parent had ended.
    async fn answer(&self, parent: &Standing, child: &Standing, called: &Called) -> Result<Message> {
        let kind = EventKind::SubOrchestrationCompleted { task_id: called.task_id, result: child.result(self.hub).await? };
        let target = InstanceRef::new(&parent.instance_id, &parent.execution_id);
        let sender = Sender { instance_id: child.instance_id.clone(), execution_id: Some(child.execution_id.clone()) };
        let decision_id = child.started().and_then(|(_, decision_id)| decision_id);
        let event = HistoryEvent::arriving(self.hub.now(), kind);
        Ok(Message::from_instance(self.hub.rng.uuid(), event, target, sender, 0, decision_id))
    }
}

impl<'a> IntoFuture for Rewind<'a> {
    type Output = Result<RewindReport>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<RewindReport>> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Rewind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewind").field("id", &self.id).field("from_first", &self.from_first).finish_non_exhaustive()
    }
}
