//! Histories that were damaged behind the back of workers: each row missing or spoilt in turn is seen, and nothing builds on the rest.

use std::time::Duration;

use super::poison::{MINUTE, World};
use crate::authoring::{Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::internals::Snapshot;
use crate::model::{RuntimeStatus, Timestamp};
use crate::rng::Rng;
use crate::size;
use crate::storage::memory::Memory;
use crate::storage::table::{Entity, Match, TableOp, Value};
use crate::{ErrorKind, TaskHub, WorkerBuilder};

const GATHER: Orchestrator<usize, Vec<u32>> = Orchestrator::new("Gather");
const ITEM: Event<u32> = Event::new("item");
const TABLE: &str = "TestHistory";

async fn gather(ctx: OrchestrationContext, count: usize) -> Result<Vec<u32>, Failure> {
    let mut all = Vec::new();
    while all.len() < count {
        all.push(ctx.wait_for_event(ITEM).await);
    }
    Ok(all)
}

/// What can befall a row.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    Deleted,
    OfNobody,
    OfAnother,
    Nonsense,
    Misplaced,
}

const ALL: [Damage; 5] = [Damage::Deleted, Damage::OfNobody, Damage::OfAnother, Damage::Nonsense, Damage::Misplaced];

/// `None` if the row is gone.
fn damaged(row: &Entity, damage: Damage) -> Option<Entity> {
    let mut row = row.clone();
    match damage {
        Damage::Deleted => return None,
        Damage::OfNobody => drop(row.properties.remove("ExecutionId")),
        Damage::OfAnother => drop(row.set("ExecutionId", Value::string("another"))),
        // A sentinel has no events: what it keeps is spoilt.
        Damage::Nonsense => {
            row.set("EventId", Value::string("Nonsense"));
            row.set("IsCheckpointComplete", Value::string("Nonsense"));
        }
        Damage::Misplaced => row.row_key.insert(0, '7'),
    }
    Some(row)
}

async fn delete(memory: &Memory, table: &str, row: &Entity) {
    let (partition_key, row_key) = (row.partition_key.clone(), row.row_key.clone());
    let op = TableOp::Delete { partition_key, row_key, condition: Match::Any };
    memory.storage().tables.write(table, &op).await.unwrap();
}

async fn replace(memory: &Memory, table: &str, row: &Entity, by: Option<&Entity>) {
    delete(memory, table, row).await;
    if let Some(by) = by {
        memory.insert_row(table, by.clone());
    }
}

fn rows(memory: &Memory, table: &str) -> Vec<Entity> {
    memory.table_rows(table).into_iter().map(|row| row.entity).collect()
}

fn worker(world: &World) -> WorkerBuilder {
    world.worker().orchestrator(GATHER, gather)
}

async fn raise(world: &World, items: std::ops::RangeInclusive<u32>) {
    for item in items {
        world.client.raise("i", ITEM, &item).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// An instance that has taken two of its four events in turns of their own.
async fn half_way() -> World {
    let world = World::new().await;
    world.client.start(GATHER, 4).instance_id("i").await.unwrap();
    World::beside(worker(&world).max_poll_interval(Duration::from_secs(1)), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        raise(&world, 1..=2).await;
    })
    .await;
    world
}

#[tokio::test(start_paused = true)]
async fn nothing_is_built_on_a_history_with_a_damaged_row_and_its_repair_is_enough() {
    let rows_of_one = rows(&half_way().await.memory, TABLE).len();
    assert_eq!(rows_of_one, 10, "three turns of three rows, and the sentinel");
    for number in 0..rows_of_one {
        for damage in ALL {
            let world = half_way().await;
            let before = rows(&world.memory, TABLE);
            let row = &before[number];
            let by = damaged(row, damage);
            let at = format!("{} {damage:?}", row.row_key);
            replace(&world.memory, TABLE, row, by.as_ref()).await;
            let left: Vec<_> = rows(&world.memory, TABLE).into_iter().filter(|row| row.row_key != "sentinel").collect();
            assert_eq!(world.client.history("i").await.unwrap_err().kind(), ErrorKind::Corrupt, "{at}");
            raise(&world, 3..=4).await;
            World::beside(worker(&world), tokio::time::sleep(MINUTE)).await;

            let parked = world.client.poison().await.unwrap();
            assert_eq!(parked.len(), 2, "{at}: {parked:?}");
            assert!(parked.iter().all(|p| p.reason.contains("history of instance \"i\", row ")), "{at}: {parked:?}");
            let status = world.status("i").await;
            assert!(status.output.as_deref().unwrap().starts_with("PoisonMessage: "), "{at}: {status:?}");
            assert_eq!(status.status, RuntimeStatus::Failed, "{at}");
            let now: Vec<_> = rows(&world.memory, TABLE).into_iter().filter(|row| row.row_key != "sentinel").collect();
            assert_eq!(now, left, "{at}: no row is written over");

            if let Some(by) = by {
                delete(&world.memory, TABLE, &by).await;
            }
            world.memory.insert_row(TABLE, row.clone());
            for message in parked {
                world.client.retry_poison(&message.id).await.unwrap();
            }
            let ended = World::beside(worker(&world), world.client.wait("i", MINUTE)).await.unwrap();
            let mut all = ended.output::<Vec<u32>>().unwrap();
            all.sort_unstable();
            assert_eq!(all, [1, 2, 3, 4], "{at}");
        }
    }
}

/// Whatever a snapshot holds is read; with any row of its histories damaged, it is refused, or read as it was: what an interrupted
/// checkpoint left is no history.
#[tokio::test(start_paused = true)]
async fn every_row_of_every_history_that_dotnet_left_counts() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("azurite-tests/golden");
    let files = ["handover", "handover-entities"].into_iter().flat_map(|folder| std::fs::read_dir(golden.join(folder)).unwrap());
    let (mut refused, mut harmless) = (0, 0);
    for file in files.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "json")) {
        let snapshot = Snapshot::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let memory = Memory::new(Clock::paused(Timestamp::UNIX_EPOCH), Rng::seeded(1));
        snapshot.load(&memory.storage(), "Test").await.unwrap();
        let hub = TaskHub::open(memory.storage(), "Test").await.unwrap();
        for row in rows(&memory, TABLE).into_iter().step_by(size::of(5, 1)) {
            let id = crate::hub::keys::unescape(&row.partition_key);
            let whole = hub.0.histories.load(&id).await.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            for damage in ALL {
                let by = damaged(&row, damage);
                replace(&memory, TABLE, &row, by.as_ref()).await;
                match hub.0.histories.load(&id).await {
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                        refused += 1;
                    }
                    Ok(read) => {
                        let is_torn = whole.is_torn() && read.events == whole.events;
                        // Another generation was longer: its rows lie behind this one.
                        let is_behind = row.text("ExecutionId") != whole.execution_id.as_deref() && read.events == whole.events;
                        // A history of which nothing but the sentinel was there.
                        assert!(is_torn || is_behind, "{}: {} {damage:?}", file.display(), row.row_key);
                        harmless += 1;
                    }
                }
                if let Some(by) = by {
                    delete(&memory, TABLE, &by).await;
                }
                memory.insert_row(TABLE, row.clone());
            }
        }
    }
    println!("{refused} damages refused, {harmless} harmless");
    assert!(refused > size::of(300, 2000), "{refused}");
}
