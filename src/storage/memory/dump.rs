//! Looking at the whole account and filling it without the ports: for checkers and for loading snapshots.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Memory;
use crate::model::Timestamp;
use crate::storage::table::{Entity, Row};

/// A message as the account holds it, hidden or not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredMessage {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) dequeue_count: u32,
    pub(crate) inserted_on: Timestamp,
    pub(crate) visible_on: Timestamp,
}

/// All that an account holds, leases apart. Tables, queues and containers that are empty appear empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Dump {
    pub(crate) tables: BTreeMap<String, Vec<Row>>,
    pub(crate) queues: BTreeMap<String, Vec<StoredMessage>>,
    pub(crate) blobs: BTreeMap<String, BTreeMap<String, Bytes>>,
}

impl Memory {
    pub(crate) fn dump(&self) -> Dump {
        Dump { tables: self.all_rows(), queues: self.all_messages(), blobs: self.all_blobs() }
    }

    /// Adds what the dump holds. Rows get new versions and times; messages keep their ids, counts and times.
    pub(crate) fn load(&self, dump: &Dump) {
        for (table, rows) in &dump.tables {
            self.tables.create_raw(table);
            rows.iter().for_each(|row| self.insert_row(table, row.entity.clone()));
        }
        for (queue, messages) in &dump.queues {
            self.queues.create_raw(queue);
            messages.iter().for_each(|message| self.insert_message(queue, message.clone()));
        }
        for (container, blobs) in &dump.blobs {
            self.blobs.create_raw(container);
            blobs.iter().for_each(|(name, bytes)| self.insert_blob(container, name, bytes.clone()));
        }
    }

    /// Every row of every table, in the order of the keys.
    pub(crate) fn all_rows(&self) -> BTreeMap<String, Vec<Row>> {
        self.tables.all()
    }

    /// Every row of one table; none if there is no such table.
    pub(crate) fn table_rows(&self, table: &str) -> Vec<Row> {
        self.tables.of_table(table)
    }

    /// The rows of one partition of a table, in the order of the keys.
    pub(crate) fn partition_rows(&self, table: &str, partition_key: &str) -> Vec<Row> {
        self.tables.of_partition(table, partition_key)
    }

    /// Every message of every queue, hidden ones too, in the order in which they become visible.
    pub(crate) fn all_messages(&self) -> BTreeMap<String, Vec<StoredMessage>> {
        self.queues.all()
    }

    /// Every blob of every container.
    pub(crate) fn all_blobs(&self) -> BTreeMap<String, BTreeMap<String, Bytes>> {
        self.blobs.all()
    }

    /// Writes a row without any check or condition; creates the table if need be.
    pub(crate) fn insert_row(&self, table: &str, entity: Entity) {
        self.tables.insert_raw(table, entity);
    }

    /// Puts a message without any check; creates the queue if need be.
    pub(crate) fn insert_message(&self, queue: &str, message: StoredMessage) {
        self.queues.insert_raw(queue, message);
    }

    /// Writes a blob without any check; creates the container if need be.
    pub(crate) fn insert_blob(&self, container: &str, name: &str, bytes: Bytes) {
        self.blobs.insert_raw(container, name, bytes);
    }

    /// Ends every hold: messages that somebody has received are visible to everybody again.
    pub(crate) fn surface_held(&self) {
        self.queues.surface_held();
    }

    /// Makes receives take visible messages in any order (drawn from the account's random source), as the real service
    /// may: queues promise no order.
    pub(crate) fn set_unordered(&self, unordered: bool) {
        self.queues.set_unordered(unordered);
    }

    /// Makes pages of queries and listings short: each looks at no more than so many rows or names, so that pages come
    /// partly filled or empty and still have a continuation, as on the real service.
    pub(crate) fn set_page_limit(&self, rows: usize) {
        self.tables.scan_at_most(rows);
        self.blobs.page_at_most(rows);
    }
}
