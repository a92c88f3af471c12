//! Restarting an instance: the same start again, under the same id or another.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;

use serde_json::Value;

use super::start::SOURCE_INSTANCE_ID;
use super::{Client, Instance, Start};
use crate::error::{Error, ErrorKind, Result};
use crate::ids;
use crate::model::RuntimeStatus;

/// A restart that is being prepared; awaiting it starts the instance and gives a handle of it. Made by [`Instance::restart`].
///
/// Name, version, input and tags are those of the last start under the id, unless another [version](Self::version) is given, the input as the same text. The new instance has no
/// parent, and starts at once. Under the same id its generation is one more, and what was there is replaced; under another id its tag
/// `MS_DurableFunctions_SourceInstanceId` is the id of this instance, as in .NET, and its sub-orchestrations inherit that.
///
/// # Errors
/// `NotFound` if there is no such instance; `Open` if it has not ended and no other id is given; `AlreadyExists` if the other id is in use
/// by an instance that has not ended, or somebody else was faster; `Invalid` if no orchestration can have one of the ids; `Corrupt` if the
/// row, or the blob of its input or tags, cannot be read; `Storage` if storage fails.
#[must_use = "nothing starts until it is awaited"]
pub struct Restart<'a, O = Value> {
    client: &'a Client,
    id: &'a str,
    new_id: NewId,
    version: Option<String>,
    output: PhantomData<fn() -> O>,
}

/// Under which id an instance is restarted.
#[derive(Debug)]
enum NewId {
    Same,
    Generated,
    Is(String),
}

impl<'a, O: 'a> Restart<'a, O> {
    pub(super) fn new(client: &'a Client, id: &'a str) -> Self {
        Self { client, id, new_id: NewId::Same, version: None, output: PhantomData }
    }

    /// Under this id; the instance that is restarted stays, whatever its status. An instance of this id that has ended is replaced.
    pub fn new_instance_id(mut self, id: impl Into<String>) -> Self {
        self.new_id = NewId::Is(id.into());
        self
    }

    /// Under a generated id (32 hexadecimal digits); the instance that is restarted stays, whatever its status.
    pub fn generated_instance_id(mut self) -> Self {
        self.new_id = NewId::Generated;
        self
    }

    /// As another version of the orchestrator; empty for none.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    async fn send(self) -> Result<Instance<O>> {
        let (hub, id) = (&*self.client.hub, self.id);
        ids::check_orchestration(id)?;
        let stored = hub.instances.read(id, true).await?.ok_or_else(|| self.client.no_instance(id))?;
        let row = &stored.row;
        // One that is shown as failed because a message of it is parked has not ended.
        let status = row.own_status().unwrap_or(RuntimeStatus::Running);
        let new_id = match self.new_id {
            NewId::Is(new) if new == id => NewId::Same,
            other => other,
        };
        if matches!(new_id, NewId::Same) && !status.is_terminal() {
            let message =
                format!("instance \"{id}\" is {status}; wait for its end, terminate it, or restart it under another id");
            return Err(Error::new(ErrorKind::Open, message));
        }
        let input = hub.instances.resolve_payload(row.input.clone()).await?;
        let mut tags = hub.instances.resolve_tags(row).await?;
        if !matches!(new_id, NewId::Same) {
            tags.insert(SOURCE_INSTANCE_ID.to_owned(), id.to_owned());
        }
        let (name, version) = (row.name.clone().unwrap_or_default(), self.version.or(row.version.clone()).unwrap_or_default());
        let start = Start::again(self.client, name, version, input, tags);
        match new_id {
            NewId::Same => start.create(id.to_owned(), Some(&stored)).await,
            NewId::Generated => start.send_with_any_tags().await,
            NewId::Is(new) => start.instance_id(new).send_with_any_tags().await,
        }
    }
}

impl<'a, O: 'a> IntoFuture for Restart<'a, O> {
    type Output = Result<Instance<O>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Instance<O>>> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl<O> fmt::Debug for Restart<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restart").field("id", &self.id).field("new_id", &self.new_id).finish_non_exhaustive()
    }
}
