//! One instance: its status, its history, and waiting for its end.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::hub::{Hub, InstanceRow};
use crate::ids;
use crate::model::{HistoryEvent, RuntimeStatus, Tags, Timestamp, read_payload};

/// What the instance row shows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the columns of wire-format 6, by the same names")]
pub struct InstanceStatus {
    pub instance_id: String,
    pub execution_id: Option<String>,
    pub name: String,
    pub version: Option<String>,
    pub status: RuntimeStatus,
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
}

/// First and longest pause between two looks of a wait.
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(2);

impl Client {
    /// The status of an instance, `None` if there is none with this id.
    ///
    /// # Errors
    /// `Invalid` if no instance can have this id; `Corrupt` if its row cannot be read; `Storage` if storage fails.
    pub async fn status(&self, instance_id: &str) -> Result<Option<InstanceStatus>> {
        ids::check_key(instance_id)?;
        match self.hub.read_instance(instance_id, true).await? {
            Some(stored) => Ok(Some(resolved(&self.hub, stored.row).await?)),
            None => Ok(None),
        }
    }

    /// The recorded events of the current execution, in order; none if the instance has not run yet.
    ///
    /// # Errors
    /// `Invalid` if no instance can have this id; `Corrupt` if a row cannot be read; `Storage` if storage fails.
    pub async fn history(&self, instance_id: &str) -> Result<Vec<HistoryEvent>> {
        ids::check_key(instance_id)?;
        let history = self.hub.load_history(instance_id).await?;
        Ok(history.events.into_iter().map(|stored| stored.event).collect())
    }

    /// Waits until the instance has ended.
    ///
    /// # Errors
    /// `Timeout` if it has not ended after `limit`, which `Duration::MAX` never is; `NotFound` if there is no such instance;
    /// `Invalid` if no instance can have this id; `Storage` if storage fails.
    pub async fn wait(&self, instance_id: &str, limit: Duration) -> Result<InstanceStatus> {
        ids::check_key(instance_id)?;
        let begun = tokio::time::Instant::now();
        let mut pause = WAIT_MIN;
        loop {
            let stored = self.hub.read_instance(instance_id, false).await?;
            let Some(stored) = stored else {
                return Err(self.no_instance(instance_id));
            };
            if stored.row.status.is_some_and(RuntimeStatus::is_terminal)
                && let Some(status) = self.status(instance_id).await?
            {
                return Ok(status);
            }
            // The last look is at the very end.
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                let status = stored.row.status.unwrap_or(RuntimeStatus::Running);
                let message = format!("instance \"{instance_id}\" is still {status} after {limit:?}");
                return Err(Error::new(ErrorKind::Timeout, message));
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 3 / 2).min(WAIT_MAX);
        }
    }

    pub(super) fn no_instance(&self, instance_id: &str) -> Error {
        let hub = self.hub.names_hub();
        Error::new(ErrorKind::NotFound, format!("there is no instance \"{instance_id}\" in task hub \"{hub}\""))
    }
}

impl InstanceStatus {
    /// The output as a value.
    ///
    /// # Errors
    /// `Invalid` if the instance has not completed, or its output is of another type.
    pub fn output<T: DeserializeOwned>(&self) -> Result<T> {
        if self.status != RuntimeStatus::Completed {
            let output = self.output.as_deref().unwrap_or("no output");
            let message = format!("instance \"{}\" is {}: {output}", self.instance_id, self.status);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        read_payload(self.output.as_deref().unwrap_or("null")).map_err(|e| {
            Error::new(
                ErrorKind::Invalid,
                format!("the output of instance \"{}\" is no {}: {e}", self.instance_id, std::any::type_name::<T>()),
            )
        })
    }
}

/// The status with its large payloads fetched.
pub(super) async fn resolved(hub: &Hub, row: InstanceRow) -> Result<InstanceStatus> {
    Ok(InstanceStatus {
        tags: tags(hub, &row).await?,
        input: payload(hub, &row.instance_id, row.input).await?,
        output: payload(hub, &row.instance_id, row.output).await?,
        instance_id: row.instance_id,
        execution_id: row.execution_id,
        name: row.name.unwrap_or_default(),
        version: row.version.filter(|v| !v.is_empty()),
        status: row.status.unwrap_or(RuntimeStatus::Running),
        custom_status: row.custom_status.filter(|s| s != "null"),
        created: row.created,
        last_updated: row.last_updated,
        completed: row.completed,
        scheduled_start: row.scheduled_start,
        generation: row.generation.unwrap_or(0),
        parent_instance_id: row.parent,
    })
}

/// The tags; none if their blob is lost or damaged.
async fn tags(hub: &Hub, row: &InstanceRow) -> Result<Tags> {
    match hub.resolve_tags(row).await {
        Err(error) if error.is_lasting() => {
            tracing::warn!(instance = row.instance_id, %error, "tags cannot be shown");
            Ok(Tags::new())
        }
        tags => tags,
    }
}

/// A payload, or the URL of the blob that should hold it: the instance that lacks it has to be seen all the same.
async fn payload(hub: &Hub, instance_id: &str, column: Option<String>) -> Result<Option<String>> {
    match hub.resolve_payload(column.clone()).await {
        Err(error) if error.is_lasting() => {
            tracing::warn!(instance = instance_id, %error, "a payload cannot be shown");
            Ok(column)
        }
        payload => payload,
    }
}
