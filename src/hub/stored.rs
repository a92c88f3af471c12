//! What storage tells about an existing hub: its number of partitions, and which lease manager it is run with.

use std::sync::Arc;

use serde::Deserialize;

use super::names::{HUB_INFO_BLOB, Names};
use super::table::Table;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::storage::Storage;
use crate::storage::error::OrNone;
use crate::storage::table::Query;

/// A hub that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredHub {
    pub(super) partitions: u32,
    pub(super) manager: LeaseManager,
}

/// How workers agree on the owners of partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseManager {
    /// The partition table.
    Table,
    /// Leases of blobs, a setting of .NET that taskhub workers do not support.
    Blobs,
}

/// Reads the partition rows or, without any, the info blob of the blob lease managers. `None` if there is no such hub.
pub(super) async fn stored_hub(storage: &Storage, names: &Names) -> Result<Option<StoredHub>> {
    let rows = partition_rows(storage, names).await?;
    if !rows.is_empty() {
        return Ok(Some(StoredHub { partitions: count(&rows, names)?, manager: LeaseManager::Table }));
    }
    let blob = storage.blobs.get(&names.leases, HUB_INFO_BLOB, 64 * 1024).await.or_none()?;
    let Some(blob) = blob else { return Ok(None) };
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Info {
        partition_count: u32,
    }
    let info = serde_json::from_slice::<Info>(&blob.bytes).map_err(|e| e.to_string()).and_then(|info| {
        let is_sound = (1..=limits::PARTITIONS_MAX).contains(&info.partition_count);
        is_sound.then_some(info.partition_count).ok_or_else(|| format!("a partition count of {}", info.partition_count))
    });
    match info {
        Ok(partitions) => Ok(Some(StoredHub { partitions, manager: LeaseManager::Blobs })),
        Err(why) => Err(Error::new(ErrorKind::Corrupt, format!("blob {}/{HUB_INFO_BLOB}: {why}", names.leases))),
    }
}

/// The row keys of the partition table.
async fn partition_rows(storage: &Storage, names: &Names) -> Result<Vec<String>> {
    let table = Table { store: Arc::clone(&storage.tables), name: names.partitions.clone() };
    let rows = table.rows(Query::default()).await.or_none()?;
    Ok(rows.into_iter().flatten().map(|row| row.entity.row_key).collect())
}

/// The number of partitions according to these rows: one row for each partition from 00 on. With a wrong count, messages would go to
/// queues that nobody reads, so any other row is an error.
fn count(rows: &[String], names: &Names) -> Result<u32> {
    let partitions: Vec<_> = (0..limits::PARTITIONS_MAX).map(|id| names.control_queue(id)).collect();
    let missing = partitions.iter().position(|queue| !rows.contains(queue)).unwrap_or(partitions.len());
    let Some(odd) = rows.iter().find(|row| !partitions[..missing].contains(row)) else {
        return Ok(u32::try_from(missing).unwrap_or(limits::PARTITIONS_MAX));
    };
    let remedy = match partitions.get(missing).filter(|_| partitions.contains(odd)) {
        Some(missing) => format!(
            "row \"{missing}\" is missing: if it was deleted, insert it again (PartitionKey \"\", IsDraining false); if \"{odd}\" was \
             added, delete that one"
        ),
        None => "delete the row: no worker needs it, and .NET workers would serve a queue of its name".to_owned(),
    };
    Err(Error::new(
        ErrorKind::Mismatch,
        format!(
            "the partition table {} of task hub \"{}\" has a row \"{odd}\" that is none of its partitions (\"{}\" and so on without \
             a gap, {} at most); {remedy}",
            names.partitions,
            names.hub,
            partitions[0],
            limits::PARTITIONS_MAX
        ),
    ))
}
