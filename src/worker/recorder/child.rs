//! The start of a sub-orchestration.

use std::time::Duration;

use super::Recorder;
use crate::ids::DecisionId;
use crate::model::{
    ChildCall, EventKind, ExecutionStarted, FIRE_AND_FORGET, HistoryEvent, InstanceRef, ParentInstance, Started, Tags,
};

impl Recorder<'_> {
    pub(super) fn start_child(
        &mut self,
        id: i32,
        decision: DecisionId,
        started: &Started,
        child: &str,
        (name, version, input): (&str, &Option<String>, Option<String>),
        tags: Option<Tags>,
    ) {
        let instance = InstanceRef::new(child, decision.execution_id());
        let parent = ParentInstance {
            name: Some(started.event.name.clone()),
            instance: InstanceRef::new(self.instance_id, &self.record.execution_id),
            task_id: id,
            version: started.event.version.clone(),
        };
        let inherited = started.event.tags.clone().unwrap_or_default();
        let inherited: Tags = inherited.into_iter().filter(|(name, _)| name != FIRE_AND_FORGET).collect();
        let merged: Tags = inherited.clone().into_iter().chain(tags.unwrap_or_default()).collect();
        let start = ExecutionStarted {
            instance: instance.clone(),
            parent: Some(parent),
            name: name.to_owned(),
            version: version.clone(),
            input,
            tags: Some(merged).filter(|t| !t.is_empty()),
            trace: self.trace_of(decision),
            level: Some(started.event.level.unwrap_or(0).saturating_add(1)),
            ..ExecutionStarted::default()
        };
        let event = HistoryEvent::arriving(self.now(), EventKind::ExecutionStarted(Box::new(start)));
        let mut message = self.message(decision, event, instance);
        message.context_tags = Some(inherited);
        self.send(self.control_queue(child), message, Duration::ZERO);
    }

    /// The last call of an instance as a sub-orchestration by this execution.
    pub(super) fn last_call_of(&self, instance_id: &str) -> Option<ChildCall> {
        if self.record.state.children == 0 {
            return None;
        }
        let events = self.past.iter().chain(&self.record.events).map(|stored| &stored.event);
        let is_call = |event: &&HistoryEvent| matches!(&event.kind, EventKind::SubOrchestrationCreated { instance_id: child, .. } if child == instance_id);
        let task_id = events.rev().find(is_call)?.event_id;
        Some(ChildCall { execution_id: self.record.execution_id.clone(), task_id })
    }
}
