//! Thousands of pending instances on a slow store, under paused time: they are worked off at a steady pace, nothing comes twice,
//! and no lease is lost.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::handover::Running;
use crate::authoring::{Activity, ActivityContext, Orchestrator};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::error::Result;
use crate::storage::layer::metered::{Counts, Metered};
use crate::storage::layer::tapped::{Effect, Seen, Tap};
use crate::storage::layer::{Call, Layer, Reply};
use crate::storage::memory::Memory;
use crate::{Client, TaskHub, Worker, size};

const WORK: Activity<usize, usize> = Activity::new("Work");
const ONE: Orchestrator<usize, usize> = Orchestrator::new("One");
const HOLD: Duration = Duration::from_secs(30);
/// When a worker stops writing because its lease was not renewed.
const FENCE: Duration = Duration::from_secs(25);
/// What the pace is judged by.
const WINDOW: Duration = Duration::from_secs(15);

/// A store that does so many calls at once, each in so much time. All others wait in one line, whatever they are about.
#[derive(Clone)]
struct Slow {
    at_once: Arc<Semaphore>,
    each: Duration,
}

impl Slow {
    fn new(at_once: usize, each: Duration) -> Self {
        Self { at_once: Arc::new(Semaphore::new(at_once)), each }
    }
}

impl Layer for Slow {
    async fn run<T, F, Fut>(&self, _: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let _place = self.at_once.acquire().await.expect("the semaphore is never closed");
        tokio::time::sleep(self.each).await;
        attempt().await
    }
}

/// A store that does one call after the other, as an emulator does that looks through all of its messages at each call about
/// one. What a caller no longer waits for is done all the same.
#[derive(Clone, Default)]
struct Emulator(Arc<Mutex<Line>>);

#[derive(Default)]
struct Line {
    messages: usize,
    /// When everything will be done that was asked for so far.
    free_at: Option<Instant>,
}

impl Emulator {
    const CALL: Duration = Duration::from_millis(3);
    const LOOK: Duration = Duration::from_micros(70);

    /// Puts a call at the end of the line. When it will be done.
    fn enqueue(&self, call: &Call<'_>) -> Instant {
        let mut line = self.0.lock().unwrap();
        let looks = if call.op.starts_with("queue.") { u32::try_from(line.messages).unwrap() } else { 0 };
        let begin = line.free_at.map_or_else(Instant::now, |at| at.max(Instant::now()));
        let done = begin + Self::CALL + Self::LOOK * looks;
        line.free_at = Some(done);
        done
    }
}

impl Layer for Emulator {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        tokio::time::sleep_until(self.enqueue(call)).await;
        let reply = attempt().await;
        let mut line = self.0.lock().unwrap();
        match call.op {
            "queue.put" if reply.is_ok() => line.messages += 1,
            "queue.delete" if reply.is_ok() => line.messages = line.messages.saturating_sub(1),
            _ => {}
        }
        reply
    }
}

/// What a worker did with its backlog.
struct Report {
    counts: Counts,
    seen: Vec<Seen>,
    begun: Timestamp,
    ended: Timestamp,
    /// Activities that were run.
    ran: usize,
}

/// Works off that many pending instances of one activity each.
async fn work_off(instances: usize, store: impl Layer + Clone + 'static) -> Report {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let memory = Memory::new(clock.clone(), Rng::seeded(1));
    let open = |storage| TaskHub::builder(storage, "Test").partitions(4).clock(clock.clone()).rng(Rng::seeded(2)).open();
    let client = Client::new(&open(memory.storage()).await.unwrap());
    let starts = stream::iter(0..instances).map(|n| client.start(ONE, n).instance_id(format!("i{n}")).into_future());
    starts.buffer_unordered(16).try_collect::<Vec<_>>().await.unwrap();
    let (metered, tap, done) = (Metered::default(), Tap::new(clock.clone()), Arc::new(AtomicUsize::new(0)));
    let hub = open(tap.on(memory.storage()).layered(metered.clone()).layered(store)).await.unwrap();
    let ran = Arc::clone(&done);
    let work = move |_: ActivityContext, n: usize| {
        ran.fetch_add(1, SeqCst);
        async move { Ok(n) }
    };
    let worker = Worker::builder(&hub).activity(WORK, work).orchestrator(ONE, async |ctx, n| Ok(ctx.call(WORK, n).await?));
    let (before, begun) = (metered.snapshot(), clock.now());
    let worker = Running::start(worker.max_activities(20).max_poll_interval(Duration::from_secs(1)));
    let is_empty = || memory.all_messages().values().all(Vec::is_empty);
    while !is_empty() {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(clock.now().since(begun) < Duration::from_secs(3600), "{} have run", done.load(SeqCst));
    }
    let (counts, ended) = (metered.since(&before), clock.now());
    worker.stop().await;
    Report { counts, seen: tap.seen(), begun, ended, ran: done.load(SeqCst) }
}

impl Report {
    /// Messages worked off in each window.
    fn pace(&self) -> Vec<usize> {
        let windows = self.ended.since(self.begun).as_secs() / WINDOW.as_secs();
        let mut pace = vec![0; usize::try_from(windows).unwrap() + 1];
        for seen in self.seen.iter().filter(|seen| seen.done && matches!(seen.effect, Effect::Deleted { .. })) {
            let window = seen.at.since(self.begun).as_secs() / WINDOW.as_secs();
            pace[usize::try_from(window).unwrap()] += 1;
        }
        pace
    }

    fn renewals(&self) -> usize {
        self.seen.iter().filter(|seen| matches!(seen.effect, Effect::Hidden { hidden, .. } if hidden == HOLD)).count()
    }

    fn most_receives(&self) -> u32 {
        let received = self.seen.iter().filter_map(|seen| match &seen.effect {
            Effect::Received { messages, .. } => messages.iter().map(|message| message.dequeue_count).max(),
            _ => None,
        });
        received.max().unwrap_or_default()
    }

    /// The longest time for which no partition row was written.
    fn longest_without_renewal(&self) -> Duration {
        let rows = |seen: &&Seen| seen.done && matches!(&seen.effect, Effect::Rows { table, .. } if table == "TestPartitions");
        let times: Vec<_> = self.seen.iter().filter(rows).map(|seen| seen.at).collect();
        times.windows(2).map(|pair| pair[1].since(pair[0])).max().unwrap_or_default()
    }
}

/// Works off a backlog and checks how. In the first windows the worker finds out how slow storage is.
async fn check(instances: usize, store: impl Layer + Clone + 'static, first: usize) {
    let report = work_off(instances, store).await;
    let (calls, renewals) = (report.counts.total(""), report.renewals());
    let pace = report.pace();
    let shown = format!("{pace:?}, {renewals} renewals, {calls} calls: {}", report.counts);
    assert_eq!(report.ran, instances, "each activity ran once: {shown}");
    assert!(renewals as u64 * 20 < calls, "{shown}");
    assert!(report.most_receives() <= 3, "{} receives of a message, {shown}", report.most_receives());
    assert!(report.longest_without_renewal() < FENCE, "{:?}, {shown}", report.longest_without_renewal());
    // In the last one it ends.
    let mut full = pace[first..pace.len() - 1].to_vec();
    full.sort_unstable();
    assert!(full[0] * 2 >= full[full.len() / 2], "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_worked_off_at_the_pace_of_an_emulator() {
    check(size::of(700, 1500), Slow::new(2, Duration::from_millis(10)), 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_on_a_slow_store_is_worked_off_at_a_steady_pace() {
    check(900, Slow::new(8, Duration::from_millis(53)), 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_on_a_store_that_does_one_call_after_the_other_costs_no_lease() {
    check(300, Slow::new(1, Duration::from_millis(40)), 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_that_makes_the_store_slow_by_its_size_is_worked_off_at_a_steady_pace() {
    let emulator = Emulator::default();
    let instances = size::of(500, 1500);
    emulator.0.lock().unwrap().messages = instances;
    check(instances, emulator, size::of(3, 7)).await;
}
