//! Threads of their own for the code of orchestrators, and the executions that stay in their memory between turns.
//!
//! The code of an execution cannot leave its thread. So a turn goes to the thread that has it. Under a paused clock, where runs must
//! repeat, everything is on the thread of the caller.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::metrics;
use crate::replay::{Live, Turn};

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The executions that are kept on this thread.
    static KEPT: RefCell<BTreeMap<u64, Live>> = const { RefCell::new(BTreeMap::new()) };
}

/// Numbers for executions that are kept.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// The threads of a worker. They end when it is dropped, and with what is kept on them.
#[derive(Debug)]
pub(super) struct TurnThreads(Vec<Arc<TurnThread>>);

/// One thread.
pub(super) struct TurnThread {
    jobs: mpsc::Sender<Job>,
    /// How many jobs it has.
    open: Arc<AtomicUsize>,
}

/// An execution that is kept on its thread, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Kept {
    number: u64,
    /// `None`: the thread of the caller.
    thread: Option<Arc<TurnThread>>,
    /// How many events it has gone through.
    pub(super) gone_through: usize,
    /// How many it had gone through when it was last compared with a replay.
    pub(super) checked_at: usize,
    /// About what it takes up in memory.
    pub(super) bytes: usize,
    _counted: metrics::Live,
}

impl TurnThreads {
    /// Starts the threads, as many as there are cores; none under a paused clock.
    pub(super) fn start(clock: &Clock) -> Self {
        if !clock.is_real() {
            return Self(Vec::new());
        }
        let count = std::thread::available_parallelism().map_or(2, usize::from);
        Self((0..count).map_while(|number| TurnThread::start(number).map(Arc::new)).collect())
    }

    /// Runs a turn `on` the thread of an execution that is kept, otherwise where there is least to do; without any threads, on that of the caller. Its panics are those of the caller.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        on: Option<Arc<TurnThread>>,
        turn: Turn<'_>,
        job: impl FnOnce(&Turn<'_>, Option<Arc<TurnThread>>) -> T + Send + 'static,
    ) -> T {
        let idle = || self.0.iter().min_by_key(|thread| thread.open.load(Relaxed)).cloned();
        let Some(thread) = on.or_else(idle) else { return job(&turn, None) };
        let (done, result) = oneshot::channel();
        let (log, of, turn) = (tracing::dispatcher::get_default(Clone::clone), Arc::clone(&thread), turn.to_owned());
        thread.push(Box::new(move || {
            let run = || catch_unwind(AssertUnwindSafe(|| job(&turn.as_turn(), Some(of))));
            drop(done.send(tracing::dispatcher::with_default(&log, run)));
        }));
        match result.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => resume_unwind(Box::new("a thread for orchestrators has ended") as Box<dyn Any + Send>),
        }
    }
}

/// The next job; `None` when there are no more. A thread without one lets others run once before it sleeps: where the cores are busy, those who bring jobs go
/// on and bring several, and to put a thread to sleep and to wake it costs as much as a short turn.
fn next(queue: &mpsc::Receiver<Job>) -> Option<Job> {
    if let Ok(job) = queue.try_recv() {
        return Some(job);
    }
    std::thread::yield_now();
    queue.recv().ok()
}

impl TurnThread {
    #[allow(clippy::disallowed_methods, reason = "the code of orchestrators never runs on the threads that do I/O")]
    fn start(number: usize) -> Option<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let open = Arc::<AtomicUsize>::default();
        let ended = Arc::clone(&open);
        let work = move || {
            while let Some(job) = next(&queue) {
                job();
                ended.fetch_sub(1, Relaxed);
            }
        };
        match std::thread::Builder::new().name(format!("taskhub-turns-{number}")).spawn(work) {
            Ok(_) => Some(Self { jobs, open }),
            Err(error) => {
                tracing::warn!(%error, "no thread can be had for orchestrators; they run on those of the runtime");
                None
            }
        }
    }

    fn push(&self, job: Job) {
        self.open.fetch_add(1, Relaxed);
        drop(self.jobs.send(job));
    }
}

impl Kept {
    /// Keeps an execution on this thread.
    pub(super) fn begin(live: Live, thread: Option<Arc<TurnThread>>) -> Self {
        Self {
            number: NUMBERS.fetch_add(1, Relaxed),
            thread,
            gone_through: 0,
            checked_at: 0,
            bytes: 0,
            _counted: metrics::Live::begin(),
        }
        .go_on(live)
    }

    /// Keeps it on, where it has come to.
    pub(super) fn go_on(mut self, live: Live) -> Self {
        (self.gone_through, self.bytes) = (live.gone_through(), live.bytes());
        live.rest();
        KEPT.with_borrow_mut(|kept| kept.insert(self.number, live));
        self
    }

    /// The thread that has it.
    pub(super) fn thread(&self) -> Option<Arc<TurnThread>> {
        self.thread.clone()
    }

    /// Takes the execution, on its thread.
    pub(super) fn take(&self) -> Option<Live> {
        take(self.number)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let number = self.number;
        match &self.thread {
            Some(thread) => thread.push(Box::new(move || drop(take(number)))),
            None => drop(take(number)),
        }
    }
}

/// What code does when it is dropped may come back here.
fn take(number: u64) -> Option<Live> {
    KEPT.try_with(|kept| kept.borrow_mut().remove(&number)).ok().flatten()
}

impl fmt::Debug for TurnThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnThread").field("open", &self.open).finish_non_exhaustive()
    }
}
