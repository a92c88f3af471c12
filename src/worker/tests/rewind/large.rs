//! Rewinds of more rows than one transaction takes, and of failures whose texts are in blobs.

use super::*;

const MANY: Orchestrator<usize, usize> = Orchestrator::new("Many");

async fn many(ctx: OrchestrationContext, width: usize) -> Result<usize, Failure> {
    let ended = join_all((0..width).map(|n| ctx.call(STEP, format!("k{n}")))).await;
    Ok(ended.into_iter().collect::<Result<Vec<_>, _>>()?.len())
}

/// A worker whose steps fail with this much to say as long as anything is broken.
fn telling(hub: &TaskHub, shop: &Shop, units: usize) -> WorkerBuilder {
    let shop = shop.clone();
    Worker::builder(hub).max_poll_interval(Duration::from_secs(1)).orchestrator(MANY, many).activity(
        STEP,
        move |_: ActivityContext, key: String| {
            let told = Failure::new("Broken", "x".repeat(units));
            std::future::ready(if shop.is_broken("all") { Err(told) } else { shop.run(key) })
        },
    )
}

async fn run(world: &World, units: usize) {
    let running = Running::start(telling(&world.hub, &world.shop, units));
    world.client.wait("i", 60 * MINUTE).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    running.stop().await;
}

async fn failed(width: usize, units: usize) -> World {
    let world = World::new().await;
    world.shop.breaks(&["all"]);
    world.client.start(MANY, width).instance_id("i").await.unwrap();
    run(&world, units).await;
    assert_eq!(world.status("i").await.status, RuntimeStatus::Failed);
    world.shop.breaks(&[]);
    world
}

#[tokio::test(start_paused = true)]
async fn failures_in_blobs_are_taken_back_and_leave_nothing_when_the_instance_is_purged() {
    let world = failed(3, 100_000).await;
    assert_eq!(world.rewind("i").await, 1);
    run(&world, 0).await;
    assert_eq!(world.status("i").await.output.as_deref(), Some("3"));
    world.client.instance("i").purge().await.unwrap();
    assert_eq!(world.memory.all_blobs().remove("test-largemessages").unwrap_or_default().len(), 0);
    assert_eq!(world.memory.table_rows("TestHistory").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_rewind_of_many_rows_that_is_cut_off_between_two_transactions_goes_on() {
    let dump = failed(120, 10).await.memory.dump();
    for k in 1.. {
        let world = World::like(&dump).await;
        let was_cut_off = world.is_cut_off(k).await;
        let has_failed = world.status("i").await.status == RuntimeStatus::Failed;
        let again = world.client.instance("i").rewind("mended").await;
        assert!(again.is_ok() || !has_failed, "call {k}: {again:?}");
        run(&world, 0).await;
        assert_eq!(world.status("i").await.output.as_deref(), Some("120"), "call {k}");
        assert_eq!(world.shop.runs("k7"), 1, "call {k}");
        if !was_cut_off {
            assert!(k > 7, "only {k} calls");
            break;
        }
    }
}
