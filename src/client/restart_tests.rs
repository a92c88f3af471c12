//! Restarting on the memory store: what the new instance has of the old one, and what is refused.

use std::time::Duration;

use super::{Client, InstanceStatus};
use crate::clock::Clock;
use crate::hub::instances::Culprit;
use crate::model::{RuntimeStatus, Timestamp};
use crate::rng::Rng;
use crate::storage::memory::Memory;
use crate::storage::table::{Entity, Value};
use crate::{ErrorKind, Failure, OrchestrationContext, Orchestrator, RawValue, TaskHub, Worker};

const COUNT: Orchestrator<serde_json::Value, usize> = Orchestrator::new("FanInSum");
const PARENT: Orchestrator<String, usize> = Orchestrator::new("Parent");
const SOURCE: &str = "MS_DurableFunctions_SourceInstanceId";
const LIMIT: Duration = Duration::from_secs(600);

async fn count(_: OrchestrationContext, input: serde_json::Value) -> Result<usize, Failure> {
    Ok(input.to_string().len())
}

async fn parent(ctx: OrchestrationContext, child: String) -> Result<usize, Failure> {
    Ok(ctx.call(COUNT, serde_json::json!([1])).instance_id(child).await?)
}

struct World {
    memory: Memory,
    hub: TaskHub,
    client: Client,
}

impl World {
    async fn new() -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let memory = Memory::new(clock.clone(), Rng::seeded(1));
        let hub = TaskHub::builder(memory.storage(), "Test").clock(clock).rng(Rng::seeded(2)).open().await.unwrap();
        Self { memory, client: Client::new(&hub), hub }
    }

    async fn work<T>(&self, acting: impl Future<Output = T>) -> T {
        let worker = Worker::builder(&self.hub)
            .orchestrator_fallback(COUNT, count)
            .orchestrator(PARENT, parent)
            .max_poll_interval(Duration::from_secs(1));
        let mut result = None;
        worker.run(async { result = Some(acting.await) }).await.unwrap();
        result.unwrap()
    }

    fn row(&self, id: &str) -> Entity {
        self.memory.partition_rows("TestInstances", id).remove(0).entity
    }
}

/// All but what differs from run to run.
fn lasting(status: &InstanceStatus) -> InstanceStatus {
    let mut same = status.clone();
    (same.execution_id, same.created, same.last_updated, same.completed) = (None, None, None, None);
    same.revision.clear();
    same
}

#[tokio::test(start_paused = true)]
async fn an_instance_runs_again_with_all_that_it_had_and_one_generation_more() {
    let world = World::new().await;
    let (client, large) = (&world.client, "t".repeat(100_000));
    // The text stays as it is, in a blob and in a column.
    for input in [format!("{{ \"a\" : 1.0, \"b\": \"{}\" }}", "x".repeat(100_000)), "[ 1,  2 ]".to_owned(), "null".to_owned()] {
        let id = format!("i{}", input.len());
        world
            .work(async {
                let raw = RawValue::from_string(input).unwrap();
                let start = client.start_named("FanInSum", raw).version("2.0").tag("large", &large).tag("a", "b");
                let first = start.instance_id(&id).await.unwrap();
                let first = first.wait().within(LIMIT).await.unwrap();
                let again = client.instance_of(COUNT, &id).restart().await.unwrap();
                assert_eq!(again.id(), id);
                let pending = again.status().await.unwrap();
                assert_ne!(pending.execution_id, first.execution_id);
                assert_eq!((pending.status, pending.generation), (RuntimeStatus::Pending, 1));
                let output = again.result().within(LIMIT).await.unwrap();
                let second = again.status().await.unwrap();
                assert_eq!((second.generation, Some(output.to_string())), (1, first.output.clone()));
                assert_eq!(lasting(&second), InstanceStatus { generation: 1, ..lasting(&first) });
                assert_eq!((second.tags["large"].len(), second.version.as_deref()), (100_000, Some("2.0")));
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn under_another_id_it_names_its_direct_source_and_has_no_parent() {
    let world = World::new().await;
    let client = &world.client;
    world
        .work(async {
            client.start(PARENT, "child").instance_id("p").await.unwrap().result().within(LIMIT).await.unwrap();
            let child = client.instance_of(COUNT, "child");
            assert_eq!(child.status().await.unwrap().parent_instance_id.as_deref(), Some("p"));
            let second = child.restart().new_instance_id("second").await.unwrap();
            assert_eq!(second.result().within(LIMIT).await.unwrap(), 3);
            let third = second.restart().generated_instance_id().await.unwrap();
            assert_eq!(third.result().within(LIMIT).await.unwrap(), 3);
            for (instance, source) in [(&second, "child"), (&third, "second")] {
                let status = instance.status().await.unwrap();
                assert_eq!((status.tags[SOURCE].as_str(), status.generation, status.parent_instance_id), (source, 0, None));
            }
            // Under the same id the tag stays as it is, and there is no parent either.
            second.restart().await.unwrap().result().within(LIMIT).await.unwrap();
            assert_eq!(second.status().await.unwrap().tags[SOURCE], "child");
            let child = child.restart().new_instance_id("child").await.unwrap();
            child.result().within(LIMIT).await.unwrap();
            let status = child.status().await.unwrap();
            assert_eq!((status.parent_instance_id, status.tags.len(), status.generation), (None, 0, 1));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_has_not_ended_is_not_replaced_and_the_reserved_tag_is_refused() {
    let world = World::new().await;
    let client = &world.client;
    client.start_named("FanInSum", 1).instance_id("i").await.unwrap();
    let kind = async |id: &str| client.instance(id).restart().await.unwrap_err().kind();
    assert_eq!(
        (kind("i").await, kind("nobody").await, kind("@e@k").await),
        (ErrorKind::Open, ErrorKind::NotFound, ErrorKind::Invalid)
    );
    world.hub.0.instances.show_as_failed(Culprit::Any("i"), "a message is parked").await.unwrap();
    assert_eq!(kind("i").await, ErrorKind::Open, "shown as failed");
    // It may have any status under another id, whose own instance must have ended.
    client.instance("i").restart().new_instance_id("j").await.unwrap();
    let taken = client.instance("i").restart().new_instance_id("j").await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists, "{taken}");
    let reserved = client.start_named("FanInSum", 1).tag(SOURCE, "x").await.unwrap_err();
    assert!(reserved.kind() == ErrorKind::Invalid && reserved.to_string().contains("reserved"), "{reserved}");
}

#[tokio::test(start_paused = true)]
async fn the_row_of_a_restart_has_the_columns_that_dotnet_writes() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("azurite-tests/golden/scenarios-2.11.2/40-Restart");
    let writes = std::fs::read_to_string(folder.join("writes.jsonl")).unwrap();
    let writes = writes.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let recorded = writes.filter(|write| write["op"] == "update" && write["entity"]["RuntimeStatus"] == "Pending");
    let [recorded]: [_; 1] = recorded.collect::<Vec<_>>().try_into().unwrap();
    let world = World::new().await;
    world
        .work(async {
            let first = world.client.start_named("FanInSum", 2).instance_id("i-again").await.unwrap();
            first.wait().within(LIMIT).await.unwrap();
        })
        .await;
    world.client.instance("i-again").restart().await.unwrap();
    let row = world.row("i-again");
    let columns = recorded["entity"].as_object().unwrap();
    let varies = ["CreatedTime", "LastUpdatedTime", "ExecutionId", "TaskHubName", "PartitionKey", "RowKey"];
    for (name, value) in columns.iter().filter(|(name, value)| !name.contains('@') && !value.is_null()) {
        let ours = row.properties.get(name);
        let same = match ours {
            Some(Value::String(text)) => value == text,
            Some(Value::I32(number)) => value == number,
            _ => false,
        };
        assert!(same || varies.contains(&name.as_str()), "{name}: {ours:?} is not {value}");
    }
    let unknown: Vec<_> = row.properties.keys().filter(|name| !columns.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
