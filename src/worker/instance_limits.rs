//! At which size an instance that runs away is stopped.

use super::recorder::Size;
use crate::model::FailureDetails;
use crate::replay::{ActionKind, Completion, Outcome};

/// How large one instance may become before a worker fails it: code that loops for ever or calls itself without a bottom costs money until
/// somebody sees it.
///
/// The limits are generous unless they are set otherwise. One that is hit fails the instance at its next turn, with a failure that says which and
/// what to do; a parent sees that as any failure of its child.
///
/// ```no_run
/// use taskhub::{InstanceLimits, TaskHub, Worker};
///
/// # fn f(hub: &TaskHub) {
/// // What is not named stays as it is.
/// let worker = Worker::builder(hub).instance_limits(InstanceLimits::default().depth(20).children(5_000));
/// # drop(worker); }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceLimits {
    history_events: u64,
    children: u64,
    depth: u64,
    generations_per_minute: u64,
}

impl Default for InstanceLimits {
    fn default() -> Self {
        Self { history_events: 1_000_000, children: 100_000, depth: 1_000, generations_per_minute: 100_000 }
    }
}

impl InstanceLimits {
    /// No limits.
    #[must_use]
    pub fn none() -> Self {
        Self { history_events: u64::MAX, children: u64::MAX, depth: u64::MAX, generations_per_minute: u64::MAX }
    }

    /// Events in the history of one execution; a million unless set. An instance that hits it fails with `HistoryTooLong`, unless it ends or continues as new in
    /// that turn.
    #[must_use]
    pub fn history_events(self, most: u64) -> Self {
        Self { history_events: most, ..self }
    }

    /// Sub-orchestrations that one execution starts; 100,000 unless set. `TooManyChildren`.
    #[must_use]
    pub fn children(self, most: u64) -> Self {
        Self { children: most, ..self }
    }

    /// Parents above an instance; 1,000 unless set. `TooDeep`: the child that is too deep fails.
    #[must_use]
    pub fn depth(self, most: u64) -> Self {
        Self { depth: most, ..self }
    }

    /// How often an instance continues as new within a minute, as far as one worker has seen it; 100,000 unless set. `TooManyGenerations`.
    #[must_use]
    pub fn generations_per_minute(self, most: u64) -> Self {
        Self { generations_per_minute: most, ..self }
    }

    /// Why the code is not run any more.
    pub(super) fn before_run(&self, orchestrator: &str, size: Size, generations: u64) -> Option<FailureDetails> {
        if size.level > self.depth {
            let what = format!("has {} parents above it, and {} are allowed", size.level, self.depth);
            return Some(failure("TooDeep", orchestrator, &what, "It calls itself without an end"));
        }
        (generations > self.generations_per_minute).then(|| {
            let what = format!(
                "has continued as new {generations} times within a minute, and {} are allowed",
                self.generations_per_minute
            );
            failure("TooManyGenerations", orchestrator, &what, "It waits for nothing between two generations")
        })
    }

    /// The outcome that counts: that of the code, unless it makes the instance too large.
    pub(super) fn after_run(&self, orchestrator: &str, size: Size, outcome: Outcome) -> Outcome {
        if outcome.completion.is_some() {
            return outcome;
        }
        match self.too_large(orchestrator, size, &outcome) {
            Some(failure) => Outcome { completion: Some(Completion::Failed { failure }), actions: Vec::new(), ..outcome },
            None => outcome,
        }
    }

    fn too_large(&self, orchestrator: &str, size: Size, outcome: &Outcome) -> Option<FailureDetails> {
        let (events, most) = (size.events + outcome.actions.len() as u64, self.history_events);
        if events > most {
            let what = format!("has a history of {events} events, and {most} are allowed");
            return Some(failure("HistoryTooLong", orchestrator, &what, "Let it continue as new now and then"));
        }
        let is_child = |kind: &ActionKind| matches!(kind, ActionKind::SubOrchestration { .. });
        let (children, most) =
            (size.children + outcome.actions.iter().filter(|action| is_child(&action.kind)).count() as u64, self.children);
        (children > most).then(|| {
            let what = format!("starts {children} sub-orchestrations, and {most} are allowed");
            failure("TooManyChildren", orchestrator, &what, "Let it continue as new after a part of them")
        })
    }
}

fn failure(error_type: &str, orchestrator: &str, what: &str, remedy: &str) -> FailureDetails {
    let error_message = format!(
        "The orchestrator \"{orchestrator}\" was stopped: the instance {what}. {remedy}, or raise WorkerBuilder::instance_limits."
    );
    FailureDetails { error_type: error_type.to_owned(), error_message, is_non_retriable: true, ..FailureDetails::default() }
}
