//! Code of users that keeps its thread: named while it does, by a thread of the watch's own, because the runtime may stand still.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::clock::Clock;

/// How long code may keep its thread before it is named; it is named again after twice as long, and so on.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest pause between two lines about the same code.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// What runs code of users right now.
#[derive(Debug)]
pub(crate) struct Watch {
    patience: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    busy: BTreeMap<u64, Arc<Code>>,
    next: u64,
    /// The thread waits until there is something to look at.
    is_asleep: bool,
    is_over: bool,
}

/// Code of a user.
#[derive(Debug)]
pub(crate) struct Code {
    /// Which one: its log lines, and those about it, are in this span.
    pub(crate) span: Span,
    pub(crate) what: What,
}

/// Why the code is run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Turn,
    Activity,
}

/// Code keeps a thread for as long as this lives.
#[derive(Debug)]
pub(crate) struct Busy<'a> {
    watch: &'a Watch,
    number: u64,
}

/// The thread looks for as long as this lives.
#[derive(Debug)]
pub(crate) struct Watching(Arc<Watch>);

/// What the thread remembers of code that it has seen.
struct Seen {
    code: Arc<Code>,
    since: Instant,
    /// When it is named next, and how long after that again.
    next: Instant,
    pause: Duration,
    is_named: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self::after(PATIENCE)
    }
}

impl Watch {
    fn after(patience: Duration) -> Self {
        Self { patience, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Code begins to run on this thread.
    pub(crate) fn enter(&self, code: &Arc<Code>) -> Busy<'_> {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.busy.insert(number, Arc::clone(code));
        if std::mem::take(&mut state.is_asleep) {
            self.changed.notify_all();
        }
        Busy { watch: self, number }
    }

    /// Runs a future of the code's, whose single polls are watched: one that waits for long keeps no thread.
    pub(crate) fn each_poll<F: Future>(&self, code: &Arc<Code>, future: F) -> impl Future<Output = F::Output> {
        // In a box, so that it is not part of every future that it is handed through.
        let mut future = Box::pin(future.instrument(code.span.clone()));
        poll_fn(move |cx| {
            let _busy = self.enter(code);
            future.as_mut().poll(cx)
        })
    }

    /// Starts the thread; its lines go where those of the caller go. There is none under a paused clock, where runs must repeat.
    pub(crate) fn start(self: &Arc<Self>, clock: &Clock) -> Watching {
        if clock.is_real() {
            let (watch, log) = (Arc::clone(self), tracing::dispatcher::get_default(Clone::clone));
            let look = move || tracing::dispatcher::with_default(&log, || watch.look());
            if let Err(error) = std::thread::Builder::new().name("taskhub-watch".to_owned()).spawn(look) {
                tracing::warn!(%error, "no thread can be had that would name code which keeps its thread");
            }
        }
        Watching(Arc::clone(self))
    }

    fn look(&self) {
        let mut seen: BTreeMap<u64, Seen> = BTreeMap::new();
        loop {
            let mut state = self.lock();
            while state.busy.is_empty() && seen.is_empty() && !state.is_over {
                state.is_asleep = true;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            // Most code is through before anybody looks.
            let tick = self.patience / 8;
            state = self.changed.wait_timeout(state, tick).unwrap_or_else(PoisonError::into_inner).0;
            if state.is_over {
                return;
            }
            let busy = state.busy.clone();
            drop(state);
            self.compare(&mut seen, busy);
        }
    }

    /// The time of code begins when the thread first sees it, so that who runs it need not ask for the time.
    fn compare(&self, seen: &mut BTreeMap<u64, Seen>, busy: BTreeMap<u64, Arc<Code>>) {
        let now = Instant::now();
        seen.retain(|number, seen| {
            let is_busy = busy.contains_key(number);
            if !is_busy && seen.is_named {
                seen.code.tell_end(now - seen.since);
            }
            is_busy
        });
        for (number, code) in busy {
            let first = || Seen { code, since: now, next: now + self.patience, pause: self.patience, is_named: false };
            let seen = seen.entry(number).or_insert_with(first);
            if seen.next <= now {
                seen.code.tell(now - seen.since);
                (seen.next, seen.is_named) = (now + seen.pause, true);
                seen.pause = (seen.pause * 2).min(PAUSE_MAX);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.watch.lock().busy.remove(&self.number);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.changed.notify_all();
    }
}

impl Code {
    pub(crate) fn new(span: Span, what: What) -> Arc<Self> {
        Arc::new(Self { span, what })
    }

    fn tell(&self, so_far: Duration) {
        let seconds = so_far.as_secs();
        self.span.in_scope(|| match self.what {
            What::Turn => tracing::warn!(seconds, "a turn does not end: the orchestrator's code keeps its thread"),
            What::Activity => tracing::warn!(
                seconds,
                "an activity blocks its thread: what computes or blocks for long belongs into spawn_blocking"
            ),
        });
    }

    fn tell_end(&self, in_all: Duration) {
        let seconds = in_all.as_secs();
        self.span.in_scope(|| tracing::info!(seconds, "code that kept its thread has let it go"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use crate::worker::tests::overheard::Overheard;

    fn code(name: &str) -> Arc<Code> {
        Code::new(tracing::error_span!("activity", instance = "i", execution = "e", name, task = 7), What::Activity)
    }

    /// Waits, on this thread, until so many lines have been heard.
    fn until(heard: &Overheard, lines: usize) {
        let begun = Instant::now();
        while heard.lines().len() < lines {
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", heard.lines());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_keeps_its_thread_is_named_while_it_does_with_growing_pauses() {
        let heard = Overheard::default();
        let _hears = heard.listen();
        let watch = Arc::new(Watch::after(Duration::from_millis(80)));
        let watching = watch.start(&Clock::system());
        let busy = watch.enter(&code("Slow"));
        until(&heard, 3);
        drop(busy);
        until(&heard, 4);
        let lines = heard.lines();
        assert!(lines[..3].iter().all(|line| line.starts_with("WARN an activity blocks its thread")), "{lines:?}");
        assert!(lines[..3].iter().all(|line| line.contains("instance=i execution=e name=Slow task=7 seconds=0")), "{lines:?}");
        assert!(lines[3].starts_with("INFO code that kept its thread has let it go"), "{lines:?}");
        // The thread ends with the worker.
        drop(watching);
        let begun = Instant::now();
        while Arc::strong_count(&watch) > 1 {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[tokio::test]
    async fn what_only_waits_is_not_named() {
        let heard = Overheard::default();
        let _hears = heard.listen();
        let watch = Arc::new(Watch::after(Duration::from_millis(40)));
        let _watching = watch.start(&Clock::system());
        let waits = async {
            for _ in 0..30 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        watch.each_poll(&code("Patient"), waits).await;
        assert_eq!(heard.lines(), Vec::<String>::new());
        assert!(watch.lock().busy.is_empty());
    }

    #[test]
    fn the_pauses_double_up_to_five_minutes() {
        let heard = Overheard::default();
        let _hears = heard.listen();
        let watch = Watch::after(Duration::from_secs(2));
        let begun = Instant::now();
        let later = |seconds| begun + Duration::from_secs(seconds);
        let seen = |next, pause| Seen { code: code("Slow"), since: begun, next, pause, is_named: true };
        let mut known = BTreeMap::from([(0, seen(begun, Duration::from_secs(200))), (1, seen(later(3600), PAUSE_MAX))]);
        watch.compare(&mut known, BTreeMap::from([(0, code("Slow")), (1, code("Slow"))]));
        assert_eq!((heard.lines().len(), known[&0].pause), (1, PAUSE_MAX));
        assert!(known[&0].next > later(199) && known[&0].next < later(260));
    }

    #[test]
    fn under_a_paused_clock_nobody_looks() {
        let heard = Overheard::default();
        let _hears = heard.listen();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let watch = Arc::new(Watch::after(Duration::from_millis(10)));
            let _watching = watch.start(&Clock::paused(Timestamp::UNIX_EPOCH));
            let _busy = watch.enter(&code("Slow"));
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!((heard.lines(), Arc::strong_count(&watch)), (Vec::new(), 2));
        });
    }
}
