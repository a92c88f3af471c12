//! Messages at the edges of an instance's life: each situation that loses, doubles or stalls something elsewhere.

use std::time::Duration;

use uuid::Uuid;

use super::tests::{hub, with_worker, worker};
use crate::authoring::{Event, Failure, OrchestrationContext, Orchestrator};
use crate::hub::{QueueId, rows};
use crate::model::{
    EventKind, ExecutionStarted, HistoryEvent, InstanceRef, Message, ParentInstance, RuntimeStatus, Sender, Timestamp,
};
use crate::storage::table::{Match, Query, TableOp};
use crate::{Client, TaskHub};

const COLLECT: Orchestrator<usize, Vec<u32>> = Orchestrator::new("Collect");
const ROUNDS: Orchestrator<u32, u32> = Orchestrator::new("Rounds");
const ITEM: Event<u32> = Event::new("item");

/// Takes that many events, then ends with them.
async fn collect(ctx: OrchestrationContext, count: usize) -> Result<Vec<u32>, Failure> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(ctx.wait_for_event(ITEM).await);
    }
    Ok(all)
}

/// Takes one event a generation, for ever.
async fn rounds(ctx: OrchestrationContext, round: u32) -> Result<u32, Failure> {
    ctx.wait_for_event(ITEM).await;
    ctx.continue_as_new(round + 1)
}

async fn acting<T>(hub: &TaskHub, client: impl Future<Output = T>) -> T {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = worker(hub).orchestrator(COLLECT, collect).orchestrator(ROUNDS, rounds);
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
    Message {
        activity_id: hub.0.rng.uuid(),
        event: HistoryEvent::arriving(hub.0.now(), kind),
        target,
        context_tags: None,
        sequence_number: 0,
        episode: None,
        sender: Sender::client(),
        decision_id: None,
    }
}

fn raised(name: &str, value: u32) -> EventKind {
    EventKind::EventRaised { name: name.into(), input: Some(value.to_string()), trace: None }
}

async fn put(hub: &TaskHub, message: Message) {
    let queue = hub.0.control_queue_of(&message.target.instance_id);
    hub.0.send(queue, message, Duration::ZERO).await.unwrap();
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
            messages += hub.0.storage.queues.count(&hub.0.queue_name(QueueId::Control(partition))).await.unwrap();
        }
        if messages == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("messages are left in the queues");
}

async fn status(client: &Client, id: &str) -> RuntimeStatus {
    client.status(id).await.unwrap().unwrap().status
}

async fn ended(client: &Client, id: &str) -> crate::InstanceStatus {
    client.wait(id, Duration::from_secs(300)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_polled_before_its_row_exists_runs_when_the_row_is_there() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        let start = start_message(&hub, "late-row", "x1", "Collect", "0", None);
        let EventKind::ExecutionStarted(event) = start.event.kind.clone() else { unreachable!() };
        let made = start.event.timestamp;
        put(&hub, start).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(client.history("late-row").await.unwrap().is_empty());
        let row = crate::hub::instance_row::pending("Test", &event, Some("0"), made, hub.0.now());
        assert!(hub.0.write_pending(row, None).await.unwrap());
        assert_eq!(ended(&client, "late-row").await.status, RuntimeStatus::Completed);
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_client_died_before_the_row_is_given_up() {
    let hub = hub().await;
    acting(&hub, async {
        put(&hub, start_message(&hub, "no-row", "x1", "Collect", "0", None)).await;
        quiet(&hub).await;
        assert!(Client::new(&hub).history("no-row").await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_two_starts_of_one_id_one_runs_and_the_other_learns_it() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let start = || client.start(COLLECT, 1).instance_id("twin").into_future();
    let (first, second) = tokio::join!(start(), start());
    assert_eq!([&first, &second].iter().filter(|s| s.is_ok()).count(), 1, "{first:?} {second:?}");
    acting(&hub, async {
        client.raise("twin", ITEM, &1).await.unwrap();
        assert_eq!(ended(&client, "twin").await.output::<Vec<u32>>().unwrap(), [1]);
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_id_is_refused_while_it_runs_and_free_again_when_it_has_ended() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(COLLECT, 1).instance_id("again").await.unwrap();
        let refused = client.start(COLLECT, 1).instance_id("again").await.unwrap_err();
        assert_eq!(refused.kind(), crate::ErrorKind::AlreadyExists);
        client.raise("again", ITEM, &1).await.unwrap();
        let first = ended(&client, "again").await;
        client.start(COLLECT, 1).instance_id("again").await.unwrap();
        client.raise("again", ITEM, &2).await.unwrap();
        let second = ended(&client, "again").await;
        assert_eq!((first.generation, second.generation), (0, 1));
        assert_eq!(second.output::<Vec<u32>>().unwrap(), [2]);
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn start_and_terminate_in_one_batch_run_nothing() {
    let hub = hub().await;
    let client = Client::new(&hub);
    client.start(COLLECT, 1).instance_id("stillborn").await.unwrap();
    client.terminate("stillborn", "not wanted").await.unwrap();
    acting(&hub, async {
        let ended = ended(&client, "stillborn").await;
        assert_eq!((ended.status, ended.output.as_deref()), (RuntimeStatus::Terminated, Some("not wanted")));
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_terminated_while_it_waits_for_its_start_never_starts() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        let at = hub.0.now().plus(Duration::from_secs(60));
        client.start(COLLECT, 0).instance_id("scheduled").at(at).await.unwrap();
        client.terminate("scheduled", "cancelled").await.unwrap();
        assert_eq!(ended(&client, "scheduled").await.status, RuntimeStatus::Terminated);
        quiet(&hub).await;
        assert_eq!(status(&client, "scheduled").await, RuntimeStatus::Terminated);
        assert!(client.history("scheduled").await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_start_is_not_early_and_finds_the_events_that_came_before() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        let at = hub.0.now().plus(Duration::from_millis(30_300));
        client.start(COLLECT, 2).instance_id("later").at(at).await.unwrap();
        client.raise("later", ITEM, &1).await.unwrap();
        client.raise("later", ITEM, &2).await.unwrap();
        let mut items = ended(&client, "later").await.output::<Vec<u32>>().unwrap();
        items.sort_unstable();
        assert_eq!(items, [1, 2]);
        let history = client.history("later").await.unwrap();
        assert!(history[0].timestamp >= at, "started at {} instead of {at}", history[0].timestamp);
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_to_nobody_is_dropped_and_stalls_nobody() {
    let hub = hub().await;
    let client = Client::new(&hub);
    client.terminate("nobody", "why").await.unwrap();
    client.raise("nobody", ITEM, &1).await.unwrap();
    client.suspend("nobody", "why").await.unwrap();
    acting(&hub, async {
        client.start(COLLECT, 0).instance_id("somebody").await.unwrap();
        assert_eq!(ended(&client, "somebody").await.status, RuntimeStatus::Completed);
        quiet(&hub).await;
        assert!(client.status("nobody").await.unwrap().is_none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn events_to_a_suspended_instance_are_kept_and_those_to_a_finished_one_dropped() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(COLLECT, 1).instance_id("paused").await.unwrap();
        client.suspend("paused", "lunch").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(status(&client, "paused").await, RuntimeStatus::Suspended);
        client.raise("paused", ITEM, &7).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(status(&client, "paused").await, RuntimeStatus::Suspended);
        client.resume("paused", "back").await.unwrap();
        assert_eq!(ended(&client, "paused").await.output::<Vec<u32>>().unwrap(), [7]);
        client.raise("paused", ITEM, &8).await.unwrap();
        quiet(&hub).await;
        assert_eq!(status(&client, "paused").await, RuntimeStatus::Completed);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_delivered_twice_is_applied_once_also_across_generations() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(ROUNDS, 0).instance_id("rounds").await.unwrap();
        let event = message(&hub, InstanceRef::current("rounds"), raised("item", 1));
        for _ in 0..3 {
            put(&hub, event.clone()).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let input = client.status("rounds").await.unwrap().unwrap().input;
        assert_eq!(input.as_deref(), Some("1"), "one event is one round");
        put(&hub, message(&hub, InstanceRef::current("rounds"), raised("item", 2))).await;
        quiet(&hub).await;
        assert_eq!(client.status("rounds").await.unwrap().unwrap().input.as_deref(), Some("2"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn messages_of_other_executions_and_unknown_tasks_are_given_up() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(COLLECT, 1).instance_id("target").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let current = client.status("target").await.unwrap().unwrap().execution_id.unwrap();
        let stale = || EventKind::TaskCompleted { task_id: 0, result: None };
        let due = Timestamp::UNIX_EPOCH;
        put(&hub, message(&hub, InstanceRef::new("target", "another-execution"), stale())).await;
        put(&hub, message(&hub, InstanceRef::new("target", current.clone()), stale())).await;
        let timer = EventKind::TimerFired { timer_id: 3, fire_at: due };
        put(&hub, message(&hub, InstanceRef::new("target", current), timer)).await;
        quiet(&hub).await;
        client.raise("target", ITEM, &5).await.unwrap();
        assert_eq!(ended(&client, "target").await.output::<Vec<u32>>().unwrap(), [5]);
        let completions = client.history("target").await.unwrap().iter().filter(|e| e.kind.completes().is_some()).count();
        assert_eq!(completions, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_terminate_that_meets_a_continue_as_new_wins() {
    let hub = hub().await;
    let client = Client::new(&hub);
    client.start(ROUNDS, 0).instance_id("eternal").await.unwrap();
    acting(&hub, async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let both = async {
            client.raise("eternal", ITEM, &1).await.unwrap();
            client.terminate("eternal", "enough").await.unwrap();
        };
        both.await;
        let ended = ended(&client, "eternal").await;
        assert_eq!((ended.status, ended.output.as_deref()), (RuntimeStatus::Terminated, Some("enough")));
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_child_start_that_dotnet_sends_again_under_another_execution_restarts_nothing() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let parent = ParentInstance { name: Some("P".into()), instance: InstanceRef::new("parent", "p1"), task_id: 4, version: None };
    acting(&hub, async {
        put(&hub, start_message(&hub, "child", "x1", "Collect", "1", Some(parent.clone()))).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        put(&hub, start_message(&hub, "child", "x2", "Collect", "1", Some(parent.clone()))).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(client.status("child").await.unwrap().unwrap().execution_id.as_deref(), Some("x1"));
        let other = ParentInstance { task_id: 5, ..parent };
        put(&hub, start_message(&hub, "child", "x3", "Collect", "1", Some(other))).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(client.status("child").await.unwrap().unwrap().execution_id.as_deref(), Some("x3"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_vanishes_from_the_tables_stalls_nobody() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(COLLECT, 1).instance_id("purged").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        for table in [&hub.0.names.history, &hub.0.names.instances] {
            for row in hub.0.storage.tables.query(table, &Query::default()).await.unwrap().rows {
                let (partition_key, row_key) = (row.entity.partition_key, row.entity.row_key);
                let delete = TableOp::Delete { partition_key, row_key, condition: Match::Any };
                hub.0.storage.tables.write(table, &delete).await.unwrap();
            }
        }
        client.raise("purged", ITEM, &1).await.unwrap();
        quiet(&hub).await;
        assert!(client.status("purged").await.unwrap().is_none());
        client.start(COLLECT, 0).instance_id("purged").await.unwrap();
        assert_eq!(ended(&client, "purged").await.status, RuntimeStatus::Completed);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_orchestrator_fails_its_instance_and_says_so() {
    let hub = hub().await;
    let client = Client::new(&hub);
    with_worker(&hub, async {
        let id = client.start_named("NoSuchThing", ()).await.unwrap();
        let ended = ended(&client, &id).await;
        assert_eq!(ended.status, RuntimeStatus::Failed);
        assert!(ended.output.as_deref().unwrap_or_default().contains("NoSuchThing"), "{:?}", ended.output);
        assert!(Uuid::try_parse(&id).is_ok(), "a generated id is a GUID");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_termination_before_the_first_checkpoint_is_whole_stops_whoever_writes_it() {
    let hub = hub().await;
    let client = Client::new(&hub);
    client.start(COLLECT, 1).instance_id("i").await.unwrap();
    // A worker that has become slow holds the start, and has stored a part of the checkpoint.
    let hold = Duration::from_secs(600);
    let start = hub.0.receive(hub.0.control_queue_of("i"), 1, hold).await.unwrap().held.remove(0);
    let execution_id = start.message.target.execution_id.clone().unwrap();
    let sentinel = rows::sentinel_to_entity("i", &rows::Sentinel { execution_id, ..rows::Sentinel::default() });
    let tables = &hub.0.storage.tables;
    let loaded = tables.write(&hub.0.names.history, &TableOp::Insert(sentinel)).await.unwrap().unwrap();

    client.terminate("i", "enough").await.unwrap();
    let ended = acting(&hub, client.wait("i", Duration::from_secs(60))).await.unwrap();
    assert_eq!(ended.status, RuntimeStatus::Terminated);
    assert!(!hub.0.bump_fence("i", &loaded).await.unwrap(), "the slow worker could still commit");
}
