//! What continue-as-new carries over beyond its first transaction, in a blob beside the rows: those that it replaces are gone then,
//! and an interrupted checkpoint must lose none of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Histories, corrupt, rows};
use crate::error::{Error, Result};
use crate::hub::blob_names;
use crate::model::{HistoryEvent, StoredEvent};
use crate::storage::table::{Entity, Value};

/// Bytes of JSON in one of the blobs, beside its last event.
const PART_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Events that have no rows yet. The sentinel names them from the first transaction of a checkpoint until its last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remainder {
    /// The ordinal of the first event in the blobs.
    pub(super) first: u64,
    /// The first ordinal that has no row.
    pub(super) from: u64,
    /// In the order of their events.
    pub(crate) blobs: Vec<String>,
}

/// An event in a blob: what its row says, with large texts in blobs of their own.
#[derive(Serialize, Deserialize)]
struct Carried {
    /// As in messages.
    event: String,
    /// The columns of the row that are none of the event's members.
    columns: BTreeMap<String, String>,
}

impl Remainder {
    /// The same, with rows up to this ordinal.
    pub(super) fn after(&self, from: u64) -> Option<Self> {
        Some(Self { from, ..self.clone() })
    }
}

impl Histories {
    /// Puts these rows, whose large texts are in blobs already, into as few blobs as can be read back.
    pub(super) async fn put_remainder(&self, first: u64, entities: &[&Entity]) -> Result<Remainder> {
        let mut remainder = Remainder { first, from: first, blobs: Vec::new() };
        let (mut part, mut bytes) = (Vec::new(), 0);
        for (number, entity) in entities.iter().enumerate() {
            let carried = Carried::of(entity)?;
            bytes += carried.event.len();
            part.push(carried);
            if bytes > PART_BYTES_MAX || number + 1 == entities.len() {
                let (key, row_key) = (&entity.partition_key, &entity.row_key);
                let name = blob_names::history_blob(key, row_key, "Carried", self.payloads.random_suffix(), "Rows");
                let json = serde_json::to_string(&std::mem::take(&mut part)).expect("texts are always JSON");
                self.payloads.put(&name, &json).await?;
                remainder.blobs.push(name);
                bytes = 0;
            }
        }
        Ok(remainder)
    }

    /// The events that have no rows.
    pub(super) async fn read_remainder(&self, instance_id: &str, remainder: &Remainder) -> Result<Vec<StoredEvent>> {
        let mut all = Vec::new();
        for blob in &remainder.blobs {
            let unreadable =
                |error: &dyn std::fmt::Display| corrupt(instance_id, rows::SENTINEL, &format!("blob \"{blob}\": {error}"));
            let json = self.payloads.get(blob).await?;
            let part: Vec<Carried> = serde_json::from_str(&json).map_err(|e| unreadable(&e))?;
            all.extend(part);
        }
        let stored = usize::try_from(remainder.from.saturating_sub(remainder.first)).unwrap_or(usize::MAX);
        let mut events = Vec::new();
        for carried in all.into_iter().skip(stored) {
            let unreadable = |error| corrupt(instance_id, rows::SENTINEL, &format!("an event that is carried over: {error}"));
            let event = HistoryEvent::read_json(&carried.event).map_err(unreadable)?;
            let mut entity = rows::event_to_entity("", 0, "", &event.into());
            for (column, text) in carried.columns {
                entity.set(column, Value::String(text));
            }
            self.payloads.inline_blobs(&mut entity).await?;
            events.push(rows::event_from_entity(&entity).map_err(unreadable)?);
        }
        Ok(events)
    }
}

impl Carried {
    fn of(entity: &Entity) -> Result<Self> {
        let stored = rows::event_from_entity(entity)
            .map_err(|e| Error::corrupt(format!("row {} of \"{}\": {e}", entity.row_key, entity.partition_key), &e))?;
        let event = stored.event.to_typed_json();
        let members = rows::event_to_entity("", 0, "", &stored.event.into()).properties;
        let own = entity.properties.iter().filter(|(column, _)| !members.contains_key(column));
        let columns = own.filter_map(|(column, value)| match value {
            Value::String(text) => Some((column.to_string(), text.clone())),
            _ => None,
        });
        Ok(Self { event, columns: columns.collect() })
    }
}
