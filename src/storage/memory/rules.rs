//! The limits of entities and transactions that Azure enforces (Azurite does not enforce all of them).

use std::collections::BTreeSet;

use super::{Refusal, has_char};
use crate::storage::columns::Columns;
use crate::storage::error::ErrorKind;
use crate::storage::table::{Entity, TRANSACTION_OPERATIONS_MAX, TableOp, Value, json_bytes};

const KEY_UNITS_MAX: usize = 512;
const TEXT_UNITS_MAX: usize = 32 * 1024;
const PROPERTIES_MAX: usize = 252;
const PROPERTY_NAME_MAX: usize = 255;
const ENTITY_BYTES_MAX: usize = 1024 * 1024;
const TRANSACTION_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Headers and boundaries around one write of a transaction, about.
const ENVELOPE_BYTES: usize = 512;

const OUT_OF_RANGE: Refusal = Refusal(ErrorKind::Invalid, 400, "OutOfRangeInput");
const INVALID: Refusal = Refusal(ErrorKind::Invalid, 400, "InvalidInput");

/// A refusal of a whole transaction, and the write that it names.
pub(super) type IndexedRefusal = (Refusal, Option<usize>);

pub(super) fn check_transaction(ops: &[TableOp]) -> Result<(), IndexedRefusal> {
    let Some(first) = ops.first() else { return Err((INVALID, None)) };
    if ops.len() > TRANSACTION_OPERATIONS_MAX {
        return Err((INVALID, Some(TRANSACTION_OPERATIONS_MAX)));
    }
    let mut seen = BTreeSet::new();
    for (i, op) in ops.iter().enumerate() {
        if op.keys().0 != first.keys().0 {
            return Err((Refusal(ErrorKind::Invalid, 400, "CommandsInBatchActOnDifferentPartitions"), Some(i)));
        }
        if !seen.insert(op.keys().1) {
            return Err((Refusal(ErrorKind::Invalid, 400, "InvalidDuplicateRow"), Some(i)));
        }
    }
    let bytes: usize = ops.iter().map(body_bytes).sum();
    if bytes > TRANSACTION_BYTES_MAX {
        return Err((Refusal(ErrorKind::Invalid, 413, "RequestBodyTooLarge"), None));
    }
    Ok(())
}

pub(super) fn check_keys(partition_key: &str, row_key: &str) -> Result<(), Refusal> {
    for key in [partition_key, row_key] {
        if exceeds(key, KEY_UNITS_MAX) {
            return Err(Refusal(ErrorKind::Invalid, 400, "KeyValueTooLarge"));
        }
        if has_char(key, |c| matches!(c, '/' | '\\' | '#' | '?' | '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}')) {
            return Err(OUT_OF_RANGE);
        }
    }
    Ok(())
}

/// The columns that a request may carry, before they meet those of the stored row.
pub(super) fn check_sent(columns: &Columns) -> Result<(), Refusal> {
    for (name, value) in columns.iter() {
        check_name(name)?;
        match value {
            Value::String(text) if exceeds(text, TEXT_UNITS_MAX) => {
                return Err(Refusal(ErrorKind::Invalid, 400, "PropertyValueTooLarge"));
            }
            Value::DateTime(time) if *time != time.storable() => return Err(OUT_OF_RANGE),
            _ => {}
        }
    }
    Ok(())
}

/// What a row may hold, after a merge has been worked in.
pub(super) fn check_stored(entity: &Entity) -> Result<(), Refusal> {
    if entity.properties.len() > PROPERTIES_MAX {
        return Err(Refusal(ErrorKind::Invalid, 400, "TooManyProperties"));
    }
    if entity_bytes(entity) > ENTITY_BYTES_MAX {
        return Err(Refusal(ErrorKind::Invalid, 400, "EntityTooLarge"));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Refusal> {
    if exceeds(name, PROPERTY_NAME_MAX) {
        return Err(Refusal(ErrorKind::Invalid, 400, "PropertyNameTooLong"));
    }
    let begins = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let reserved = matches!(name, "PartitionKey" | "RowKey" | "Timestamp");
    if !begins || reserved || has_char(name, |c| !c.is_alphanumeric() && c != '_') {
        return Err(Refusal(ErrorKind::Invalid, 400, "PropertyNameInvalid"));
    }
    Ok(())
}

/// Whether a text has more UTF-16 units. A byte of UTF-8 is at most one, so most texts need no counting.
fn exceeds(text: &str, units: usize) -> bool {
    text.len() > units && text.encode_utf16().count() > units
}

/// The size by which the service judges a row: its documented formula.
fn entity_bytes(entity: &Entity) -> usize {
    let units = |text: &str| 2 * if text.is_ascii() { text.len() } else { text.encode_utf16().count() };
    let properties = entity.properties.iter().map(|(name, value)| {
        let value = match value {
            Value::Null => 0,
            Value::String(text) => units(text) + 4,
            Value::Bool(_) => 1,
            Value::I32(_) => 4,
            Value::I64(_) | Value::F64(_) | Value::DateTime(_) => 8,
        };
        8 + units(name) + value
    });
    4 + units(&entity.partition_key) + units(&entity.row_key) + properties.sum::<usize>()
}

/// About as many bytes as the write takes in the body of a transaction.
fn body_bytes(op: &TableOp) -> usize {
    let Some(entity) = op.entity() else { return ENVELOPE_BYTES };
    let properties = entity.properties.iter().map(|(name, value)| match value {
        Value::String(text) => name.len() + json_bytes(text) + 4,
        _ => name.len() + 32,
    });
    ENVELOPE_BYTES + properties.sum::<usize>()
}
