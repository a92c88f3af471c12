//! One instance: its status, its history, its output.

use serde::de::DeserializeOwned;

use super::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::hub::instances::StoredRow;
use crate::hub::{Hub, InstanceRow};
use crate::ids;
use crate::model::{EventKind, FailureDetails, HistoryEvent, RuntimeStatus, Tags, Timestamp, read_payload};

/// What the instance row shows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the columns of an instance row, by the same names")]
pub struct InstanceStatus {
    pub instance_id: String,
    pub execution_id: Option<String>,
    pub name: String,
    pub version: Option<String>,
    pub status: RuntimeStatus,
    /// Whether the instance is shown as failed because a message of it is parked: it goes on once that is put back or dropped.
    pub is_parked: bool,
    /// JSON text; `None` is null, or was not asked for. If the blob that holds it is lost or damaged: the blob's URL.
    pub input: Option<String>,
    /// JSON text of the result; the message of a failure, the reason of a termination, suspension or resumption. If the blob
    /// that holds it is lost or damaged: the blob's URL.
    pub output: Option<String>,
    /// JSON text; `None` if it was never set.
    pub custom_status: Option<String>,
    pub tags: Tags,
    pub created: Option<Timestamp>,
    pub last_updated: Option<Timestamp>,
    pub completed: Option<Timestamp>,
    pub scheduled_start: Option<Timestamp>,
    pub generation: i32,
    /// The instance that started this one, unless it was started by a client, or its row was written by a .NET worker older than 2.11.
    pub parent_instance_id: Option<String>,
    /// Another text after each change of the row: what [`Instance::changed`](crate::Instance::changed) waits for begins here.
    pub revision: String,
}

impl Client {
    /// The status of an instance, `None` if there is none with this id.
    pub(crate) async fn status(&self, id: &(impl AsRef<str> + ?Sized)) -> Result<Option<InstanceStatus>> {
        let id = id.as_ref();
        ids::check_key(id)?;
        match self.hub.instances.read(id, true).await? {
            Some(stored) => Ok(Some(resolved(&self.hub, stored).await?)),
            None => Ok(None),
        }
    }

    /// How an instance stands, without its payloads; `None` if there is none with this id. One that is shown as failed because a message of it
    /// is parked stands as it did before.
    #[cfg(feature = "http")]
    pub(crate) async fn stands(&self, id: &str) -> Result<Option<RuntimeStatus>> {
        ids::check_key(id)?;
        self.hub.instances.own_status(id).await
    }

    /// The recorded events of the current execution, in order; none if the instance has not run yet.
    pub(crate) async fn history(&self, id: &(impl AsRef<str> + ?Sized)) -> Result<Vec<HistoryEvent>> {
        ids::check_key(id.as_ref())?;
        let history = self.hub.histories.load(id.as_ref()).await?;
        Ok(history.events.into_iter().map(|stored| stored.event).collect())
    }

    /// The output of an instance that has ended, or how else it ended.
    pub(super) async fn result<T: DeserializeOwned>(&self, ended: &InstanceStatus) -> Result<T> {
        match ended.status {
            RuntimeStatus::Failed => Err(Error::of_failed(&ended.instance_id, self.failure(ended).await)),
            _ => ended.output(),
        }
    }

    /// Why an instance has failed: the whole chain as its history has it, or else what its row shows.
    pub(super) async fn failure(&self, ended: &InstanceStatus) -> FailureDetails {
        let history = self.history(&ended.instance_id).await.unwrap_or_default();
        let recorded = history.into_iter().rev().find_map(|event| match event.kind {
            EventKind::ExecutionCompleted { failure, .. } => failure,
            _ => None,
        });
        recorded.or_else(|| ended.failure()).unwrap_or_default()
    }

    pub(super) fn no_instance(&self, instance_id: &str) -> Error {
        let hub = self.hub.name();
        Error::new(ErrorKind::NotFound, format!("there is no instance \"{instance_id}\" in task hub \"{hub}\""))
    }
}

impl InstanceStatus {
    /// What a row tells without its payloads, and of its tags those that are not in a blob.
    pub(super) fn without_payloads(StoredRow { row, etag }: &StoredRow) -> Self {
        Self {
            instance_id: row.instance_id.clone(),
            execution_id: row.execution_id.clone(),
            name: row.name.clone().unwrap_or_default(),
            version: row.version.clone().filter(|v| !v.is_empty()),
            status: row.status.unwrap_or(RuntimeStatus::Running),
            is_parked: row.behind_mark.is_some(),
            input: None,
            output: None,
            custom_status: row.custom_status.clone().filter(|s| s != "null"),
            tags: row.tags.clone().unwrap_or_default(),
            created: row.created,
            last_updated: row.last_updated,
            completed: row.completed,
            scheduled_start: row.scheduled_start,
            generation: row.generation.unwrap_or(0),
            parent_instance_id: row.parent.clone(),
            revision: etag.0.clone(),
        }
    }

    /// The input as a value.
    ///
    /// # Errors
    /// `Invalid` if it is of another type, or was not asked for.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T> {
        self.value("input", self.input.as_deref())
    }

    /// The custom status as a value; `()` and `Option` take one that was never set.
    ///
    /// # Errors
    /// `Invalid` if it is of another type.
    pub fn custom_status<T: DeserializeOwned>(&self) -> Result<T> {
        self.value("custom status", self.custom_status.as_deref())
    }

    /// The output as a value.
    ///
    /// # Errors
    /// `Failed` if the instance has failed, with what its row shows of the [failure](Self::failure); `Terminated` if it was terminated;
    /// `Invalid` if it has not ended, or its output is of another type.
    pub fn output<T: DeserializeOwned>(&self) -> Result<T> {
        let id = &self.instance_id;
        let reason = || self.output.as_deref().unwrap_or("no reason was given");
        match self.status {
            RuntimeStatus::Completed => self.value("output", self.output.as_deref()),
            RuntimeStatus::Failed => Err(Error::of_failed(id, self.failure().unwrap_or_default())),
            RuntimeStatus::Terminated | RuntimeStatus::Canceled => {
                let message = format!("instance \"{id}\" is {}: {}", self.status, reason());
                Err(Error::new(ErrorKind::Terminated, message))
            }
            status => Err(Error::new(ErrorKind::Invalid, format!("instance \"{id}\" is {status} and has no output yet"))),
        }
    }

    /// Why the instance has failed, as far as its row shows it: type and message of the outermost failure. [`Instance::failure`] reads the
    /// whole chain from the history. `None` if the instance has not failed.
    ///
    /// [`Instance::failure`]: crate::Instance::failure
    #[must_use]
    pub fn failure(&self) -> Option<FailureDetails> {
        let output = self.output.as_deref().unwrap_or("no output");
        (self.status == RuntimeStatus::Failed).then(|| FailureDetails::from_column(output))
    }

    fn value<T: DeserializeOwned>(&self, what: &str, json: Option<&str>) -> Result<T> {
        read_payload(json.unwrap_or("null")).map_err(|e| {
            let (id, expected) = (&self.instance_id, std::any::type_name::<T>());
            Error::new(ErrorKind::Invalid, format!("the {what} of instance \"{id}\" does not fit the type {expected}: {e}"))
        })
    }
}

/// The status with its large payloads fetched.
pub(super) async fn resolved(hub: &Hub, mut stored: StoredRow) -> Result<InstanceStatus> {
    let row = &mut stored.row;
    let (input, output) = (row.input.take(), row.output.take());
    Ok(InstanceStatus {
        tags: tags(hub, row).await?,
        input: payload(hub, &row.instance_id, input).await?,
        output: payload(hub, &row.instance_id, output).await?,
        ..InstanceStatus::without_payloads(&stored)
    })
}

/// The tags; none if their blob is lost or damaged.
async fn tags(hub: &Hub, row: &InstanceRow) -> Result<Tags> {
    match hub.instances.resolve_tags(row).await {
        Err(error) if error.is_lasting() => {
            tracing::warn!(instance = row.instance_id, %error, "tags cannot be shown");
            Ok(Tags::new())
        }
        tags => tags,
    }
}

/// A payload, or the URL of the blob that should hold it: the instance that lacks it has to be seen all the same.
async fn payload(hub: &Hub, instance_id: &str, column: Option<String>) -> Result<Option<String>> {
    match hub.instances.resolve_payload(column.clone()).await {
        Err(error) if error.is_lasting() => {
            tracing::warn!(instance = instance_id, %error, "a payload cannot be shown");
            Ok(column)
        }
        payload => payload,
    }
}
