//! The seam to the code of users: nothing else in the worker runs it.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::instance_limits::InstanceLimits;
use super::log;
use super::measures::{Measures, Way};
use super::throttle::Throttles;
use super::turn_threads::{Kept, TurnThread, TurnThreads};
use super::watch::{Code, Watch, Watching};
use crate::authoring::{ActivityTask, Registry};
use crate::clock::Clock;
use crate::model::{FailureDetails, Timestamp};
use crate::replay::{Outcome, Turn, disagreement};
use crate::traces::Tracer;

/// Runs the code of orchestrators and activities that is registered in this process.
#[derive(Debug)]
pub(crate) struct Executor {
    registry: Registry,
    throttles: Throttles,
    limits: InstanceLimits,
    measures: Measures,
    tracer: Tracer,
    watch: Arc<Watch>,
    clock: Clock,
    /// Started by the first turn.
    threads: OnceLock<TurnThreads>,
    /// Turns of executions that were kept and may be compared, and the last turns of such.
    kept_turns: AtomicU64,
    last_turns: AtomicU64,
}

/// Of the turns of executions that are kept one in so many is compared with a replay.
const CHECKED_TURN: u64 = 100;
/// The last turns of so many executions are all compared, and of those behind them one in so many: one that is not deterministic shows soon, and where
/// thousands end in a second their replays cost next to nothing.
const CHECKED_ENDS: u64 = 100;
const CHECKED_END: u64 = 10;
/// Only those turns count for which the execution has grown since its last comparison by this part of what it had gone through then: a replay goes through all of
/// it, and those of a long execution together must not take ever longer than its turns.
const CHECKED_GROWTH: usize = 10;

/// The code cannot be run here and now. That is no failure of what was asked for: the message goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable;

/// What became of an activity: its output, or its failure.
pub(crate) type Answer = Result<Option<String>, FailureDetails>;

impl Executor {
    pub(crate) fn new(
        registry: Registry,
        throttles: Throttles,
        limits: InstanceLimits,
        measures: Measures,
        tracer: Tracer,
        clock: Clock,
    ) -> Self {
        let (watch, threads, kept_turns, last_turns) = Default::default();
        Self { registry, throttles, limits, measures, tracer, watch, clock, threads, kept_turns, last_turns }
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Exports spans, if anybody wants them.
    pub(super) fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What the worker measures.
    pub(super) fn measures(&self) -> &Measures {
        &self.measures
    }

    /// How large an instance may become.
    pub(super) fn limits(&self) -> &InstanceLimits {
        &self.limits
    }

    /// What of user code has a limit of its own.
    pub(super) fn throttles(&self) -> &Throttles {
        &self.throttles
    }

    /// Names code that keeps its thread, for as long as the answer lives.
    pub(crate) fn start_watch(&self, clock: &Clock) -> Watching {
        self.watch.start(clock)
    }

    /// Runs what runs code: that is named if it keeps its thread.
    pub(crate) fn watched<F: Future>(&self, code: &Arc<Code>, running: F) -> impl Future<Output = F::Output> {
        self.watch.each_poll(code, running)
    }

    /// Runs the code of an orchestrator: goes on with its execution, if that was kept, and keeps it if it can go on in a later turn.
    pub(crate) async fn run_turn(
        &self,
        turn: Turn<'_>,
        code: &Arc<Code>,
        kept: Option<Kept>,
        keeps: bool,
    ) -> Result<(Outcome, Option<Kept>), Unavailable> {
        self.check_orchestrator(&turn)?;
        let _place = match self.throttles.orchestrator(turn.orchestrator()) {
            Some(throttle) => throttle.turn().await,
            None => None,
        };
        let keeps = keeps && self.registry.takes_live();
        let rest = turn.behind(kept.as_ref().map_or(0, |kept| kept.gone_through));
        let was_kept = kept.is_some();
        self.measures.runs(if was_kept { Way::Live } else { Way::Replay });
        let (outcome, mut kept) = self.play(rest, code, kept, keeps).await;
        if was_kept && self.is_to_be_checked(&outcome, kept.as_ref()) {
            self.check(turn, code, &outcome).await;
            kept.iter_mut().for_each(|kept| kept.checked_at = kept.gone_through);
        }
        Ok((outcome, kept))
    }

    /// Runs a turn over an execution that was kept, or a new one.
    async fn play(&self, turn: Turn<'_>, code: &Arc<Code>, kept: Option<Kept>, keeps: bool) -> (Outcome, Option<Kept>) {
        let (is_kept, on) = (kept.is_some(), kept.as_ref().and_then(Kept::thread));
        self.on_thread(on, turn, code, move |registry, turn, thread| {
            let mut live = kept.as_ref().and_then(Kept::take);
            assert!(live.is_some() == is_kept, "an execution that is kept is on its thread");
            let outcome = registry.go_on(&mut live, turn);
            let live = live.filter(|_| keeps);
            let kept = live.map(|live| match kept {
                Some(kept) => kept.go_on(live),
                None => Kept::begin(live, thread),
            });
            (outcome, kept)
        })
        .await
    }

    /// Runs code of an orchestrator on a thread that is for that; it is named while it keeps the thread.
    async fn on_thread<T: Send + 'static>(
        &self,
        on: Option<Arc<TurnThread>>,
        turn: Turn<'_>,
        code: &Arc<Code>,
        run: impl FnOnce(&Registry, &Turn<'_>, Option<Arc<TurnThread>>) -> T + Send + 'static,
    ) -> T {
        let (registry, watch, code) = (self.registry.clone(), Arc::clone(&self.watch), Arc::clone(code));
        let threads = self.threads.get_or_init(|| TurnThreads::start(&self.clock));
        let job = move |turn: &Turn<'_>, thread| {
            let _busy = watch.enter(&code);
            code.span.in_scope(|| run(&registry, turn, thread))
        };
        threads.run(on, turn, job).await
    }

    /// The custom status that the code of an orchestrator leaves. Nobody is told of what it does otherwise than before.
    pub(crate) async fn custom_status(&self, turn: Turn<'_>, code: &Arc<Code>) -> Result<Option<String>, Unavailable> {
        self.check_orchestrator(&turn)?;
        Ok(self.replay(turn, code, Registry::replay).await.custom_status)
    }

    /// Runs the code of an orchestrator from the beginning of its history.
    async fn replay(&self, turn: Turn<'_>, code: &Arc<Code>, run: fn(&Registry, &Turn<'_>) -> Outcome) -> Outcome {
        self.on_thread(None, turn, code, move |registry, turn, _| run(registry, turn)).await
    }

    /// Whether a turn of an execution that was kept is to be compared with a replay.
    fn is_to_be_checked(&self, outcome: &Outcome, kept: Option<&Kept>) -> bool {
        #[cfg(test)]
        if super::loaded::check::is_on() {
            return true;
        }
        if outcome.completion.is_some() {
            let ends = self.last_turns.fetch_add(1, Relaxed);
            return ends < CHECKED_ENDS || ends.is_multiple_of(CHECKED_END);
        }
        let has_grown = kept.is_none_or(|kept| kept.gone_through - kept.checked_at > kept.checked_at / CHECKED_GROWTH);
        has_grown && self.kept_turns.fetch_add(1, Relaxed) % CHECKED_TURN == CHECKED_TURN - 1
    }

    /// Code that does not do the same again would be noticed only after a crash: its execution never replays.
    async fn check(&self, turn: Turn<'_>, code: &Arc<Code>, outcome: &Outcome) {
        self.measures.runs(Way::Check);
        let replayed = self.replay(Turn { is_repeat: true, ..turn }, code, Registry::run_turn).await;
        log::differences(code, &replayed.differences);
        let bare = |outcome: &Outcome| Outcome { differences: Vec::new(), retries: Vec::new(), ..outcome.clone() };
        let Some(differs) = disagreement(&turn, &bare(outcome), &bare(&replayed)) else { return };
        #[cfg(test)]
        assert!(!super::loaded::check::is_on(), "an execution that was kept is not what its history makes: {differs}");
        code.span.in_scope(|| log::not_repeatable(&differs));
    }

    /// Runs an activity. Its panics are failures.
    pub(crate) async fn run_activity(&self, task: ActivityTask) -> Result<Answer, Unavailable> {
        if !self.registry.hosts_activity(&task.name, task.version.as_deref()) {
            return Err(Unavailable);
        }
        let (measured, ends) = (self.measures.run(&task.name), task.ends.clone());
        let answer = self.run_traced(task).await;
        measured.ends(&answer, ends.have_come());
        Ok(answer)
    }

    fn check_orchestrator(&self, turn: &Turn<'_>) -> Result<(), Unavailable> {
        if turn.started().is_none_or(|started| self.registry.hosts(started)) { Ok(()) } else { Err(Unavailable) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authoring::{Activity, Ends, OrchestrationContext, Orchestrator};
    use crate::metrics::Sink;
    use crate::model::{EventKind, ExecutionStarted, HistoryEvent, InstanceRef, StoredEvent, Tags, Timestamp};
    use crate::worker::watch::What;

    const MAIN: Orchestrator<(), u32> = Orchestrator::new("Main");
    const ONE: Activity<(), u32> = Activity::new("One");

    fn executor() -> Executor {
        let code = async |ctx: OrchestrationContext, (): ()| {
            ctx.set_custom_status("shown");
            Ok(1)
        };
        let registry = Registry::builder().orchestrator(MAIN, code).activity(ONE, async |_, ()| Ok(1)).build().unwrap();
        Executor::new(
            registry.clone(),
            Throttles::default(),
            InstanceLimits::default(),
            Measures::new(Sink::default(), &registry),
            Tracer::default(),
            Clock::paused(Timestamp::UNIX_EPOCH),
        )
    }

    fn started(name: &str) -> [StoredEvent; 1] {
        let start = ExecutionStarted { name: name.to_owned(), ..ExecutionStarted::default() };
        [HistoryEvent::arriving(Timestamp::MIN, EventKind::ExecutionStarted(Box::new(start))).into()]
    }

    fn call(name: &str) -> ActivityTask {
        ActivityTask {
            instance: InstanceRef::current("i"),
            task_id: 0,
            name: name.to_owned(),
            version: None,
            input: None,
            tags: Tags::default(),
            attempt: 1,
            trace: None,
            ends: Ends::default(),
        }
    }

    #[tokio::test]
    async fn code_that_is_not_here_is_unavailable_and_no_failure() {
        let executor = executor();
        let (here, elsewhere) = (started("Main"), started("Other"));
        let turn = |past| Turn { past, ..Turn::default() };
        let code = Code::new(tracing::Span::none(), What::Turn);
        assert_eq!(executor.custom_status(turn(&here), &code).await, Ok(Some("\"shown\"".to_owned())));
        assert_eq!(executor.custom_status(turn(&elsewhere), &code).await, Err(Unavailable));
        assert!(executor.run_turn(turn(&here), &code, None, true).await.unwrap().0.completion.is_some());
        assert_eq!(executor.run_turn(turn(&elsewhere), &code, None, true).await.unwrap_err(), Unavailable);
        assert_eq!(executor.run_activity(call("One")).await, Ok(Ok(Some("1".to_owned()))));
        assert_eq!(executor.run_activity(call("Other")).await, Err(Unavailable));
    }
}
