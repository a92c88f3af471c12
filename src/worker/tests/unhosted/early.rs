//! Messages whose decision is nowhere, for instances whose code is missing.

use super::*;
use crate::hub::QueueId;
use crate::model::{HistoryEvent, InstanceRef, Message};

/// An instance of a version that the worker does not host, and an answer to what it has never asked.
async fn answered(build: Build) -> (World, Running) {
    let world = World::new(1).await;
    let begun = world.run("new", new);
    world.client.start(WAIT, 1).version("2.0").instance_id("i").await.unwrap();
    tokio::time::sleep(MINUTE).await;
    begun.stop().await;
    let hub = &world.hub.0;
    let execution = world.status("i").await.execution_id.unwrap();
    let message = Message::from_client(
        hub.rng.uuid(),
        HistoryEvent::arriving(hub.now(), EventKind::TaskCompleted { task_id: 77, result: None }),
        InstanceRef::new("i", execution),
    );
    hub.queues.send(QueueId::Control(0), message, Duration::ZERO).await.unwrap();
    let other = world.run("old", build);
    (world, other)
}

#[tokio::test(start_paused = true)]
async fn what_answers_nothing_is_not_waited_for_longer_than_all_else() {
    let (world, _other) = answered(old).await;
    tokio::time::sleep(9 * MINUTE).await;
    assert_eq!(world.messages().await, 1);
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!((world.messages().await, world.status("i").await.status), (0, RuntimeStatus::Running));
}

#[tokio::test(start_paused = true)]
async fn tries_of_what_answers_nothing_count_from_when_its_code_is_there() {
    let (world, other) = answered(|worker| old(worker).fail_unhosted_alone_after(DAY)).await;
    tokio::time::sleep(HOUR).await;
    other.stop().await;
    // It is visible, and was received sixty times.
    tokio::time::sleep(2 * MINUTE).await;
    let _new = world.run("new again", new);
    tokio::time::sleep(MINUTE / 3).await;
    assert_eq!(world.messages().await, 1, "its decision may still be committed");
    tokio::time::sleep(MINUTE).await;
    assert_eq!((world.messages().await, world.status("i").await.status), (0, RuntimeStatus::Running));
}

#[tokio::test(start_paused = true)]
async fn what_was_purged_before_it_began_is_not_shown_as_waiting() {
    let world = World::new(1).await;
    let worker = world.run("old", old);
    for id in ["i", "j"] {
        world.start(id, "2.0").await;
    }
    tokio::time::sleep(MINUTE).await;
    let waiting = world.client.awaited().await.unwrap();
    assert_eq!(waiting[0].instance_ids, ["i", "j"]);
    for (id, left) in [("i", 1), ("j", 0)] {
        world.client.instance(id).terminate("never mind").await.unwrap();
        world.client.instance(id).wait().within(MINUTE).await.unwrap();
        world.client.instance(id).purge().await.unwrap();
        assert_eq!(world.client.awaited().await.unwrap().len(), left, "without {id}");
    }
    worker.stop().await;
}
