//! Large payloads: texts that do not fit a message or a column go to gzip blobs (wire-format 4).

use bytes::Bytes;

use super::gzip::{self, BadPayload};
use super::{Hub, blob_names, keys, rows};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::sabotage::{self, Sabotage};
use crate::storage;
use crate::storage::blob::PutCondition;
use crate::storage::error::OrNone;
use crate::storage::table::{Entity, Value};

impl Hub {
    /// Stores a text under a blob name. One that could not be read back is `Invalid`, and nothing is stored.
    pub(crate) async fn put_payload(&self, name: &str, text: &str) -> Result<()> {
        let bytes = Bytes::from(gzip::compress(text));
        if text.len() > limits::PAYLOAD_BYTES_MAX || bytes.len() > limits::BLOB_BYTES_MAX {
            let message = format!("blob \"{name}\": {} bytes, or {} compressed, could not be read back", text.len(), bytes.len());
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let put = || self.storage.blobs.put(&self.names.large_messages, name, bytes.clone(), PutCondition::Always);
        match put().await {
            // The container is made when the first large payload needs it, as .NET does.
            Err(e) if e.kind == storage::ErrorKind::NotFound => {
                match self.storage.blobs.create_container(&self.names.large_messages).await {
                    Err(e) if e.kind != storage::ErrorKind::AlreadyExists => return Err(e.into()),
                    _ => put().await?,
                }
            }
            result => result?,
        };
        Ok(())
    }

    /// Reads a text back.
    pub(crate) async fn get_payload(&self, name: &str) -> Result<String> {
        let text = self.get_payload_up_to(name, limits::PAYLOAD_BYTES_MAX).await?;
        text.ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("blob \"{name}\" is too large")))
    }

    /// Reads a text back, unless the blob or the text is larger than `max`.
    pub(super) async fn get_payload_up_to(&self, name: &str, max: usize) -> Result<Option<String>> {
        let corrupt = |why: &dyn std::fmt::Display| Error::new(ErrorKind::Corrupt, format!("blob \"{name}\"{why}"));
        let bytes_max = max.min(limits::BLOB_BYTES_MAX);
        let blob = match self.storage.blobs.get(&self.names.large_messages, name, bytes_max).await.or_none() {
            Err(e) if e.kind == storage::ErrorKind::Invalid && bytes_max < limits::BLOB_BYTES_MAX => return Ok(None),
            blob => blob?.ok_or_else(|| corrupt(&" of a large payload is missing"))?,
        };
        match gzip::decompress(&blob.bytes, max) {
            Err(BadPayload::TooLarge(_)) if max < limits::PAYLOAD_BYTES_MAX => Ok(None),
            text => text.map(Some).map_err(|e| corrupt(&format_args!(": {e}"))),
        }
    }

    /// Deletes a blob; one that is gone is fine.
    pub(crate) async fn delete_payload(&self, name: &str) -> Result<()> {
        if sabotage::is(Sabotage::PayloadsKept) {
            return Ok(());
        }
        self.storage.blobs.delete(&self.names.large_messages, name).await.or_none()?;
        Ok(())
    }

    /// Moves large columns of a history row to blobs, unless their texts are known to be in some. Column and blob name of each.
    pub(super) async fn offload_columns(
        &self,
        entity: &mut Entity,
        event_type: &str,
        known: &[(&'static str, String)],
    ) -> Result<Vec<(&'static str, String)>> {
        let mut moved = Vec::new();
        for column in rows::LARGE_COLUMNS {
            let Some(text) = entity.text(column).filter(|t| is_large_column(t)) else { continue };
            let name = match known.iter().find(|(known, _)| *known == column) {
                Some((_, name)) => name.clone(),
                None => {
                    let (key, row_key, random) = (&entity.partition_key, &entity.row_key, self.random_suffix());
                    let name = blob_names::history_blob(key, row_key, event_type, random, column);
                    self.put_payload(&name, text).await?;
                    name
                }
            };
            entity.set(column, Value::string(""));
            entity.set(&rows::blob_column(column), Value::string(name.clone()));
            moved.push((column, name));
        }
        Ok(moved)
    }

    /// The blobs of history rows that there are now. Not those of the instance row: clients too put these, beside every fence.
    pub(crate) async fn blobs_of_history(&self, instance_id: &str) -> Result<Vec<String>> {
        let (prefix, mut found, mut continuation) = (blob_names::column_blobs(&keys::escape(instance_id)), Vec::new(), None);
        loop {
            let page = self.storage.blobs.list(&self.names.large_messages, &prefix, continuation.as_deref()).await;
            // The container is made when the first large payload needs it.
            let Some(page) = page.or_none()? else { return Ok(found) };
            // The folder of an instance whose id goes on in the same way is none of ours; a row without key is that of the instance.
            let is_meant = |name: &String| !name[prefix.len()..].contains('/') && !name[prefix.len()..].starts_with('-');
            found.extend(page.names.into_iter().filter(is_meant));
            continuation = page.continuation;
            if continuation.is_none() {
                return Ok(found);
            }
        }
    }

    /// The blobs to which the instance row refers.
    pub(crate) async fn blobs_of_instance_row(&self, instance_id: &str) -> Result<Vec<String>> {
        let Some(stored) = self.read_instance(instance_id, true).await? else { return Ok(Vec::new()) };
        let container = self.storage.blobs.container_url(&self.names.large_messages);
        let columns = [stored.row.input, stored.row.output].into_iter().flatten();
        Ok(columns.filter_map(|column| blob_names::from_url(&container, &column)).collect())
    }

    /// The random part of a blob name: 31 bits.
    pub(super) fn random_suffix(&self) -> u32 {
        u32::try_from(self.rng.below(1 << 31)).unwrap_or(0)
    }

    /// Puts the texts of blobs back into the columns of a history row.
    pub(super) async fn inline_blobs(&self, entity: &mut Entity) -> Result<()> {
        for column in rows::LARGE_COLUMNS {
            let Some(name) = entity.text(&rows::blob_column(column)).map(str::to_owned) else { continue };
            let text = self.get_payload(&name).await?;
            entity.set(column, Value::String(text));
        }
        Ok(())
    }
}

/// Whether a column is over 60 KiB as the table service counts: two bytes per UTF-16 unit.
pub(crate) fn is_large_column(text: &str) -> bool {
    // A UTF-8 byte is at most one unit, so most texts need no counting.
    text.len() > limits::COLUMN_UNITS_MAX && text.encode_utf16().count() > limits::COLUMN_UNITS_MAX
}
