//! Faults of the table crate.

use super::assert_failed;
use crate::model::Timestamp;
use crate::storage::Storage;
use crate::storage::error::{ErrorKind, OrNone as _, Result};
use crate::storage::table::{Cmp, Entity, Etag, Filter, Match, Query, TableOp, Value};

const ODD_KEYS: [&str; 8] = ["", "it's", "''", "a b+c&d=e%20", "Grüße 🚀", "x!y(z)*,:;@$", ".", "^0b^2"];

fn full(partition_key: &str, row_key: &str) -> Entity {
    Entity::new(partition_key, row_key)
        .with("Text", Value::string(" 'x' \r\n\u{1}€😀 "))
        .with("Empty", Value::string(""))
        .with("Flag", Value::Bool(true))
        .with("Small", Value::I32(-7))
        .with("Big", Value::I64(i64::MIN))
        .with("Whole", Value::F64(3.0))
        .with("Part", Value::F64(0.1))
        .with("When", Value::DateTime(Timestamp::from_ticks(638_460_000_051_285_428)))
}

fn delete(row_key: &str, condition: Match) -> TableOp {
    TableOp::Delete { partition_key: "p".to_owned(), row_key: row_key.to_owned(), condition }
}

/// Every type and every odd key survives each way of writing and reading.
///
/// # Errors
/// Of a call that should have worked.
pub async fn values_and_keys_come_back(storage: &Storage, table: &str) -> Result<()> {
    let tables = &storage.tables;
    tables.create_table(table).await?;
    assert_failed(tables.create_table(table).await, ErrorKind::AlreadyExists, "TableAlreadyExists");
    for key in ODD_KEYS {
        let entity = full(key, key);
        let version = tables.write(table, &TableOp::Insert(entity.clone())).await?;
        let row = tables.get(table, key, key, &[]).await?;
        assert_eq!((&row.entity, Some(&row.etag)), (&entity, version.as_ref()));
        let few = tables.get(table, key, key, &["Small", "Absent"]).await?;
        assert_eq!(few.entity, Entity::new(key, key).with("Small", Value::I32(-7)));
        assert_eq!((few.etag, few.timestamp), (row.etag.clone(), row.timestamp));
        let filter = Filter::And(vec![Filter::eq("PartitionKey", key), Filter::eq("RowKey", key)]);
        let page = tables.query(table, &Query { filter: Some(filter.clone()), ..Query::default() }).await?;
        assert_eq!(page.rows, std::slice::from_ref(&row));
        let page =
            tables.query(table, &Query { filter: Some(filter), select: vec!["Big".to_owned()], ..Query::default() }).await?;
        assert_eq!(page.rows[0].entity, Entity::new(key, key).with("Big", Value::I64(i64::MIN)));
        assert_eq!(page.rows[0].etag, row.etag);
        let change = Entity::new(key, key).with("Small", Value::I32(8));
        let merged = tables.transact(table, &[TableOp::Merge(change, Match::Etag(row.etag))]).await?;
        let version = merged[0].clone().map(Match::Etag).unwrap_or(Match::Any);
        let op = TableOp::Delete { partition_key: key.to_owned(), row_key: key.to_owned(), condition: version };
        assert_eq!(tables.write(table, &op).await?, None);
        assert_eq!(tables.get(table, key, key, &[]).await.or_none()?, None);
    }
    tables.delete_table(table).await?;
    assert_failed(tables.get(table, "p", "r", &[]).await, ErrorKind::NotFound, "TableNotFound");
    Ok(())
}

/// Texts of every script come back, however they are written and however long they are, and spoil nothing for what follows.
///
/// # Errors
/// Of a call that should have worked.
pub async fn texts_come_back_exactly(storage: &Storage, table: &str) -> Result<()> {
    let tables = &storage.tables;
    tables.create_table(table).await?;
    let all: String = ('\0'..='\u{2fff}').chain(['\u{feff}', '\u{fffe}', '\u{ffff}', '😀', '\u{10ffff}']).collect();
    // Of three bytes each: characters lie across every border of the chunks in which a body arrives.
    let long = "漢字仮名".repeat(30 * 1024 / 4);
    let of = |key: &str, text: &str| Entity::new(key, "r").with("A", Value::string(text)).with("B", Value::string(text));
    for (key, text) in [("all", all.as_str()), ("long", &long), ("a\u{2028}é", "a\u{2028}b\u{2029}c\u{85}d")] {
        let entity = of(key, text);
        let more = |n: usize| TableOp::UpsertReplace(Entity { row_key: n.to_string(), ..of(key, text) });
        tables.write(table, &TableOp::Insert(entity.clone())).await?;
        assert!(tables.get(table, key, "r", &[]).await?.entity == entity, "{key}: another text came back");
        tables.transact(table, &(0..9).map(more).collect::<Vec<_>>()).await?;
        let query = Query { filter: Some(Filter::eq("PartitionKey", key)), ..Query::default() };
        let rows = tables.query(table, &query).await?.rows;
        assert_eq!(rows.len(), 10);
        assert!(rows.iter().all(|row| row.entity.properties == entity.properties), "{key}: another text came back");
    }
    tables.delete_table(table).await?;
    Ok(())
}

/// Each write keeps its condition, and each refusal its code.
///
/// # Errors
/// Of a call that should have worked.
pub async fn conditions_hold(storage: &Storage, table: &str) -> Result<()> {
    let tables = &storage.tables;
    tables.create_table(table).await?;
    let stale = || Match::Etag(Etag("W/\"datetime'2020-01-01T00%3A00%3A00.0000000Z'\"".to_owned()));
    let one = |value| Entity::new("p", "r").with("A", value);
    assert_failed(
        tables.write(table, &TableOp::Merge(one(Value::I32(1)), Match::Any)).await,
        ErrorKind::NotFound,
        "ResourceNotFound",
    );
    assert_failed(tables.write(table, &delete("r", Match::Any)).await, ErrorKind::NotFound, "ResourceNotFound");
    tables.write(table, &TableOp::UpsertReplace(one(Value::I32(1)).with("B", Value::I32(1)))).await?;
    assert_failed(tables.write(table, &TableOp::Insert(one(Value::Null))).await, ErrorKind::AlreadyExists, "EntityAlreadyExists");
    let code = "UpdateConditionNotSatisfied";
    assert_failed(tables.write(table, &TableOp::Merge(one(Value::Null), stale())).await, ErrorKind::Precondition, code);
    assert_failed(tables.write(table, &TableOp::Replace(one(Value::Null), stale())).await, ErrorKind::Precondition, code);
    assert_failed(tables.write(table, &delete("r", stale())).await, ErrorKind::Precondition, code);
    // Null keeps what a merge finds.
    tables.write(table, &TableOp::Merge(one(Value::Null).with("C", Value::Null), Match::Any)).await?;
    let kept = one(Value::I32(1)).with("B", Value::I32(1));
    assert_eq!(tables.get(table, "p", "r", &[]).await?.entity, kept);
    tables.write(table, &TableOp::UpsertMerge(one(Value::I32(2)))).await?;
    assert_eq!(tables.get(table, "p", "r", &[]).await?.entity, kept.with("A", Value::I32(2)));
    let version = tables.write(table, &TableOp::UpsertReplace(Entity::new("p", "r"))).await?;
    assert_eq!(tables.get(table, "p", "r", &[]).await?.entity, Entity::new("p", "r"));
    let version = version.map_or(Match::Any, Match::Etag);
    tables.write(table, &TableOp::Replace(one(Value::I32(3)), version.clone())).await?;
    assert_failed(tables.write(table, &TableOp::Replace(one(Value::Null), version)).await, ErrorKind::Precondition, code);
    assert_failed(tables.write("absent", &TableOp::Insert(one(Value::Null))).await, ErrorKind::NotFound, "TableNotFound");
    Ok(())
}

/// A transaction that is refused is an error with code and index, and nothing of it is there.
///
/// # Errors
/// Of a call that should have worked.
pub async fn a_refused_transaction_is_an_error(storage: &Storage, table: &str) -> Result<()> {
    let tables = &storage.tables;
    tables.create_table(table).await?;
    let row = |n: usize| full("p", &format!("r{n:03}"));
    let versions = tables.transact(table, &(0..100).map(|n| TableOp::Insert(row(n))).collect::<Vec<_>>()).await?;
    assert_eq!(versions.len(), 100);
    assert_eq!(tables.get(table, "p", "r042", &[]).await?.etag, versions[42].clone().unwrap_or(Etag(String::new())));
    let stale = Match::Etag(Etag("W/\"datetime'2020-01-01T00%3A00%3A00.0000000Z'\"".to_owned()));
    let cases = [
        (TableOp::Insert(row(1)), ErrorKind::AlreadyExists, "EntityAlreadyExists"),
        (TableOp::Merge(row(1), stale.clone()), ErrorKind::Precondition, "UpdateConditionNotSatisfied"),
        (delete("r001", stale), ErrorKind::Precondition, "UpdateConditionNotSatisfied"),
        (TableOp::Replace(row(300), Match::Any), ErrorKind::NotFound, "ResourceNotFound"),
    ];
    for (bad, kind, code) in cases {
        for at in 0..3 {
            let mut ops: Vec<TableOp> = (200..202).map(|n| TableOp::Insert(row(n))).collect();
            ops.insert(at, bad.clone());
            let error = assert_failed(tables.transact(table, &ops).await, kind, code);
            assert_eq!(error.index, Some(at), "{error}");
            assert_eq!(tables.get(table, "p", "r200", &[]).await.or_none()?, None);
        }
    }
    let mixed = [
        TableOp::Insert(row(400)),
        TableOp::UpsertReplace(Entity::new("p", "r401")),
        TableOp::UpsertMerge(row(402)),
        TableOp::Replace(row(1), Match::Any),
        delete("r002", versions[2].clone().map_or(Match::Any, Match::Etag)),
        TableOp::Merge(Entity::new("p", "r003").with("Small", Value::Null), Match::Any),
    ];
    let given: Vec<bool> = tables.transact(table, &mixed).await?.iter().map(Option::is_some).collect();
    assert_eq!(given, [true, true, true, true, false, true]);
    assert_eq!(tables.get(table, "p", "r003", &[]).await?.entity, row(3));
    let too_many: Vec<TableOp> = (0..101).map(|n| TableOp::UpsertReplace(row(n))).collect();
    assert_failed(tables.transact(table, &too_many).await, ErrorKind::Invalid, "InvalidInput");
    assert_failed(tables.transact(table, &[]).await, ErrorKind::Invalid, "InvalidInput");
    Ok(())
}

/// Pages by 1000 or fewer, each begun where the last one ended.
///
/// # Errors
/// Of a call that should have worked.
pub async fn pages_follow_each_other(storage: &Storage, table: &str) -> Result<()> {
    let tables = &storage.tables;
    tables.create_table(table).await?;
    for part in 0..11 {
        let ops: Vec<TableOp> = (0..100).map(|n| TableOp::Insert(Entity::new("p'", format!("{:04}", part * 100 + n)))).collect();
        tables.transact(table, &ops).await?;
    }
    let all = |top, from: Option<Cmp>| async move {
        let filter = from.map(|cmp| Filter::compare("RowKey", cmp, Value::string("1000")));
        let mut query = Query { filter, top, ..Query::default() };
        let (mut keys, mut pages) = (Vec::new(), 0);
        loop {
            let page = tables.query(table, &query).await?;
            keys.extend(page.rows.into_iter().map(|row| row.entity.row_key));
            pages += 1;
            query.continuation = page.continuation;
            if query.continuation.is_none() {
                return Ok::<_, crate::storage::Error>((keys, pages));
            }
        }
    };
    let keys: Vec<String> = (0..1100).map(|n| format!("{n:04}")).collect();
    assert_eq!(all(None, None).await?, (keys.clone(), 2));
    assert_eq!(all(Some(500), None).await?, (keys.clone(), 3));
    assert_eq!(all(Some(7), Some(Cmp::Ge)).await?, (keys[1000..].to_vec(), 15));
    assert_eq!(all(None, Some(Cmp::Gt)).await?, (keys[1001..].to_vec(), 1));
    Ok(())
}
