//! Large payloads: texts that do not fit a message or a column are stored in gzip blobs (docs/storage-layout.md, Large payloads).

use std::sync::Arc;

use bytes::Bytes;

use super::blob_names;
use super::gzip::{self, BadPayload};
use super::histories::rows;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::rng::Rng;
use crate::sabotage::{self, Sabotage};
use crate::storage;
use crate::storage::blob::{BlobStore, PutCondition, name_kept};
use crate::storage::error::OrNone;
use crate::storage::table::{Entity, Value};

/// The container of large payloads.
#[derive(Clone, Debug)]
pub(crate) struct Payloads {
    pub(super) blobs: Arc<dyn BlobStore>,
    pub(super) container: String,
    pub(super) rng: Rng,
}

impl Payloads {
    /// Stores a text under a blob name. A text too large to be read back is `Invalid`, and nothing is stored.
    pub(crate) async fn put(&self, name: &str, text: &str) -> Result<()> {
        let bytes = Bytes::from(gzip::compress(text));
        if text.len() > limits::PAYLOAD_BYTES_MAX || bytes.len() > limits::BLOB_BYTES_MAX {
            let message = format!("blob \"{name}\": {} bytes, or {} compressed, could not be read back", text.len(), bytes.len());
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let put = || self.blobs.put(&self.container, name, bytes.clone(), PutCondition::Always);
        match put().await {
            // The container is created with the first large payload, as .NET does.
            Err(e) if e.kind == storage::ErrorKind::NotFound => match self.blobs.create_container(&self.container).await {
                Err(e) if e.kind != storage::ErrorKind::AlreadyExists => return Err(e.into()),
                _ => put().await?,
            },
            result => result?,
        };
        Ok(())
    }

    /// Reads a text back.
    pub(crate) async fn get(&self, name: &str) -> Result<String> {
        let text = self.get_up_to(name, limits::PAYLOAD_BYTES_MAX).await?;
        text.ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("blob \"{name}\" is too large")))
    }

    /// Reads a text back, unless the blob or the text is larger than `max`.
    pub(super) async fn get_up_to(&self, name: &str, max: usize) -> Result<Option<String>> {
        let corrupt = |why: &dyn std::fmt::Display| Error::new(ErrorKind::Corrupt, format!("blob \"{name}\"{why}"));
        let bytes_max = max.min(limits::BLOB_BYTES_MAX);
        let blob = match self.blobs.get(&self.container, name, bytes_max).await.or_none() {
            Err(e) if e.kind == storage::ErrorKind::Invalid && bytes_max < limits::BLOB_BYTES_MAX => return Ok(None),
            blob => blob?.ok_or_else(|| corrupt(&" of a large payload is missing"))?,
        };
        match gzip::decompress(&blob.bytes, max) {
            Err(BadPayload::TooLarge(_)) if max < limits::PAYLOAD_BYTES_MAX => Ok(None),
            text => text.map(Some).map_err(|e| corrupt(&format_args!(": {e}"))),
        }
    }

    /// Deletes a blob; one that is gone is fine.
    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        if sabotage::is(Sabotage::PayloadsKept) {
            return Ok(());
        }
        self.blobs.delete(&self.container, name).await.or_none()?;
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
                    self.put(&name, text).await?;
                    name
                }
            };
            entity.set(column, Value::string(""));
            entity.set(rows::blob_column(column), Value::string(name.clone()));
            moved.push((column, name));
        }
        Ok(moved)
    }

    /// The names of all blobs that begin with `prefix`.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let (mut found, mut continuation) = (Vec::new(), None);
        loop {
            let page = self.blobs.list(&self.container, prefix, continuation.as_deref()).await;
            // The container is created with the first large payload.
            let Some(page) = page.or_none()? else { return Ok(found) };
            found.extend(page.names);
            continuation = page.continuation;
            if continuation.is_none() {
                return Ok(found);
            }
        }
    }

    /// Whether the blob of a message that cannot be read is there.
    pub(crate) async fn has(&self, blob: &str) -> Result<bool> {
        let Ok(kept) = name_kept(blob) else { return Ok(false) };
        let page = self.blobs.list(&self.container, &kept, None).await.or_none()?;
        Ok(page.is_some_and(|page| page.names.contains(&kept)))
    }

    /// The URL by which an instance row refers to a blob (docs/storage-layout.md, Large payloads).
    pub(crate) fn url(&self, blob: &str) -> String {
        blob_names::to_url(&self.blobs.container_url(&self.container), blob)
    }

    /// The blob of this container that a column refers to by its URL; `None` if the column is a plain text.
    pub(super) fn blob_of(&self, column: &str) -> Option<String> {
        blob_names::from_url(&self.blobs.container_url(&self.container), column)
    }

    /// The random part of a blob name: 31 bits.
    pub(super) fn random_suffix(&self) -> u32 {
        u32::try_from(self.rng.below(1 << 31)).unwrap_or(0)
    }

    /// Puts the texts of blobs back into the columns of a history row.
    pub(super) async fn inline_blobs(&self, entity: &mut Entity) -> Result<()> {
        for column in rows::LARGE_COLUMNS {
            let Some(name) = entity.text(&rows::blob_column(column)).map(str::to_owned) else { continue };
            let text = self.get(&name).await?;
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
