//! Events that follow each other without end: the instance keeps pace, whatever has gone back meanwhile.

use std::time::Duration;

use super::*;

/// Sends so many events a second for so many seconds, the one with this number a large one; `each` comes first in every second. Answers
/// how many of those that were sent have not been taken.
async fn stream(world: &World, per_second: usize, seconds: usize, large: usize, mut each: impl AsyncFnMut(usize)) -> usize {
    let mut sent = 0;
    for second in 0..seconds {
        each(second).await;
        for _ in 0..per_second {
            world.send(sent, if sent == large { LARGE } else { 1 }).await;
            sent += 1;
            tokio::time::sleep(Duration::from_secs(1) / u32::try_from(per_second).unwrap()).await;
        }
    }
    sent - world.taken().await
}

const NONE: usize = usize::MAX;
const DELETES_FAIL: Rule = Rule("blob.delete", "test-largemessages/i", ALWAYS, Trouble::Fails);
const HISTORY_FAILS: Rule = Rule("table.", "TestHistory", ALWAYS, Trouble::Fails);

#[tokio::test(start_paused = true)]
async fn a_steady_stream_of_events_catches_up_after_an_outage() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.start(100_000).await;
    seconds(5).await;
    let each = async |second| match second {
        1 => world.trouble.set(&[HISTORY_FAILS]),
        41 => world.trouble.set(&[]),
        _ => {}
    };
    let behind = stream(&world, 2, 150, NONE, each).await;
    assert!(behind < 10, "110 seconds after an outage of 40 seconds, {behind} events wait");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_steady_stream_of_events_catches_up_after_a_scheduled_start() {
    let world = World::new().await;
    let running = world.run("a").await;
    let at = world.clock.now().plus(Duration::from_secs(40));
    world.client.start(TAKE, 100_000).instance_id("i").at(at).await.unwrap();
    let behind = stream(&world, 2, 150, NONE, async |_| {}).await;
    assert!(behind < 10, "110 seconds after the start, {behind} events wait");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_events_goes_on_although_one_blob_was_not_deleted_at_once() {
    let world = World::new().await;
    let running = world.run("a").await;
    let at = world.clock.now().plus(Duration::from_secs(60));
    world.client.start(TAKE, 100_000).instance_id("i").at(at).await.unwrap();
    let each = async |second| match second {
        80 => world.trouble.set(&[DELETES_FAIL]),
        110 => world.trouble.set(&[]),
        _ => {}
    };
    let behind = stream(&world, 2, 240, 161, each).await;
    assert!(behind < 100, "{behind} events wait");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_events_goes_on_although_the_body_of_one_is_lost() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.start(100_000).await;
    seconds(3).await;
    let each = async |second| match second {
        0 => world.trouble.set(&[HISTORY_FAILS]),
        30 => {
            world.trouble.set(&[]);
            let blobs = &world.hub.0.storage.blobs;
            for name in blobs.list("test-largemessages", "", None).await.unwrap().names {
                blobs.delete("test-largemessages", &name).await.unwrap();
            }
        }
        _ => {}
    };
    let behind = stream(&world, 2, 300, 30, each).await;
    assert!(behind < 100, "{behind} events wait");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_goes_on_although_one_blob_was_not_deleted_at_once() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.start(100_000).await;
    seconds(3).await;
    let each = async |second| match second {
        0 => world.trouble.set(&[DELETES_FAIL]),
        30 => world.trouble.set(&[]),
        _ => {}
    };
    let behind = stream(&world, 5, 120, 10, each).await;
    assert!(behind < 60, "{behind} events wait");
    running.stop().await;
}

/// How many messages nobody could receive now.
fn hidden(world: &World) -> usize {
    let now = world.clock.now();
    world.memory.all_messages().values().flatten().filter(|message| message.visible_on > now).count()
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_events_does_not_hold_up_the_hand_over() {
    for takes in [0, 900, 3000] {
        let world = World::new().await;
        for id in 0..40 {
            world.client.start(TAKE, 100_000).instance_id(format!("f{id}")).await.unwrap();
        }
        world.start(100_000).await;
        let running = world.run("a").await;
        seconds(5).await;
        world.trouble.set(&[Rule("table.transact", "TestHistory", ALWAYS, Trouble::Takes(Duration::from_millis(takes)))]);
        for number in 0..400 {
            world.send(number, 1).await;
            world.client.unchecked().raise(&format!("f{}", number % 40), NEWS, &format!("{number} ")).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1300)).await;
        let took = running.stop().await;
        assert!(took < Duration::from_secs(13), "{took:?}");
        assert_eq!(hidden(&world), 0, "messages that are hidden from the next owner");
    }
}

#[tokio::test(start_paused = true)]
async fn turns_that_hang_hide_no_event_after_the_hand_over() {
    let world = World::new().await;
    for id in 0..40 {
        world.client.start(TAKE, 100_000).instance_id(format!("f{id}")).await.unwrap();
    }
    let running = Running::start(world.worker("a").await.max_orchestrations(10));
    seconds(5).await;
    world.trouble.set(&[Rule("table.transact", "TestHistory", ALWAYS, Trouble::Takes(Duration::from_secs(1000)))]);
    for number in 0..200 {
        world.client.unchecked().raise(&format!("f{}", number % 40), NEWS, &format!("{number} ")).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(1300)).await;
    let took = running.stop().await;
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(hidden(&world), 0, "messages that are hidden from the next owner");
}
