//! Starting instances: what is asked for, and whether an instance with the id may be replaced.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::wait::still;
use super::{Client, Instance};
use crate::authoring::{AsInput, Orchestrator};
use crate::bounds;
use crate::error::{Error, ErrorKind, Result};
use crate::hub::instances::{StoredRow, Until};
use crate::ids;
use crate::model::{ExecutionStarted, InstanceRef, RuntimeStatus, Tags, Timestamp, TraceContext};

/// A start that is being prepared; awaiting it starts the instance and gives a handle of it, typed by the output of its orchestrator.
///
/// # Errors
/// Awaiting it fails with `AlreadyExists` if an instance with this id exists in a status that is not to be
/// [replaced](Self::replacing); `Timeout` if what is [replaced whatever it is](Self::replacing_any) has not ended in time; `Invalid` if the [id](Self::instance_id) cannot be one, the [time](Self::at) is too far ahead,
/// the name is empty, name or version have more than 2,048 UTF-16 units, the input more than 240 MiB, the tags more than 4 MiB, or the input cannot be written as JSON; `Storage` if storage fails. After an error the instance may have been started all the
/// same if the reply of the storage service was lost; with an id of its own it can be looked up.
#[must_use = "nothing starts until it is awaited"]
pub struct Start<'a, O = Value> {
    client: &'a Client,
    name: String,
    input: Result<Option<String>>,
    instance_id: Option<String>,
    version: String,
    tags: Tags,
    scheduled: Option<Timestamp>,
    trace: Option<TraceContext>,
    replaces: Vec<RuntimeStatus>,
    /// Whether what runs is terminated before it is replaced.
    ends_first: bool,
    output: PhantomData<fn() -> O>,
}

/// The tag that names the instance of which this one is a restart under another id, as .NET writes it.
pub(super) const SOURCE_INSTANCE_ID: &str = "MS_DurableFunctions_SourceInstanceId";

/// How long a start waits for the end of what it replaces.
const END_WITHIN: Duration = Duration::from_secs(180);

/// Statuses that a new start may replace unless told otherwise: the final ones.
const REPLACEABLE: [RuntimeStatus; 4] =
    [RuntimeStatus::Completed, RuntimeStatus::Failed, RuntimeStatus::Canceled, RuntimeStatus::Terminated];

impl Client {
    /// Starts an orchestration. The types of the handle check the input, and type the result of the instance.
    ///
    /// ```no_run
    /// # use taskhub::{Client, Orchestrator};
    /// const FULFIL: Orchestrator<String, u64> = Orchestrator::new("Fulfil");
    /// # async fn f(client: Client) -> Result<(), taskhub::Error> {
    /// let order = client.start(FULFIL, "order 7").instance_id("order-7").await?;
    /// let parcel: u64 = order.result().await?;
    /// # Ok(()) }
    /// ```
    #[allow(clippy::needless_pass_by_value, reason = "a value and a reference both serve as input")]
    pub fn start<I: Serialize, O>(&self, orchestrator: Orchestrator<I, O>, input: impl AsInput<I>) -> Start<'_, O> {
        let name = orchestrator.name();
        Start::new(self, name.to_owned(), input.with(|input| encoded(name, input)))
    }

    /// Starts an orchestration by its stored name, where that is known at run time only. An input that is JSON text already is given as a
    /// [`RawValue`](crate::RawValue).
    pub fn start_named(&self, name: impl Into<String>, input: impl Serialize) -> Start<'_> {
        let name = name.into();
        let input = encoded(&name, &input);
        Start::new(self, name, input)
    }

    /// Starts an orchestration with this text for its input.
    #[cfg(test)]
    pub(crate) fn start_json(&self, name: impl Into<String>, input: Option<String>) -> Start<'_> {
        Start::new(self, name.into(), Ok(input))
    }
}

impl Client {
    /// Terminates an instance and waits for its end, also behind the mark of a parked message.
    async fn end_for_new_start(&self, id: &str) -> Result<()> {
        let reason = format!("A new instance creation request has been issued for instance {id} which currently has not ended.");
        match self.instance(id).terminate(&reason).await {
            Err(error) if !matches!(error.kind(), ErrorKind::Ended | ErrorKind::NotFound) => return Err(error),
            _ => {}
        }
        let is_ended =
            |stored: &StoredRow| stored.row.behind_mark.is_none() && stored.row.status.is_some_and(RuntimeStatus::is_terminal);
        match self.watch(id, Until::Change, END_WITHIN, is_ended).await {
            Ok(Err((last, limit))) => {
                let why = "though it was terminated so that it can be replaced: no worker has seen that yet; try again later";
                Err(Error::new(ErrorKind::Timeout, format!("{}, {why}", still(id, &last, limit))))
            }
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The JSON text of an input; nothing for null.
fn encoded(name: &str, input: &(impl Serialize + ?Sized)) -> Result<Option<String>> {
    serde_json::to_string(input)
        .map(|json| Some(json).filter(|json| json != "null"))
        .map_err(|e| Error::new(ErrorKind::Invalid, format!("the input of \"{name}\" cannot be written as JSON: {e}")))
}

impl<'a, O> Start<'a, O> {
    /// The same start again, of what a row shows.
    pub(super) fn again(client: &'a Client, name: String, version: String, input: Option<String>, tags: Tags) -> Self {
        Self { version, tags, ..Self::new(client, name, Ok(input)) }
    }

    fn new(client: &'a Client, name: String, input: Result<Option<String>>) -> Self {
        Self {
            client,
            name,
            input,
            instance_id: None,
            version: client.default_version.clone(),
            tags: Tags::new(),
            scheduled: None,
            trace: None,
            replaces: REPLACEABLE.to_vec(),
            ends_first: false,
            output: PhantomData,
        }
    }

    /// The instance id; a generated one (32 hexadecimal digits) unless set.
    ///
    /// Any text that is not empty, does not begin with `@`, which is reserved for entities, and is at most 512 UTF-16 units long,
    /// where `/`, `\`, `#`, `?`, `^` and control characters count twice: it becomes the key of table rows. Case matters.
    pub fn instance_id(mut self, id: impl Into<String>) -> Self {
        self.instance_id = Some(id.into());
        self
    }

    /// The version of the orchestrator; [that of the client](Client::default_version) unless set. Empty for none.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// A tag; sub-orchestrations inherit it. `MS_DurableFunctions_SourceInstanceId` is reserved for [restarts](super::Instance::restart).
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(name.into(), value.into());
        self
    }

    /// Starts not before this time; at once, if that is over. A start more than seven days ahead comes up early and is hidden
    /// again by workers of this library; those of .NET would start it then.
    pub fn at(mut self, time: Timestamp) -> Self {
        self.scheduled = Some(time);
        self
    }

    /// Starts not before this much time from now, [as](Self::at) at a time.
    pub fn after(self, delay: Duration) -> Self {
        let time = self.client.now().plus(delay);
        self.at(time)
    }

    /// The trace that the instance goes on with.
    #[cfg(any(test, feature = "http"))]
    pub(crate) fn trace(mut self, trace: Option<TraceContext>) -> Self {
        self.trace = trace;
        self
    }

    /// The statuses of an existing instance with this id that the start may replace; the final ones unless set.
    /// With none, an id is used at most once.
    pub fn replacing(mut self, statuses: impl IntoIterator<Item = RuntimeStatus>) -> Self {
        self.replaces = statuses.into_iter().collect();
        self
    }

    /// Replaces whatever instance has this id. One that has not ended is terminated first, and its end waited for, three minutes at most: a
    /// worker has to see that, and a parent that waits for it gets the reason.
    ///
    /// Its sub-orchestrations go on. With [`replacing`](Self::replacing) a status that is not final, the instance is replaced where it
    /// stands, and nobody waits.
    pub fn replacing_any(mut self) -> Self {
        self.replaces = RuntimeStatus::ALL.to_vec();
        self.ends_first = true;
        self
    }

    async fn send(self) -> Result<Instance<O>> {
        if self.tags.contains_key(SOURCE_INSTANCE_ID) {
            let message = format!("the tag \"{SOURCE_INSTANCE_ID}\" is reserved: a restart under another id sets it");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        self.send_with_any_tags().await
    }

    pub(super) async fn send_with_any_tags(self) -> Result<Instance<O>> {
        let hub = &*self.client.hub;
        let generated = self.instance_id.is_none();
        let instance_id = self.instance_id.clone().unwrap_or_else(|| hub.rng.uuid().simple().to_string());
        ids::check_orchestration(&instance_id)?;
        // Nobody else can have drawn a generated id, so there is no row to look at.
        let mut existing = if generated { None } else { hub.instances.read(&instance_id, false).await? };
        if let Some(stored) = &existing {
            // One that is shown as failed because a message of it is parked is replaced where it stands: it may never end.
            let status = stored.row.status.unwrap_or(RuntimeStatus::Running);
            if !self.replaces.contains(&status) {
                return Err(already_exists(&instance_id, status));
            }
            if self.ends_first && !status.is_terminal() {
                self.client.end_for_new_start(&instance_id).await?;
                existing = hub.instances.read(&instance_id, false).await?;
            }
        }
        self.create(instance_id, existing.as_ref()).await
    }

    /// Starts an instance in place of the one that was read, if there was one.
    pub(super) async fn create(self, instance_id: String, existing: Option<&StoredRow>) -> Result<Instance<O>> {
        self.check_texts()?;
        let hub = &*self.client.hub;
        let now = hub.now();
        let delay = self.scheduled.map_or(Duration::ZERO, |at| at.since(now));
        let generation = existing.map_or(0, |r| r.row.generation.unwrap_or(0).saturating_add(1));
        let mut start = ExecutionStarted {
            instance: InstanceRef::new(&instance_id, hub.rng.uuid().simple().to_string()),
            name: self.name,
            version: Some(self.version),
            input: self.input?,
            tags: Some(self.tags).filter(|t| !t.is_empty()),
            trace: self.trace,
            scheduled_start: self.scheduled,
            generation: Some(generation),
            ..ExecutionStarted::default()
        };
        let sending = self.client.begin_to_start(&mut start);
        if !hub.create_instance(start, now, delay, existing.map(|stored| &stored.etag)).await? {
            return Err(already_exists(&instance_id, RuntimeStatus::Pending));
        }
        self.client.has_sent(sending);
        Ok(Instance::new(self.client, instance_id))
    }

    /// What the message and the row have room for.
    fn check_texts(&self) -> Result<()> {
        let why = bounds::why_no_name("the orchestrator name", &self.name)
            .or_else(|| bounds::why_no_version("the version", &self.version))
            .or_else(|| bounds::why_no_tags("the instance", &self.tags))
            .or_else(|| {
                let input = self.input.as_ref().ok().and_then(Option::as_deref);
                bounds::why_too_large(&format!("the input of \"{}\"", self.name), input)
            });
        why.map_or(Ok(()), |why| Err(Error::new(ErrorKind::Invalid, why)))
    }
}

fn already_exists(instance_id: &str, status: RuntimeStatus) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        format!(
            "instance \"{instance_id}\" exists and is {status}; use another id, or name {status} among the statuses to replace"
        ),
    )
}

impl<'a, O: 'a> IntoFuture for Start<'a, O> {
    type Output = Result<Instance<O>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Instance<O>>> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl<O> fmt::Debug for Start<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("name", &self.name).field("instance_id", &self.instance_id).finish_non_exhaustive()
    }
}
