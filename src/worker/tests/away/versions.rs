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

#[tokio::test(start_paused = true)]
async fn of_two_copies_of_an_event_that_share_a_body_none_goes_while_the_other_waits_for_its_code() {
    let world = World::new().await;
    let patient = async |id| world.worker(id).await.fail_unhosted_alone_after(Duration::from_secs(24 * 3600));
    let hosting = async |id| patient(id).await.orchestrator_version(TAKE, "2.0", take);
    let first = Running::start(hosting("a").await);
    world.client.start(TAKE, 2).version("2.0").instance_id("i").await.unwrap();
    seconds(2).await;
    first.stop().await;
    world.send(0, LARGE).await;
    // A put that is done again after its answer was lost puts the same text once more.
    let text = world.memory.all_messages()["test-control-00"][0].text.clone();
    world.hub.0.storage.queues.put("test-control-00", &text, Duration::ZERO).await.unwrap();
    let without = Running::start(patient("bb").await);
    seconds(60).await;
    without.stop().await;
    let last = Running::start(hosting("ccc").await);
    seconds(120).await;
    world.send(1, 1).await;
    world.assert_taken_in_order(2).await;
    assert!(world.client.poison().await.unwrap().is_empty());
    last.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_lags_behind_by_a_generation_is_repaired_without_the_code_with_what_the_generation_began_with() {
    let world = World::new().await;
    let patient = async |id| world.worker(id).await.fail_unhosted_alone_after(Duration::from_secs(24 * 3600));
    let hosting = async |id| {
        patient(id).await.orchestrator_version(STEP, "3.0", async |ctx: OrchestrationContext, taken: Vec<usize>| {
            if !taken.is_empty() {
                return Ok(taken);
            }
            ctx.set_custom_status("first");
            ctx.timer(Duration::from_secs(5)).await;
            ctx.set_custom_status("second");
            ctx.continue_as_new(STEP, vec![7])
        })
    };
    let first = Running::start(hosting("a").await);
    world.client.start(STEP, vec![]).version("3.0").instance_id("i").await.unwrap();
    seconds(3).await;
    world.trouble.set(&[Rule("table.", "TestInstances/i", ALWAYS, Trouble::Fails)]);
    seconds(10).await;
    first.crash();
    world.trouble.set(&[]);
    let without = Running::start(patient("bb").await);
    let ended = world.client.wait("i", Duration::from_secs(600)).await.unwrap();
    assert_eq!(ended.custom_status.as_deref(), Some("\"second\""));
    without.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_lags_behind_the_end_is_repaired_without_the_code_with_the_custom_status_that_it_left() {
    for generations in [0, 1] {
        let world = World::new().await;
        let patient = async |id| world.worker(id).await.fail_unhosted_alone_after(Duration::from_secs(24 * 3600));
        let hosting =
            patient("a").await.orchestrator_version(STEP, "3.0", async |ctx: OrchestrationContext, left: Vec<usize>| {
                ctx.set_custom_status(&format!("left {}", left.len()));
                if left.is_empty() {
                    return Ok(left);
                }
                ctx.continue_as_new(STEP, vec![])
            });
        world.client.start(STEP, vec![7; generations]).version("3.0").instance_id("i").await.unwrap();
        world.trouble.set(&[Rule("table.merge", "TestInstances/i", ALWAYS, Trouble::Fails)]);
        let first = Running::start(hosting);
        seconds(10).await;
        first.crash();
        world.trouble.set(&[]);
        assert_eq!(world.client.instance("i").status().await.unwrap().custom_status, None, "the row lags behind");
        let without = Running::start(patient("bb").await);
        let ended = world.client.wait("i", Duration::from_secs(600)).await.unwrap();
        assert_eq!(ended.custom_status.as_deref(), Some("\"left 0\""));
        without.stop().await;
    }
}
