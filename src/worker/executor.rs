//! The seam to the code of users: nothing else in the worker runs it.

use std::future::Future;
use std::sync::Arc;

use super::instance_limits::InstanceLimits;
use super::throttle::Throttles;
use super::watch::{Code, Watch, Watching};
use crate::authoring::{ActivityTask, Registry};
use crate::clock::Clock;
use crate::model::FailureDetails;
use crate::replay::{Outcome, Turn};

/// Runs the code of orchestrators and activities that is registered in this process.
#[derive(Debug)]
pub(crate) struct Executor {
    registry: Registry,
    throttles: Throttles,
    limits: InstanceLimits,
    watch: Arc<Watch>,
}

/// The code cannot be run here and now. That is no failure of what was asked for: the message goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable;

/// What became of an activity: its output, or its failure.
pub(crate) type Answer = Result<Option<String>, FailureDetails>;

impl Executor {
    pub(crate) fn new(registry: Registry, throttles: Throttles, limits: InstanceLimits) -> Self {
        Self { registry, throttles, limits, watch: Arc::default() }
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
    pub(crate) async fn watched<F: Future>(&self, code: &Arc<Code>, running: F) -> F::Output {
        self.watch.each_poll(code, running).await
    }

    /// Runs the code of an orchestrator, and judges what it does again.
    pub(crate) async fn run_turn(&self, turn: Turn<'_>) -> Result<Outcome, Unavailable> {
        self.check_orchestrator(&turn)?;
        let _place = match self.throttles.orchestrator(turn.orchestrator()) {
            Some(throttle) => throttle.turn().await,
            None => None,
        };
        Ok(self.registry.run_turn(&turn))
    }

    /// The custom status that the code of an orchestrator leaves. Nobody is told of what it does otherwise than before.
    pub(crate) async fn custom_status(&self, turn: Turn<'_>) -> Result<Option<String>, Unavailable> {
        self.check_orchestrator(&turn)?;
        Ok(self.registry.replay(&turn).custom_status)
    }

    /// Runs an activity. Its panics are failures.
    pub(crate) async fn run_activity(&self, task: ActivityTask) -> Result<Answer, Unavailable> {
        if !self.registry.hosts_activity(&task.name, task.version.as_deref()) {
            return Err(Unavailable);
        }
        Ok(self.registry.run_activity(task).await)
    }

    fn check_orchestrator(&self, turn: &Turn<'_>) -> Result<(), Unavailable> {
        if turn.started().is_none_or(|started| self.registry.hosts(started)) { Ok(()) } else { Err(Unavailable) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authoring::{Activity, Ends, OrchestrationContext, Orchestrator};
    use crate::model::{EventKind, ExecutionStarted, HistoryEvent, InstanceRef, StoredEvent, Tags, Timestamp};

    const MAIN: Orchestrator<(), u32> = Orchestrator::new("Main");
    const ONE: Activity<(), u32> = Activity::new("One");

    fn executor() -> Executor {
        let code = async |ctx: OrchestrationContext, (): ()| {
            ctx.set_custom_status("shown");
            Ok(1)
        };
        Executor::new(
            Registry::builder().orchestrator(MAIN, code).activity(ONE, async |_, ()| Ok(1)).build().unwrap(),
            Throttles::default(),
            InstanceLimits::default(),
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
            ends: Ends::default(),
        }
    }

    #[tokio::test]
    async fn code_that_is_not_here_is_unavailable_and_no_failure() {
        let executor = executor();
        let (here, elsewhere) = (started("Main"), started("Other"));
        let turn = |past| Turn { past, ..Turn::default() };
        assert_eq!(executor.custom_status(turn(&here)).await, Ok(Some("\"shown\"".to_owned())));
        assert_eq!(executor.custom_status(turn(&elsewhere)).await, Err(Unavailable));
        assert!(executor.run_turn(turn(&here)).await.unwrap().completion.is_some());
        assert_eq!(executor.run_turn(turn(&elsewhere)).await, Err(Unavailable));
        assert_eq!(executor.run_activity(call("One")).await, Ok(Ok(Some("1".to_owned()))));
        assert_eq!(executor.run_activity(call("Other")).await, Err(Unavailable));
    }
}
