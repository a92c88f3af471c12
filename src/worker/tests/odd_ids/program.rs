//! Passes a payload through everything that may store it: an activity, a child, and an event for the child. Run in memory and on Azurite.

use super::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator, WorkerBuilder};

const SAME: Activity<String, String> = Activity::new("Same");
pub(super) const PARENT: Orchestrator<(String, String), String> = Orchestrator::new("Parent");
const CHILD: Orchestrator<String, String> = Orchestrator::new("Child");
const GO: Event<String> = Event::new("go");

pub(super) fn register(worker: WorkerBuilder) -> WorkerBuilder {
    let same = async |_: ActivityContext, payload: String| Ok(payload);
    worker.orchestrator(PARENT, parent).orchestrator(CHILD, child).activity(SAME, same)
}

/// Takes the id of its child, and the payload.
async fn parent(ctx: OrchestrationContext, (child, payload): (String, String)) -> Result<String, Failure> {
    let same = ctx.call(SAME, payload).await?;
    let running = ctx.call(CHILD, &same).instance_id(&child);
    ctx.send_event(&child, GO, &same);
    Ok(running.await?)
}

async fn child(ctx: OrchestrationContext, payload: String) -> Result<String, Failure> {
    let sent = ctx.wait_for_event(GO).await;
    if sent == payload { Ok(sent) } else { Err(Failure::new("Changed", "the event is not what was sent")) }
}
