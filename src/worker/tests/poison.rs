//! Poison on the memory store under paused time: what is parked, what is not, and how it comes back.

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::authoring::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator};
use crate::clock::Clock;
use crate::model::{RuntimeStatus, Timestamp};
use crate::rng::Rng;
use crate::storage::error::{Error, ErrorKind, Result};
use crate::storage::layer::{Call, Layer, Reply};
use crate::storage::memory::Memory;
use crate::storage::table::{Entity, Value};
use crate::worker::FastPath;
use crate::{Client, InstanceStatus, PoisonMessage, TaskHub, Worker, WorkerBuilder};

pub(in crate::worker) const WAIT: Orchestrator<String, usize> = Orchestrator::new("Wait");
const GREET: Orchestrator<(), String> = Orchestrator::new("Greet");
const HELLO: Activity<String, String> = Activity::new("Hello");
pub(in crate::worker) const GO: Event<String> = Event::new("go");
pub(in crate::worker) const LARGE: usize = 100_000;

/// Waits for an event; gives the sizes of input and event.
async fn wait(ctx: OrchestrationContext, input: String) -> std::result::Result<usize, Failure> {
    Ok(input.len() + ctx.wait_for_event(GO).await.len())
}

async fn greet(ctx: OrchestrationContext, (): ()) -> std::result::Result<String, Failure> {
    Ok(ctx.call(HELLO, "you").await?)
}

#[derive(Clone, Copy)]
pub(in crate::worker) enum How {
    Refuse(ErrorKind),
    Panic,
}

/// Makes every call of one operation on one target fail, as long as it is told to.
#[derive(Clone, Default)]
pub(in crate::worker) struct Sabotage(Arc<Mutex<Option<Rule>>>);

/// Operation, beginning of the target, and what happens.
type Rule = (&'static str, &'static str, How);

impl Sabotage {
    pub(in crate::worker) fn set(&self, op: &'static str, target: &'static str, how: How) {
        *self.0.lock().unwrap() = Some((op, target, how));
    }

    pub(in crate::worker) fn end(&self) {
        *self.0.lock().unwrap() = None;
    }
}

impl Layer for Sabotage {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let rule = *self.0.lock().unwrap();
        match rule.filter(|(op, target, _)| call.op == *op && call.target.to_string().starts_with(target)) {
            Some((.., How::Refuse(kind))) => Err(Error::new(kind, call.op, call.target.to_string())),
            Some((.., How::Panic)) => panic!("sabotage"),
            None => attempt().await,
        }
    }
}

pub(in crate::worker) struct World {
    pub(in crate::worker) memory: Memory,
    pub(in crate::worker) sabotage: Sabotage,
    pub(in crate::worker) hub: TaskHub,
    pub(in crate::worker) client: Client,
    /// The short cuts that workers take.
    pub(in crate::worker) fast_path: Cell<FastPath>,
}

impl World {
    pub(in crate::worker) async fn new() -> Self {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let rng = Rng::seeded(1);
        let memory = Memory::new(clock.clone(), rng.fork());
        let sabotage = Sabotage::default();
        let storage = memory.storage().layered(sabotage.clone());
        let hub = TaskHub::builder(storage, "Test").partitions(1).clock(clock).rng(rng).open().await.unwrap();
        let client = Client::new(&hub);
        Self { memory, sabotage, hub, client, fast_path: Cell::default() }
    }

    /// A worker that parks after three receives.
    pub(in crate::worker) fn worker(&self) -> WorkerBuilder {
        Worker::builder(&self.hub)
            .poison_after(3)
            .fast_path(self.fast_path.get())
            .orchestrator(WAIT, wait)
            .orchestrator(GREET, greet)
            .activity(HELLO, async |_: ActivityContext, name: String| Ok(format!("Hello, {name}!")))
    }

    /// Runs a worker beside what a client does.
    pub(in crate::worker) async fn with_worker<T>(&self, client: impl Future<Output = T>) -> T {
        Self::beside(self.worker(), client).await
    }

    pub(in crate::worker) async fn beside<T>(worker: WorkerBuilder, client: impl Future<Output = T>) -> T {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = worker.run(async { drop(stopped.await) });
        let acting = async {
            let result = client.await;
            drop(stop);
            result
        };
        let (ran, result) = tokio::join!(running, acting);
        ran.unwrap();
        result
    }

    pub(in crate::worker) async fn work(&self, time: Duration) {
        self.with_worker(tokio::time::sleep(time)).await;
    }

    pub(in crate::worker) async fn start_waiting(&self, id: &str, input: &str) {
        self.client.start(WAIT, input).instance_id(id).await.unwrap();
        self.work(MINUTE).await;
        assert_eq!(self.status(id).await.status, RuntimeStatus::Running);
    }

    pub(in crate::worker) async fn status(&self, id: &str) -> InstanceStatus {
        self.client.status(id).await.unwrap().unwrap()
    }

    pub(in crate::worker) async fn only_poison(&self) -> PoisonMessage {
        let all = self.client.poison().await.unwrap();
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    }

    /// Puts the only parked message back and lets the instance end.
    pub(in crate::worker) async fn retry(&self, id: &str) -> InstanceStatus {
        let parked = self.only_poison().await;
        self.client.retry_poison(&parked.id).await.unwrap();
        let status = self.with_worker(self.client.wait(id, MINUTE)).await.unwrap();
        assert_eq!(self.client.poison().await.unwrap(), []);
        status
    }

    fn history(&self) -> Vec<Entity> {
        self.memory.all_rows().remove("TestHistory").unwrap().into_iter().map(|row| row.entity).collect()
    }

    /// Makes a history row of an instance unreadable. The row as it was.
    pub(in crate::worker) fn corrupt(&self, id: &str) -> Entity {
        let row = self.history().into_iter().find(|row| row.partition_key == id).unwrap();
        self.memory.insert_row("TestHistory", row.clone().with("EventId", Value::string("Nonsense")));
        row
    }

    fn blobs(&self, prefix: &str) -> usize {
        self.memory.all_blobs()["test-largemessages"].keys().filter(|name| name.starts_with(prefix)).count()
    }

    /// Deletes every blob of a folder. What they held.
    pub(in crate::worker) async fn lose_blobs(&self, folder: &str) -> Vec<(String, bytes::Bytes)> {
        let blobs = self.memory.all_blobs().remove("test-largemessages").unwrap_or_default();
        let lost: Vec<_> = blobs.into_iter().filter(|(name, _)| name.starts_with(folder)).collect();
        assert!(!lost.is_empty(), "there is no blob in {folder}");
        for (name, _) in &lost {
            self.memory.storage().blobs.delete("test-largemessages", name).await.unwrap();
        }
        lost
    }

    pub(in crate::worker) fn restore_blobs(&self, blobs: Vec<(String, bytes::Bytes)>) {
        blobs.into_iter().for_each(|(name, bytes)| self.memory.insert_blob("test-largemessages", &name, bytes));
    }
}

pub(in crate::worker) const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn messages_of_an_unreadable_history_are_parked_and_work_again_after_its_repair() {
    let world = World::new().await;
    world.start_waiting("i", "").await;
    let good = world.corrupt("i");
    let before = world.history();
    world.client.raise("i", GO, &"now".to_owned()).await.unwrap();
    world.work(MINUTE).await;

    let parked = world.only_poison().await;
    assert_eq!((parked.instance_id.as_deref(), parked.event.as_deref()), (Some("i"), Some("EventRaised")));
    assert_eq!((parked.queue.as_str(), parked.dequeue_count), ("test-control-00", 3));
    assert!(parked.reason.contains("history of instance \"i\""), "{}", parked.reason);
    let status = world.status("i").await;
    assert_eq!(status.status, RuntimeStatus::Failed);
    let output = status.output.unwrap();
    assert!(output.starts_with("PoisonMessage: message EventRaised was received 3 times"), "{output}");
    assert!(output.ends_with(&format!("run `taskhub poison retry {}`.", parked.id)), "{output}");
    assert!(status.completed.is_some());
    let events = |rows: Vec<Entity>| rows.into_iter().filter(|row| row.row_key != "sentinel").collect::<Vec<_>>();
    assert_eq!(events(world.history()), events(before));

    world.memory.insert_row("TestHistory", good);
    let status = world.retry("i").await;
    assert_eq!((status.status, status.output.as_deref()), (RuntimeStatus::Completed, Some("3")));
}

#[tokio::test(start_paused = true)]
async fn a_missing_blob_of_history_is_lasting_and_its_return_is_a_repair() {
    let world = World::new().await;
    world.start_waiting("i", &"x".repeat(LARGE)).await;
    let lost = world.lose_blobs("i/history-").await;
    world.client.raise("i", GO, &"now".to_owned()).await.unwrap();
    world.work(MINUTE).await;
    assert!(world.only_poison().await.reason.contains("is missing"));
    assert_eq!(world.status("i").await.status, RuntimeStatus::Failed);
    world.restore_blobs(lost);
    assert_eq!(world.retry("i").await.output.as_deref(), Some("100003"));
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_body_is_lost_fails_its_instance_and_another_message_may_be_a_copy() {
    let world = World::new().await;
    world.client.start(WAIT, "x".repeat(LARGE)).instance_id("i").await.unwrap();
    let lost = world.lose_blobs("i/message-").await;
    world.work(MINUTE).await;
    let parked = world.only_poison().await;
    assert_eq!((parked.instance_id.as_deref(), parked.event.as_deref()), (Some("i"), Some("ExecutionStarted")));
    let status = world.status("i").await;
    assert_eq!(status.status, RuntimeStatus::Failed);
    assert!(status.input.unwrap().ends_with("ExecutionStarted.json.gz"));
    assert!(status.output.unwrap().contains("message ExecutionStarted was received 3 times"));
    world.restore_blobs(lost);
    world.client.retry_poison(&parked.id).await.unwrap();
    assert_eq!(world.status("i").await.status, RuntimeStatus::Pending);
    world.work(MINUTE).await;
    assert_eq!(world.status("i").await.status, RuntimeStatus::Running);

    world.client.raise("i", GO, &"y".repeat(LARGE)).await.unwrap();
    let events = |lost: Vec<(String, bytes::Bytes)>| lost.into_iter().filter(|(name, _)| name.contains("EventRaised")).collect();
    let lost: Vec<_> = events(world.lose_blobs("i/message-").await);
    world.work(MINUTE).await;
    assert_eq!(world.status("i").await.status, RuntimeStatus::Running);
    world.restore_blobs(lost);
    assert_eq!(world.retry("i").await.output.as_deref(), Some("200000"));
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_large_message_goes_when_its_instance_has_ended() {
    let world = World::new().await;
    world.start_waiting("i", "").await;
    world.client.raise("i", GO, &"x".repeat(LARGE)).await.unwrap();
    let queues = world.memory.storage().queues;
    let copy = queues.peek("test-control-00", 1).await.unwrap().remove(0).text;
    world.with_worker(world.client.wait("i", MINUTE)).await.unwrap();
    assert_eq!(world.blobs("i/message-"), 0);
    queues.put("test-control-00", &copy, Duration::ZERO).await.unwrap();
    world.work(Duration::from_secs(1)).await;
    assert_eq!(world.memory.all_messages()["test-control-00"], []);
    world.work(MINUTE).await;
    assert_eq!(world.client.poison().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_engine_parks_a_large_message_with_its_body() {
    let world = World::new().await;
    world.start_waiting("i", "").await;
    world.client.raise("i", GO, &"x".repeat(LARGE)).await.unwrap();
    world.sabotage.set("table.transact", "TestHistory/i", How::Panic);
    world.work(MINUTE).await;
    assert_eq!(world.only_poison().await.reason, "the worker panicked: sabotage");
    assert_eq!(world.status("i").await.status, RuntimeStatus::Failed);
    assert_eq!(world.blobs("poison/"), 1);
    assert_eq!(world.blobs("i/message-"), 0);
    world.sabotage.end();
    assert_eq!(world.retry("i").await.output.as_deref(), Some("100000"));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_event_leaves_nothing_and_its_instance_goes_on() {
    let world = World::new().await;
    world.start_waiting("i", "").await;
    world.client.raise("i", GO, &"x".repeat(LARGE)).await.unwrap();
    world.sabotage.set("table.transact", "TestHistory/i", How::Refuse(ErrorKind::Invalid));
    world.work(MINUTE).await;
    let parked = world.only_poison().await;
    world.client.drop_poison(&parked.id).await.unwrap();
    assert_eq!(world.client.poison().await.unwrap(), []);
    assert_eq!(world.blobs("poison/") + world.blobs("i/message-"), 0);
    assert_eq!(world.memory.all_messages()["test-control-00"], []);
    assert_eq!(world.status("i").await.status, RuntimeStatus::Running);
    for gone in [world.client.drop_poison(&parked.id).await, world.client.retry_poison(&parked.id).await] {
        assert_eq!(gone.unwrap_err().kind(), crate::ErrorKind::NotFound);
    }
}

#[tokio::test(start_paused = true)]
async fn what_storage_refuses_for_a_while_is_never_poison() {
    for kind in [ErrorKind::Denied, ErrorKind::Throttled, ErrorKind::Transient, ErrorKind::NotFound] {
        let world = World::new().await;
        world.fast_path.set(FastPath::NONE);
        world.client.start(GREET, ()).instance_id("i").await.unwrap();
        world.sabotage.set("table.query", "TestHistory", How::Refuse(kind));
        world.work(60 * MINUTE).await;
        let messages = &world.memory.all_messages()["test-control-00"];
        assert!(messages[0].dequeue_count > 3, "{messages:?}");
        assert_eq!(world.client.poison().await.unwrap(), []);
        world.sabotage.end();
        let status = world.with_worker(world.client.wait("i", 60 * MINUTE)).await.unwrap();
        assert_eq!(status.output.as_deref(), Some("\"Hello, you!\""));
    }
}

#[tokio::test(start_paused = true)]
async fn receives_by_workers_that_died_make_no_poison() {
    let world = World::new().await;
    world.client.start(GREET, ()).instance_id("i").await.unwrap();
    let queues = world.memory.storage().queues;
    for _ in 0..20 {
        assert_eq!(queues.receive("test-control-00", 1, Duration::from_secs(1)).await.unwrap().len(), 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let status = world.with_worker(world.client.wait("i", MINUTE)).await.unwrap();
    assert_eq!(status.status, RuntimeStatus::Completed);
    assert_eq!(world.client.poison().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_work_item_whose_answer_cannot_be_sent_is_parked() {
    let world = World::new().await;
    world.fast_path.set(FastPath::NONE);
    world.client.start(GREET, ()).instance_id("i").await.unwrap();
    world.sabotage.set("queue.put", "test-control-00", How::Refuse(ErrorKind::Invalid));
    world.work(MINUTE).await;
    let parked = world.only_poison().await;
    assert_eq!((parked.queue.as_str(), parked.event.as_deref()), ("test-workitems", Some("TaskScheduled")));
    let status = world.status("i").await;
    assert_eq!(status.status, RuntimeStatus::Failed);
    assert!(status.output.unwrap().starts_with("PoisonMessage: activity \"Hello\" was received 3 times"));
    world.sabotage.end();
    assert_eq!(world.retry("i").await.output.as_deref(), Some("\"Hello, you!\""));
}

#[tokio::test(start_paused = true)]
async fn a_text_that_is_no_message_is_parked_and_goes_back_letter_by_letter() {
    let world = World::new().await;
    let queues = world.memory.storage().queues;
    for queue in ["test-control-00", "test-workitems"] {
        queues.put(queue, "hello there", Duration::ZERO).await.unwrap();
    }
    world.work(MINUTE).await;
    let all = world.client.poison().await.unwrap();
    assert_eq!(all.len(), 2);
    for parked in all {
        assert_eq!((parked.instance_id, parked.event), (None, None));
        assert_eq!(parked.reason, "the text is neither JSON nor Base64 of UTF-8");
        world.client.retry_poison(&parked.id).await.unwrap();
        assert_eq!(world.memory.all_messages()[&parked.queue][0].text, "hello there");
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_was_started_anew_is_not_touched_by_a_retry() {
    let world = World::new().await;
    world.start_waiting("i", "").await;
    world.sabotage.set("table.transact", "TestHistory/i", How::Panic);
    world.client.raise("i", GO, &"now".to_owned()).await.unwrap();
    world.work(MINUTE).await;
    world.sabotage.end();
    world.client.start(GREET, ()).instance_id("i").await.unwrap();
    let status = world.with_worker(world.client.wait("i", MINUTE)).await.unwrap();
    assert_eq!(status.status, RuntimeStatus::Completed);
    assert_eq!(world.retry("i").await, status);
}

#[tokio::test(start_paused = true)]
async fn one_bad_instance_never_slows_another() {
    let time = |bad: bool| async move {
        let world = World::new().await;
        world.start_waiting("bad", "").await;
        if bad {
            world.corrupt("bad");
        }
        let begun = tokio::time::Instant::now();
        world
            .with_worker(async {
                for n in 0..30 {
                    world.client.unchecked().raise("bad", GO, &"now".to_owned()).await.unwrap();
                    let id = format!("good-{n}");
                    world.client.start(GREET, ()).instance_id(&id).await.unwrap();
                    world.client.wait(&id, MINUTE).await.unwrap();
                }
            })
            .await;
        begun.elapsed()
    };
    let (with, without) = (time(true).await, time(false).await);
    assert!(with <= without + Duration::from_secs(1), "{with:?} beside {without:?}");
}
