//! Events that follow each other without end: the instance keeps pace, whatever has gone back meanwhile.

use std::time::Duration;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_steady_stream_of_events_catches_up_after_an_outage() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.start(100_000).await;
    world.send(0, 1).await;
    seconds(5).await;
    world.trouble.set(&[Rule("table.", "TestHistory", ALWAYS, Trouble::Fails)]);
    let mut lags = Vec::new();
    let mut sent = 1;
    for second in 0..150 {
        if second == 40 {
            world.trouble.set(&[]);
        }
        for _ in 0..2 {
            world.send(sent, 1).await;
            sent += 1;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        if second % 30 == 0 {
            lags.push((second, sent - world.taken().await));
        }
    }
    let lag = sent - world.taken().await;
    assert!(lag < 10, "110 seconds after an outage of 40 seconds, {lag} events at two per second wait: {lags:?}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_steady_stream_of_events_catches_up_after_a_scheduled_start() {
    let world = World::new().await;
    let running = world.run("a").await;
    let at = world.clock.now().plus(Duration::from_secs(40));
    world.client.start(TAKE, 100_000).instance_id("i").at(at).await.unwrap();
    let mut lags = Vec::new();
    let mut sent = 0;
    for second in 0..150 {
        for _ in 0..2 {
            world.send(sent, 1).await;
            sent += 1;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        if second % 30 == 0 {
            lags.push((second, sent - world.taken().await));
        }
    }
    let lag = sent - world.taken().await;
    assert!(lag < 10, "110 seconds after the start, {lag} events at two per second wait: {lags:?}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_events_goes_on_although_one_blob_was_not_deleted_at_once() {
    let world = World::new().await;
    let running = world.run("a").await;
    let at = world.clock.now().plus(Duration::from_secs(60));
    world.client.start(TAKE, 100_000).instance_id("i").at(at).await.unwrap();
    let (mut sent, mut seen) = (0, Vec::new());
    for second in 0..240 {
        if second == 80 {
            world.trouble.set(&[Rule("blob.delete", "test-largemessages/i", ALWAYS, Trouble::Fails)]);
        }
        if second == 110 {
            world.trouble.set(&[]);
        }
        for _ in 0..2 {
            world.send(sent, if sent == 161 { LARGE } else { 1 }).await;
            sent += 1;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        if second % 50 == 0 {
            seen.push((second, sent, world.taken().await));
        }
    }
    let taken = world.taken().await;
    running.stop().await;
    assert!(sent - taken < 100, "of {sent} events it has taken {taken}: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_events_goes_on_although_the_body_of_one_is_lost() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.start(100_000).await;
    seconds(3).await;
    let (mut sent, mut seen) = (0, Vec::new());
    world.trouble.set(&[Rule("table.", "TestHistory", ALWAYS, Trouble::Fails)]);
    for second in 0..300 {
        if second == 30 {
            world.trouble.set(&[]);
            let hub = &world.hub.0;
            let blobs = hub.storage.blobs.list("test-largemessages", "", None).await.unwrap();
            for name in blobs.names {
                drop(hub.storage.blobs.delete("test-largemessages", &name).await);
            }
        }
        for _ in 0..2 {
            world.send(sent, if sent == 30 { LARGE } else { 1 }).await;
            sent += 1;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        if second % 50 == 0 {
            seen.push((second, sent, world.taken().await));
        }
    }
    let taken = world.taken().await;
    running.stop().await;
    assert!(sent - taken < 100, "of {sent} events it has taken {taken}: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_goes_on_although_one_blob_was_not_deleted_at_once() {
    let world = World::new().await;
    let running = world.run("a").await;
    world.start(100_000).await;
    seconds(3).await;
    world.trouble.set(&[Rule("blob.delete", "test-largemessages/i", ALWAYS, Trouble::Fails)]);
    let (mut sent, mut seen) = (0, Vec::new());
    for second in 0..120 {
        if second == 30 {
            world.trouble.set(&[]);
        }
        for _ in 0..5 {
            world.send(sent, if sent == 10 { LARGE } else { 1 }).await;
            sent += 1;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if second % 20 == 0 {
            seen.push((second, sent, world.taken().await));
        }
    }
    let taken = world.taken().await;
    running.stop().await;
    assert!(sent - taken < 60, "of {sent} events it has taken {taken}: {seen:?}");
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
        let now = world.clock.now();
        let hidden = world.memory.all_messages().values().flatten().filter(|message| message.visible_on > now).count();
        assert!(took < Duration::from_secs(13), "{took:?}");
        assert_eq!(hidden, 0, "messages that are hidden from the next owner");
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
    let now = world.clock.now();
    let hidden = world.memory.all_messages().values().flatten().filter(|message| message.visible_on > now).count();
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(hidden, 0);
}
