//! Events go back while their instance waits for its start, while storage fails, while memory is short and when a worker stops in order.

use std::time::Duration;

use super::*;

#[tokio::test(start_paused = true)]
async fn events_for_an_instance_that_is_scheduled_are_taken_in_order() {
    for pause in [0, 300, 1700, 5100] {
        let world = World::new().await;
        let at = world.clock.now().plus(Duration::from_secs(70));
        let running = world.run("a").await;
        world.client.start(TAKE, 12).instance_id("i").at(at).await.unwrap();
        world.send_all(0..12, Duration::from_millis(pause)).await;
        world.assert_taken_in_order(12).await;
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_taken_in_order_through_an_outage() {
    for pause in [100, 900, 2300] {
        let world = World::new().await;
        let running = world.run("a").await;
        world.start(60).await;
        world.send_all(0..20, Duration::from_millis(pause)).await;
        world.trouble.set(&[Rule("table.", "TestHistory", ALWAYS, Trouble::Fails)]);
        world.send_all(20..40, Duration::from_millis(pause)).await;
        world.trouble.set(&[]);
        world.send_all(40..60, Duration::from_millis(pause)).await;
        world.assert_taken_in_order(60).await;
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_outage_is_one_back_off_of_the_instance() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.start(4).await;
    seconds(5).await;
    world.trouble.set(&[Rule("table.", "TestHistory", ALWAYS, Trouble::Fails)]);
    world.send_all(0..4, Duration::from_secs(20)).await;
    world.trouble.set(&[]);
    // The first has been tried for 80 seconds, so all of them are back within 64.
    let ended = Instant::now();
    world.assert_taken_in_order(4).await;
    assert!(ended.elapsed() < Duration::from_secs(66), "{:?}", ended.elapsed());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn events_are_taken_in_order_although_memory_is_short() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.start(900).await;
    seconds(2).await;
    world.trouble.set(&[Rule("table.transact", "TestHistory", ALWAYS, Trouble::Hangs)]);
    world.send_all(0..600, Duration::from_millis(7)).await;
    seconds(20).await;
    world.trouble.set(&[]);
    world.send_all(600..900, Duration::from_millis(7)).await;
    world.assert_taken_in_order(900).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn events_are_taken_in_order_although_their_worker_stops() {
    for pause in [3, 40] {
        let world = World::new().await;
        world.trouble.set(&[Rule("table.transact", "TestHistory", ALWAYS, Trouble::Takes(Duration::from_millis(500)))]);
        world.start(400).await;
        let mut running = world.run("a").await;
        let replacing = async {
            for id in ["bb", "ccc", "dddd"] {
                tokio::time::sleep(Duration::from_millis(411)).await;
                let next = world.run(id).await;
                std::mem::replace(&mut running, next).stop().await;
            }
        };
        tokio::join!(world.send_all(0..400, Duration::from_millis(pause)), replacing);
        world.assert_taken_in_order(400).await;
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_termination_does_not_wait_for_events_that_are_away() {
    let world = World::new().await;
    let running = world.run("a").await;
    let at = world.clock.now().plus(Duration::from_secs(3600));
    world.client.start(TAKE, 2).instance_id("i").at(at).await.unwrap();
    world.send_all(0..1, Duration::from_secs(40)).await;
    let told = Instant::now();
    world.client.terminate("i", "no need").await.unwrap();
    assert!(world.client.wait("i", Duration::from_secs(600)).await.unwrap().status.is_terminal());
    assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
    running.stop().await;
}
