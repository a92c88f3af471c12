//! What a query filter means: evaluated over a row as the table service does it.

use std::cmp::Ordering;

use crate::storage::table::{Cmp, Filter, Row, Value};

/// Whether the row matches. A row that lacks the property, or has it in another type, never matches.
pub(super) fn matches(filter: &Filter, row: &Row) -> bool {
    match filter {
        Filter::And(filters) => filters.iter().all(|f| matches(f, row)),
        Filter::Or(filters) => filters.iter().any(|f| matches(f, row)),
        Filter::Compare(name, cmp, wanted) => ordering(name, wanted, row).is_some_and(|found| holds(*cmp, found)),
    }
}

/// Texts are ordered by their UTF-16 code units, as .NET's ordinal comparison does.
pub(super) fn ordinal(a: &str, b: &str) -> Ordering {
    // The order of bytes is the same for ASCII, which most texts are.
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

/// The lowest and highest partition key that can match, where the filter says so: a query of one partition must not
/// cost a scan of the table.
pub(super) fn partition_bounds(filter: &Filter) -> (Option<&str>, Option<&str>) {
    match filter {
        Filter::Compare(name, cmp, Value::String(text)) if name == "PartitionKey" => match cmp {
            Cmp::Eq => (Some(text), Some(text)),
            Cmp::Lt | Cmp::Le => (None, Some(text)),
            Cmp::Gt | Cmp::Ge => (Some(text), None),
            Cmp::Ne => (None, None),
        },
        Filter::And(filters) => filters.iter().map(partition_bounds).fold((None, None), |found, next| {
            let low = match (found.0, next.0) {
                (Some(a), Some(b)) => Some(if ordinal(a, b).is_lt() { b } else { a }),
                (a, b) => a.or(b),
            };
            let high = match (found.1, next.1) {
                (Some(a), Some(b)) => Some(if ordinal(a, b).is_lt() { a } else { b }),
                (a, b) => a.or(b),
            };
            (low, high)
        }),
        Filter::Compare(..) | Filter::Or(_) => (None, None),
    }
}

/// How many comparisons the filter makes.
pub(super) fn comparisons(filter: &Filter) -> usize {
    match filter {
        Filter::And(filters) | Filter::Or(filters) => filters.iter().map(comparisons).sum(),
        Filter::Compare(..) => 1,
    }
}

/// The first comparison that no service understands: with null.
pub(super) fn compares_null(filter: &Filter) -> bool {
    match filter {
        Filter::And(filters) | Filter::Or(filters) => filters.iter().any(compares_null),
        Filter::Compare(_, _, value) => *value == Value::Null,
    }
}

fn ordering(name: &str, wanted: &Value, row: &Row) -> Option<Ordering> {
    match (name, wanted) {
        ("PartitionKey", Value::String(b)) => Some(ordinal(&row.entity.partition_key, b)),
        ("RowKey", Value::String(b)) => Some(ordinal(&row.entity.row_key, b)),
        ("Timestamp", Value::DateTime(b)) => Some(row.timestamp.cmp(b)),
        _ => match (row.entity.properties.get(name)?, wanted) {
            (Value::String(a), Value::String(b)) => Some(ordinal(a, b)),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::I32(a), Value::I32(b)) => Some(a.cmp(b)),
            (Value::I64(a), Value::I64(b)) => Some(a.cmp(b)),
            (Value::F64(a), Value::F64(b)) => a.partial_cmp(b),
            (Value::DateTime(a), Value::DateTime(b)) => Some(a.cmp(b)),
            _ => None,
        },
    }
}

fn holds(cmp: Cmp, found: Ordering) -> bool {
    match cmp {
        Cmp::Eq => found.is_eq(),
        Cmp::Ne => found.is_ne(),
        Cmp::Lt => found.is_lt(),
        Cmp::Le => found.is_le(),
        Cmp::Gt => found.is_gt(),
        Cmp::Ge => found.is_ge(),
    }
}

#[cfg(test)]
mod tests;
