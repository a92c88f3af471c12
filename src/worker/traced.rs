//! Activities within their spans.

use super::executor::{Answer, Executor};
use crate::authoring::ActivityTask;
use crate::traces::{Kind, Span, SpanContext, Status, Value};

impl Executor {
    /// Runs the code of an activity, within a span if its call has a trace that is exported: each run has one of its own.
    pub(super) async fn run_traced(&self, task: ActivityTask) -> Answer {
        let (registry, tracer) = (self.registry(), self.tracer());
        let call = task.trace.as_ref().and_then(SpanContext::of);
        let Some((context, parent)) = call.and_then(|call| tracer.begin(Some(call))) else {
            return registry.run_activity(task).await;
        };
        let (version, begun) = (task.version.clone(), self.now());
        let name = Span::named("activity", &task.name, version.as_deref());
        let mut attributes = Span::attributes("activity", &task.name, version.as_deref(), &task.instance.instance_id);
        attributes.push(("durabletask.task.task_id", Value::Number(task.task_id.into())));
        let answer = tracer.within(&context, registry.run_activity(task)).await;
        let status = match &answer {
            Ok(_) => Status::Ok,
            Err(failure) => Status::Error(failure.error_message.clone()),
        };
        let ended = self.now();
        tracer.export([Span { context, parent, name, kind: Kind::Server, begun, ended, attributes, status }]);
        answer
    }
}
