//! Runs the code of a turn, as often as it goes on in it.

use std::sync::Arc;

use super::executor::Unavailable;
use super::local::{LocalRun, Unfinished};
use super::recorder::Recorder;
use super::step::Step;
use super::turn_threads::Kept;
use super::watch::Code;
use crate::replay::Completion;
use crate::sabotage::{self, Sabotage};

impl Step<'_> {
    /// Runs the code of the turn, with what its local activities answer, and of the generations that follow in it.
    pub(super) async fn play(
        &self,
        recorder: &mut Recorder<'_>,
        code: &Arc<Code>,
        kept: &mut Option<Kept>,
        unfinished: &mut Unfinished,
    ) -> std::result::Result<(), Unavailable> {
        let (limits, before) = (self.executor.limits(), self.partition.generations(self.instance_id));
        let mut local = LocalRun::new(self.local, self.hosting, self.partition, self.instance_id);
        loop {
            let generations = u64::from(before) + u64::from(recorder.generations());
            if let Some(failure) = limits.before_run(recorder.input().orchestrator(), recorder.size(), generations) {
                recorder.end_without_code(Completion::Failed { failure });
                return Ok(());
            }
            let keeps = self.fast_path.keeps_executions;
            let Ok((outcome, still_kept)) = self.executor.run_turn(recorder.input(), code, kept.take(), keeps).await else {
                return if recorder.hand_on() { Ok(()) } else { Err(Unavailable) };
            };
            *kept = still_kept;
            let outcome = limits.after_run(recorder.input().orchestrator(), recorder.size(), outcome);
            let events = recorder.size_of_record();
            let progress = recorder.apply(outcome);
            let may_go_on = progress.is_done() && !recorder.has_ended();
            let calls = recorder.take_local_calls();
            if !calls.is_empty() {
                local.take_in(calls, may_go_on && self.fast_path.runs_local && recorder.has_room(events));
            }
            let answers = if may_go_on && local.is_running() { local.answers(recorder).await } else { Vec::new() };
            if !answers.is_empty() {
                tracing::debug!(answers = answers.len(), "a turn goes on with the answers of local activities");
                recorder.go_on(answers);
                continue;
            }
            let calls = local.give_up(unfinished);
            if !calls.is_empty() {
                tracing::debug!(calls = calls.len(), "calls of local activities become ordinary ones");
            }
            if !sabotage::is(Sabotage::LocalCallsForgotten) {
                recorder.send_calls(calls);
            }
            if progress.is_done() {
                return Ok(());
            }
        }
    }
}
