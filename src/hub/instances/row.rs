//! An instance row as it is read: what clients see (docs/storage-layout.md, Instance rows).

use super::mark;
use crate::hub::histories::rows::RowReader;
use crate::hub::keys;
use crate::model::members::MemberReader as _;
use crate::model::{DecodeError, RuntimeStatus, Tags, Timestamp};
use crate::storage::table::{Entity, Etag};

impl InstanceRow {
    /// The status of the instance itself, also while a message of it is parked and the row shows it as failed.
    pub(crate) fn own_status(&self) -> Option<RuntimeStatus> {
        self.behind_mark.or(self.status)
    }
}

/// A row and its version.
#[derive(Clone, Debug)]
pub(crate) struct StoredRow {
    pub(crate) row: InstanceRow,
    pub(crate) etag: Etag,
}

/// A row as stored; every column may be absent. Input and output are the texts of their columns: inline, or a blob's URL.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct InstanceRow {
    pub(crate) instance_id: String,
    pub(crate) execution_id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) input: Option<String>,
    pub(crate) output: Option<String>,
    /// JSON; `None` also for the text `null`, which .NET stores when it was never set.
    pub(crate) custom_status: Option<String>,
    /// `None` also for a status that this version does not know.
    pub(crate) status: Option<RuntimeStatus>,
    /// While a message of the instance is parked and the row bears its mark: the status of the instance itself.
    pub(crate) behind_mark: Option<RuntimeStatus>,
    pub(crate) tags: Option<Tags>,
    /// The blob of tags that are too large for their column, which is empty then.
    pub(crate) tags_blob: Option<String>,
    pub(crate) created: Option<Timestamp>,
    pub(crate) last_updated: Option<Timestamp>,
    pub(crate) completed: Option<Timestamp>,
    pub(crate) scheduled_start: Option<Timestamp>,
    pub(crate) generation: Option<i32>,
    pub(crate) task_hub_name: Option<String>,
    /// The instance that started this one; `None` also if the writer of the row did not record it.
    pub(crate) parent: Option<String>,
}

/// The column of the parent's id, as .NET writes it from 2.11 on.
pub(crate) const PARENT: &str = "ParentInstanceId";

/// Reads a row.
pub(crate) fn from_entity(entity: &Entity) -> Result<InstanceRow, DecodeError> {
    let instance_id = keys::unescape(&entity.partition_key);
    read(entity, &instance_id).map_err(|e| e.within(&format!("instance \"{instance_id}\"")))
}

/// Whatever can be read of a damaged row: columns that cannot be read are left out.
pub(crate) fn readable_part(entity: &Entity) -> InstanceRow {
    let mut sound = Entity::new(entity.partition_key.clone(), entity.row_key.clone());
    for (name, value) in entity.properties.iter() {
        sound.set(name.to_owned(), value.clone());
        if from_entity(&sound).is_err() {
            sound.properties.remove(name);
        }
    }
    from_entity(&sound).unwrap_or_default()
}

fn read(entity: &Entity, instance_id: &str) -> Result<InstanceRow, DecodeError> {
    let row = RowReader(entity);
    Ok(InstanceRow {
        instance_id: instance_id.to_owned(),
        execution_id: row.text("ExecutionId")?,
        name: row.text("Name")?,
        version: row.text("Version")?,
        input: row.text("Input")?,
        output: row.text("Output")?,
        custom_status: row.text("CustomStatus")?.filter(|text| text != "null"),
        status: row.text("RuntimeStatus")?.and_then(|_| row.status("RuntimeStatus").ok().flatten()),
        behind_mark: mark::status_behind(entity),
        tags: row.tags("Tags")?,
        // An older start may have left the name beside tags that fit.
        tags_blob: if row.text("Tags")?.as_deref() == Some("") { row.text(TAGS_BLOB)? } else { None },
        created: row.time("CreatedTime")?,
        last_updated: row.time("LastUpdatedTime")?,
        completed: row.time("CompletedTime")?,
        scheduled_start: row.time("ScheduledStartTime")?,
        generation: row.int("Generation")?,
        task_hub_name: row.text("TaskHubName")?,
        parent: row.text(PARENT)?.filter(|id| !id.is_empty()),
    })
}

/// The column that names the blob of large tags.
pub(crate) const TAGS_BLOB: &str = "TagsBlobName";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::table::Value;

    #[test]
    fn a_column_of_a_wrong_type_is_an_error_that_names_instance_and_column() {
        let row = Entity::new("a^0b", "").with("CreatedTime", Value::string("yesterday"));
        let error = from_entity(&row).unwrap_err().to_string();
        assert!(error.starts_with("instance \"a/b\".CreatedTime: an Edm.String"), "{error}");
        let damaged = row.with("Name", Value::string("n")).with("Tags", Value::string("{"));
        let part = readable_part(&damaged);
        assert_eq!((part.instance_id.as_str(), part.name.as_deref(), part.created, part.tags), ("a/b", Some("n"), None, None));
        let row = Entity::new("i", "").with("RuntimeStatus", Value::string("Dreaming"));
        assert_eq!(from_entity(&row).unwrap().status, None);
    }
}
