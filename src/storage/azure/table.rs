//! The table port: writes and transactions by the table crate, reads by its pipeline.

use std::collections::BTreeSet;

use async_trait::async_trait;
use azure_core::Method;
use azure_core::headers::{ETAG, HeaderName};
use azure_data_tables::IfMatchCondition;
use azure_data_tables::clients::{TableClient, TableServiceClient, TableServiceClientBuilder};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::account::{Call, Service, refused, unreadable};
use super::entity::{from_json, read_answer, read_rows, to_json};
use super::failure::{Effect, describe};
use crate::storage::error::{Error, Result};
use crate::storage::table::{
    Continuation, Etag, Match, PAGE_ROWS_MAX, Page, Query, Row, TRANSACTION_OPERATIONS_MAX, TableOp, TableStore,
};

/// Longest key, in characters (the service allows 1 KiB of UTF-16).
const KEY_UNITS_MAX: usize = 512;

pub(super) struct AzureTables {
    service: Service,
    client: TableServiceClient,
}

impl AzureTables {
    pub(super) fn new(service: Service) -> Self {
        let client = TableServiceClientBuilder::with_location(service.location(), service.credentials.clone())
            .client_options(service.options.clone())
            .build();
        Self { service, client }
    }

    async fn write_one(&self, client: TableClient, op: &TableOp) -> azure_core::Result<Option<Etag>> {
        let (partition_key, row_key) = op.keys();
        let row = client.partition_key_client(quoted(partition_key)).entity_client(quoted(row_key));
        let etag = match op {
            TableOp::Insert(entity) => client.insert::<_, Json>(to_json(entity))?.into_future().await?.etag,
            TableOp::Merge(entity, condition) => row.merge(to_json(entity), if_match(condition))?.into_future().await?.etag,
            TableOp::Replace(entity, condition) => row.update(to_json(entity), if_match(condition))?.into_future().await?.etag,
            TableOp::UpsertMerge(entity) => row.insert_or_merge(to_json(entity))?.into_future().await?.etag,
            TableOp::UpsertReplace(entity) => row.insert_or_replace(to_json(entity))?.into_future().await?.etag,
            TableOp::Delete { condition, .. } => {
                row.delete().if_match(if_match(condition)).into_future().await?;
                return Ok(None);
            }
        };
        Ok(Some(Etag(etag.to_string())))
    }
}

#[async_trait]
impl TableStore for AzureTables {
    async fn create_table(&self, table: &str) -> Result<()> {
        let created = self.client.table_client(table).create().into_future().await;
        created.map(drop).map_err(failed("table.create", table))
    }

    async fn list_tables(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Named {
            table_name: String,
        }
        #[derive(Deserialize)]
        struct Answer {
            value: Vec<Named>,
        }
        let (mut names, mut next) = (Vec::new(), None::<String>);
        loop {
            let mut url = self.service.url(&["Tables"]);
            if let Some(next) = next {
                url.query_pairs_mut().append_pair("NextTableName", &next);
            }
            let answer = self.service.call(read("table.list", "", url)).await?;
            let tables: Answer =
                read_answer(&answer.body).ok_or_else(|| unreadable(("table.list", ""), Method::Get, "no JSON"))?;
            names.extend(tables.value.into_iter().map(|named| named.table_name));
            next = answer.headers.get_optional_string(&HeaderName::from_static("x-ms-continuation-nexttablename"));
            if next.is_none() {
                return Ok(names);
            }
        }
    }

    async fn delete_table(&self, table: &str) -> Result<()> {
        let deleted = self.client.table_client(table).delete().into_future().await;
        deleted.map(drop).map_err(failed("table.drop", table))
    }

    async fn get(&self, table: &str, partition_key: &str, row_key: &str, select: &[&str]) -> Result<Row> {
        let target = target(table, partition_key, row_key);
        check_key("table.get", &target, partition_key)?;
        check_key("table.get", &target, row_key)?;
        let row = format!("{table}(PartitionKey='{}',RowKey='{}')", quoted(partition_key), quoted(row_key));
        let mut url = self.service.url(&[&row]);
        if !select.is_empty() {
            url.query_pairs_mut().append_pair("$select", &columns(select.iter().copied()));
        }
        let answer = self.service.call(read("table.get", &target, url)).await?;
        let unreadable = |what| unreadable(("table.get", &target), Method::Get, what);
        let json: Map<String, Json> = read_answer(&answer.body).ok_or_else(|| unreadable("no JSON"))?;
        from_json(&json, answer.headers.get_optional_str(&ETAG)).map_err(unreadable)
    }

    async fn query(&self, table: &str, query: &Query) -> Result<Page> {
        let answer = self.service.call(read("table.query", table, self.query_url(table, query)?)).await?;
        let rows = read_rows(&answer.body).map_err(|what| unreadable(("table.query", table), Method::Get, what))?;
        let header = |name| answer.headers.get_optional_string(&HeaderName::from_static(name));
        let next = Continuation {
            next_partition_key: header("x-ms-continuation-nextpartitionkey"),
            next_row_key: header("x-ms-continuation-nextrowkey"),
        };
        Ok(Page { rows, continuation: Some(next).filter(|next| *next != Continuation::default()) })
    }

    async fn write(&self, table: &str, op: &TableOp) -> Result<Option<Etag>> {
        let (partition_key, row_key) = op.keys();
        let target = target(table, partition_key, row_key);
        check_key(op.operation(), &target, partition_key)?;
        check_key(op.operation(), &target, row_key)?;
        self.write_one(self.client.table_client(table), op).await.map_err(failed(op.operation(), &target))
    }

    async fn transact(&self, table: &str, ops: &[TableOp]) -> Result<Vec<Option<Etag>>> {
        let partition_key = ops.first().map_or("", |op| op.keys().0);
        let target = format!("{table}/{partition_key}");
        check_transaction(&target, partition_key, ops)?;
        let failed = failed("table.transact", &target);
        let mut transaction = self.client.table_client(table).partition_key_client(quoted(partition_key)).transaction();
        for op in ops {
            let row_key = quoted(op.keys().1);
            transaction = match op {
                TableOp::Insert(entity) => transaction.insert(to_json(entity)),
                TableOp::Merge(entity, condition) => transaction.merge(row_key, to_json(entity), Some(if_match(condition))),
                TableOp::Replace(entity, condition) => transaction.update(row_key, to_json(entity), Some(if_match(condition))),
                TableOp::UpsertMerge(entity) => transaction.insert_or_merge(row_key, to_json(entity)),
                TableOp::UpsertReplace(entity) => transaction.insert_or_replace(row_key, to_json(entity)),
                TableOp::Delete { condition, .. } => transaction.delete(row_key, Some(if_match(condition))),
            }
            .map_err(&failed)?;
        }
        let answer = transaction.into_future().await.map_err(&failed)?;
        let answers = answer.operation_responses;
        if answers.len() != ops.len() || answers.iter().any(|answer| !answer.status_code.is_success()) {
            return Err(unreadable(("table.transact", &target), Method::Post, "one answer for each operation was expected"));
        }
        Ok(answers.into_iter().map(|answer| answer.etag.map(|etag| Etag(etag.to_string()))).collect())
    }
}

impl AzureTables {
    fn query_url(&self, table: &str, query: &Query) -> Result<azure_core::Url> {
        if query.top.is_some_and(|top| top == 0 || top > PAGE_ROWS_MAX) {
            return Err(refused("table.query", table, "OutOfRangeInput", "a page has between 1 and 1000 rows"));
        }
        let mut url = self.service.url(&[&format!("{table}()")]);
        let mut pairs: Vec<(&str, String)> = Vec::new();
        if let Some(filter) = &query.filter {
            pairs.push(("$filter", filter.to_string()));
        }
        if !query.select.is_empty() {
            pairs.push(("$select", columns(query.select.iter().map(String::as_str))));
        }
        if let Some(top) = query.top {
            pairs.push(("$top", top.to_string()));
        }
        // An empty part is left out, as .NET does.
        let next = query.continuation.iter();
        let next = next.flat_map(|c| [("NextPartitionKey", &c.next_partition_key), ("NextRowKey", &c.next_row_key)]);
        pairs.extend(next.filter_map(|(name, part)| Some((name, part.clone().filter(|part| !part.is_empty())?))));
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        Ok(url)
    }
}

fn read<'a>(operation: &'static str, target: &'a str, url: azure_core::Url) -> Call<'a> {
    Call::new(operation, target, Method::Get, url).header("accept", "application/json;odata=minimalmetadata")
}

/// The columns asked for, and those that make a row.
fn columns<'a>(select: impl Iterator<Item = &'a str>) -> String {
    let columns: BTreeSet<&str> = select.chain(["PartitionKey", "RowKey", "Timestamp"]).collect();
    columns.into_iter().collect::<Vec<_>>().join(",")
}

/// A key inside an OData literal. The crate does not do it, and a row with a quote in its key would be out of reach.
fn quoted(key: &str) -> String {
    key.replace('\'', "''")
}

fn if_match(condition: &Match) -> IfMatchCondition {
    match condition {
        Match::Any => IfMatchCondition::Any,
        Match::Etag(etag) => IfMatchCondition::Etag(etag.0.clone().into()),
    }
}

fn target(table: &str, partition_key: &str, row_key: &str) -> String {
    format!("{table}/{partition_key}/{row_key}")
}

fn failed<'a>(operation: &'static str, target: &'a str) -> impl Fn(azure_core::Error) -> Error + 'a {
    move |error| describe(Effect::Writes, &error, operation, target)
}

/// What Azure refuses and Azurite may take.
fn check_key(operation: &'static str, target: &str, key: &str) -> Result<()> {
    if key.chars().any(|c| c.is_control() || matches!(c, '/' | '\\' | '#' | '?')) {
        return Err(refused(operation, target, "OutOfRangeInput", "a key may not hold / \\ # ? or control characters"));
    }
    if key.encode_utf16().count() > KEY_UNITS_MAX {
        return Err(refused(operation, target, "KeyValueTooLarge", "a key is longer than 512 characters"));
    }
    Ok(())
}

fn check_transaction(target: &str, partition_key: &str, ops: &[TableOp]) -> Result<()> {
    let refused = |index, code, message: &str| Error { index, ..refused("table.transact", target, code, message) };
    if ops.is_empty() {
        return Err(refused(None, "InvalidInput", "a transaction has at least one operation"));
    }
    if ops.len() > TRANSACTION_OPERATIONS_MAX {
        return Err(refused(Some(TRANSACTION_OPERATIONS_MAX), "InvalidInput", "a transaction has at most 100 operations"));
    }
    let mut rows = BTreeSet::new();
    for (index, op) in ops.iter().enumerate() {
        let (partition, row) = op.keys();
        check_key("table.transact", target, partition)?;
        check_key("table.transact", target, row)?;
        if partition != partition_key {
            let message = "a transaction is of one partition";
            return Err(refused(Some(index), "CommandsInBatchActOnDifferentPartitions", message));
        }
        if !rows.insert(row) {
            return Err(refused(Some(index), "InvalidDuplicateRow", "a transaction names a row once"));
        }
    }
    Ok(())
}
