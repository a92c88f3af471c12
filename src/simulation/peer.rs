//! Somebody else at the partition table, as a .NET worker is: takes rows with or without asking, and lets go of them again.
//! He keeps what he took for a lease: instance rows are fenced by time alone, and before that their last owner may still write.

use std::time::Duration;

use super::plan::Class;
use super::trace;
use super::world::{HUB, World};
use crate::rng::Rng;
use crate::storage::queue::RECEIVE_MAX;
use crate::storage::table::{Entity, Value};

const ME: &str = "peer";
const LEASE: Duration = Duration::from_secs(30);

/// Disturbs the owners of partitions until the time of chaos is over.
pub(super) async fn haunt(world: &World, rng: Rng) {
    if !world.plan.has(Class::Theft) {
        return;
    }
    let end = tokio::time::Instant::now() + world.plan.chaos;
    while tokio::time::Instant::now() < end {
        tokio::time::sleep(rng.between(Duration::ZERO, Duration::from_secs(30))).await;
        let rows = world.memory.table_rows(&table());
        let chosen = usize::try_from(rng.below(rows.len() as u64)).unwrap_or(0);
        let Some(row) = rows.get(chosen) else { continue };
        let queue = row.entity.row_key.clone();
        match rng.below(3) {
            0 => take(world, &queue),
            1 => ask(world, &queue).await,
            _ => {
                take(world, &queue);
                hold_messages(world, &queue, &rng).await;
            }
        }
        tokio::time::sleep(rng.between(LEASE, LEASE * 2)).await;
        // Else the lease expires by itself.
        if rng.chance(0.6) {
            change(world, &queue, |row| row.text("CurrentOwner") == Some(ME), &[("CurrentOwner", Value::Null)]);
        }
    }
}

/// Owns the row from now on, whoever owned it.
fn take(world: &World, queue: &str) {
    trace::mark("peer takes a partition");
    trace::line(&format_args!("{ME} takes {queue}"));
    let now = world.clock.now();
    let columns = [
        ("CurrentOwner", Value::string(ME)),
        ("NextOwner", Value::Null),
        ("OwnedSince", Value::DateTime(now)),
        ("LastRenewal", Value::DateTime(now)),
        ("ExpiresAt", Value::DateTime(now.plus(LEASE))),
        ("IsDraining", Value::Bool(false)),
    ];
    change(world, queue, |_| true, &columns);
}

/// Asks for the row and waits for it, but not for ever.
async fn ask(world: &World, queue: &str) {
    trace::mark("peer asks for a partition");
    trace::line(&format_args!("{ME} asks for {queue}"));
    change(world, queue, |_| true, &[("NextOwner", Value::string(ME))]);
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(row) = row_of(world, queue) else { return };
        if row.text("NextOwner") != Some(ME) {
            return;
        }
        if row.text("CurrentOwner").is_none() {
            return take(world, queue);
        }
    }
    change(world, queue, |row| row.text("NextOwner") == Some(ME), &[("NextOwner", Value::Null)]);
}

/// Receives what is in the queue and does nothing with it.
async fn hold_messages(world: &World, queue: &str, rng: &Rng) {
    trace::mark("peer holds messages");
    let hold = rng.between(Duration::from_secs(1), LEASE);
    // A queue that does not exist yet has no messages.
    let _ = world.memory.storage().queues.receive(queue, RECEIVE_MAX, hold).await;
}

fn change(world: &World, queue: &str, is_meant: impl Fn(&Entity) -> bool, columns: &[(&'static str, Value)]) {
    let Some(mut row) = row_of(world, queue).filter(is_meant) else { return };
    for (name, value) in columns {
        match value {
            Value::Null => drop(row.properties.remove(name)),
            value => drop(row.set(*name, value.clone())),
        }
    }
    world.memory.insert_row(&table(), row);
}

fn row_of(world: &World, queue: &str) -> Option<Entity> {
    world.memory.table_rows(&table()).into_iter().map(|row| row.entity).find(|row| row.row_key == queue)
}

fn table() -> String {
    format!("{HUB}Partitions")
}
