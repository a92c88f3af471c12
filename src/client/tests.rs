//! The client on the memory store: listing by filters and pages, waiting, and what it refuses.

use std::time::Duration;

use super::{Client, InstanceQuery};
use crate::clock::Clock;
use crate::error::Result;
use crate::model::{RuntimeStatus, Timestamp};
use crate::rng::Rng;
use crate::storage::layer::lost::LostAnswer;
use crate::storage::memory::Memory;
use crate::storage::table::{Entity, Value};
use crate::{ErrorKind, Failure, OrchestrationContext, Orchestrator, TaskHub, Worker};

const CALL: Orchestrator<(), ()> = Orchestrator::new("Call");
const LEAF: Orchestrator<(), ()> = Orchestrator::new("Leaf");

struct World {
    memory: Memory,
    client: Client,
    begun: Timestamp,
}

/// Seconds between two starts.
const STEP: Duration = Duration::from_secs(10);

impl World {
    async fn new() -> Self {
        let begun = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let clock = Clock::paused(begun);
        let memory = Memory::new(clock.clone(), Rng::seeded(1));
        let hub = TaskHub::builder(memory.storage(), "Test").clock(clock).rng(Rng::seeded(2)).open().await.unwrap();
        Self { memory, client: Client::new(&hub), begun }
    }

    /// Starts instances one after the other; those after the first are in the statuses given.
    async fn with(ids: &[(&str, RuntimeStatus)]) -> Self {
        let world = Self::new().await;
        for (id, status) in ids {
            // No client can start an entity.
            if id.starts_with('@') {
                world.put(id, &[]);
            } else {
                world.client.start_json("Test", Some(format!("\"of {id}\""))).instance_id(*id).await.unwrap();
            }
            world.put(id, &[("RuntimeStatus", Value::string(status.name())), ("Output", Value::string("\"out\""))]);
            tokio::time::sleep(STEP).await;
        }
        world
    }

    /// Changes columns of a row, or makes one.
    fn put(&self, id: &str, columns: &[(&'static str, Value)]) {
        let key = crate::hub::keys::escape(id);
        let rows = self.memory.all_rows().remove("TestInstances").unwrap_or_default();
        let found = rows.into_iter().map(|row| row.entity).find(|row| row.partition_key == key);
        let row = found.unwrap_or_else(|| Entity::new(key, "").with("Name", Value::string("@counter")));
        let row = columns.iter().fold(row, |row, (name, value)| row.with(*name, value.clone()));
        self.memory.insert_row("TestInstances", row);
    }

    async fn ids(&self, query: InstanceQuery) -> Vec<String> {
        let page = self.client.list(&query).await.unwrap();
        assert_eq!(page.continuation, None);
        page.instances.into_iter().map(|instance| instance.instance_id).collect()
    }

    fn after(&self, steps: u32) -> Option<Timestamp> {
        Some(self.begun.plus(STEP * steps))
    }
}

use RuntimeStatus::{Completed, Failed, Pending, Running};

#[tokio::test(start_paused = true)]
async fn a_list_is_filtered_by_status_time_and_prefix() {
    let world = World::with(&[("a/1", Running), ("a/2", Failed), ("b/1", Completed), ("b/2", Running)]).await;
    let all = InstanceQuery::default;
    assert_eq!(world.ids(all()).await, ["a/1", "a/2", "b/1", "b/2"]);
    assert_eq!(world.ids(InstanceQuery { statuses: vec![Running], ..all() }).await, ["a/1", "b/2"]);
    assert_eq!(world.ids(InstanceQuery { statuses: vec![Failed, Completed], ..all() }).await, ["a/2", "b/1"]);
    assert_eq!(world.ids(InstanceQuery { statuses: vec![Pending], ..all() }).await, [""; 0]);
    assert_eq!(world.ids(InstanceQuery { id_prefix: Some("a/".into()), ..all() }).await, ["a/1", "a/2"]);
    // Both ends are included.
    assert_eq!(world.ids(InstanceQuery { created_from: world.after(1), ..all() }).await, ["a/2", "b/1", "b/2"]);
    assert_eq!(world.ids(InstanceQuery { created_to: world.after(1), ..all() }).await, ["a/1", "a/2"]);
    let both = InstanceQuery { created_from: world.after(1), created_to: world.after(2), ..all() };
    assert_eq!(world.ids(both.clone()).await, ["a/2", "b/1"]);
    assert_eq!(world.ids(InstanceQuery { statuses: vec![Running, Failed], id_prefix: Some("a".into()), ..both }).await, ["a/2"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_is_filtered_by_version_and_by_the_lack_of_one() {
    let world = World::with(&[("none", Running), ("old", Running), ("two/1", Running), ("two/2", Failed)]).await;
    for id in ["two/1", "two/2"] {
        world.put(id, &[("Version", Value::string("2.0"))]);
    }
    // Rows of other writers, which leave the column out.
    world.put("@no@column", &[]);
    world.put("old", &[("Version", Value::string("1.0"))]);
    let of = |version: &str| InstanceQuery { version: Some(version.to_owned()), ..InstanceQuery::default() };
    assert_eq!(world.ids(of("2.0")).await, ["two/1", "two/2"]);
    assert_eq!(world.ids(of("1")).await, [""; 0], "compared whole");
    assert_eq!(world.ids(of("")).await, ["@no@column", "none"]);
    assert_eq!(world.ids(InstanceQuery { statuses: vec![Running], ..of("2.0") }).await, ["two/1"]);
    assert_eq!(world.ids(InstanceQuery { with_payloads: false, ..of("") }).await, ["@no@column", "none"]);
    // All filters at once are no more comparisons than the service takes.
    let all = InstanceQuery {
        id_prefix: Some("two".into()),
        name: Some("n".into()),
        parent: Some("p".into()),
        statuses: RuntimeStatus::ALL[1..].to_vec(),
        created_from: world.after(0),
        created_to: world.after(9),
        exclude_entities: true,
        ..of("2.0")
    };
    assert_eq!(world.ids(all.clone()).await, [""; 0]);
    assert_eq!(world.ids(InstanceQuery { id_prefix: None, ..all.clone() }).await, [""; 0]);
    assert_eq!(world.ids(InstanceQuery { id_prefix: Some("@".into()), ..all }).await, [""; 0]);
    let every = InstanceQuery { statuses: RuntimeStatus::ALL.to_vec(), ..InstanceQuery::default() };
    assert_eq!(world.ids(every).await.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn instances_are_found_by_their_whole_name_beside_other_filters_and_page_by_page() {
    let world = World::with(&[("a/1", Running), ("a/2", Completed), ("b/1", Running), ("b/2", Running)]).await;
    for (id, name) in [("a/1", "Bill"), ("a/2", "Bill"), ("b/1", "Bills"), ("b/2", "Bill")] {
        world.put(id, &[("Name", Value::string(name))]);
    }
    let of = |name: &str| InstanceQuery { name: Some(name.to_owned()), ..InstanceQuery::default() };
    assert_eq!(world.ids(of("Bill")).await, ["a/1", "a/2", "b/2"]);
    assert_eq!(world.ids(of("bill")).await, [""; 0], "exactly");
    assert_eq!(world.ids(InstanceQuery { statuses: vec![Running], ..of("Bill") }).await, ["a/1", "b/2"]);
    assert_eq!(world.ids(InstanceQuery { id_prefix: Some("b/".into()), ..of("Bill") }).await, ["b/2"]);
    let (mut query, mut found) = (InstanceQuery { page_size: 1, ..of("Bill") }, Vec::new());
    loop {
        let page = world.client.list(&query).await.unwrap();
        assert!(page.instances.len() <= 1);
        found.extend(page.instances.into_iter().map(|instance| instance.instance_id));
        query.continuation = page.continuation;
        if query.continuation.is_none() {
            break;
        }
    }
    assert_eq!(found, ["a/1", "a/2", "b/2"]);
}

#[tokio::test(start_paused = true)]
async fn entities_can_be_left_out_also_beside_a_prefix() {
    let world = World::with(&[("@counter@x", Running), ("Abc", Running), ("1", Running)]).await;
    let all = InstanceQuery::default;
    assert_eq!(world.ids(all()).await, ["1", "@counter@x", "Abc"]);
    assert_eq!(world.ids(InstanceQuery { exclude_entities: true, ..all() }).await, ["1", "Abc"]);
    for (prefix, exclude_entities, expected) in [("@", false, vec!["@counter@x"]), ("@", true, vec![]), ("A", true, vec!["Abc"])]
    {
        let query = InstanceQuery { id_prefix: Some(prefix.into()), exclude_entities, ..all() };
        assert_eq!(world.ids(query).await, expected, "{prefix} {exclude_entities}");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_follow_one_another_without_gap_or_repeat() {
    let ids: Vec<_> = (0..7).map(|n| format!("i/{n}")).collect();
    let all: Vec<_> = ids.iter().map(|id| (id.as_str(), Running)).collect();
    let world = World::with(&all).await;
    for page_size in [1, 2, 3, 7, 8, 5000] {
        let mut query = InstanceQuery { page_size, ..InstanceQuery::default() };
        let mut found = Vec::new();
        loop {
            let page = world.client.list(&query).await.unwrap();
            assert!(page.instances.len() <= page_size);
            found.extend(page.instances.into_iter().map(|instance| instance.instance_id));
            query.continuation = page.continuation;
            if query.continuation.is_none() {
                break;
            }
        }
        assert_eq!(found, ids, "{page_size}");
    }
    // None is as good as one: a page of nothing would never end.
    let page = world.client.list(&InstanceQuery { page_size: 0, ..InstanceQuery::default() }).await.unwrap();
    assert_eq!(page.instances.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_brings_payloads_only_when_it_shall() {
    let world = World::with(&[("i", Completed)]).await;
    for with_payloads in [true, false] {
        let page = world.client.list(&InstanceQuery { with_payloads, ..InstanceQuery::default() }).await.unwrap();
        let (input, output) = (page.instances[0].input.as_deref(), page.instances[0].output.as_deref());
        let expected = with_payloads.then_some(("\"of i\"", "\"out\"")).unzip();
        assert_eq!((input, output), expected);
        assert_eq!((page.instances[0].name.as_str(), page.instances[0].status), ("Test", Completed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_instance_hides_neither_the_others_nor_itself() {
    let world = World::with(&[("a", Completed), ("b", Completed), ("c", Completed)]).await;
    let blob = "b/history--Output-00000001-Output.json.gz";
    let url = world.client.hub.payloads.url(blob);
    world.put("b", &[("Output", Value::string(url.clone()))]);
    world.put("c", &[("CreatedTime", Value::string("yesterday"))]);
    let seen = async || world.client.list(&InstanceQuery::default()).await.unwrap().instances;
    assert_eq!(seen().await[1].output.as_deref(), Some(url.as_str()));
    world.memory.insert_blob("test-largemessages", blob, "no gzip".into());
    let seen = seen().await;
    assert_eq!(seen.len(), 3);
    assert_eq!((seen[0].output.as_deref(), seen[1].output.as_deref()), (Some("\"out\""), Some(url.as_str())));
    assert_eq!((seen[2].instance_id.as_str(), seen[2].status, seen[2].created), ("c", Completed, None));
    assert_eq!(world.client.status("b").await.unwrap().unwrap(), seen[1]);
    // What is no result is not taken for one.
    assert_eq!(seen[1].output::<u32>().unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(world.client.status("c").await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test(start_paused = true)]
async fn a_wait_lasts_as_long_as_its_limit_and_looks_a_last_time() {
    let world = World::with(&[("i", Running)]).await;
    let begun = tokio::time::Instant::now();
    let limit = Duration::from_secs(31);
    assert_eq!(world.client.wait("i", limit).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(begun.elapsed(), limit);
    let ends = async {
        tokio::time::sleep(limit - Duration::from_millis(5)).await;
        world.put("i", &[("RuntimeStatus", Value::string("Completed"))]);
    };
    let (ended, ()) = tokio::join!(world.client.wait("i", limit), ends);
    assert_eq!(ended.unwrap().status, Completed);
}

#[tokio::test(start_paused = true)]
async fn ids_that_no_instance_can_have_are_refused() {
    let world = World::new().await;
    let client = &world.client;
    let longest = format!("{}#", "x".repeat(510));
    client.start_json("Test", None).instance_id(&longest).await.unwrap();
    for id in ["", "@counter@x", &format!("{longest}x")] {
        let results = [
            client.start_json("Test", None).instance_id(id).await.map(drop),
            client.raise_json(id, "e", None).await,
            client.terminate(id, "").await,
            client.suspend(id, "").await,
            client.resume(id, "").await,
        ];
        assert!(results.iter().all(|result| result.as_ref().is_err_and(|e| e.kind() == ErrorKind::Invalid)), "{id}: {results:?}");
    }
    let nothing = client.status("").await.unwrap_err();
    assert_eq!(nothing.to_string(), "the instance id \"\" is empty; an id has at least one character");
    assert_eq!(client.terminate("", "").await.unwrap_err().to_string(), nothing.to_string());
}

#[tokio::test(start_paused = true)]
async fn what_has_no_name_is_neither_started_nor_raised() {
    let world = World::with(&[("i", Running)]).await;
    let sent = || world.memory.all_messages().values().map(Vec::len).sum::<usize>();
    let before = sent();
    let start = world.client.start_json("", None).await.unwrap_err();
    assert_eq!((start.kind(), start.to_string().as_str()), (ErrorKind::Invalid, "the orchestrator name is empty"));
    let raise = world.client.raise_json("i", "", None).await.unwrap_err();
    assert_eq!((raise.kind(), raise.to_string().as_str()), (ErrorKind::Invalid, "the name of the event is empty"));
    assert_eq!(sent(), before);
}

/// How a client fares that sends everything it can to one instance.
async fn send_all(client: &Client, id: &str) -> [Result<()>; 5] {
    [
        client.raise(id, crate::Event::<u32>::new("e"), &1).await,
        client.raise_json(id, "e", None).await,
        client.terminate(id, "").await,
        client.suspend(id, "").await,
        client.resume(id, "").await,
    ]
}

#[tokio::test(start_paused = true)]
async fn who_sends_to_nobody_or_to_an_ended_instance_is_told_unless_he_does_not_look() {
    let world = World::with(&[("done", Completed), ("broken", Failed), ("stopped", RuntimeStatus::Terminated)]).await;
    let sent = || world.memory.all_messages().values().map(Vec::len).sum::<usize>();
    let starts = sent();
    for (id, kind, words) in [
        ("nobody", ErrorKind::NotFound, "there is no instance \"nobody\" in task hub \"Test\""),
        ("done", ErrorKind::Ended, "instance \"done\" is Completed already; nothing was sent"),
        ("broken", ErrorKind::Ended, "is Failed already"),
        ("stopped", ErrorKind::Ended, "is Terminated already"),
    ] {
        for result in send_all(&world.client, id).await {
            let error = result.unwrap_err();
            assert!(error.kind() == kind && error.to_string().contains(words), "{id}: {error}");
        }
        assert_eq!(sent(), starts, "{id}");
    }
    for (number, id) in ["nobody", "done"].into_iter().enumerate() {
        send_all(&world.client.unchecked(), id).await.into_iter().for_each(Result::unwrap);
        assert_eq!(sent(), starts + 5 * (number + 1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_not_ended_takes_everything_also_what_is_under_way_or_parked() {
    let world =
        World::with(&[("new", Pending), ("busy", Running), ("paused", RuntimeStatus::Suspended), ("parked", Failed)]).await;
    let marked = Value::DateTime(world.begun);
    let behind = Value::string("Running");
    world.put("parked", &[("ParkedAt", marked.clone()), ("CompletedTime", marked), ("ParkedStatus", behind)]);
    world.put("odd", &[("RuntimeStatus", Value::string("Dreaming"))]);
    let sent = || world.memory.all_messages().values().map(Vec::len).sum::<usize>();
    for id in ["new", "busy", "paused", "parked", "odd"] {
        let before = sent();
        send_all(&world.client, id).await.into_iter().for_each(Result::unwrap);
        assert_eq!(sent(), before + 5, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_answer_is_lost_has_succeeded_once() {
    for takes_effect in [false, true] {
        let memory = Memory::new(Clock::system(), Rng::seeded(1));
        let lost = LostAnswer::to("table.insert", "TestInstances", takes_effect);
        let hub = TaskHub::open(memory.storage().layered(lost), "Test").await.unwrap();
        let client = Client::new(&hub);
        client.start_json("Test", None).instance_id("i").await.unwrap();
        assert_eq!(client.status("i").await.unwrap().unwrap().status, RuntimeStatus::Pending);
        let starts: usize = memory.all_messages().values().map(Vec::len).sum();
        assert_eq!(starts, 1, "{takes_effect}");
    }
}

#[tokio::test(start_paused = true)]
async fn children_are_listed_by_their_parent_and_a_reused_id_shows_no_stale_one() {
    let world = World::new().await;
    let hub = TaskHub::builder(world.memory.storage(), "Test").clock(Clock::paused(world.begun)).open().await.unwrap();
    let call = |ctx: OrchestrationContext, (): ()| async move {
        ctx.start_orchestration(LEAF, ()).instance_id("leaf/2");
        Ok::<_, Failure>(ctx.call(LEAF, ()).instance_id("leaf/1").await?)
    };
    let worker = Worker::builder(&hub).orchestrator(CALL, call).orchestrator(LEAF, async |_, ()| Ok(()));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let acting = async {
        let client = &world.client;
        client.start(CALL, ()).instance_id("a/b").await.unwrap();
        client.wait("a/b", 10 * STEP).await.unwrap();
        tokio::time::sleep(STEP).await;
        let of = |parent: &str| InstanceQuery { parent: Some(parent.to_owned()), ..InstanceQuery::default() };
        assert_eq!(world.ids(of("a/b")).await, ["leaf/1", "leaf/2"]);
        assert_eq!(world.ids(InstanceQuery { with_payloads: false, ..of("a/b") }).await.len(), 2);
        assert_eq!(world.ids(of("a")).await, [""; 0]);
        let parent = async |id: &str| client.status(id).await.unwrap().unwrap().parent_instance_id;
        assert_eq!((parent("leaf/1").await.as_deref(), parent("a/b").await), (Some("a/b"), None));
        let page = client.list(&InstanceQuery { with_payloads: false, ..of("a/b") }).await.unwrap();
        assert!(page.instances.iter().all(|instance| instance.parent_instance_id.as_deref() == Some("a/b")));
        client.start(LEAF, ()).instance_id("leaf/1").await.unwrap();
        assert_eq!(parent("leaf/1").await, None, "before a worker has it");
        client.wait("leaf/1", 10 * STEP).await.unwrap();
        assert_eq!((parent("leaf/1").await, world.ids(of("a/b")).await), (None, vec!["leaf/2".to_owned()]));
        drop(stop);
    };
    let (ran, ()) = tokio::join!(worker.run(async { drop(stopped.await) }), acting);
    ran.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_reads_what_has_not_ended_and_what_is_marked_but_not_all_that_has_failed() {
    let all = [("@entity@e", RuntimeStatus::Running), ("failed", RuntimeStatus::Failed), ("marked", RuntimeStatus::Running)];
    let world = World::with(&[&all[..], &[("running", RuntimeStatus::Running)]].concat()).await;
    world.client.hub.instances.show_as_failed(crate::hub::instances::Culprit::Any("marked"), "parked").await.unwrap();
    let query = crate::storage::table::Query { filter: Some(super::drain::may_be_open()), ..Default::default() };
    let (rows, _) = world.client.hub.instances.query(&query).await.unwrap();
    assert_eq!(rows.iter().map(|stored| &*stored.row.instance_id).collect::<Vec<_>>(), ["marked", "running"]);
}
