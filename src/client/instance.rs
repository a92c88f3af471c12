//! A handle of one instance: what can be asked of it and sent to it, and its result.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Client, History, InstanceStatus, Purge, Restart, Rewind, Terminate, WaitForEnd};
use crate::authoring::{AsInput, Event, Orchestrator};
use crate::error::Result;
use crate::model::FailureDetails;

/// One instance by its id, with the type of the output that its orchestrator gives. Cheap to clone; making one asks nothing of storage.
///
/// [`Client::start`] gives one that is typed by the orchestrator, and [`Client::instance_of`] one for an id that came from elsewhere.
/// [`Client::instance`] gives one without a type, whose result is whatever JSON the instance returned.
///
/// ```no_run
/// # use std::time::Duration;
/// # use taskhub::{Client, Event, Orchestrator};
/// const FULFIL: Orchestrator<String, u64> = Orchestrator::new("Fulfil");
/// const APPROVAL: Event<bool> = Event::new("Approval");
///
/// # async fn f(client: Client) -> Result<(), taskhub::Error> {
/// let order = client.start(FULFIL, "order 7").await?;
/// order.raise(APPROVAL, true).await?;
/// println!("{} is {}", order.id(), order.status().await?.status);
/// let parcel: u64 = order.result().within(Duration::from_secs(60)).await?;
/// # Ok(()) }
/// ```
pub struct Instance<O = Value> {
    client: Client,
    id: String,
    output: PhantomData<fn() -> O>,
}

impl Client {
    /// A handle of the instance with this id, whatever orchestrator it runs; nothing asks whether there is one.
    #[must_use]
    pub fn instance(&self, id: impl Into<String>) -> Instance {
        Instance::new(self, id.into())
    }

    /// A handle of the instance with this id, typed by the orchestrator that it is known to run.
    #[must_use]
    pub fn instance_of<I, O>(&self, _orchestrator: Orchestrator<I, O>, id: impl Into<String>) -> Instance<O> {
        Instance::new(self, id.into())
    }
}

impl<O> Instance<O> {
    pub(super) fn new(client: &Client, id: String) -> Self {
        Self { client: client.clone(), id, output: PhantomData }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its id, for whoever has no more use for the handle.
    #[must_use]
    pub fn into_id(self) -> String {
        self.id
    }

    /// What its row shows: status, input, output, times.
    ///
    /// # Errors
    /// `NotFound` if there is no such instance; `Invalid` if no instance can have this id; `Corrupt` if its row cannot be read; `Storage`
    /// if storage fails.
    pub async fn status(&self) -> Result<InstanceStatus> {
        self.client.status(&self.id).await?.ok_or_else(|| self.client.no_instance(&self.id))
    }

    /// The recorded events of the current execution, in order; none if the instance has not run yet, or does not exist.
    ///
    /// # Errors
    /// As [`History`] says.
    pub fn history(&self) -> History<'_> {
        History::new(&self.client, &self.id)
    }

    /// Why the instance has failed: the whole chain as its history has it, or what its row shows if there is no more. `None` if it has not failed.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub async fn failure(&self) -> Result<Option<FailureDetails>> {
        let status = self.status().await?;
        Ok(if status.failure().is_some() { Some(self.client.failure(&status).await) } else { None })
    }

    /// Raises an event. It waits in the instance until somebody awaits it.
    ///
    /// # Errors
    /// `NotFound` if there is no such instance, `Ended` if it has ended, unless the client is [`unchecked`](Client::unchecked);
    /// `Invalid` if the event has no name, its payload cannot be written as JSON or is larger than 240 MiB, or the id is none that an instance can have (see
    /// [`Start::instance_id`](super::Start::instance_id)); `Storage` if storage fails.
    pub async fn raise<T: Serialize>(&self, event: Event<T>, payload: impl AsInput<T>) -> Result<()> {
        let message = payload.with(|payload| self.client.event(&self.id, event, payload))?;
        // The payload may be none that threads can share.
        drop(payload);
        self.client.send(message).await
    }

    /// Raises an event by its name. A payload that is JSON text already is given as a [`RawValue`](crate::RawValue).
    ///
    /// # Errors
    /// As [`raise`](Self::raise).
    pub async fn raise_named(&self, event: &str, payload: impl Serialize) -> Result<()> {
        let message = self.client.event_named(&self.id, event, &payload)?;
        drop(payload);
        self.client.send(message).await
    }

    /// Ends the instance for this reason. Its sub-orchestrations go on, unless it is told to be [recursive](Terminate::recursive).
    ///
    /// ```no_run
    /// # async fn f(client: taskhub::Client) -> Result<(), taskhub::Error> {
    /// client.instance("order-7").terminate("cancelled by the customer").recursive(true).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Terminate`] says.
    pub fn terminate(&self, reason: &str) -> Terminate<'_> {
        Terminate::new(&self.client, &self.id, reason)
    }

    /// Pauses the instance: what arrives is kept until it is resumed.
    ///
    /// # Errors
    /// As [`raise`](Self::raise).
    pub async fn suspend(&self, reason: &str) -> Result<()> {
        self.client.suspend(&self.id, reason).await
    }

    /// Lets the instance go on after a suspension. It may be sent right after that, before a worker has seen it; an instance that is not
    /// suspended goes on as before.
    ///
    /// # Errors
    /// As [`raise`](Self::raise).
    pub async fn resume(&self, reason: &str) -> Result<()> {
        self.client.resume(&self.id, reason).await
    }

    /// Starts again what the instance ran: the same orchestrator and version with the same input and tags, under the same id, if the
    /// instance has ended, or under [another](Restart::new_instance_id).
    ///
    /// # Errors
    /// As [`Restart`] says.
    pub fn restart(&self) -> Restart<'_, O> {
        Restart::new(&self.client, &self.id)
    }

    /// Lets an instance that has failed go on from where it failed, for this reason, which its history keeps: what failed runs again, what has
    /// completed does not.
    ///
    /// ```no_run
    /// # async fn f(client: taskhub::Client) -> Result<(), taskhub::Error> {
    /// client.instance("order-7").rewind("the bank is back").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Rewind`] says.
    pub fn rewind(&self, reason: &str) -> Rewind<'_> {
        Rewind::new(&self.client, &self.id, reason)
    }

    /// Deletes the instance, which must have ended, with its history and payloads, for good.
    ///
    /// # Errors
    /// As [`Purge`] says.
    pub fn purge(&self) -> Purge<'_> {
        Purge::of_one(&self.client, &self.id)
    }

    /// Waits until the instance has ended, in whatever way, and gives its last status. It waits for ever unless it is told
    /// [how long](WaitForEnd::within).
    ///
    /// # Errors
    /// `Timeout` if the instance has not ended in that time; `NotFound` if there is no such instance; `Invalid` if no instance can have
    /// this id; `Corrupt` if its row cannot be read; `Storage` if storage fails.
    pub fn wait(&self) -> WaitForEnd<InstanceStatus> {
        WaitForEnd::new(self, |ended, limit| async move { ended.client.wait(&ended.id, limit).await })
    }

    /// Waits until its status is as wanted, such as its custom status, and gives it; whatever is asked of it, input and output are not
    /// there yet. It waits for ever unless it is told [how long](WaitForEnd::within).
    ///
    /// ```no_run
    /// # async fn f(order: taskhub::Instance) -> Result<(), taskhub::Error> {
    /// let paid = order.wait_until(|status| status.custom_status.as_deref() == Some("\"paid\"")).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Ended` if the instance has ended and its status is not as wanted; and the errors of [`wait`](Self::wait), `Timeout` among them.
    pub fn wait_until(&self, fits: impl Fn(&InstanceStatus) -> bool + Send + Sync + 'static) -> WaitForEnd<InstanceStatus> {
        WaitForEnd::new(self, |it, limit| async move { it.client.wait_until(&it.id, limit, fits).await })
    }

    /// Waits until its status is another than that with this [revision](InstanceStatus::revision), and gives it: at once, if it has changed
    /// already. A change is whatever a worker or client writes into its row; of several in a row the last is seen. What this process writes is
    /// seen at once, what others write within two seconds. It waits for ever unless it is told [how long](WaitForEnd::within).
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn f(order: taskhub::Instance) -> Result<(), taskhub::Error> {
    /// let mut seen = order.status().await?;
    /// while !seen.status.is_terminal() {
    ///     println!("{} {:?}", seen.status, seen.custom_status);
    ///     seen = order.changed(&seen.revision).within(Duration::from_secs(60)).await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`wait`](Self::wait): `Timeout` if it has not changed in that time, `NotFound` also once it is purged.
    pub fn changed(&self, since: &str) -> WaitForEnd<InstanceStatus> {
        let since = since.to_owned();
        WaitForEnd::new(self, |it, limit| async move { it.client.changed(&it.id, &since, limit).await })
    }

    /// The same without the type of its output.
    pub(super) fn untyped(&self) -> Instance {
        Instance::new(&self.client, self.id.clone())
    }
}

impl<O: DeserializeOwned + 'static> Instance<O> {
    /// Waits until the instance has ended and gives its output. It waits for ever unless it is told [how long](WaitForEnd::within).
    ///
    /// # Errors
    /// `Failed` if the instance has failed, and [`Error::failure`](crate::Error::failure) tells why; `Terminated` if somebody has
    /// terminated it; `Invalid` if its output is of another type; and the errors of [`wait`](Self::wait), `Timeout` among them.
    pub fn result(&self) -> WaitForEnd<O> {
        WaitForEnd::new(self, |ended, limit| async move {
            let status = ended.client.wait_for_output(&ended.id, limit).await?;
            ended.client.result(&status).await
        })
    }
}

impl<O> Clone for Instance<O> {
    fn clone(&self) -> Self {
        Self::new(&self.client, self.id.clone())
    }
}

/// Its id.
impl<O> AsRef<str> for Instance<O> {
    fn as_ref(&self) -> &str {
        &self.id
    }
}

/// Its id.
impl<O> fmt::Display for Instance<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

impl<O> fmt::Debug for Instance<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instance").field(&self.id).finish()
    }
}
