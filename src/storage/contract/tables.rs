//! Rules of tables.

use super::refused;
use crate::model::Timestamp;
use crate::storage::Storage;
use crate::storage::error::ErrorKind::{AlreadyExists, NotFound, Precondition};
use crate::storage::table::{Cmp, Continuation, Entity, Etag, Filter, Match, Query, Row, TableOp, TableStore, Value};

pub(super) async fn run(storage: &Storage, prefix: &str) {
    let tables = storage.tables.as_ref();
    a_table_is_created_once_and_must_exist(tables, &format!("{prefix}Missing")).await;
    let table = &format!("{prefix}Rows");
    tables.create_table(table).await.unwrap();
    every_type_comes_back(tables, table).await;
    writes_keep_their_conditions(tables, table).await;
    nulls_are_not_stored(tables, table).await;
    transactions_are_all_or_nothing(tables, table).await;
    tables.delete_table(table).await.unwrap();
    let table = &format!("{prefix}Pages");
    tables.create_table(table).await.unwrap();
    filters_choose_rows(tables, table).await;
    pages_follow_each_other(tables, table).await;
    tables.delete_table(table).await.unwrap();
}

/// All rows of a query, page by page.
pub(super) async fn all(tables: &dyn TableStore, table: &str, mut query: Query) -> Vec<Row> {
    let mut rows = Vec::new();
    loop {
        let page = tables.query(table, &query).await.unwrap();
        assert!(page.rows.len() <= query.top.unwrap_or(1000));
        rows.extend(page.rows);
        query.continuation = page.continuation;
        if query.continuation.is_none() {
            return rows;
        }
    }
}

async fn a_table_is_created_once_and_must_exist(tables: &dyn TableStore, table: &str) {
    let insert = TableOp::Insert(Entity::new("p", "r"));
    refused(tables.write(table, &insert).await, NotFound);
    refused(tables.transact(table, std::slice::from_ref(&insert)).await, NotFound);
    refused(tables.get(table, "p", "r", &[]).await, NotFound);
    refused(tables.query(table, &Query::default()).await, NotFound);
    refused(tables.delete_table(table).await, NotFound);
    let is_listed = async || tables.list_tables().await.unwrap().iter().any(|listed| listed == table);
    assert!(!is_listed().await);
    tables.create_table(table).await.unwrap();
    assert!(is_listed().await, "by the name under which it was created");
    refused(tables.create_table(table).await, AlreadyExists);
    tables.write(table, &insert).await.unwrap();
    tables.delete_table(table).await.unwrap();
    refused(tables.get(table, "p", "r", &[]).await, NotFound);
}

async fn every_type_comes_back(tables: &dyn TableStore, table: &str) {
    let time = Timestamp::parse("2024-03-14T16:00:05.1285428Z").unwrap();
    let entity = Entity::new("types, 'quoted' & 50%", "")
        .with("Text", Value::string("tab\t \"quotes\" 'single' <xml> \u{e9}\u{1f600} "))
        .with("Empty", Value::string(""))
        .with("Yes", Value::Bool(true))
        .with("Small", Value::I32(i32::MIN))
        .with("Large", Value::I64(i64::MAX))
        .with("Whole", Value::F64(3.0))
        .with("Real", Value::F64(-1.5e-7))
        .with("Time", Value::DateTime(time))
        .with("WholeSecond", Value::DateTime(Timestamp::parse("2024-03-14T16:00:05Z").unwrap()));
    let etag = tables.write(table, &TableOp::Insert(entity.clone())).await.unwrap();
    let row = tables.get(table, &entity.partition_key, "", &[]).await.unwrap();
    assert_eq!((&row.entity, Some(&row.etag)), (&entity, etag.as_ref()));
    assert!(row.timestamp >= Timestamp::UNIX_EPOCH, "the service tells when it wrote");
    let some = tables.get(table, &entity.partition_key, "", &["Yes", "NotThere"]).await.unwrap();
    assert_eq!(some.entity.properties.into_iter().collect::<Vec<_>>(), [("Yes".into(), Value::Bool(true))]);
    let filter = Filter::And(vec![
        Filter::eq("PartitionKey", entity.partition_key.clone()),
        Filter::compare("Time", Cmp::Eq, Value::DateTime(time)),
        Filter::compare("Large", Cmp::Eq, Value::I64(i64::MAX)),
        Filter::compare("Yes", Cmp::Eq, Value::Bool(true)),
        Filter::compare("Real", Cmp::Lt, Value::F64(0.5)),
    ]);
    assert_eq!(all(tables, table, Query { filter: Some(filter), ..Query::default() }).await, [row]);
}

async fn writes_keep_their_conditions(tables: &dyn TableStore, table: &str) {
    let entity = |name: &'static str| Entity::new("conditions", "r").with(name, Value::I32(1));
    let at = |etag: &Etag| Match::Etag(etag.clone());
    let delete = |condition| TableOp::Delete { partition_key: "conditions".into(), row_key: "r".into(), condition };
    let write = async |op: TableOp| tables.write(table, &op).await;

    refused(write(TableOp::Merge(entity("a"), Match::Any)).await, NotFound);
    refused(write(TableOp::Replace(entity("a"), Match::Any)).await, NotFound);
    refused(write(delete(Match::Any)).await, NotFound);
    let first = write(TableOp::Insert(entity("a"))).await.unwrap().unwrap();
    refused(write(TableOp::Insert(entity("a"))).await, AlreadyExists);
    let second = write(TableOp::Merge(entity("b"), at(&first))).await.unwrap().unwrap();
    assert_ne!(first, second, "every write makes a version");
    for stale in [TableOp::Merge(entity("c"), at(&first)), TableOp::Replace(entity("c"), at(&first)), delete(at(&first))] {
        refused(write(stale).await, Precondition);
    }
    let row = tables.get(table, "conditions", "r", &[]).await.unwrap();
    assert_eq!((row.entity.properties.len(), &row.etag), (2, &second), "a merge keeps, a refusal changes nothing");
    let third = write(TableOp::Replace(entity("c"), at(&second))).await.unwrap().unwrap();
    assert_eq!(tables.get(table, "conditions", "r", &[]).await.unwrap().entity, entity("c"));
    let fourth = write(TableOp::UpsertMerge(entity("d"))).await.unwrap().unwrap();
    assert_eq!(tables.get(table, "conditions", "r", &[]).await.unwrap().entity.properties.len(), 2);
    let fifth = write(TableOp::UpsertReplace(entity("e"))).await.unwrap().unwrap();
    assert_eq!(tables.get(table, "conditions", "r", &[]).await.unwrap().entity, entity("e"));
    let sixth = write(TableOp::UpsertReplace(entity("e"))).await.unwrap().unwrap();
    let versions = std::collections::BTreeSet::from([&first, &second, &third, &fourth, &fifth, &sixth]);
    assert_eq!(versions.len(), 6, "the same content is a new version too");
    assert_eq!(write(delete(at(&sixth))).await.unwrap(), None);
    refused(tables.get(table, "conditions", "r", &[]).await, NotFound);
    refused(write(TableOp::Merge(entity("a"), at(&sixth))).await, NotFound);
    let again = write(TableOp::UpsertMerge(entity("a"))).await.unwrap().unwrap();
    assert!(!versions.contains(&again), "a row written anew is another version");
    assert_eq!(write(delete(Match::Any)).await.unwrap(), None);
}

async fn nulls_are_not_stored(tables: &dyn TableStore, table: &str) {
    let entity = |a: Value, b: Value| Entity::new("nulls", "r").with("a", a).with("b", b);
    let names = async || {
        let row = tables.get(table, "nulls", "r", &[]).await.unwrap();
        row.entity.properties.keys().collect::<String>()
    };
    tables.write(table, &TableOp::Insert(entity(Value::I32(1), Value::Null))).await.unwrap();
    assert_eq!(names().await, "a");
    tables.write(table, &TableOp::Merge(entity(Value::Null, Value::I32(2)), Match::Any)).await.unwrap();
    assert_eq!(names().await, "ab", "a merge keeps the old value");
    tables.write(table, &TableOp::UpsertMerge(entity(Value::Null, Value::Null))).await.unwrap();
    assert_eq!(names().await, "ab");
    tables.write(table, &TableOp::Replace(entity(Value::Null, Value::I32(2)), Match::Any)).await.unwrap();
    assert_eq!(names().await, "b");
}

async fn transactions_are_all_or_nothing(tables: &dyn TableStore, table: &str) {
    let entity = |row: &str| Entity::new("transactions", row).with("n", Value::I32(1));
    let delete = |row: &str, condition| TableOp::Delete { partition_key: "transactions".into(), row_key: row.into(), condition };
    let mut hundred: Vec<_> = (0..100).map(|i| TableOp::Insert(entity(&format!("{i:03}")))).collect();
    let etags = tables.transact(table, &hundred).await.unwrap();
    assert_eq!(etags.iter().flatten().count(), 100);
    let row = tables.get(table, "transactions", "042", &[]).await.unwrap();
    assert_eq!(Some(&row.etag), etags[42].as_ref(), "versions come in the order of the writes");

    let stale = Match::Etag(etags[1].clone().unwrap());
    let mixed = [
        TableOp::Merge(entity("000").with("m", Value::I32(2)), Match::Etag(etags[0].clone().unwrap())),
        delete("001", stale.clone()),
        TableOp::Replace(entity("002"), Match::Any),
        TableOp::UpsertMerge(entity("new")),
        TableOp::UpsertReplace(entity("new too")),
        delete("003", Match::Any),
    ];
    let answers = tables.transact(table, &mixed).await.unwrap();
    assert_eq!(answers.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true, true, true, false]);
    assert_eq!(tables.get(table, "transactions", "000", &[]).await.unwrap().entity.properties.len(), 2);

    hundred.truncate(2);
    let fresh = || TableOp::Insert(entity("fresh"));
    for (last, kind) in [
        (TableOp::Insert(entity("050")), AlreadyExists),
        (TableOp::Merge(entity("050"), stale.clone()), Precondition),
        (TableOp::Replace(entity("nowhere"), Match::Any), NotFound),
        (delete("051", stale.clone()), Precondition),
        (delete("nowhere", Match::Any), NotFound),
    ] {
        let error = tables.transact(table, &[TableOp::UpsertMerge(entity("000")), fresh(), last]).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.index.is_none_or(|index| index == 2), "{error}");
        refused(tables.get(table, "transactions", "fresh", &[]).await, NotFound);
    }
}

async fn filters_choose_rows(tables: &dyn TableStore, table: &str) {
    for (partition_key, row_key, name) in [("a", "", "it's"), ("a", "1", "B"), ("b", "", "b"), ("@b@c", "", ""), ("A", "z", "x")]
    {
        let entity =
            Entity::new(partition_key, row_key).with("name", Value::string(name)).with("n", Value::I32(name.len() as i32));
        tables.write(table, &TableOp::Insert(entity)).await.unwrap();
    }
    tables.write(table, &TableOp::Insert(Entity::new("bare", ""))).await.unwrap();
    let found = async |filter: Filter| {
        let rows = all(tables, table, Query { filter: Some(filter), ..Query::default() }).await;
        rows.iter().map(|row| format!("{}/{}", row.entity.partition_key, row.entity.row_key)).collect::<Vec<_>>().join(" ")
    };
    let text = |name: &str, cmp, value: &str| Filter::compare(name, cmp, Value::string(value));
    assert_eq!(found(Filter::eq("PartitionKey", "a")).await, "a/ a/1");
    assert_eq!(found(Filter::eq("RowKey", "")).await, "@b@c/ a/ b/ bare/");
    assert_eq!(found(Filter::eq("name", "it's")).await, "a/");
    let range = vec![text("PartitionKey", Cmp::Ge, "@"), text("PartitionKey", Cmp::Lt, "A")];
    assert_eq!(found(Filter::And(range)).await, "@b@c/");
    let outside = vec![text("PartitionKey", Cmp::Lt, "@"), text("PartitionKey", Cmp::Ge, "a")];
    assert_eq!(found(Filter::Or(outside)).await, "a/ a/1 b/ bare/");
    assert_eq!(found(text("name", Cmp::Lt, "b")).await, "@b@c/ a/1", "upper case is before lower case");
    assert_eq!(found(Filter::compare("n", Cmp::Le, Value::I32(1))).await, "@b@c/ A/z a/1 b/", "no column, no match");
    let either = Filter::Or(vec![Filter::eq("name", "x"), Filter::eq("name", "b")]);
    assert_eq!(found(Filter::And(vec![either, text("PartitionKey", Cmp::Gt, "A")])).await, "b/");
    assert_eq!(found(Filter::And(vec![])).await, "@b@c/ A/z a/ a/1 b/ bare/");
    assert_eq!(found(Filter::Or(vec![])).await, "");
}

async fn pages_follow_each_other(tables: &dyn TableStore, table: &str) {
    for block in 0..11 {
        let row = |i: i32| {
            Entity::new("pages", format!("{block:02}-{i:02}")).with("even", Value::Bool(i % 2 == 0)).with("n", Value::I32(i))
        };
        let ops: Vec<_> = (0..100).map(|i| TableOp::Insert(row(i))).collect();
        tables.transact(table, &ops).await.unwrap();
    }
    let pages = || Query { filter: Some(Filter::eq("PartitionKey", "pages")), ..Query::default() };
    let first = tables.query(table, &pages()).await.unwrap();
    assert!(first.rows.len() <= 1000 && first.continuation.is_some(), "no page is longer than 1000 rows");
    let rows = all(tables, table, pages()).await;
    assert_eq!(rows.len(), 1100);
    assert!(rows.is_sorted_by(|a, b| a.entity.row_key < b.entity.row_key), "rows come in the order of their keys, once each");

    let even = Filter::And(vec![Filter::eq("PartitionKey", "pages"), Filter::compare("even", Cmp::Eq, Value::Bool(true))]);
    let query = Query { filter: Some(even), select: vec!["n".into()], top: Some(60), continuation: None };
    let rows = all(tables, table, query.clone()).await;
    assert_eq!(rows.len(), 550);
    assert!(rows.iter().all(|row| row.entity.int("n").is_some() && row.entity.bool("even").is_none()));
    assert!(rows.iter().all(|row| row.entity.partition_key == "pages" && !row.entity.row_key.is_empty()));
    let begun = tables.query(table, &query).await.unwrap().continuation.unwrap();
    assert_ne!(begun, Continuation::default());
}
