//! Rules that Azure keeps and Azurite does not, or that take longer than real time allows.

use std::time::Duration;

use bytes::Bytes;

use super::blobs::{acquire, release, renew};
use super::refused;
use super::tables::all;
use crate::model::Timestamp;
use crate::storage::Storage;
use crate::storage::blob::{BlobStore, Lease, PutCondition};
use crate::storage::error::ErrorKind::{self, Invalid, NotFound, Precondition};
use crate::storage::queue::{QueueStore, VISIBILITY_MAX};
use crate::storage::table::{Cmp, Entity, Filter, Match, Query, TableOp, TableStore, Value};

const SECOND: Duration = Duration::from_secs(1);

pub(super) async fn run(storage: &Storage, prefix: &str) {
    let (tables, queues, blobs) = (storage.tables.as_ref(), storage.queues.as_ref(), storage.blobs.as_ref());
    let table = &format!("{prefix}Strict");
    tables.create_table(table).await.unwrap();
    names_are_checked(storage).await;
    keys_and_properties_have_limits(tables, table).await;
    rows_have_limits(tables, table).await;
    transactions_have_limits(tables, table).await;
    filters_know_types(tables, table).await;
    tables.delete_table(table).await.unwrap();
    let queue = &format!("{prefix}-strict");
    queues.create_queue(queue).await.unwrap();
    queue_limits(queues, queue).await;
    visibility_is_in_whole_seconds_rounded_up(queues, queue).await;
    queues.delete_queue(queue).await.unwrap();
    blobs.create_container(queue).await.unwrap();
    leases_expire(blobs, queue).await;
}

async fn names_are_checked(storage: &Storage) {
    for name in ["tables", "ab", "1abc", "with-hyphen", "with_underscore", &"x".repeat(64)] {
        refused(storage.tables.create_table(name).await, Invalid);
    }
    storage.tables.create_table("CaseOfName").await.unwrap();
    refused(storage.tables.create_table("caseofname").await, ErrorKind::AlreadyExists);
    storage.tables.delete_table("CASEOFNAME").await.unwrap();
    for name in ["ab", "Upper", "-begins", "ends-", "two--hyphens", "under_score", &"x".repeat(64)] {
        refused(storage.queues.create_queue(name).await, Invalid);
        refused(storage.blobs.create_container(name).await, Invalid);
    }
}

async fn keys_and_properties_have_limits(tables: &dyn TableStore, table: &str) {
    let insert = async |entity: Entity| tables.write(table, &TableOp::Insert(entity)).await;
    for bad in ["a/b", "a\\b", "a#b", "a?b", "a\u{0}", "a\u{1f}", "a\u{7f}", "a\u{9f}", "a\n", &"k".repeat(513)] {
        refused(insert(Entity::new(bad, "r")).await, Invalid);
        refused(insert(Entity::new("p", bad)).await, Invalid);
        let transaction = [TableOp::Insert(Entity::new("p", "good")), TableOp::Insert(Entity::new("p", bad))];
        refused(tables.transact(table, &transaction).await, Invalid);
    }
    refused(tables.get(table, "p", "good", &[]).await, NotFound);
    // Surrogate pairs count twice.
    refused(insert(Entity::new("\u{1f600}".repeat(257), "")).await, Invalid);
    insert(Entity::new("\u{1f600}".repeat(256), "k".repeat(512))).await.unwrap();

    let one = |name: &str, value: Value| Entity::new("limits", "one").with(name.to_owned(), value);
    refused(insert(one("Text", Value::string("\u{e9}".repeat(32 * 1024 + 1)))).await, Invalid);
    insert(one("Text", Value::string("\u{e9}".repeat(32 * 1024)))).await.unwrap();
    for name in ["", "1a", "a-b", "a b", "RowKey", &"n".repeat(256)] {
        refused(tables.write(table, &TableOp::UpsertMerge(one(name, Value::I32(1)))).await, Invalid);
    }
    let early = Timestamp::parse("1600-12-31T23:59:59Z").unwrap();
    refused(tables.write(table, &TableOp::UpsertMerge(one("Time", Value::DateTime(early)))).await, Invalid);
}

async fn rows_have_limits(tables: &dyn TableStore, table: &str) {
    let many = |from: usize, to: usize| {
        (from..to).fold(Entity::new("limits", "many"), |entity, i| entity.with(format!("p{i}"), Value::Bool(true)))
    };
    refused(tables.write(table, &TableOp::Insert(many(0, 253))).await, Invalid);
    tables.write(table, &TableOp::Insert(many(0, 252))).await.unwrap();
    refused(tables.write(table, &TableOp::Merge(many(252, 253), Match::Any)).await, Invalid);
    tables.write(table, &TableOp::Merge(many(251, 252), Match::Any)).await.unwrap();

    let text = || Value::string("x".repeat(32 * 1024));
    let large = |count: usize| (0..count).fold(Entity::new("limits", "large"), |entity, i| entity.with(format!("p{i}"), text()));
    refused(tables.write(table, &TableOp::Insert(large(16))).await, Invalid);
    refused(tables.transact(table, &[TableOp::Insert(large(16))]).await, Invalid);
    tables.write(table, &TableOp::Insert(large(15))).await.unwrap();
    let more = Entity::new("limits", "large").with("more", text());
    refused(tables.write(table, &TableOp::UpsertMerge(more)).await, Invalid);
}

async fn transactions_have_limits(tables: &dyn TableStore, table: &str) {
    let insert = |partition_key: &str, row: &str| TableOp::Insert(Entity::new(partition_key, row));
    refused(tables.transact(table, &[]).await, Invalid);
    let hundred_and_one: Vec<_> = (0..101).map(|i| insert("t", &i.to_string())).collect();
    refused(tables.transact(table, &hundred_and_one).await, Invalid);
    let error = tables.transact(table, &[insert("t", "1"), insert("u", "2")]).await.unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_deref(), error.index),
        (Invalid, Some("CommandsInBatchActOnDifferentPartitions"), Some(1))
    );
    let twice = [insert("t", "1"), TableOp::UpsertMerge(Entity::new("t", "1"))];
    let error = tables.transact(table, &twice).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_deref(), error.index), (Invalid, Some("InvalidDuplicateRow"), Some(1)));
    let large = |i: usize| {
        let text = || Value::string("x".repeat(32 * 1024));
        TableOp::Insert(Entity::new("t", i.to_string()).with("a", text()).with("b", text()))
    };
    refused(tables.transact(table, &(0..64).map(large).collect::<Vec<_>>()).await, Invalid);
    refused(tables.get(table, "t", "1", &[]).await, NotFound);
    tables.transact(table, &(0..60).map(large).collect::<Vec<_>>()).await.unwrap();
    let stale = Match::Etag(tables.get(table, "t", "1", &[]).await.unwrap().etag);
    tables.write(table, &TableOp::UpsertMerge(Entity::new("t", "1"))).await.unwrap();
    let last = TableOp::Delete { partition_key: "t".into(), row_key: "1".into(), condition: stale };
    let error = tables.transact(table, &[TableOp::UpsertMerge(Entity::new("t", "2")), last]).await.unwrap_err();
    assert_eq!((error.kind, error.status, error.index), (Precondition, Some(412), Some(1)));
}

async fn filters_know_types(tables: &dyn TableStore, table: &str) {
    for (row, value) in [("1", Value::I32(5)), ("2", Value::string("5")), ("3", Value::I64(5)), ("4", Value::Null)] {
        tables.write(table, &TableOp::Insert(Entity::new("types", row).with("x", value))).await.unwrap();
    }
    let found = async |filter: Filter| {
        let filter = Filter::And(vec![Filter::eq("PartitionKey", "types"), filter]);
        let rows = all(tables, table, Query { filter: Some(filter), ..Query::default() }).await;
        rows.into_iter().map(|row| row.entity.row_key).collect::<String>()
    };
    assert_eq!(found(Filter::compare("x", Cmp::Eq, Value::I32(5))).await, "1");
    assert_eq!(found(Filter::compare("x", Cmp::Ne, Value::string("6"))).await, "2", "neither type nor absence matches");
    assert_eq!(found(Filter::compare("x", Cmp::Ge, Value::I64(5))).await, "3");
    assert_eq!(found(Filter::compare("Timestamp", Cmp::Gt, Value::DateTime(Timestamp::MAX))).await, "");
    assert_eq!(found(Filter::compare("Timestamp", Cmp::Gt, Value::DateTime(Timestamp::MIN))).await, "1234");
    let null = Query { filter: Some(Filter::compare("x", Cmp::Eq, Value::Null)), ..Query::default() };
    refused(tables.query(table, &null).await, Invalid);
    let many = |count: i32| Filter::Or((0..count).map(|n| Filter::compare("x", Cmp::Eq, Value::I32(n))).collect());
    refused(tables.query(table, &Query { filter: Some(many(16)), ..Query::default() }).await, Invalid);
    tables.query(table, &Query { filter: Some(many(15)), ..Query::default() }).await.unwrap();
    for top in [0, 1001] {
        refused(tables.query(table, &Query { top: Some(top), ..Query::default() }).await, Invalid);
    }
}

async fn queue_limits(queues: &dyn QueueStore, queue: &str) {
    refused(queues.put(queue, &"x".repeat(64 * 1024 + 1), Duration::ZERO).await, Invalid);
    refused(queues.put(queue, &"<".repeat(20 * 1024), Duration::ZERO).await, Invalid);
    for text in ["\u{0}", "a\u{b}", "\r", "\u{ffff}"] {
        refused(queues.put(queue, text, Duration::ZERO).await, Invalid);
    }
    refused(queues.put(queue, "m", VISIBILITY_MAX + SECOND).await, Invalid);
    let put = queues.put(queue, &"x".repeat(64 * 1024), VISIBILITY_MAX).await.unwrap();
    refused(queues.update(queue, &put.id, &put.pop_receipt, VISIBILITY_MAX + SECOND, None).await, Invalid);
    refused(queues.update(queue, &put.id, &put.pop_receipt, SECOND, Some("\u{1}")).await, Invalid);
    for (max, visibility) in [(0, SECOND), (33, SECOND), (1, Duration::ZERO), (1, VISIBILITY_MAX + SECOND)] {
        refused(queues.receive(queue, max, visibility).await, Invalid);
    }
    refused(queues.peek(queue, 33).await, Invalid);
    tokio::time::sleep(VISIBILITY_MAX).await;
    let message = queues.receive(queue, 1, SECOND).await.unwrap().remove(0);
    queues.delete(queue, &message.id, &message.pop_receipt).await.unwrap();
}

async fn visibility_is_in_whole_seconds_rounded_up(queues: &dyn QueueStore, queue: &str) {
    let half = Duration::from_millis(500);
    for text in ["first", "second", "third"] {
        queues.put(queue, text, half).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(2 * half - Duration::from_millis(5)).await;
    assert_eq!(queues.peek(queue, 32).await.unwrap(), [], "nothing surfaces early");
    tokio::time::sleep(half).await;
    let texts = async |max: usize, visibility| {
        let messages = queues.receive(queue, max, visibility).await.unwrap();
        messages.into_iter().map(|message| message.text).collect::<Vec<_>>()
    };
    assert_eq!(texts(1, 3 * half).await, ["first"]);
    assert_eq!(texts(2, half).await, ["second", "third"]);
    tokio::time::sleep(4 * half).await;
    assert_eq!(texts(32, half).await, ["second", "third", "first"], "in the order in which they surfaced");
}

async fn leases_expire(blobs: &dyn BlobStore, container: &str) {
    let [mine, other] = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"];
    let act = async |lease: Lease| blobs.lease(container, &lease).await;
    for seconds in [14, 61] {
        refused(act(Lease::Acquire { id: mine.into(), duration: Duration::from_secs(seconds) }).await, Invalid);
    }
    refused(act(acquire("no guid")).await, Invalid);
    act(acquire(mine)).await.unwrap();
    tokio::time::sleep(10 * SECOND).await;
    act(renew(mine)).await.unwrap();
    tokio::time::sleep(14 * SECOND).await;
    refused(act(acquire(other)).await, ErrorKind::Lease);
    tokio::time::sleep(SECOND).await;
    refused(act(Lease::Change { id: mine.into(), proposed: other.into() }).await, ErrorKind::Lease);
    act(renew(mine)).await.unwrap();
    tokio::time::sleep(15 * SECOND).await;
    act(acquire(other)).await.unwrap();
    refused(act(renew(mine)).await, ErrorKind::Lease);
    tokio::time::sleep(15 * SECOND).await;
    act(release(other)).await.unwrap();
    act(acquire(mine)).await.unwrap();
    refused(blobs.delete_container(container).await, ErrorKind::Lease);
    tokio::time::sleep(15 * SECOND).await;
    blobs.put(container, "b", Bytes::new(), PutCondition::Absent).await.unwrap();
    blobs.delete_container(container).await.unwrap();
}
