//! Every recorded history row and sentinel is understood, and written again with the same columns and types.

use super::recording::{self, Write};
use crate::hub::rows::{self, LARGE_COLUMNS, SENTINEL};
use crate::storage::table::{Entity, Value};

#[derive(Debug, Default)]
struct Counts {
    events: usize,
    sentinels: usize,
    rewound: usize,
    with_blobs: usize,
    left_out: usize,
}

#[test]
fn history_rows_of_dotnet_are_read_and_written() {
    let mut counts = Counts::default();
    for scenario in recording::scenarios() {
        scenario.writes.iter().filter(|w| w.is_history).for_each(|w| check(w, &scenario.name, &mut counts));
    }
    println!("{counts:?}");
    assert!(counts.events > 0 && counts.sentinels > 0);
}

#[test]
fn history_rows_of_the_functions_extension_are_read_and_written() {
    let mut counts = Counts::default();
    for scenario in recording::extension() {
        scenario.writes.iter().filter(|w| w.is_history).for_each(|w| check(w, &scenario.name, &mut counts));
    }
    println!("{counts:?}");
    assert!(counts.events > 500 && counts.sentinels > 100);
}

fn check(write: &Write, scenario: &str, counts: &mut Counts) {
    let Some(recorded) = &write.entity else {
        counts.left_out += 1;
        return;
    };
    let at = format!("{scenario}: {recorded:?}");
    if recorded.row_key == SENTINEL {
        counts.sentinels += 1;
        assert_eq!(sentinel_again(recorded), *recorded, "{at}");
        return;
    }
    counts.events += 1;
    let written = event_again(recorded);
    if write.if_match.is_some() {
        // A client's rewind changes the type and keeps all columns, which the new type does not have.
        counts.rewound += 1;
        for (name, value) in written.properties.iter() {
            assert_eq!(recorded.properties.get(name), Some(value), "{at}");
        }
    } else {
        counts.with_blobs += usize::from(blob_columns(recorded).next().is_some());
        assert_eq!(written, without_blob_names(recorded), "{at}");
    }
}

/// The row that we would write for the event of a row.
pub(super) fn event_again(recorded: &Entity) -> Entity {
    let stored = rows::event_from_entity(recorded).unwrap_or_else(|e| panic!("{e} in {recorded:?}"));
    let ordinal = u64::from_str_radix(&recorded.row_key, 16).unwrap();
    let execution_id = recorded.text("ExecutionId").unwrap();
    rows::event_to_entity(&recorded.partition_key, ordinal, execution_id, &stored)
}

/// The sentinel that we would write, without our own column.
pub(super) fn sentinel_again(recorded: &Entity) -> Entity {
    let sentinel = rows::sentinel_from_entity(recorded).unwrap_or_else(|e| panic!("{e} in {recorded:?}"));
    let mut written = rows::sentinel_to_entity(&recorded.partition_key, &sentinel);
    assert!(matches!(written.properties.remove("Taskhub"), Some(Value::String(_))));
    written
}

pub(super) fn blob_columns(entity: &Entity) -> impl Iterator<Item = (&'static str, &str)> {
    LARGE_COLUMNS.into_iter().filter_map(|c| Some((c, entity.text(&format!("{c}BlobName"))?)))
}

fn without_blob_names(entity: &Entity) -> Entity {
    let mut inline = entity.clone();
    for (column, _) in blob_columns(entity) {
        assert_eq!(entity.text(column), Some(""));
        inline.properties.remove(&format!("{column}BlobName"));
    }
    inline
}
