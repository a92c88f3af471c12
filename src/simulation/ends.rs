//! How a run ended: the ends of its instances, what is still open, and what nobody refers to any more.

use std::collections::{BTreeMap, BTreeSet};

use super::program::Done;
use super::trace;
use super::world::{HUB, World};
use crate::hub::{blob_names, instances};
use crate::model::{RuntimeStatus, Timestamp};
use crate::storage::table::Row;

/// What is the same whenever a plan is run.
#[derive(Debug, PartialEq)]
pub(super) struct Ends {
    pub(super) instances: BTreeMap<String, End>,
    /// The next number of the random source, and the time.
    pub(super) next: u64,
    pub(super) now: Timestamp,
}

impl Default for Ends {
    fn default() -> Self {
        Self { instances: BTreeMap::new(), next: 0, now: Timestamp::UNIX_EPOCH }
    }
}

/// How one instance ended.
#[derive(Debug, PartialEq)]
pub(super) struct End {
    /// `None` if it was terminated.
    pub(super) done: Option<Done>,
    pub(super) custom_status: Option<String>,
}

/// Whether every instance has ended and every queue is empty. Asked again and again, so it makes no texts.
pub(super) fn all_have_come(world: &World) -> bool {
    let is_open = |row: &Row| !status_of(row).is_some_and(RuntimeStatus::is_terminal);
    world.memory.all_messages().values().all(Vec::is_empty)
        && !world.memory.table_rows(&format!("{HUB}Instances")).iter().any(is_open)
}

fn status_of(row: &Row) -> Option<RuntimeStatus> {
    row.entity.text("RuntimeStatus")?.parse().ok()
}

/// Instances that have not ended, queues that are not empty.
pub(super) fn open_ends(world: &World) -> Vec<String> {
    let mut open = Vec::new();
    for row in world.memory.table_rows(&format!("{HUB}Instances")) {
        let status = status_of(&row);
        if !status.is_some_and(RuntimeStatus::is_terminal) {
            open.push(format!("{} is {status:?}", row.entity.partition_key));
        }
    }
    for (queue, messages) in world.memory.all_messages() {
        open.extend(messages.iter().map(|message| format!("{queue} has {}", shortened(&message.text))));
    }
    open
}

fn shortened(text: &str) -> String {
    text.chars().take(1000).collect()
}

/// What the histories say, as lines of the trace.
pub(super) fn show_histories(world: &World) {
    for row in world.memory.table_rows(&format!("{HUB}History")) {
        let text = |name: &str| row.entity.text(name).unwrap_or_default().to_owned();
        let id = row.entity.int("TaskScheduledId").or(row.entity.int("TimerId")).or(row.entity.int("EventId"));
        let (key, execution) = (&row.entity.row_key, text("ExecutionId"));
        let (event, name) = (text("EventType"), text("Name"));
        trace::line(&format_args!("{} {key} {execution} {event} {id:?} {name}", row.entity.partition_key));
    }
}

/// After every worker has stopped in an orderly way, without faults: no partition has an owner, and no blob is left over.
pub(super) fn curtain(world: &World) {
    for row in world.memory.table_rows(&format!("{HUB}Partitions")) {
        // An outage may have kept an earlier one of the name from releasing.
        let is_fresh = row.entity.time("LastRenewal").is_some_and(|at| world.was_calm_at(at));
        if is_fresh && row.entity.text("CurrentOwner").is_some_and(|owner| world.has_left(owner)) {
            trace::fail(&format_args!("a partition still has an owner: {:?}", row.entity));
        }
    }
    // Of a commit that was cut off the next one removes what was meant for rows. What a message was meant to bring is overwritten or
    // left, as .NET leaves it; and so is all that a rival puts after the last commit of the instance and cannot remove any more.
    let mut left_over = left_over_blobs(world);
    if !world.plan.is_smooth() {
        let is_seen = world.plan.has_no_rivals();
        left_over.retain(|name| is_seen && name.contains("/history-") && !name.contains("/history--"));
    }
    if !left_over.is_empty() {
        trace::fail(&format_args!("nothing refers to these blobs: {left_over:?}"));
    }
}

fn left_over_blobs(world: &World) -> BTreeSet<String> {
    let mut referred = BTreeSet::new();
    for row in world.memory.table_rows(&format!("{HUB}History")) {
        let names = row.entity.properties.keys().filter(|name| name.ends_with("BlobName"));
        referred.extend(names.filter_map(|name| row.entity.text(name)).map(str::to_owned));
    }
    let container = format!("{}-largemessages", HUB.to_lowercase());
    let url = world.memory.storage().blobs.container_url(&container);
    for row in world.memory.table_rows(&format!("{HUB}Instances")) {
        let Ok(row) = instances::from_entity(&row.entity) else { continue };
        let columns = [row.input, row.output].into_iter().flatten();
        referred.extend(columns.filter_map(|column| blob_names::from_url(&url, &column)));
    }
    let blobs = world.memory.all_blobs().remove(&container).unwrap_or_default();
    // Start messages stay as long as their instance: its row may refer to them.
    blobs.into_keys().filter(|name| !referred.contains(name) && !blob_names::is_start_message(name)).collect()
}
