//! The mark of an instance that has a parked message: it outlasts turns, and goes when the message comes back or the instance ends.

use std::time::Duration;

use futures::future::try_join_all;

use super::poison::{GO, How, LARGE, MINUTE, WAIT, World};
use crate::authoring::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator};
use crate::hub::QueueId;
use crate::hub::histories::{Append, Appended};
use crate::hub::instances::Culprit;
use crate::model::{EventKind, HistoryEvent, InstanceRef, Message, RuntimeStatus};
use crate::storage::error::ErrorKind;
use crate::storage::table::{Entity, TableOp, Value};
use crate::worker::FastPath;

const FAN: Orchestrator<u64, usize> = Orchestrator::new("Fan");
const NAP: Activity<u64, ()> = Activity::new("Nap");
const QUIET: Orchestrator<(), ()> = Orchestrator::new("Quiet");
const ROUNDS: Orchestrator<u32, u32> = Orchestrator::new("Rounds");
const NEXT: Event<()> = Event::new("next");

async fn fan(ctx: OrchestrationContext, width: u64) -> Result<usize, Failure> {
    Ok(try_join_all((0..width).map(|n| ctx.call(NAP, n))).await?.len())
}

/// Naps for as many minutes.
async fn nap(_: ActivityContext, minutes: u64) -> Result<(), Failure> {
    tokio::time::sleep(MINUTE * u32::try_from(minutes).unwrap()).await;
    Ok(())
}

/// Ends without a result.
async fn quiet(ctx: OrchestrationContext, (): ()) -> Result<(), Failure> {
    ctx.wait_for_event(GO).await;
    Ok(())
}

async fn rounds(ctx: OrchestrationContext, round: u32) -> Result<u32, Failure> {
    if round == 3 {
        return Ok(round);
    }
    ctx.wait_for_event(NEXT).await;
    ctx.continue_as_new(ROUNDS, round + 1)
}

impl World {
    async fn run<T>(&self, client: impl Future<Output = T>) -> T {
        let worker = self.worker().orchestrator(FAN, fan).activity(NAP, nap);
        Self::beside(worker.orchestrator(QUIET, quiet).orchestrator(ROUNDS, rounds), client).await
    }

    async fn run_for(&self, time: Duration) {
        self.run(tokio::time::sleep(time)).await;
    }

    fn row(&self, id: &str) -> Entity {
        let rows = self.memory.all_rows().remove("TestInstances").unwrap();
        rows.into_iter().map(|row| row.entity).find(|row| row.partition_key == id).unwrap()
    }

    /// Raises a large event whose body is damaged before a worker sees it. The body as it was.
    async fn raise_and_damage(&self, id: &str) -> Vec<(String, bytes::Bytes)> {
        self.client.raise(id, GO, &"y".repeat(LARGE)).await.unwrap();
        let sound = self.lose_blobs(&format!("{id}/message-")).await;
        let damaged = |(name, _): &(String, bytes::Bytes)| (name.clone(), bytes::Bytes::from_static(b"no gzip"));
        self.restore_blobs(sound.iter().map(damaged).collect());
        sound
    }

    /// A running instance whose event was parked.
    async fn mark(&self, id: &str, name: &str, input: Option<&str>) -> Vec<(String, bytes::Bytes)> {
        self.client.start_json(name, input.map(str::to_owned)).instance_id(id).await.unwrap();
        self.run_for(MINUTE).await;
        let sound = self.raise_and_damage(id).await;
        self.run_for(MINUTE).await;
        self.assert_marked(id).await;
        sound
    }

    async fn assert_marked(&self, id: &str) {
        let status = self.status(id).await;
        let output = status.output.unwrap_or_default();
        assert!(status.status == RuntimeStatus::Failed && output.starts_with("PoisonMessage: "), "{}: {output}", status.status);
        assert!(status.is_parked);
        assert!(status.completed.is_some());
    }

    /// Of the mark nothing may be left.
    fn assert_unmarked(&self, id: &str) {
        let row = self.row(id);
        assert!(!row.properties.keys().any(|name| name.starts_with("Parked")), "{row:?}");
        assert!(!row.text("Output").is_some_and(|text| text.contains("Poison")), "{row:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_with_a_parked_activity_stays_failed_while_the_others_complete() {
    let world = World::new().await;
    world.fast_path.set(FastPath::NONE);
    world.client.start(FAN, 10_u64).instance_id("i").await.unwrap();
    world.sabotage.set("queue.put", "test-control-00", How::Refuse(ErrorKind::Invalid));
    world
        .run(async {
            tokio::time::sleep(MINUTE / 2).await;
            world.assert_marked("i").await;
            world.sabotage.end();
            let first = world.status("i").await;
            for _ in 0..10 {
                tokio::time::sleep(MINUTE).await;
                let now = world.status("i").await;
                assert_eq!((now.status, &now.output, now.completed), (first.status, &first.output, first.completed));
            }
            assert!(world.status("i").await.last_updated > first.last_updated);
        })
        .await;
    let parked = world.only_poison().await;
    world.client.retry_poison(&parked.id).await.unwrap();
    let shown = world.status("i").await;
    assert_eq!((shown.status, shown.output, shown.completed), (RuntimeStatus::Running, None, None));
    world.assert_unmarked("i");
    let ended = world.run(world.client.wait("i", MINUTE)).await.unwrap();
    assert_eq!(ended.output.as_deref(), Some("10"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_fails_the_instance_that_the_name_of_its_blob_tells() {
    let world = World::new().await;
    let sound = world.mark("i", "Wait", Some("\"\"")).await;
    let output = world.status("i").await.output.unwrap();
    assert!(output.starts_with("PoisonMessage: message EventRaised was received 3 times"), "{output}");
    world.restore_blobs(sound);
    assert_eq!(world.retry("i").await.output.as_deref(), Some("100000"));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_ends_by_itself_takes_the_mark_away() {
    let world = World::new().await;
    world.mark("i", "Quiet", None).await;
    world.client.raise("i", GO, &"now".to_owned()).await.unwrap();
    world.run_for(MINUTE).await;
    let ended = world.status("i").await;
    assert_eq!((ended.status, ended.output.as_deref()), (RuntimeStatus::Completed, None));
    world.assert_unmarked("i");
    // What was parked comes too late, and changes nothing.
    let parked = world.only_poison().await;
    world.client.retry_poison(&parked.id).await.unwrap();
    assert_eq!(world.status("i").await, ended);
}

#[tokio::test(start_paused = true)]
async fn what_happens_behind_the_mark_is_shown_when_the_message_is_put_back() {
    let world = World::new().await;
    let sound = world.mark("i", "Wait", Some("\"\"")).await;
    world.client.suspend("i", "lunch").await.unwrap();
    world.run_for(MINUTE).await;
    world.assert_marked("i").await;
    world.restore_blobs(sound);
    world.client.retry_poison(&world.only_poison().await.id).await.unwrap();
    assert_eq!(world.status("i").await.status, RuntimeStatus::Suspended);
    world.assert_unmarked("i");
    world.client.resume("i", "back").await.unwrap();
    let ended = world.run(world.client.wait("i", MINUTE)).await.unwrap();
    assert_eq!(ended.output.as_deref(), Some("100000"));
}

#[tokio::test(start_paused = true)]
async fn the_mark_outlasts_continue_as_new_and_goes_with_the_end() {
    let world = World::new().await;
    world.mark("i", "Rounds", Some("0")).await;
    for round in 1..=3 {
        world.assert_marked("i").await;
        world.client.raise("i", NEXT, &()).await.unwrap();
        world.run_for(MINUTE).await;
        let input = (round < 3).then(|| round.to_string());
        assert!(input.is_none_or(|input| world.row("i").text("Input") == Some(&input)));
    }
    assert_eq!(world.status("i").await.output.as_deref(), Some("3"));
    world.assert_unmarked("i");
}

#[tokio::test(start_paused = true)]
async fn the_mark_stays_until_the_last_parked_message_is_put_back() {
    let world = World::new().await;
    let mut sound = world.mark("i", "Wait", Some("\"\"")).await;
    sound.extend(world.raise_and_damage("i").await);
    world.run_for(MINUTE).await;
    world.restore_blobs(sound);
    let parked = world.client.poison().await.unwrap();
    assert_eq!(parked.len(), 2);
    world.client.retry_poison(&parked[0].id).await.unwrap();
    world.assert_marked("i").await;
    world.client.retry_poison(&parked[1].id).await.unwrap();
    assert_eq!(world.status("i").await.status, RuntimeStatus::Running);
    world.assert_unmarked("i");
}

#[tokio::test(start_paused = true)]
async fn two_messages_put_back_at_one_time_leave_no_mark() {
    let world = World::new().await;
    world.mark("i", "Wait", Some("\"\"")).await;
    world.raise_and_damage("i").await;
    world.run_for(MINUTE).await;
    let parked = world.client.poison().await.unwrap();
    let (a, b) = tokio::join!(world.client.retry_poison(&parked[0].id), world.client.retry_poison(&parked[1].id));
    assert!(a.is_ok() && b.is_ok());
    assert_eq!(world.status("i").await.status, RuntimeStatus::Running);
}

#[tokio::test(start_paused = true)]
async fn a_status_that_was_written_over_the_mark_is_set_again_by_the_next_turn() {
    let world = World::new().await;
    world.mark("i", "Rounds", Some("0")).await;
    // A turn of .NET, or one of ours that had committed before.
    let running = Entity::new("i", "").with("RuntimeStatus", Value::string("Running"));
    world.memory.storage().tables.write("TestInstances", &TableOp::UpsertMerge(running)).await.unwrap();
    world.client.raise("i", NEXT, &()).await.unwrap();
    world.run_for(MINUTE).await;
    world.assert_marked("i").await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_under_way_when_a_message_is_parked_cannot_commit() {
    let world = World::new().await;
    world.start_waiting("i", "").await;
    let hub = &world.hub.0;
    let loaded = hub.histories.load("i").await.unwrap();
    hub.instances.show_as_failed(Culprit::Begun("i"), "PoisonMessage: test").await.unwrap();
    let append = Append {
        instance_id: "i",
        execution_id: loaded.execution_id.as_deref().unwrap(),
        etag: loaded.etag.as_ref(),
        first: loaded.stored_rows,
        events: &[HistoryEvent::arriving(hub.now(), EventKind::OrchestratorStarted).into()],
        surplus: 0..0,
        carried_to: 0,
        remainder: None,
        applied: Vec::new(),
        superseded: Vec::new(),
        custom_status: None,
        ends_with: None,
    };
    assert!(matches!(hub.histories.append(append).await.unwrap(), Appended::Lost));
    assert!(hub.histories.load("i").await.unwrap().sentinel.has_parked);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_event_does_not_cost_a_pending_instance_its_start() {
    let world = World::new().await;
    let at = world.hub.0.now().plus(60 * MINUTE);
    world.client.start(WAIT, "").instance_id("i").at(at).await.unwrap();
    let sound = world.raise_and_damage("i").await;
    world.run_for(MINUTE).await;
    assert_eq!(world.status("i").await.status, RuntimeStatus::Pending);
    world.restore_blobs(sound);
    world.client.retry_poison(&world.only_poison().await.id).await.unwrap();
    let ended = world.run(world.client.wait("i", 120 * MINUTE)).await.unwrap();
    assert_eq!(ended.output.as_deref(), Some("100000"));
}

#[tokio::test(start_paused = true)]
async fn an_instance_stays_failed_when_the_activity_that_it_waits_for_is_dropped() {
    let world = World::new().await;
    world.fast_path.set(FastPath::NONE);
    world.client.start(FAN, 1_u64).instance_id("i").await.unwrap();
    world.sabotage.set("queue.put", "test-control-00", How::Refuse(ErrorKind::Invalid));
    world.run_for(MINUTE).await;
    world.sabotage.end();
    world.client.drop_poison(&world.only_poison().await.id).await.unwrap();
    world.assert_marked("i").await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_no_work_item_is_parked() {
    let world = World::new().await;
    world.start_waiting("i", "").await;
    let hub = &world.hub.0;
    let message = Message::from_client(
        hub.rng.uuid(),
        HistoryEvent::arriving(hub.now(), EventKind::OrchestratorCompleted),
        InstanceRef::current("i"),
    );
    hub.queues.send(QueueId::WorkItems, message, Duration::ZERO).await.unwrap();
    world.run_for(MINUTE).await;
    let parked = world.only_poison().await;
    assert_eq!((parked.queue.as_str(), parked.event.as_deref()), ("test-workitems", Some("OrchestratorCompleted")));
    assert_eq!(parked.reason, "the queue of work items is for activities, and this is none");
    assert_eq!(world.memory.all_messages()["test-workitems"], []);
}

#[tokio::test(start_paused = true)]
async fn a_marked_child_that_is_terminated_answers_its_parent() {
    let world = World::new().await;
    let parent: Orchestrator<(), String> = Orchestrator::new("Parent");
    let worker = world.worker().orchestrator(parent, async |ctx: OrchestrationContext, ()| {
        let answer = ctx.call(WAIT, "").instance_id("child").await;
        Ok(answer.map_or_else(|failed| failed.details().error_message.clone(), |length| length.to_string()))
    });
    let ended = World::beside(worker, async {
        world.client.start(parent, ()).instance_id("parent").await.unwrap();
        tokio::time::sleep(MINUTE).await;
        world.raise_and_damage("child").await;
        tokio::time::sleep(MINUTE).await;
        world.assert_marked("child").await;
        assert_eq!(world.status("parent").await.status, RuntimeStatus::Running);
        world.client.terminate("child", "given up").await.unwrap();
        world.client.wait("parent", MINUTE).await.unwrap()
    })
    .await;
    assert!(ended.output::<String>().unwrap().contains("given up"), "{ended:?}");
    world.assert_unmarked("child");
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_not_done_while_an_instance_with_a_parked_message_is_open() {
    let world = World::new().await;
    let drain = world.client.drain("Wait");
    let counts = async || {
        let progress = drain.progress().await.unwrap();
        (progress.open, progress.waiting, progress.is_done)
    };
    world.mark("i", "Wait", Some("\"x\"")).await;
    drain.begin().await.unwrap();
    world.run_for(2 * MINUTE).await;
    assert_eq!(counts().await, (1, 0, false), "it shows as failed and is open");
    world.client.start(WAIT, "x".to_owned()).instance_id("new").await.unwrap();
    world.hub.0.instances.show_as_failed(Culprit::Any("new"), "its start is parked").await.unwrap();
    assert_eq!(counts().await, (1, 1, false), "one whose start is parked has not begun");
    world.client.terminate("i", "enough of it").await.unwrap();
    world.run_for(MINUTE).await;
    assert_eq!(world.status("i").await.status, RuntimeStatus::Terminated);
    assert_eq!(counts().await, (0, 1, true));
}
