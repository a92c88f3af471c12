//! Events that wait for the code of another version, and what a start replaces meanwhile.

use std::time::Duration;

use super::*;

const STEP: Orchestrator<Vec<usize>, Vec<usize>> = Orchestrator::new("Step");

async fn step_one(ctx: OrchestrationContext, mut taken: Vec<usize>) -> std::result::Result<Vec<usize>, Failure> {
    let text = ctx.wait_for_event(NEWS).await;
    taken.push(text.split(' ').next().unwrap_or_default().parse().unwrap());
    ctx.continue_as_new_version(STEP, taken, "2.0")
}

async fn step_two(ctx: OrchestrationContext, mut taken: Vec<usize>) -> std::result::Result<Vec<usize>, Failure> {
    while taken.len() < 12 {
        let text = ctx.wait_for_event(NEWS).await;
        taken.push(text.split(' ').next().unwrap_or_default().parse().unwrap());
    }
    Ok(taken)
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_replaced_does_not_go_on_however_many_wait() {
    let world = World::new().await;
    let patient = async |id| world.worker(id).await.remembered(5).fail_unhosted_alone_after(Duration::from_secs(24 * 3600));
    let running = Running::start(patient("a").await);
    for n in 0..20 {
        world.client.start(TAKE, 1).version("3.0").instance_id(format!("w{n}")).await.unwrap();
    }
    world.start(3).await;
    seconds(1800).await;
    let start = world.client.start(TAKE, 1).version("2.0").instance_id("i");
    start.replacing([crate::RuntimeStatus::Running]).await.unwrap();
    seconds(120).await;
    let before = world.client.history("i").await.unwrap().len();
    world.send(7, 1).await;
    seconds(600).await;
    let after = world.client.history("i").await.unwrap().len();
    let next = Running::start(patient("bb").await.orchestrator_version(TAKE, "2.0", take));
    running.stop().await;
    let ended = world.client.wait("i", Duration::from_secs(1800)).await;
    next.stop().await;
    assert_eq!(before, after, "what is replaced went on");
    assert!(ended.is_ok(), "the event for the new execution is gone: {ended:?}");
}
#[tokio::test(start_paused = true)]
async fn events_for_a_generation_that_waits_for_its_version_are_taken_once() {
    for (pause, length) in [(1, 1), (800, 1), (5000, 1), (1, LARGE), (900, LARGE)] {
        let world = World::new().await;
        let old = async |id| {
            let patient = world.worker(id).await.fail_unhosted_alone_after(Duration::from_secs(3600));
            patient.orchestrator(STEP, step_one)
        };
        world.client.start(STEP, vec![]).instance_id("i").await.unwrap();
        for number in 0..4 {
            world.send(number, length).await;
        }
        let first = Running::start(old("a").await);
        for number in 4..12 {
            world.send(number, length).await;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        seconds(20).await;
        let second = Running::start(old("bb").await.orchestrator_version(STEP, "2.0", step_two));
        first.stop().await;
        let taken = world.client.wait("i", Duration::from_secs(600)).await.unwrap().output::<Vec<usize>>().unwrap();
        assert_eq!(taken.iter().collect::<std::collections::BTreeSet<_>>().len(), 12);
        second.stop().await;
    }
}
