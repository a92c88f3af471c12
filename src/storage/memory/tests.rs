//! Tests of what only the memory store has: dumps, raw rows, short pages, and clock and ids from outside.

use std::time::Duration;

use super::*;
use crate::model::Timestamp;
use crate::storage::table::{Entity, Filter, Query, Value};

fn account(seed: u64) -> Memory {
    Memory::new(Clock::paused(Timestamp::UNIX_EPOCH), Rng::seeded(seed))
}

#[tokio::test(start_paused = true)]
async fn a_dump_shows_hidden_messages_and_loads_into_another_account() {
    let memory = account(1);
    let storage = memory.storage();
    storage.queues.create_queue("control").await.unwrap();
    storage.queues.put("control", "later", Duration::from_millis(1500)).await.unwrap();
    storage.queues.put("control", "now", Duration::ZERO).await.unwrap();
    memory.insert_row("Hub", Entity::new("p", "r").with("a", Value::string("x")).with("b", Value::Null));
    memory.insert_blob("large", "a/b", vec![1].into());

    let dump = memory.dump();
    let queue: Vec<_> = dump.queues["control"].iter().map(|m| (m.text.as_str(), m.visible_on)).collect();
    assert_eq!(queue, [("now", Timestamp::UNIX_EPOCH), ("later", Timestamp::UNIX_EPOCH.plus(Duration::from_secs(2)))]);
    assert_eq!(dump.tables["Hub"][0].entity.properties.len(), 1);

    let other = account(2);
    other.load(&dump);
    assert_eq!((other.all_messages(), other.all_blobs()), (memory.all_messages(), memory.all_blobs()));
    assert_eq!(other.storage().tables.get("hub", "p", "r", &[]).await.unwrap().entity, dump.tables["Hub"][0].entity);
    let received = other.storage().queues.receive("control", 32, Duration::from_secs(1)).await.unwrap();
    assert_eq!(received.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_account() {
    let (a, b) = (account(7), account(7));
    for memory in [&a, &b] {
        let storage = memory.storage();
        storage.queues.create_queue("control").await.unwrap();
        storage.queues.put("control", "text", Duration::ZERO).await.unwrap();
        memory.insert_row("Hub", Entity::new("p", "r"));
    }
    assert_eq!(a.dump(), b.dump());
}

#[tokio::test(start_paused = true)]
async fn short_pages_come_empty_and_lose_nothing() {
    let memory = account(1);
    for i in 0..25 {
        memory.insert_row("Hub", Entity::new("p", format!("{i:02}")).with("even", Value::Bool(i % 2 == 0 && i > 10)));
    }
    memory.set_page_limit(3);
    let even = Filter::compare("even", crate::storage::table::Cmp::Eq, Value::Bool(true));
    let mut query = Query { filter: Some(even), ..Query::default() };
    let (mut rows, mut pages) = (0, 0);
    loop {
        let page = memory.storage().tables.query("Hub", &query).await.unwrap();
        assert!(pages > 0 || page.rows.is_empty());
        (rows, pages) = (rows + page.rows.len(), pages + 1);
        query.continuation = page.continuation;
        if query.continuation.is_none() {
            break;
        }
    }
    assert_eq!((rows, pages), (7, 9));
}

#[tokio::test(start_paused = true)]
async fn an_unordered_queue_gives_every_message_once_in_any_order() {
    let memory = account(1);
    let queues = memory.storage().queues;
    queues.create_queue("control").await.unwrap();
    for i in 0..20 {
        queues.put("control", &i.to_string(), Duration::ZERO).await.unwrap();
    }
    memory.set_unordered(true);
    let mut received = Vec::new();
    for _ in 0..5 {
        received.extend(queues.receive("control", 4, Duration::from_secs(60)).await.unwrap());
    }
    let mut numbers: Vec<u32> = received.iter().map(|message| message.text.parse().unwrap()).collect();
    assert!(!numbers.is_sorted());
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..20));
}
