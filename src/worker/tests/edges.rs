//! Messages at the edges of an instance's life: each situation that loses, doubles or stalls something elsewhere.

mod children;
mod clashes;
mod messages;
mod starts;
mod vanishing;

use std::time::Duration;

use uuid::Uuid;

use super::harness::{hub, with_worker, worker};
use crate::authoring::{Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::hub::{QueueId, rows};
use crate::model::{
    ChildCall, EventKind, ExecutionStarted, HistoryEvent, InstanceRef, Message, ParentInstance, RuntimeStatus, Sender, Timestamp,
};
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::layer::faulty::{Faults, Faulty, Odds};
use crate::storage::table::{Entity, Match, Query, TableOp, Value};
use crate::{Client, TaskHub};

const COLLECT: Orchestrator<usize, Vec<u32>> = Orchestrator::new("Collect");
const ASK: Orchestrator<usize, Vec<u32>> = Orchestrator::new("Ask");
const ASK_TWICE: Orchestrator<usize, Vec<u32>> = Orchestrator::new("AskTwice");
const RERUN: Orchestrator<u32, Vec<u32>> = Orchestrator::new("Rerun");
const LADEN: Orchestrator<String, u32> = Orchestrator::new("Laden");
const LEAVE: Orchestrator<u32, u32> = Orchestrator::new("Leave");
const ROUNDS: Orchestrator<u32, u32> = Orchestrator::new("Rounds");
const PATIENT: Orchestrator<u32, u32> = Orchestrator::new("Patient");
const ITEM: Event<u32> = Event::new("item");

/// Takes that many events, then ends with them.
async fn collect(ctx: OrchestrationContext, count: usize) -> Result<Vec<u32>, Failure> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(ctx.wait_for_event(ITEM).await);
    }
    Ok(all)
}

/// Asks for a child that has an id of its own.
async fn ask(ctx: OrchestrationContext, count: usize) -> Result<Vec<u32>, Failure> {
    Ok(ctx.call(COLLECT, count).instance_id("kid").await?)
}

/// Asks for such a child, and then for another one.
async fn ask_twice(ctx: OrchestrationContext, count: usize) -> Result<Vec<u32>, Failure> {
    let first = ask(ctx.clone(), count).await?;
    Ok([first, ask(ctx, count).await?].concat())
}

/// Asks for such a child again and again. Each gets an event in the turn that asks for it.
async fn rerun(ctx: OrchestrationContext, times: u32) -> Result<Vec<u32>, Failure> {
    let mut all = Vec::new();
    for n in 0..times {
        let child = ctx.call(COLLECT, 1).instance_id("kid");
        ctx.send_event("kid", ITEM, n);
        all.extend(child.await?);
    }
    Ok(all)
}

/// Takes two events, whatever its input.
async fn laden(ctx: OrchestrationContext, _: String) -> Result<u32, Failure> {
    Ok(ctx.wait_for_event(ITEM).await + ctx.wait_for_event(ITEM).await)
}

/// Leaves a child that has an id of its own to itself in each of two generations.
async fn leave(ctx: OrchestrationContext, round: u32) -> Result<u32, Failure> {
    if round == 2 {
        return Ok(round);
    }
    ctx.start_orchestration(COLLECT, 0).instance_id("kid");
    ctx.timer(Duration::from_secs(5)).await;
    ctx.start_orchestration(COLLECT, 0).instance_id("kid");
    ctx.continue_as_new(LEAVE, round + 1)
}

/// Takes one event a generation, for ever.
async fn rounds(ctx: OrchestrationContext, round: u32) -> Result<u32, Failure> {
    ctx.wait_for_event(ITEM).await;
    ctx.continue_as_new(ROUNDS, round + 1)
}

/// Takes an event a generation, or waits for ten minutes; ends after three.
async fn patient(ctx: OrchestrationContext, round: u32) -> Result<u32, Failure> {
    if round == 3 {
        return Ok(round);
    }
    match ctx.wait_for_event(ITEM).within(Duration::from_secs(600)).await {
        Ok(_) => ctx.continue_as_new(PATIENT, round + 1),
        Err(_) => Ok(0),
    }
}

async fn acting<T>(hub: &TaskHub, client: impl Future<Output = T>) -> T {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = worker(hub)
        .orchestrator(COLLECT, collect)
        .orchestrator(ASK, ask)
        .orchestrator(ASK_TWICE, ask_twice)
        .orchestrator(RERUN, rerun)
        .orchestrator(LADEN, laden)
        .orchestrator(LEAVE, leave)
        .orchestrator(ROUNDS, rounds)
        .orchestrator(PATIENT, patient);
    let running = running.max_poll_interval(Duration::from_secs(1)).run(async { drop(stopped.await) });
    let acting = async {
        let result = client.await;
        drop(stop);
        result
    };
    let (ran, result) = tokio::join!(running, acting);
    ran.unwrap();
    result
}

fn message(hub: &TaskHub, target: InstanceRef, kind: EventKind) -> Message {
    Message::from_client(hub.0.rng.uuid(), HistoryEvent::arriving(hub.0.now(), kind), target)
}

fn raised(name: &str, value: u32) -> EventKind {
    EventKind::EventRaised { name: name.into(), input: Some(value.to_string()), trace: None }
}

async fn put(hub: &TaskHub, message: Message) {
    let queue = hub.0.queues.of_instance(&message.target.instance_id);
    hub.0.queues.send(queue, message, Duration::ZERO).await.unwrap();
}

fn start_message(hub: &TaskHub, id: &str, execution: &str, name: &str, input: &str, parent: Option<ParentInstance>) -> Message {
    let instance = InstanceRef::new(id, execution);
    let start = ExecutionStarted {
        instance: instance.clone(),
        parent,
        name: name.into(),
        version: Some(String::new()),
        input: Some(input.into()),
        generation: Some(0),
        ..ExecutionStarted::default()
    };
    message(hub, instance, EventKind::ExecutionStarted(Box::new(start)))
}

/// Waits until nothing of the hub is in its queues, hidden or not.
async fn quiet(hub: &TaskHub) {
    for _ in 0..4000 {
        let mut messages = hub.0.storage.queues.count(&hub.0.names.work_items).await.unwrap();
        for partition in 0..hub.partitions() {
            messages += hub.0.storage.queues.count(hub.0.queues.name(QueueId::Control(partition))).await.unwrap();
        }
        if messages == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("messages are left in the queues");
}

async fn faulty_hub(faulty: &Faulty) -> TaskHub {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let rng = Rng::seeded(1);
    let storage = Storage::memory(clock.clone(), rng.fork()).layered(faulty.clone());
    TaskHub::builder(storage, "Test").clock(clock).rng(rng).open().await.unwrap()
}

/// Deletes every history and instance row, as a purge by other tools does.
async fn delete_rows(hub: &TaskHub) {
    for table in [&hub.0.names.history, &hub.0.names.instances] {
        for row in hub.0.storage.tables.query(table, &Query::default()).await.unwrap().rows {
            let (partition_key, row_key) = (row.entity.partition_key, row.entity.row_key);
            let delete = TableOp::Delete { partition_key, row_key, condition: Match::Any };
            hub.0.storage.tables.write(table, &delete).await.unwrap();
        }
    }
}

async fn status(client: &Client, id: &str) -> RuntimeStatus {
    client.status(id).await.unwrap().unwrap().status
}

async fn ended(client: &Client, id: &str) -> crate::InstanceStatus {
    client.wait(id, Duration::from_secs(300)).await.unwrap()
}
