//! Instances that are taken from one hub to another.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Clock;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::size;
use crate::storage::Storage;
use crate::storage::layer::faulty::{Faults, Faulty};
use crate::storage::memory::Memory;
use crate::{
    Activity, ActivityContext, Client, ErrorKind, ExportedInstance, Failure, InstanceStatus, OrchestrationContext, Orchestrator,
    TaskHub, Worker,
};

const ECHO: Activity<String, String> = Activity::new("Echo");
const TWICE: Orchestrator<String, String> = Orchestrator::new("Twice");
const FAILS: Orchestrator<String, String> = Orchestrator::new("Fails");
const CHILD: Orchestrator<String, String> = Orchestrator::new("Child");

/// More than a column and a message hold.
const LARGE: usize = 100_000;

async fn twice(ctx: OrchestrationContext, text: String) -> Result<String, Failure> {
    ctx.set_custom_status(&"\u{1F600} under way");
    let first = ctx.call(ECHO, &text).await?;
    ctx.timer(Duration::from_secs(1)).await;
    Ok(first + &ctx.call(CHILD, text).await?)
}

async fn hub(storage: Storage, name: &str, seed: u64) -> TaskHub {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    TaskHub::builder(storage, name).partitions(1).clock(clock).rng(Rng::seeded(seed)).open().await.unwrap()
}

fn memory(seed: u64) -> Memory {
    Memory::new(Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap()), Rng::seeded(seed))
}

/// A hub in which several kinds of instances have ended.
async fn source() -> Client {
    let hub = hub(memory(1).storage(), "Source", 1).await;
    let client = Client::new(&hub);
    let worker = Worker::builder(&hub)
        .activity(ECHO, async |_: ActivityContext, text: String| Ok(text))
        .orchestrator(TWICE, twice)
        .orchestrator(CHILD, async |_, text| Ok(text))
        .orchestrator(FAILS, async |_, text: String| Err(Failure::new("NoMoney", text)));
    let acting = async {
        for (id, text) in [("small", "x".to_owned()), ("large/1", "y\"\u{e9}".repeat(LARGE / 4))] {
            let start = client.start(TWICE, text).instance_id(id).tag("of", "shop").version("");
            start.await.unwrap().wait().await.unwrap();
        }
        client.start(FAILS, "no").instance_id("failed").await.unwrap().wait().await.unwrap();
        client.start_named("Nobody", ()).instance_id("open").after(Duration::from_secs(3600)).await.unwrap();
    };
    worker.run(acting).await.unwrap();
    client
}

async fn exported(client: &Client, id: &str) -> ExportedInstance {
    let json = serde_json::to_string(&client.export(id).await.unwrap()).unwrap();
    assert!(!json.contains('\n'));
    serde_json::from_str(&json).unwrap()
}

/// What an instance shows, whatever its hub.
async fn shown(client: &Client, id: &str) -> (InstanceStatus, Vec<String>) {
    let (mut status, history) = (client.instance(id).status().await.unwrap(), client.instance(id).history().await.unwrap());
    status.revision.clear();
    (status, history.iter().map(|event| format!("{event:?}")).collect())
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_is_in_another_hub_what_it_was_and_can_be_started_again_there() {
    let source = source().await;
    let target = hub(memory(2).storage(), "Target", 2).await;
    let client = Client::new(&target);
    let children: Vec<_> = source.list(&crate::InstanceQuery::default()).await.unwrap().instances;
    let ended: Vec<_> =
        children.iter().filter(|instance| instance.status.is_terminal()).map(|instance| instance.instance_id.clone()).collect();
    assert_eq!(ended.len(), 5);
    for id in &ended {
        client.import(&exported(&source, id).await).await.unwrap();
        assert_eq!(shown(&client, id).await, shown(&source, id).await, "{id}");
        let again = client.import(&exported(&source, id).await).await.unwrap_err();
        assert_eq!((again.kind(), again.to_string().contains("purge it first")), (ErrorKind::AlreadyExists, true));
        // Once more from there: the form loses nothing.
        let (first, second) = (exported(&source, id).await, exported(&client, id).await);
        let comparable = |it: &ExportedInstance| serde_json::to_string(it).unwrap().replace("Source", "Target");
        assert_eq!(comparable(&first), comparable(&second));
    }
    let error = client.import(&exported(&source, "open").await).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("has not ended"), "{error}");
    assert_eq!(source.export("nobody").await.unwrap_err().kind(), ErrorKind::NotFound);
    let again = Worker::builder(&target).orchestrator(FAILS, async |_, text: String| Ok(format!("{text} more")));
    let acting = async {
        client.instance("failed").restart().await.unwrap();
        assert_eq!(client.instance_of(FAILS, "failed").result().await.unwrap(), "no more");
    };
    again.run(acting).await.unwrap();
    for id in ended.iter().filter(|id| *id != "failed") {
        client.instance(id).purge().await.unwrap();
    }
    assert!(memory(2).dump().queues.is_empty());
}

/// What tells in an export that an execution has ended.
fn ends(bad: &mut serde_json::Value) -> impl Iterator<Item = &mut serde_json::Value> {
    let kinds = bad["history"].as_array_mut().unwrap().iter_mut().filter_map(|row| row["columns"].get_mut("EventType"));
    kinds.filter(|kind| **kind == "ExecutionCompleted")
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_of_what_no_hub_can_have_exported() {
    let source = source().await;
    let target = hub(memory(2).storage(), "Target", 2).await;
    let client = Client::new(&target);
    let good = serde_json::to_value(exported(&source, "small").await).unwrap();
    let spoilt = |spoil: &dyn Fn(&mut serde_json::Value)| {
        let mut bad = good.clone();
        bad["instanceId"] = "spoilt".into();
        spoil(&mut bad);
        serde_json::from_value::<ExportedInstance>(bad).unwrap()
    };
    let blob = target.0.payloads.url("large^f1/history-x");
    let carried = r#"{"remainder":{"first":0,"from":0,"blobs":["large^f1/history-x"]}}"#;
    let cases: [(ExportedInstance, &str); 17] = [
        (spoilt(&|bad| bad["form"] = 2.into()), "exported in form 2"),
        (spoilt(&|bad| bad["row"]["CreatedTime"] = "yesterday".into()), "its row cannot be read"),
        (spoilt(&|bad| bad["history"][1]["rowKey"] = "x".into()), "its history row x cannot be read"),
        (spoilt(&|bad| bad["history"][1]["rowKey"] = bad["history"][0]["rowKey"].clone()), "is there twice"),
        (spoilt(&|bad| bad["history"][1]["columns"]["EventType"] = "Nonsense".into()), "0001: \"Nonsense\" is no event"),
        (spoilt(&|bad| bad["history"].as_array_mut().unwrap().truncate(3)), "row sentinel: it is missing"),
        (spoilt(&|bad| drop(bad["history"].as_array_mut().unwrap().remove(2))), "row 0000000000000002: it is missing"),
        (spoilt(&|bad| ends(bad).for_each(|end| *end = "GenericEvent".into())), "it has no end"),
        (spoilt(&|bad| bad["row"]["PartitionKey"] = "small".into()), "\"PartitionKey\" is no name of a column"),
        (spoilt(&|bad| bad["row"]["Name@odata.type"] = "Edm.Int64".into()), "\"Name@odata.type\" is no name of a column"),
        (spoilt(&|bad| bad["row"]["TagsBlobName"] = "large^f1/history-x".into()), "its column TagsBlobName names a blob"),
        (spoilt(&|bad| bad["row"]["CustomStatus"] = "x".repeat(LARGE).into()), "CustomStatus has 100000 UTF-16 units"),
        (spoilt(&|bad| (0..300).for_each(|n| bad["row"][format!("More{n}")] = 1.into())), "columns, and a row has 252 at most"),
        (
            spoilt(&|bad| (0..20).for_each(|n| bad["row"][format!("More{n}")] = "x".repeat(30_000).into())),
            "and a row takes 460800",
        ),
        (spoilt(&|bad| bad["row"]["Input"] = blob.clone().into()), "its row refers to a blob"),
        (
            spoilt(&|bad| bad["history"][1]["columns"]["InputBlobName"] = "large^f1/history-x".into()),
            "InputBlobName names a blob",
        ),
        (
            spoilt(&|bad| bad["history"].as_array_mut().unwrap().last_mut().unwrap()["columns"]["Taskhub"] = carried.into()),
            "in a blob",
        ),
    ];
    for (bad, words) in cases {
        let error = client.import(&bad).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(words), "{error}");
        assert_eq!(client.export("spoilt").await.unwrap_err().kind(), ErrorKind::NotFound, "nothing is half done");
    }
}

#[tokio::test(start_paused = true)]
async fn an_import_that_was_cut_off_anywhere_goes_on_or_can_be_purged_and_done_again() {
    let source = source().await;
    let instance = exported(&source, "large/1").await;
    for (cut, is_purged) in (1..).step_by(size::of(2, 1)).flat_map(|cut| [(cut, false), (cut, true)]) {
        let memory = memory(cut);
        let faulty = Faulty::new(Faults::default(), Rng::seeded(cut));
        let target = hub(memory.storage().layered(faulty.clone()), "Target", cut).await;
        let _died = faulty.dies_behind(cut, |_| true);
        let importing = Client::new(&target);
        let cut_off = tokio::time::timeout(Duration::from_secs(1), importing.import(&instance)).await.is_err();
        let client = Client::new(&hub(memory.storage(), "Target", 100).await);
        if cut_off && is_purged {
            match client.instance("large/1").purge().await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                purged => drop(purged.unwrap()),
            }
        }
        match client.import(&instance).await {
            // Its last call had come through.
            Err(error) if !is_purged || !cut_off => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
            imported => imported.unwrap(),
        }
        assert_eq!(shown(&client, "large/1").await, shown(&source, "large/1").await, "cut off after call {cut}");
        client.instance("large/1").purge().await.unwrap();
        let left = memory.all_blobs().into_values().flat_map(BTreeMap::into_keys).find(|name| name.starts_with("large"));
        assert_eq!(left, None, "cut off after call {cut}");
        if !cut_off {
            assert!(cut > 5, "{cut}");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_terminated_before_it_began_can_be_imported() {
    let hub_of = |seed| hub(memory(seed).storage(), "Hub", seed);
    let source = hub_of(1).await;
    let client = Client::new(&source);
    let worker = Worker::builder(&source).orchestrator(CHILD, async |_, text| Ok(text));
    let acting = async {
        let never = client.start_named("Nobody", ()).instance_id("never").await.unwrap();
        never.terminate("enough").await.unwrap();
        never.wait().await.unwrap();
    };
    worker.run(acting).await.unwrap();
    let target = Client::new(&hub_of(2).await);
    target.import(&exported(&client, "never").await).await.unwrap();
    assert_eq!(shown(&target, "never").await, shown(&client, "never").await);
}
