//! Listing instances: filters and pages, as .NET clients ask (docs/storage-layout.md, Queries).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Client;
use super::status::{InstanceStatus, resolved};
use crate::error::Result;
use crate::hub::instances::StoredRow;
use crate::hub::{instances, keys};
use crate::ids;
use crate::model::{RuntimeStatus, Tags, Timestamp};
use crate::storage::table::{Cmp, Continuation, Filter, PAGE_ROWS_MAX, Query, Value};

/// Which instances to list. `Default` lists all orchestrations and entities, in pages of 100.
#[derive(Clone, Debug)]
pub struct InstanceQuery {
    /// Only ids that begin with this.
    pub id_prefix: Option<String>,
    /// Only instances of this orchestrator, by its whole name in the case in which it was started.
    pub name: Option<String>,
    /// Only instances that this one started, by its whole id; not those whose rows were written by .NET workers older than 2.11.
    pub parent: Option<String>,
    /// Only instances of this version; the empty text stands for those that have none. That is asked of each row that was read, so that
    /// pages may be short, or empty.
    pub version: Option<String>,
    /// Only instances that have all of these tags, with these values. That is asked of each row that was read, as for a version.
    pub tags: Tags,
    /// Only these statuses; empty means all.
    pub statuses: Vec<RuntimeStatus>,
    /// Only instances created at or after this time.
    pub created_from: Option<Timestamp>,
    /// Only instances created at or before this time.
    pub created_to: Option<Timestamp>,
    /// Leave out entities, whose ids begin with `@`.
    pub exclude_entities: bool,
    /// Those that were created last come first. A table has no such order: each page reads all rows that match.
    pub newest_first: bool,
    /// Whether to fetch inputs and outputs, also from their blobs.
    pub with_payloads: bool,
    /// Rows per page, at most 1000. A page may hold fewer and still have a successor.
    pub page_size: usize,
    /// Where to go on: the continuation of the page before.
    pub continuation: Option<String>,
}

/// One page of instances.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InstancePage {
    /// In the order of their keys, or of their creation, the last first.
    pub instances: Vec<InstanceStatus>,
    /// Where the next page begins; `None` on the last.
    pub continuation: Option<String>,
}

impl Default for InstanceQuery {
    fn default() -> Self {
        Self {
            id_prefix: None,
            name: None,
            parent: None,
            version: None,
            tags: Tags::new(),
            statuses: Vec::new(),
            created_from: None,
            created_to: None,
            exclude_entities: false,
            newest_first: false,
            with_payloads: true,
            page_size: 100,
            continuation: None,
        }
    }
}

const WITHOUT_PAYLOADS: [&str; 18] = [
    "PartitionKey",
    "RowKey",
    "Timestamp",
    "ExecutionId",
    "Name",
    "Version",
    "CustomStatus",
    "CreatedTime",
    "LastUpdatedTime",
    "CompletedTime",
    "RuntimeStatus",
    "ScheduledStartTime",
    "Generation",
    "Tags",
    "TagsBlobName",
    instances::PARENT,
    instances::MARKED_AT,
    instances::STATUS_BEHIND,
];

impl Client {
    /// One page of instances. One that is damaged is listed with what can be read of it, and a warning is logged.
    ///
    /// # Errors
    /// `Invalid` if no id can begin with the prefix; `Storage` if storage fails.
    pub async fn list(&self, query: &InstanceQuery) -> Result<InstancePage> {
        let prefix = query.id_prefix.as_deref().unwrap_or_default();
        ids::check_prefix(prefix)?;
        if query.exclude_entities && prefix.starts_with('@') {
            return Ok(InstancePage { instances: Vec::new(), continuation: None });
        }
        if query.newest_first {
            return self.newest(query).await;
        }
        let select = if query.with_payloads { Vec::new() } else { WITHOUT_PAYLOADS.map(str::to_owned).to_vec() };
        let table_query = Query {
            filter: filter(query),
            select,
            top: Some(query.page_size.clamp(1, PAGE_ROWS_MAX)),
            continuation: query.continuation.as_deref().map(from_token),
        };
        let (rows, page) = self.hub.instances.query(&table_query).await?;
        let mut instances = Vec::new();
        for stored in rows.into_iter().filter(|stored| fits_version(query, stored)) {
            let instance = resolved(&self.hub, stored).await?;
            instances.extend(Some(instance).filter(|instance| fits_tags(query, instance)));
        }
        Ok(InstancePage { instances, continuation: page.continuation.as_ref().map(to_token) })
    }

    /// One page of those that were created last, behind the last one of the page before: all rows are read, and as many kept as the page has.
    async fn newest(&self, query: &InstanceQuery) -> Result<InstancePage> {
        let after = query.continuation.as_deref().and_then(|token| {
            let (created, id) = token.split_once(' ')?;
            Some((Reverse(Timestamp::parse(created)?), id.to_owned()))
        });
        let all = InstanceQuery { newest_first: false, with_payloads: false, page_size: PAGE_ROWS_MAX, ..query.clone() };
        let (mut pages, mut newest, mut more) = (self.pages(InstanceQuery { continuation: None, ..all }), BTreeMap::new(), false);
        let most = query.page_size.clamp(1, PAGE_ROWS_MAX);
        while let Some(page) = Box::pin(pages.next()).await? {
            for instance in page {
                let place = (Reverse(instance.created.unwrap_or(Timestamp::MIN)), instance.instance_id.clone());
                if after.as_ref().is_none_or(|after| place > *after) {
                    newest.insert(place, instance);
                }
                if newest.len() > most {
                    newest.pop_last();
                    more = true;
                }
            }
        }
        let continuation = newest.keys().next_back().filter(|_| more).map(|(Reverse(created), id)| format!("{created} {id}"));
        let mut instances = Vec::new();
        for instance in newest.into_values() {
            let whole = if query.with_payloads { self.status(&instance.instance_id).await? } else { None };
            instances.push(whole.unwrap_or(instance));
        }
        Ok(InstancePage { instances, continuation })
    }
}

/// No filter finds rows without a version.
fn fits_version(query: &InstanceQuery, stored: &StoredRow) -> bool {
    query.version.as_deref() != Some("") || stored.row.version.as_deref().unwrap_or_default().is_empty()
}

fn fits_tags(query: &InstanceQuery, instance: &InstanceStatus) -> bool {
    query.tags.iter().all(|(name, value)| instance.tags.get(name) == Some(value))
}

pub(super) fn filter(query: &InstanceQuery) -> Option<Filter> {
    let mut all = Vec::new();
    if let Some(from) = query.created_from {
        all.push(Filter::compare("CreatedTime", Cmp::Ge, Value::time(from)));
    }
    if let Some(to) = query.created_to {
        all.push(Filter::compare("CreatedTime", Cmp::Le, Value::time(to)));
    }
    if let Some(name) = &query.name {
        all.push(Filter::eq("Name", name));
    }
    if let Some(parent) = &query.parent {
        all.push(Filter::eq(instances::PARENT, parent));
    }
    // No filter finds rows without the column, which .NET leaves out or leaves empty.
    if let Some(version) = query.version.as_deref().filter(|version| !version.is_empty()) {
        all.push(Filter::eq("Version", version));
    }
    // Each once, and not all of them: a filter has room for fifteen comparisons.
    let names: BTreeSet<_> = query.statuses.iter().map(|status| status.name()).collect();
    if !names.is_empty() && names.len() < RuntimeStatus::ALL.len() {
        all.push(Filter::Or(names.into_iter().map(|name| Filter::eq("RuntimeStatus", name)).collect()));
    }
    if let Some(prefix) = query.id_prefix.as_deref().filter(|p| !p.is_empty()) {
        let prefix = keys::escape(prefix);
        all.push(Filter::compare("PartitionKey", Cmp::Ge, Value::string(prefix.clone())));
        if let Some(end) = keys::prefix_end(&prefix) {
            all.push(Filter::compare("PartitionKey", Cmp::Lt, Value::string(end)));
        }
    }
    // A prefix leaves them out by itself: a filter has no room for more.
    if query.exclude_entities && query.id_prefix.as_deref().is_none_or(str::is_empty) {
        let key = |cmp, text: &str| Filter::compare("PartitionKey", cmp, Value::string(text));
        all.push(Filter::Or(vec![key(Cmp::Lt, "@"), key(Cmp::Ge, "A")]));
    }
    match all.len() {
        0 => None,
        1 => all.pop(),
        _ => Some(Filter::And(all)),
    }
}

/// The form of .NET: both keys, one space between them, so that tokens can be passed from one client to the other.
fn to_token(continuation: &Continuation) -> String {
    let part = |key: &Option<String>| key.clone().unwrap_or_default();
    format!("{} {}", part(&continuation.next_partition_key), part(&continuation.next_row_key))
}

pub(super) fn from_token(token: &str) -> Continuation {
    let (partition, row) = token.split_once(' ').unwrap_or((token, ""));
    let part = |key: &str| Some(key.to_owned()).filter(|k| !k.is_empty());
    Continuation { next_partition_key: part(partition), next_row_key: part(row) }
}
