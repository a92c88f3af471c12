//! Entities and kinds of events that only other workers know: whatever is for them stays as it is, and comes again in time.

use super::*;
use crate::hub::QueueId;
use crate::model::{HistoryEvent, InstanceRef, Message};
use crate::storage::table::{Entity, Match, Query, TableOp, Value};

fn signal(world: &World, id: &str, input: &str) -> Message {
    let hub = &world.hub.0;
    let kind = EventKind::EventRaised { name: "op".into(), input: Some(input.to_owned()), trace: None };
    Message::from_client(hub.rng.uuid(), HistoryEvent::arriving(hub.now(), kind), InstanceRef::current(id))
}

/// All texts of a queue once everything in it is visible, in order.
async fn texts(world: &World) -> Vec<String> {
    tokio::time::sleep(MINUTE).await;
    let name = world.hub.0.queues.name(QueueId::Control(0));
    world.hub.0.storage.queues.peek(name, 32).await.unwrap().into_iter().map(|message| message.text).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_for_entities_is_left_to_workers_that_host_them() {
    let log = Overheard::default();
    let _hears = log.listen();
    let world = World::new(1).await;
    let hub = &world.hub.0;
    // The body of the first lies in a blob.
    hub.queues.send(QueueId::Control(0), signal(&world, "@counter@k", &"x".repeat(100_000)), Duration::ZERO).await.unwrap();
    let mut sent = texts(&world).await;
    let worker = world.run("ours", old);
    for number in 2..9 {
        let mut message = signal(&world, "@counter@k", &number.to_string());
        hub.queues.send(QueueId::Control(0), message.clone(), Duration::ZERO).await.unwrap();
        message.sequence_number = number;
        sent.push(message.to_json());
        tokio::time::sleep(Duration::from_secs(13)).await;
    }
    tokio::time::sleep(HOUR).await;
    let awaited = world.client.awaited().await.unwrap();
    assert_eq!((awaited[0].kind, &*awaited[0].name, &*awaited[0].instance_id), (AwaitedKind::Entity, "@counter", "@counter@k"));
    assert_eq!(awaited[0].instances, Some(1));
    let told = log.with("messages wait for what this worker does not host");
    assert!(told[0].contains("instance=@counter@k") && told[0].contains("hosts no entities, so not \"@counter\""), "{told:?}");
    assert!((6..=7).contains(&told.len()), "{told:?}");
    world.start("ours", "").await;
    assert_eq!(world.output("ours").await, "old", "everything else goes on");
    worker.stop().await;
    assert_eq!(texts(&world).await, sent);
    for table in [&hub.names.history, &hub.names.instances] {
        let rows = hub.storage.tables.query(table, &Query::default()).await.unwrap().rows;
        assert!(rows.iter().all(|row| !row.entity.partition_key.starts_with('@')), "{table}");
    }
    assert!(world.client.poison().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_of_an_unknown_kind_waits_for_a_version_that_knows_it() {
    let world = World::new(1).await;
    let hub = &world.hub.0;
    let known = signal(&world, "i", "1").to_json();
    let unknown = known.replace("EventRaisedEvent", "SomethingNewEvent").replace("\"EventType\":15", "\"EventType\":99");
    let rewind = known.replace("EventRaisedEvent", "ExecutionRewoundEvent").replace("\"EventType\":15", "\"EventType\":21");
    assert!(unknown != known && rewind != known);
    let (control, items) = (hub.queues.name(QueueId::Control(0)), hub.queues.name(QueueId::WorkItems));
    for (queue, text) in [(&control, &unknown), (&control, &rewind), (&items, &unknown)] {
        hub.storage.queues.put(queue, text, Duration::ZERO).await.unwrap();
    }
    let worker = world.run("ours", old);
    tokio::time::sleep(3 * HOUR).await;
    let awaited = world.client.awaited().await.unwrap();
    let names: Vec<_> = awaited.iter().map(|a| (a.kind, &*a.name, &*a.queue)).collect();
    let expected = [("ExecutionRewound", control), ("SomethingNew", control), ("SomethingNew", items)];
    assert_eq!(names, expected.map(|(name, queue)| (AwaitedKind::Event, name, queue)));
    assert!(world.client.poison().await.unwrap().is_empty());
    worker.stop().await;
    let mut left = texts(&world).await;
    left.sort();
    let mut expected = vec![unknown, rewind];
    expected.sort();
    assert_eq!((left, world.messages().await), (expected, 3));
}

#[tokio::test(start_paused = true)]
async fn a_history_with_an_event_of_an_unknown_kind_waits_too() {
    let world = World::new(1).await;
    let hub = &world.hub.0;
    let worker = world.run("ours", |worker| new(worker).history_cache_bytes(0));
    world.client.start(WAIT, 1).version("2.0").instance_id("i").await.unwrap();
    tokio::time::sleep(MINUTE).await;
    let rename = async |name: &str| {
        let row = Entity::new("i", "0000000000000001").with("EventType", Value::string(name));
        hub.storage.tables.write(&hub.names.history, &TableOp::Merge(row, Match::Any)).await.unwrap();
    };
    rename("SomethingNew").await;
    world.client.raise("i", GO, &"1".to_owned()).await.unwrap();
    tokio::time::sleep(3 * HOUR).await;
    assert_eq!(world.status("i").await.status, RuntimeStatus::Running);
    assert!(world.client.poison().await.unwrap().is_empty());
    assert_eq!(world.client.awaited().await.unwrap()[0].name, "SomethingNew");
    rename("ExecutionStarted").await;
    assert_eq!(world.client.wait("i", 2 * MINUTE).await.unwrap().output::<String>().unwrap(), "1");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_receives_of_what_has_waited_do_not_make_it_poison() {
    let world = World::new(1).await;
    let hub = &world.hub.0;
    let begun = world.run("new", new);
    world.client.start(WAIT, 1).version("2.0").instance_id("i").await.unwrap();
    tokio::time::sleep(MINUTE).await;
    begun.stop().await;
    // It waits for an hour, and is received more often than any message that fails.
    let other: Build = |worker| old(worker).fail_unhosted_alone_after(DAY);
    let other = world.run("old", other);
    world.client.raise("i", GO, &"1".to_owned()).await.unwrap();
    tokio::time::sleep(HOUR).await;
    other.stop().await;
    let row = Entity::new("i", "0000000000000001").with("EventId", Value::string("Nonsense"));
    hub.storage.tables.write(&hub.names.history, &TableOp::Merge(row, Match::Any)).await.unwrap();
    let _worker = world.run("new again", new);
    tokio::time::sleep(HOUR).await;
    assert!(world.client.poison().await.unwrap().is_empty(), "it has failed fewer than eight times");
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.client.poison().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_has_waited_a_little_is_parked_at_its_eighth_failure() {
    let log = Overheard::default();
    let _hears = log.listen();
    let world = World::new(1).await;
    let hub = &world.hub.0;
    let begun = world.run("new", new);
    world.client.start(WAIT, 1).version("2.0").instance_id("i").await.unwrap();
    tokio::time::sleep(MINUTE).await;
    begun.stop().await;
    let other = world.run("old", old);
    world.client.raise("i", GO, &"1".to_owned()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    other.stop().await;
    let row = Entity::new("i", "0000000000000001").with("EventId", Value::string("Nonsense"));
    hub.storage.tables.write(&hub.names.history, &TableOp::Merge(row, Match::Any)).await.unwrap();
    let _worker = world.run("new again", new);
    tokio::time::sleep(3 * HOUR).await;
    assert_eq!(world.client.poison().await.unwrap().len(), 1);
    assert_eq!(log.with("a turn fails by itself").len(), 7);
}
