//! What the storage calls of a worker were made for, and what they cost.

use std::time::Duration;

use super::harness::hub;
use crate::{
    Activity, ActivityContext, CallKind, Calls, Client, Failure, InstanceLimits, OrchestrationContext, Orchestrator, Prices,
    Worker, WorkerUsage,
};

const STEP: Activity<u32, u32> = Activity::new("Step");
const CHAIN: Orchestrator<u32, u32> = Orchestrator::new("Chain");
const SPIN: Orchestrator<u32, u32> = Orchestrator::new("Spin");
const TREE: Orchestrator<u32, u32> = Orchestrator::new("Tree");

async fn tree(ctx: OrchestrationContext, left: u32) -> Result<u32, Failure> {
    if left == 0 {
        return Ok(1);
    }
    let (a, b) = (ctx.call(TREE, left - 1), ctx.call(TREE, left - 1));
    Ok(a.await? + b.await?)
}

/// Runs instances one after the other, lets the worker stop, and answers what it has told.
async fn usage_of(runs: &[(Orchestrator<u32, u32>, u32)], limits: InstanceLimits) -> (WorkerUsage, Calls) {
    let hub = hub().await;
    let client = Client::new(&hub);
    let worker = Worker::builder(&hub)
        .worker_id("w/1")
        .instance_limits(limits)
        .activity(STEP, async |_: ActivityContext, n: u32| Ok(n))
        .orchestrator(CHAIN, async |ctx: OrchestrationContext, steps: u32| {
            for n in 0..steps {
                ctx.call(STEP, n).await?;
            }
            Ok(steps)
        })
        .orchestrator(SPIN, async |ctx: OrchestrationContext, left: u32| {
            ctx.call(STEP, left).await?;
            if left == 0 { Ok(0) } else { ctx.continue_as_new(SPIN, left - 1) }
        })
        .orchestrator(TREE, tree);
    let acting = async {
        for (orchestrator, input) in runs {
            let _ = client.start(*orchestrator, *input).await.unwrap().wait().within(Duration::from_secs(3600)).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
    };
    worker.run(acting).await.unwrap();
    let mut told = client.usage().await.unwrap();
    assert_eq!(told.len(), 1);
    (told.remove(0), client.calls())
}

#[tokio::test(start_paused = true)]
async fn every_call_for_an_instance_is_billed_to_its_orchestrator_or_activity() {
    let (usage, all) = usage_of(&[(CHAIN, 3)], InstanceLimits::default()).await;
    assert_eq!(usage.worker, "w/1");
    let (chain, step) = (usage.orchestrators["Chain"], usage.activities["Step"]);
    // As src/worker/tests/counts.rs has them, without the start, which the client makes, and the receives, which bring messages of many: four turns,
    assert_eq!(chain.of(CallKind::TableBatch), 4);
    assert_eq!(chain.of(CallKind::TableQuery), 0);
    assert_eq!(chain.of(CallKind::TableWrite), 2);
    // three work items sent, and they and the start deleted. The answers need no call.
    assert_eq!(chain.of(CallKind::Queue), 3 + 4);
    assert_eq!(step.total(), 0);
    assert_eq!(usage.orchestrators.len() + usage.activities.len(), 2, "{usage:?}");
    assert!(usage.calls.total() > chain.total() + step.total() && usage.calls.of(CallKind::Poll) > 0);
    // The process has made more: it opened the hub, and wrote and read what it told.
    assert!(all.total() > usage.calls.total());
    let prices = Prices::default();
    assert!(usage.calls.cost(&prices) > chain.cost(&prices) && chain.cost(&prices) > 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_loop_without_an_end_and_a_tree_without_a_bottom_show_as_what_they_cost_until_they_are_stopped() {
    let limits = InstanceLimits::default().generations_per_minute(100).depth(6);
    let runs = [(CHAIN, 3), (SPIN, u32::MAX), (TREE, u32::MAX)];
    let (usage, _) = usage_of(&runs, limits).await;
    let of = |name: &str| usage.orchestrators[name].total();
    assert!(of("Spin") > 10 * of("Chain") && of("Tree") > 10 * of("Chain"), "{usage:?}");
    // A hundred generations of one activity each, and no more.
    assert!((400..2000).contains(&of("Spin")), "{usage:?}");
}
