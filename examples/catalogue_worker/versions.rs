//! An application that grows: each build of it adds a version of one orchestrator, and the activities that this version calls.
#![allow(dead_code, reason = "the worker runs it, and a test expects its outputs")]

use taskhub::{Activity, ActivityContext, Failure, OrchestrationContext, Orchestrator, WorkerBuilder};

pub(crate) const GROWING: Orchestrator<u32, String> = Orchestrator::new("Growing");
const STEP: Activity<u32, String> = Activity::new("Step");
const STEP_2: Activity<u32, String> = Activity::new("Step2");
const STEP_3: Activity<u32, String> = Activity::new("Step3");

/// Hosts what build 1, 2 or 3 has; a build keeps what earlier ones had, for the instances that began under it.
pub(crate) fn register(worker: WorkerBuilder, build: u32) -> WorkerBuilder {
    let worker = worker
        .orchestrator(GROWING, async |ctx, n: u32| Ok(format!("1: {}", twice(&ctx, STEP, n).await?)))
        .activity(STEP, async |_: ActivityContext, n: u32| Ok(format!("step {n}")));
    let worker = match build {
        0 | 1 => return worker,
        _ => worker
            .orchestrator_version(GROWING, "2.0", async |ctx, n: u32| Ok(format!("2: {}", twice(&ctx, STEP_2, n).await?)))
            .activity(STEP_2, async |_: ActivityContext, n: u32| Ok(format!("step2 {n}"))),
    };
    match build {
        2 => worker,
        // The same activity in another version, and a child in another version.
        _ => worker
            .orchestrator_version(GROWING, "3.0", async |ctx: OrchestrationContext, n: u32| {
                let child = ctx.call(GROWING, n).version("2.0").await?;
                Ok(format!("3: {}, {child}", twice_of_version(&ctx, n).await?))
            })
            .activity_version(STEP_2, "3.0", async |_: ActivityContext, n: u32| Ok(format!("step2 of 3.0 {n}")))
            .activity(STEP_3, async |_: ActivityContext, n: u32| Ok(format!("step3 {n}"))),
    }
}

/// What an instance of this version must give.
pub(crate) fn expected(version: &str, n: u32) -> String {
    match version {
        "" => format!("1: step {n}, step {}", n + 1),
        "2.0" => format!("2: step2 {n}, step2 {}", n + 1),
        _ => format!("3: step2 of 3.0 {n}, step3 {n}, {}", expected("2.0", n)),
    }
}

async fn twice(ctx: &OrchestrationContext, step: Activity<u32, String>, n: u32) -> Result<String, Failure> {
    Ok(format!("{}, {}", ctx.call(step, n).await?, ctx.call(step, n + 1).await?))
}

async fn twice_of_version(ctx: &OrchestrationContext, n: u32) -> Result<String, Failure> {
    Ok(format!("{}, {}", ctx.call(STEP_2, n).version("3.0").await?, ctx.call(STEP_3, n).await?))
}
