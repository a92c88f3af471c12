//! Instances that would go on for ever are stopped, with a failure that says why.

use std::time::Duration;

use futures::future::try_join_all;

use super::harness::hub;
use crate::{
    Activity, ActivityContext, Client, Error, Failure, InstanceLimits, OrchestrationContext, Orchestrator, RuntimeStatus, Worker,
};

const STEP: Activity<u64, u64> = Activity::new("Step");
const LOOP: Orchestrator<u64, u64> = Orchestrator::new("Loop");
const LONG: Orchestrator<u64, u64> = Orchestrator::new("Long");
const NEST: Orchestrator<u64, u64> = Orchestrator::new("Nest");
const WIDE: Orchestrator<u64, u64> = Orchestrator::new("Wide");

async fn nest(ctx: OrchestrationContext, left: u64) -> Result<u64, Failure> {
    if left == 0 { Ok(0) } else { Ok(1 + ctx.call(NEST, left - 1).await?) }
}

/// Runs one instance under these limits.
async fn run(orchestrator: Orchestrator<u64, u64>, input: u64, limits: InstanceLimits) -> Result<u64, Error> {
    let hub = hub().await;
    let client = Client::new(&hub);
    let worker = Worker::builder(&hub)
        .instance_limits(limits)
        .activity(STEP, async |_: ActivityContext, n: u64| Ok(n))
        .orchestrator(
            LOOP,
            async |ctx: OrchestrationContext, left: u64| {
                if left == 0 { Ok(0) } else { ctx.continue_as_new(LOOP, left - 1) }
            },
        )
        .orchestrator(LONG, async |ctx: OrchestrationContext, steps: u64| {
            for n in 0..steps {
                ctx.call(STEP, n).await?;
            }
            Ok(steps)
        })
        .orchestrator(NEST, nest)
        .orchestrator(WIDE, async |ctx: OrchestrationContext, width: u64| {
            for _ in 0..2 {
                try_join_all((0..width / 2).map(|_| ctx.call(NEST, 0))).await?;
            }
            Ok(width)
        });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let acting = async {
        let result =
            client.start(orchestrator, input).instance_id("i").await.unwrap().result().within(Duration::from_secs(600)).await;
        // Nothing that it has started is left behind.
        tokio::time::sleep(Duration::from_secs(60)).await;
        for instance in client.list(&crate::InstanceQuery::default()).await.unwrap().instances {
            assert!(instance.status.is_terminal(), "{instance:?}");
            assert_ne!(instance.status, RuntimeStatus::Terminated);
        }
        drop(stop);
        result
    };
    let (ran, result) = tokio::join!(worker.run(async { drop(stopped.await) }), acting);
    ran.unwrap();
    result
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_stopped_at_its_limit_and_not_below() {
    let limits = InstanceLimits::default;
    let remedy = "or raise WorkerBuilder::instance_limits.";
    for (orchestrator, input, limits, expected) in [
        (LOOP, 500, limits().generations_per_minute(500), Ok(0)),
        (
            LOOP,
            u64::MAX,
            limits().generations_per_minute(500),
            Err(
                "TooManyGenerations: The orchestrator \"Loop\" was stopped: the instance has continued as new 501 times within a minute, and 500 are \
                 allowed. It waits for nothing between two generations",
            ),
        ),
        // Two events of the start, three or four a step.
        (LONG, 10, limits().history_events(45), Ok(10)),
        (
            LONG,
            u64::MAX,
            limits().history_events(45),
            Err(
                "HistoryTooLong: The orchestrator \"Long\" was stopped: the instance has a history of 47 events, and 45 are allowed. Let it continue as \
                 new now and then",
            ),
        ),
        (NEST, 5, limits().depth(5), Ok(5)),
        (
            NEST,
            u64::MAX,
            limits().depth(5),
            Err(
                "TooDeep: The orchestrator \"Nest\" was stopped: the instance has 6 parents above it, and 5 are allowed. It calls itself without an end",
            ),
        ),
        (WIDE, 20, limits().children(20), Ok(20)),
        (
            WIDE,
            22,
            limits().children(20),
            Err(
                "TooManyChildren: The orchestrator \"Wide\" was stopped: the instance starts 22 sub-orchestrations, and 20 are allowed. Let it continue as \
                 new after a part of them",
            ),
        ),
        (LOOP, 2_000, InstanceLimits::none(), Ok(0)),
    ] {
        let name = orchestrator.name();
        match (run(orchestrator, input, limits).await, expected) {
            (Ok(output), Ok(expected)) => assert_eq!(output, expected, "{name}"),
            (Err(error), Err(expected)) => {
                let cause = error.failure().unwrap().root_cause().to_string();
                assert_eq!(cause, format!("{expected}, {remedy}"));
            }
            (found, expected) => panic!("{name}: {found:?} instead of {expected:?}"),
        }
    }
}
