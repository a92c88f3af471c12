//! Spans: named, linked and persisted as .NET has them, also over workers that come and go and on every short cut.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use serde_json::Value as Json;

use super::harness;
use crate::clock::Clock;
use crate::model::{EventKind, RuntimeStatus, StoredEvent, Timestamp, TraceContext};
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::layer::tapped::{Effect, Tap};
use crate::storage::table::{Entity, Match, TableOp, Value};
use crate::traces::kept::Exported;
use crate::traces::{SpanContext, Traces};
use crate::worker::FastPath;
use crate::{
    Activity, ActivityContext, Client, Event, Failure, OrchestrationContext, Orchestrator, TaskHub, Worker, WorkerBuilder,
};

const HELLO: Activity<String, String> = Activity::new("Hello");
const PARENT: Orchestrator<String, Vec<String>> = Orchestrator::new("SubParent");
const CHILD: Orchestrator<String, String> = Orchestrator::new("SubChild");
const LOOP: Orchestrator<u32, u32> = Orchestrator::new("Loop");
const MIXED: Orchestrator<(), ()> = Orchestrator::new("Mixed");
const GO: Event<()> = Event::new("go");

/// What a client of .NET has sent in the recording.
const STARTED_WITH: &str = "00-72958deb2e90ba8b034eef0d14dd4061-9f3f27f1ac892d20-01";

impl Exported {
    /// Those of this name and side, in the order in which they began.
    fn of(&self, name: &str, kind: &SpanKind) -> Vec<SpanData> {
        let mut all = self.all();
        all.retain(|span| span.name == name && span.span_kind == *kind);
        all.sort_by_key(|span| span.start_time);
        all
    }

    fn only(&self, name: &str, kind: &SpanKind) -> SpanData {
        let mut all = self.of(name, kind);
        assert_eq!(all.len(), 1, "{name}: {:?}", self.all());
        all.remove(0)
    }
}

/// A hub that exports its spans, and one on the same account that does not.
struct World {
    traced: TaskHub,
    plain: TaskHub,
    exported: Exported,
    tap: Tap,
}

impl World {
    async fn new() -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let (exported, tap) = (Exported::default(), Tap::new(clock.clone()));
        let storage = tap.on(Storage::memory(clock.clone(), Rng::seeded(1)));
        let plain = harness::open(storage.clone(), &clock, 1, 7).await;
        let builder = TaskHub::builder(storage, "Test").clock(clock).rng(Rng::seeded(8));
        let traced = builder.traces(&Traces::to(exported.clone())).open().await.unwrap();
        Self { traced, plain, exported, tap }
    }

    /// Starts this by a client that has the trace of the recording, and waits for its end.
    async fn run(&self, worker: WorkerBuilder, name: &str, input: impl serde::Serialize) {
        let client = Client::new(&self.plain);
        let working = async {
            let start = client.start_named(name, input).instance_id("i-traced").trace(Some(started_with(STARTED_WITH)));
            let instance = start.await.unwrap();
            let end = instance.wait().within(Duration::from_secs(600)).await.unwrap();
            assert_eq!(end.status, RuntimeStatus::Completed, "{end:?}");
        };
        worker.run(working).await.unwrap();
    }

    async fn events(&self, instance_id: &str) -> Vec<StoredEvent> {
        self.plain.0.histories.load(instance_id).await.unwrap().events
    }
}

fn started_with(trace_parent: &str) -> TraceContext {
    SpanContext::parse(trace_parent, None).unwrap().carried()
}

fn worker(hub: &TaskHub) -> WorkerBuilder {
    Worker::builder(hub)
        .activity(HELLO, async |_: ActivityContext, name: String| Ok(format!("Hello, {name}!")))
        .orchestrator(CHILD, async |ctx: OrchestrationContext, name: String| Ok(ctx.call(HELLO, name).await?))
        .orchestrator(PARENT, async |ctx: OrchestrationContext, name: String| {
            let first = ctx.call(CHILD, &name).instance_id("i-traced-child").await?;
            Ok(vec![first, ctx.call(CHILD, name).await?])
        })
        .orchestrator(LOOP, async |ctx: OrchestrationContext, left: u32| {
            ctx.call(HELLO, left.to_string()).await?;
            if left > 0 { ctx.continue_as_new(LOOP, left - 1) } else { Ok(left) }
        })
        .orchestrator(MIXED, async |ctx: OrchestrationContext, (): ()| {
            ctx.call(HELLO, "local").local().await?;
            ctx.timer(Duration::from_secs(5)).await;
            ctx.send_event(ctx.instance_id(), GO, ());
            ctx.wait_for_event(GO).await;
            let failed: Result<String, _> = ctx.call_named("Wrong", "as it was told to").await;
            assert!(failed.is_err());
            Ok(())
        })
        .activity(Activity::<String, String>::new("Wrong"), async |_: ActivityContext, why: String| {
            Err(Failure::new("Wrong", &why))
        })
}

/// What a row has of a trace: which members of a context are there, or that it has the span of a call.
fn shape(event_type: &str, context: Option<&Json>, client_span: Option<&str>) -> Option<String> {
    let members = context.and_then(Json::as_object).map(|members| {
        let set = members.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| {
            let text = value.as_str().unwrap_or_default();
            let form: String = text.chars().map(|c| if c.is_ascii_hexdigit() { 'x' } else { c }).collect();
            format!("{name} {}", if name == "ActivityStartTime" { "time" } else { &form })
        });
        set.collect::<Vec<_>>().join(", ")
    });
    let client_span = client_span.map(|id| format!("span of {}", id.len()));
    members.or(client_span).map(|said| format!("{event_type}: {said}"))
}

/// The shapes of all rows of histories, as this account has taken them.
fn written(tap: &Tap) -> Vec<String> {
    let mut shapes = Vec::new();
    for seen in tap.seen() {
        let Effect::Rows { table, ops, .. } = seen.effect else { continue };
        for op in ops.iter().filter(|_| table.ends_with("History")) {
            let TableOp::UpsertReplace(entity) = op else { continue };
            let text = |name| entity.text(name).map(str::to_owned);
            let context = text("ParentTraceContext").and_then(|json| serde_json::from_str(&json).ok());
            let event_type = text("EventType").unwrap_or_default();
            shapes.extend(shape(&event_type, context.as_ref(), text("ClientSpanId").as_deref()));
        }
    }
    shapes
}

/// The same of the recording.
fn recorded() -> Vec<String> {
    let lines = include_str!("../../../azurite-tests/golden/scenarios/64-Traced/writes.jsonl").lines();
    let rows = lines.map(|line| serde_json::from_str::<Json>(line).unwrap());
    rows.filter_map(|line| {
        let entity = &line["entity"];
        let context = entity["ParentTraceContext"].as_str().and_then(|json| serde_json::from_str(json).ok());
        shape(entity["EventType"].as_str()?, context.as_ref(), entity["ClientSpanId"].as_str())
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn a_trace_of_a_net_client_goes_through_parent_children_and_activities_as_recorded() {
    for fast_path in [FastPath::default(), FastPath::NONE] {
        let world = World::new().await;
        world.run(worker(&world.traced).fast_path(fast_path), "SubParent", "kid").await;
        let recorded = recorded();
        assert!(recorded.len() == 7, "{recorded:?}");
        assert_eq!(written(&world.tap), recorded);
        let exported = &world.exported;
        let parent = exported.only("orchestration:SubParent", &SpanKind::Server);
        assert_eq!(parent.parent_span_id.to_string(), "9f3f27f1ac892d20");
        let (calls, children) =
            (exported.of("orchestration:SubChild", &SpanKind::Client), exported.of("orchestration:SubChild", &SpanKind::Server));
        let (tasks, runs) = (exported.of("activity:Hello", &SpanKind::Client), exported.of("activity:Hello", &SpanKind::Server));
        assert_eq!([calls.len(), children.len(), tasks.len(), runs.len()], [2; 4]);
        for n in 0..2 {
            let chain = [&parent, &calls[n], &children[n], &tasks[n], &runs[n]];
            for pair in chain.windows(2) {
                assert_eq!(pair[1].parent_span_id, pair[0].span_context.span_id(), "{} of {}", pair[1].name, pair[0].name);
                assert!(pair[1].start_time >= pair[0].start_time && pair[1].end_time <= pair[0].end_time);
            }
        }
        assert_eq!(exported.all().len(), 9, "each once, and no other");
        assert!(exported.all().iter().all(|span| span.span_context.trace_id().to_string() == STARTED_WITH[3..35]));
        let attribute = |span: &SpanData, key: &str| {
            span.attributes.iter().find(|kv| kv.key.as_str() == format!("durabletask.{key}")).map(|kv| kv.value.to_string())
        };
        let of = |span: &SpanData| ["type", "task.name", "task.instance_id", "task.status"].map(|key| attribute(span, key));
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of(&parent), [some("orchestration"), some("SubParent"), some("i-traced"), some("Completed")]);
        assert_eq!(of(&calls[0]), [some("orchestration"), some("SubChild"), some("i-traced"), None], "of the parent");
        assert_eq!(of(&runs[0]), [some("activity"), some("Hello"), some("i-traced-child"), None]);
        assert_eq!(attribute(&tasks[0], "task.task_id"), some("0"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_span_of_an_orchestration_is_exported_once_as_its_row_has_it_whoever_ends_it() {
    let world = World::new().await;
    let client = Client::new(&world.traced);
    let instance = client.start(MIXED, ()).instance_id("i").await.unwrap();
    // One worker for each few seconds: each goes on where the last one has stopped.
    for _ in 0..5 {
        worker(&world.traced).run(tokio::time::sleep(Duration::from_secs(2))).await.unwrap();
    }
    assert_eq!(instance.wait().within(Duration::from_secs(1)).await.unwrap().status, RuntimeStatus::Completed);
    let exported = &world.exported;
    let creation = exported.only("create_orchestration:Mixed", &SpanKind::Producer);
    assert_eq!(creation.parent_span_id, SpanId::INVALID, "it begins a trace");
    let own = exported.only("orchestration:Mixed", &SpanKind::Server);
    assert_eq!((own.parent_span_id, &own.status), (creation.span_context.span_id(), &Status::Ok));
    let events = world.events("i").await;
    let row = events.iter().find_map(|stored| match &stored.event.kind {
        EventKind::ExecutionStarted(started) => started.trace.clone(),
        _ => None,
    });
    let row = row.unwrap();
    assert_eq!(row.span_id, Some(own.span_context.span_id().to_string()));
    let begun = row.activity_start_time.as_deref().and_then(Timestamp::parse).unwrap();
    assert_eq!(Timestamp::from(own.start_time), begun);
    assert!(own.end_time.duration_since(own.start_time).unwrap() >= Duration::from_secs(5));
    let timer = exported.only("orchestration:Mixed:timer", &SpanKind::Internal);
    assert!(timer.end_time.duration_since(timer.start_time).unwrap() >= Duration::from_secs(5));
    let sent = exported.only("orchestration_event:go", &SpanKind::Producer);
    let failed = exported.only("activity:Wrong", &SpanKind::Client);
    assert_eq!(failed.status, Status::error("as it was told to"));
    for part in [&timer, &sent, &failed, &exported.only("activity:Hello", &SpanKind::Client)] {
        assert_eq!(part.parent_span_id, own.span_context.span_id(), "{}", part.name);
    }
    let raised = events.iter().find_map(|stored| match &stored.event.kind {
        EventKind::EventRaised { trace, .. } => trace.as_ref().and_then(SpanContext::of),
        _ => None,
    });
    assert_eq!(raised.unwrap().span_text(), sent.span_context.span_id().to_string());
}

#[tokio::test(start_paused = true)]
async fn each_generation_has_a_span_of_the_same_trace_and_parent() {
    let world = World::new().await;
    world.run(worker(&world.traced), "Loop", 2).await;
    let generations = world.exported.of("orchestration:Loop", &SpanKind::Server);
    let parents: Vec<_> = generations.iter().map(|span| span.parent_span_id.to_string()).collect();
    assert_eq!(parents, ["9f3f27f1ac892d20"; 3]);
    let ids: std::collections::BTreeSet<_> = generations.iter().map(|span| span.span_context.span_id().to_string()).collect();
    assert_eq!(ids.len(), 3);
    let runs = world.exported.of("activity:Hello", &SpanKind::Client);
    for (generation, run) in generations.iter().zip(&runs) {
        assert_eq!(run.parent_span_id, generation.span_context.span_id());
    }
    assert_eq!(runs.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_ids_that_a_worker_of_net_has_drawn_go_on() {
    let world = World::new().await;
    let client = Client::new(&world.plain);
    let start = client.start(MIXED, ()).instance_id("i").trace(Some(started_with(STARTED_WITH)));
    let instance = start.await.unwrap();
    worker(&world.traced).run(tokio::time::sleep(Duration::from_secs(2))).await.unwrap();
    // The first turn was that of another worker, which draws its ids.
    let drawn = TraceContext {
        id: Some("00-72958deb2e90ba8b034eef0d14dd4061-53630a7dc5c1b0d4-01".to_owned()),
        span_id: Some("53630a7dc5c1b0d4".to_owned()),
        activity_start_time: Some("2025-12-31T23:59:58.5+00:00".to_owned()),
        ..started_with(STARTED_WITH)
    };
    let text = serde_json::json!({ "TraceParent": drawn.trace_parent, "TraceState": null, "Id": drawn.id, "SpanId": drawn.span_id,
        "ActivityStartTime": drawn.activity_start_time });
    let mut row = Entity::new("i", "0000000000000001");
    row.properties.insert("ParentTraceContext".to_owned(), Value::String(text.to_string()));
    let hub = &world.plain.0;
    hub.storage.tables.write(&hub.names.history, &TableOp::Merge(row, Match::Any)).await.unwrap();
    worker(&world.traced).run(tokio::time::sleep(Duration::from_secs(20))).await.unwrap();
    assert_eq!(instance.wait().within(Duration::from_secs(1)).await.unwrap().status, RuntimeStatus::Completed);
    let own = world.exported.only("orchestration:Mixed", &SpanKind::Server);
    assert_eq!(own.span_context.span_id().to_string(), "53630a7dc5c1b0d4");
    assert_eq!(Timestamp::from(own.start_time), Timestamp::parse("2025-12-31T23:59:58.5Z").unwrap());
    assert_eq!(world.exported.only("orchestration:Mixed:timer", &SpanKind::Internal).parent_span_id, own.span_context.span_id());
}

#[tokio::test(start_paused = true)]
async fn what_goes_on_after_a_rewind_has_another_span_than_what_had_failed() {
    const ONCE: Activity<(), ()> = Activity::new("Once");
    const FRAIL: Orchestrator<(), ()> = Orchestrator::new("Frail");
    let world = World::new().await;
    let instance = Client::new(&world.traced).start(FRAIL, ()).await.unwrap();
    let is_repaired = Arc::new(AtomicBool::new(false));
    let repaired = Arc::clone(&is_repaired);
    let once = move |_: ActivityContext, (): ()| {
        let is_repaired = repaired.load(Relaxed);
        async move { if is_repaired { Ok(()) } else { Err(Failure::new("Down", "the service is down")) } }
    };
    let worker = Worker::builder(&world.traced).activity(ONCE, once);
    let worker = worker.orchestrator(FRAIL, async |ctx: OrchestrationContext, (): ()| Ok(ctx.call(ONCE, ()).await?));
    let rewinding = async {
        let end = instance.wait().within(Duration::from_secs(60)).await.unwrap();
        assert_eq!(end.status, RuntimeStatus::Failed);
        is_repaired.store(true, Relaxed);
        instance.rewind("repaired").await.unwrap();
        instance.wait_until(|status| status.status == RuntimeStatus::Completed).within(Duration::from_secs(60)).await.unwrap();
    };
    worker.run(rewinding).await.unwrap();
    let exported = &world.exported;
    let runs = exported.of("orchestration:Frail", &SpanKind::Server);
    let [failed, completed] = &runs[..] else { panic!("{runs:?}") };
    let (failed, completed) = if failed.status == Status::Ok { (completed, failed) } else { (failed, completed) };
    assert_eq!(
        (&failed.status, &completed.status),
        (&Status::error("Task 'Once' (#0) failed with an unhandled exception: the service is down"), &Status::Ok)
    );
    assert_ne!(failed.span_context.span_id(), completed.span_context.span_id());
    assert_eq!(failed.parent_span_id, completed.parent_span_id);
    let mut parents: Vec<_> = exported.of("activity:Once", &SpanKind::Client).iter().map(|call| call.parent_span_id).collect();
    let mut own = vec![failed.span_context.span_id(), completed.span_context.span_id()];
    parents.sort_by_key(ToString::to_string);
    own.sort_by_key(ToString::to_string);
    assert_eq!(parents, own);
}

/// What is put and written while an instance runs that was started without a trace.
async fn effects_of_an_untraced_run(is_traced: bool) -> (Vec<String>, Exported) {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let tap = Tap::new(clock.clone());
    let storage = tap.on(Storage::memory(clock.clone(), Rng::seeded(1)));
    let client = Client::new(&harness::open(storage.clone(), &clock, 1, 7).await);
    let exported = Exported::default();
    let builder = TaskHub::builder(storage, "Test").clock(clock).rng(Rng::seeded(8));
    let builder = if is_traced { builder.traces(&Traces::to(exported.clone())) } else { builder };
    let hub = builder.open().await.unwrap();
    let working = async {
        for (name, input) in [("SubParent", Json::from("kid")), ("Loop", 2.into()), ("Mixed", Json::Null)] {
            let instance = client.start_named(name, input).await.unwrap();
            instance.wait().within(Duration::from_secs(600)).await.unwrap();
        }
    };
    worker(&hub).worker_id("w").run(working).await.unwrap();
    (tap.seen().iter().map(|seen| format!("{seen:?}")).collect(), exported)
}

#[tokio::test(start_paused = true)]
async fn an_instance_without_a_trace_is_the_same_call_by_call_whether_spans_are_exported_or_not() {
    let (plain, _) = effects_of_an_untraced_run(false).await;
    let (traced, exported) = effects_of_an_untraced_run(true).await;
    assert!(plain.len() > 50);
    assert_eq!(plain, traced);
    assert_eq!(exported.all(), []);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_exported_the_context_is_passed_on_as_it_came() {
    let unsampled = format!("{}00", &STARTED_WITH[..53]);
    for (is_traced, given) in [(false, STARTED_WITH), (true, &*unsampled)] {
        let world = World::new().await;
        let hub = if is_traced { &world.traced } else { &world.plain };
        let client = Client::new(hub);
        let working = async {
            let start = client.start(PARENT, "kid".to_owned()).instance_id("i-traced").trace(Some(started_with(given)));
            start.await.unwrap().wait().within(Duration::from_secs(600)).await.unwrap();
        };
        worker(hub).run(working).await.unwrap();
        let mut carried = BTreeMap::new();
        for instance in ["i-traced", "i-traced-child"] {
            for stored in world.events(instance).await {
                let trace = match &stored.event.kind {
                    EventKind::ExecutionStarted(started) => started.trace.clone(),
                    EventKind::TaskScheduled { trace, .. } => trace.clone(),
                    EventKind::SubOrchestrationCreated { client_span_id, .. } => {
                        assert_eq!(*client_span_id, None);
                        continue;
                    }
                    _ => continue,
                };
                carried.insert((instance, stored.event.kind.type_name()), trace);
            }
        }
        assert_eq!(carried.len(), 3);
        assert!(carried.values().all(|trace| *trace == Some(started_with(given))), "{carried:?}");
        assert_eq!(world.exported.all(), []);
    }
}
