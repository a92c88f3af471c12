//! Events that continue-as-new carries over: taken once and in the order of their sender, whatever their size, however many wait,
//! and wherever a worker dies; and what that costs.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::crash_points::{ECHO, TRANSACTIONS, World, nothing_left, worker};
use crate::Client;
use crate::authoring::{Event, Failure, OrchestrationContext, Orchestrator};
use crate::hub::rows;
use crate::limits;
use crate::model::{EventKind, ExecutionStarted, HistoryEvent, InstanceRef, Timestamp};
use crate::size;
use crate::storage::layer::metered::Metered;
use crate::storage::layer::tapped::Effect;
use crate::storage::table::{Entity, Match, TableOp, Value};
use crate::worker::FastPath;

pub(super) const SEQUENCE: Orchestrator<Sequence, Vec<usize>> = Orchestrator::new("Sequence");
const NEWS: Event<(usize, String)> = Event::new("news");
const LARGE: usize = 2 * limits::COLUMN_UNITS_MAX;

/// All that may leave something behind.
const CALLS: &[&str] = &[
    "queue.put",
    "queue.update",
    "queue.delete",
    "table.transact",
    "table.merge",
    "table.replace",
    "table.insert",
    "blob.put",
    "blob.get",
    "blob.delete",
];

/// What is taken, and how.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Sequence {
    /// Events in all.
    count: usize,
    /// Events in a generation.
    rate: usize,
    taken: Vec<usize>,
}

/// Takes events, and commits each generation of its own.
pub(super) async fn sequence(ctx: OrchestrationContext, mut sequence: Sequence) -> Result<Vec<usize>, Failure> {
    for _ in 0..sequence.rate.min(sequence.count - sequence.taken.len()) {
        sequence.taken.push(ctx.wait_for_event(NEWS).await.0);
    }
    ctx.call(ECHO, 1).await?;
    if sequence.taken.len() == sequence.count { Ok(sequence.taken) } else { ctx.continue_as_new(SEQUENCE, sequence) }
}

/// Starts an instance and sends it events of these sizes, of which the last come after a worker was killed.
struct Sending<'a> {
    world: &'a World,
    client: Client,
    sizes: &'a [usize],
    letter: char,
}

impl<'a> Sending<'a> {
    async fn start(world: &'a World, sizes: &'a [usize], late: usize, rate: usize) -> Self {
        let client = Client::new(&world.open(world.storage(), 7).await);
        let sequence = Sequence { count: sizes.len(), rate, taken: Vec::new() };
        client.start(SEQUENCE, sequence).instance_id("i").await.unwrap();
        let sending = Self { world, client, sizes, letter: 'x' };
        sending.send(0..sizes.len() - late).await;
        sending
    }

    async fn send(&self, which: std::ops::Range<usize>) {
        for number in which {
            self.client.raise("i", NEWS, &(number, String::from(self.letter).repeat(self.sizes[number]))).await.unwrap();
        }
    }

    async fn ended(&self) -> Vec<usize> {
        self.client.wait("i", Duration::from_secs(36_000)).await.unwrap().output().unwrap()
    }

    /// Lets another worker go on to the end. What was taken.
    async fn finish(&self, at: &str) -> Vec<usize> {
        let hub = self.world.open(self.world.storage(), 8).await;
        let (taken_by, finished) = tokio::sync::oneshot::channel();
        let ending = async {
            let taken = self.ended().await;
            // What the dead worker held surfaces after its hold.
            tokio::time::sleep(Duration::from_secs(90)).await;
            taken_by.send(taken).unwrap();
        };
        worker(&hub).worker_id("next").run(ending).await.unwrap();
        nothing_left(self.world, &self.client, at).await;
        finished.await.unwrap()
    }
}

/// Kills a worker after its `k`-th of these calls, and lets another one go on. Whether it was killed, and in which order the events
/// were taken: each of them once. What the dead worker held and had not yet stored may be overtaken.
async fn killed_at(k: u64, counted: &'static [&'static str], sizes: &[usize], late: usize, rate: usize) -> (bool, Vec<usize>) {
    let world = World::new(k);
    let sending = Sending::start(&world, sizes, late, rate).await;
    let was_killed = world.run_until_write(k, counted, tokio::time::sleep(Duration::from_secs(120))).await;
    let at = format!("{} events, {rate} a generation, killed after call {k}", sizes.len());
    sending.send(sizes.len() - late..sizes.len()).await;
    let taken = sending.finish(&at).await;
    let sorted: Vec<_> = taken.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!((sorted, taken.len()), ((0..sizes.len()).collect(), sizes.len()), "{at}: {taken:?}");
    (was_killed, taken)
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_after_a_crash_overtakes_nothing_that_is_carried_over() {
    let count = 2 * limits::CARRIED_ROWS_MAX + 40;
    for k in 1..=7 {
        let (was_killed, taken) = killed_at(k, TRANSACTIONS, &vec![3; count], 1, 10).await;
        assert!(was_killed && taken.is_sorted(), "{k}: {taken:?}");
    }
}

/// All events are in history, in their order, when the worker dies at a transaction of a continue-as-new; a row counts six bytes for
/// a control character.
#[tokio::test(start_paused = true)]
async fn carried_events_of_control_characters_survive_every_torn_checkpoint() {
    let (small, sizes) = (100, [vec![1; 100], vec![30_000; 40]].concat());
    for k in size::of(6..=7, 5..=8) {
        let world = World::new(k);
        let mut sending = Sending::start(&world, &sizes, sizes.len(), 10).await;
        sending.send(0..small).await;
        sending.letter = '\u{7f}';
        sending.send(small..sizes.len()).await;
        let was_killed = world.run_until_write(k, TRANSACTIONS, tokio::time::sleep(Duration::from_secs(120))).await;
        let at = format!("killed ({was_killed}) after transaction {k}");
        assert_eq!(sending.finish(&at).await, (0..sizes.len()).collect::<Vec<_>>(), "{at}");
    }
}

/// A worker of .NET knows nothing of what has no rows: it takes the checkpoint for whole, and the events are late, not lost.
#[tokio::test(start_paused = true)]
async fn what_another_program_has_passed_over_arrives_when_a_worker_of_ours_goes_on() {
    let sizes = [3; 2 * limits::CARRIED_ROWS_MAX + 40];
    let mut torn = 0;
    for k in 1..=7 {
        let world = World::new(k);
        let sending = Sending::start(&world, &sizes, 1, 10).await;
        assert!(world.run_until_write(k, TRANSACTIONS, std::future::pending()).await);
        let hub = world.open(world.storage(), 9).await.0;
        if !hub.histories.load("i").await.unwrap().is_torn() {
            continue;
        }
        torn += 1;
        let whole = Entity::new("i", rows::SENTINEL).with("IsCheckpointComplete", Value::Bool(true));
        world.memory.storage().tables.write("TestHistory", &TableOp::Merge(whole, Match::Any)).await.unwrap();
        assert!(!hub.histories.load("i").await.unwrap().late.is_empty());
        sending.send(sizes.len() - 1..sizes.len()).await;
        let taken = sending.finish("passed over").await;
        assert_eq!(taken, (0..sizes.len()).collect::<Vec<_>>());
        let blobs = world.memory.all_blobs().remove("test-largemessages").unwrap_or_default();
        assert_eq!(blobs.len(), 0, "{:?}", blobs.keys());
    }
    assert!(torn > 0, "no checkpoint was torn");
}

/// A continue-as-new of .NET does not close its first turn: what its first transaction holds is all that is left of the instance.
#[tokio::test(start_paused = true)]
async fn what_an_interrupted_continue_as_new_of_dotnet_has_stored_goes_on() {
    let world = World::new(1);
    let sizes = [3; 98];
    let sending = Sending::start(&world, &sizes, sizes.len(), 10).await;
    world.run_until_write(u64::MAX, TRANSACTIONS, tokio::time::sleep(Duration::from_secs(5))).await;
    let start = ExecutionStarted {
        instance: InstanceRef::new("i", "x2"),
        name: "Sequence".into(),
        input: Some(serde_json::to_string(&Sequence { count: sizes.len(), rate: 10, taken: Vec::new() }).unwrap()),
        ..ExecutionStarted::default()
    };
    let raised = |n: usize| EventKind::EventRaised { name: "news".into(), input: Some(format!("[{n},\"xxx\"]")), trace: None };
    let kinds = [EventKind::OrchestratorStarted, EventKind::ExecutionStarted(Box::new(start))].into_iter();
    let kinds = kinds.chain((0..sizes.len() - 1).map(raised));
    let row = |(ordinal, kind)| {
        let stored = HistoryEvent::arriving(Timestamp::UNIX_EPOCH, kind).into();
        TableOp::UpsertReplace(rows::event_to_entity("i", ordinal, "x2", &stored))
    };
    let mut ops: Vec<_> = (0..).zip(kinds).map(row).collect();
    let sentinel = Entity::new("i", rows::SENTINEL).with("ExecutionId", Value::string("x2"));
    ops.push(TableOp::Merge(sentinel.with("IsCheckpointComplete", Value::Bool(false)), Match::Any));
    assert_eq!(ops.len(), 100);
    world.memory.storage().tables.transact("TestHistory", &ops).await.unwrap();
    sending.send(sizes.len() - 1..sizes.len()).await;
    assert_eq!(sending.finish("torn by .NET").await, (0..sizes.len()).collect::<Vec<_>>());
}

/// Of a hub that was never disturbed nothing is put that is there already, and nothing is left.
#[tokio::test(start_paused = true)]
async fn large_events_that_are_carried_over_are_taken_once_and_put_once() {
    let world = World::new(1);
    let sizes = [LARGE; 120];
    let sending = Sending::start(&world, &sizes, 0, 20).await;
    let metered = Metered::default();
    let hub = world.open(world.storage().layered(metered.clone()), 3).await;
    let before = metered.snapshot();
    let (taken_by, taken) = tokio::sync::oneshot::channel();
    let ending = async {
        taken_by.send(sending.ended().await).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    };
    // A turn that waits for its history takes all that has been sent, and more is carried than a transaction holds.
    worker(&hub).fast_path(FastPath::NONE).run(ending).await.unwrap();
    assert_eq!(taken.await.unwrap(), (0..sizes.len()).collect::<Vec<_>>());
    nothing_left(&world, &sending.client, "undisturbed").await;
    // Each column once when it arrives, and one for all that does not fit the first transaction; bodies, and what was taken first, go.
    let counts = metered.since(&before).0;
    let ended_before = sizes.len() - 20;
    let names = world.tap.seen().into_iter().filter_map(|seen| match seen.effect {
        Effect::Blob { name, .. } if name.starts_with("i/history-") => Some(name),
        _ => None,
    });
    assert_eq!(names.count(), sizes.len() + 1);
    assert_eq!(counts["blob.delete"] as usize, sizes.len() + ended_before + 1, "{counts:?}");
    assert_eq!(counts["queue.put"], 2 * 6, "only those of the activities: {counts:?}");
    let blobs = world.memory.all_blobs().remove("test-largemessages").unwrap_or_default();
    assert_eq!(blobs.len(), 20, "those of the last generation: {:?}", blobs.keys());
}

/// What identities alone would not tell, however late something surfaces.
#[tokio::test(start_paused = true)]
async fn more_events_than_are_remembered_are_taken_once() {
    let sizes = vec![limits::MESSAGE_BYTES_MAX + 2000; limits::REMEMBERED_MESSAGES_MAX + 200];
    for k in size::of(&[1000][..], &[700, 1000]) {
        killed_at(*k, CALLS, &sizes, 0, 120).await;
    }
}

/// Sizes that stay in the message, go to a blob with it, or go to a blob as a column too.
fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![
        8 => 0..200_usize,
        1 => limits::MESSAGE_BYTES_MAX..limits::MESSAGE_BYTES_MAX + 4000,
        1 => LARGE..LARGE + 2000,
    ];
    prop::collection::vec(size, 60..=150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn events_are_taken_once_and_in_order_wherever_a_worker_dies(
        sizes in sizes(),
        late in 0..20_usize,
        rate in 5..=60_usize,
        k in 1..500_u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(killed_at(k, CALLS, &sizes, late, rate));
    }
}
