//! Calls that a storage account bills: of which kind, how many, for whom, and what they cost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures::FutureExt as _;
use serde::{Deserialize, Serialize};

/// A kind of call that a storage account bills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CallKind {
    /// One row of a table was read.
    TableRead,
    /// Rows were looked for.
    TableQuery,
    /// One row was written or deleted.
    TableWrite,
    /// Rows were written in one transaction.
    TableBatch,
    /// A message was put, received, renewed or deleted, or a queue was looked at.
    Queue,
    /// A receive that brought nothing.
    Poll,
    /// A blob was read.
    BlobRead,
    /// A blob was written, or a lease was taken or renewed.
    BlobWrite,
    /// Blobs were listed, or a container was made.
    BlobList,
    /// A blob was deleted, which costs nothing.
    BlobDelete,
}

/// How many calls of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls([u64; CallKind::ALL.len()]);

/// What calls cost: for 10,000 of each kind, as storage accounts list their prices.
///
/// The default is about what a general-purpose v2 account with local redundancy and hot blobs was listed with, in US dollars. Prices differ by region,
/// redundancy and contract, so set those of your account before you rely on a sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Prices {
    /// The name of the currency, for people.
    pub currency: String,
    /// 10,000 reads of one row.
    pub table_read: f64,
    /// 10,000 queries.
    pub table_query: f64,
    /// 10,000 writes of one row.
    pub table_write: f64,
    /// 10,000 transactions.
    pub table_batch: f64,
    /// 10,000 calls of queues, polls included.
    pub queue: f64,
    /// 10,000 reads of blobs.
    pub blob_read: f64,
    /// 10,000 writes of blobs.
    pub blob_write: f64,
    /// 10,000 listings.
    pub blob_list: f64,
}

impl CallKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::TableRead,
        Self::TableQuery,
        Self::TableWrite,
        Self::TableBatch,
        Self::Queue,
        Self::Poll,
        Self::BlobRead,
        Self::BlobWrite,
        Self::BlobList,
        Self::BlobDelete,
    ];

    /// Its name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TableRead => "tableRead",
            Self::TableQuery => "tableQuery",
            Self::TableWrite => "tableWrite",
            Self::TableBatch => "tableBatch",
            Self::Queue => "queue",
            Self::Poll => "poll",
            Self::BlobRead => "blobRead",
            Self::BlobWrite => "blobWrite",
            Self::BlobList => "blobList",
            Self::BlobDelete => "blobDelete",
        }
    }
}

impl Calls {
    /// How many of this kind.
    #[must_use]
    pub fn of(&self, kind: CallKind) -> u64 {
        self.0[kind as usize]
    }

    /// How many of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What they cost.
    #[must_use]
    pub fn cost(&self, prices: &Prices) -> f64 {
        CallKind::ALL.into_iter().map(|kind| self.cost_of(kind, prices)).sum()
    }

    /// What those of this kind cost.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a sum of money is rounded anyway")]
    pub fn cost_of(&self, kind: CallKind, prices: &Prices) -> f64 {
        self.of(kind) as f64 * prices.of(kind) / 10_000.0
    }

    /// These without others that are among them.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|kind| self.0[kind].saturating_sub(other.0[kind])))
    }

    pub(crate) fn set(&mut self, kind: CallKind, count: u64) {
        self.0[kind as usize] = count;
    }
}

impl std::ops::Add for Calls {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|kind| self.0[kind] + other.0[kind]))
    }
}

impl std::iter::Sum for Calls {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), std::ops::Add::add)
    }
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            currency: "USD".to_owned(),
            table_read: 0.000_36,
            table_query: 0.000_36,
            table_write: 0.000_36,
            table_batch: 0.000_36,
            queue: 0.004,
            blob_read: 0.004_4,
            blob_write: 0.055,
            blob_list: 0.055,
        }
    }
}

impl Prices {
    /// What 10,000 calls of this kind cost.
    #[must_use]
    pub fn of(&self, kind: CallKind) -> f64 {
        match kind {
            CallKind::TableRead => self.table_read,
            CallKind::TableQuery => self.table_query,
            CallKind::TableWrite => self.table_write,
            CallKind::TableBatch => self.table_batch,
            CallKind::Queue | CallKind::Poll => self.queue,
            CallKind::BlobRead => self.blob_read,
            CallKind::BlobWrite => self.blob_write,
            CallKind::BlobList => self.blob_list,
            CallKind::BlobDelete => 0.0,
        }
    }
}

/// Counts calls as they are made. Clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<[AtomicU64; CallKind::ALL.len()]>);

impl Meter {
    /// Counts a call, also for whom it is made.
    pub(crate) fn count(&self, kind: CallKind) {
        self.0[kind as usize].fetch_add(1, Relaxed);
        // Nobody is billed for what the worker does for itself.
        let _ = BILL.try_with(|bill| bill.calls.0[kind as usize].fetch_add(1, Relaxed));
    }

    /// What has been counted.
    pub(crate) fn read(&self) -> Calls {
        Calls(std::array::from_fn(|kind| self.0[kind].load(Relaxed)))
    }
}

/// The calls of one piece of work, and whose it is as soon as that is known.
#[derive(Debug, Default)]
struct Bill {
    calls: Meter,
    whose: OnceLock<String>,
}

tokio::task_local! {
    static BILL: Bill;
}

/// The calls that were made for each.
#[derive(Debug, Default)]
pub(crate) struct Bills(Mutex<BTreeMap<String, Calls>>);

/// More names than that are one.
const NAMES_MAX: usize = 1000;
/// The name of the others.
const OTHERS: &str = "(others)";

impl Bills {
    /// Does a piece of work and bills whoever it turns out to be for.
    pub(crate) fn of<F: Future>(&self, work: F) -> impl Future<Output = F::Output> {
        let add = |bill: &Bill| self.add(bill.whose.get().map_or(OTHERS, String::as_str), &bill.calls.read());
        // An async function would be three times as large as the work, for each task and at each move of it.
        BILL.scope(Bill::default(), work.inspect(move |_| BILL.try_with(add).unwrap_or_default()))
    }

    fn add(&self, name: &str, calls: &Calls) {
        let mut bills = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = if bills.len() < NAMES_MAX || bills.contains_key(name) { name } else { OTHERS };
        match bills.get_mut(name) {
            Some(bill) => *bill = *bill + *calls,
            None => drop(bills.insert(name.to_owned(), *calls)),
        }
    }

    /// All of them.
    pub(crate) fn read(&self) -> BTreeMap<String, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Says whose the work is that is under way.
pub(crate) fn bill(name: &str) {
    let _ = BILL.try_with(|bill| drop(bill.whose.set(name.to_owned())));
}

/// Whose the work is that is under way, if that is known.
pub(crate) fn billed() -> Option<String> {
    BILL.try_with(|bill| bill.whose.get().cloned()).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_are_billed_to_whom_they_are_made_for_and_all_are_counted() {
        let (meter, bills) = (Meter::default(), Bills::default());
        meter.count(CallKind::Poll);
        for name in ["A", "B", "A"] {
            bills
                .of(async {
                    meter.count(CallKind::Queue);
                    bill(name);
                    bill("somebody else");
                    meter.count(CallKind::TableBatch);
                })
                .await;
        }
        bills.of(async { meter.count(CallKind::TableRead) }).await;
        let all = bills.read();
        let of = |name: &str| (all[name].of(CallKind::Queue), all[name].of(CallKind::TableBatch), all[name].total());
        assert_eq!((of("A"), of("B"), of(OTHERS)), ((2, 2, 4), (1, 1, 2), (0, 0, 1)));
        assert_eq!(meter.read().total(), 8);
    }

    #[test]
    fn a_sum_follows_the_prices() {
        let mut calls = Calls::default();
        calls.set(CallKind::Queue, 20_000);
        calls.set(CallKind::Poll, 10_000);
        calls.set(CallKind::BlobDelete, 1_000_000);
        let prices: Prices = serde_json::from_str(r#"{ "currency": "EUR", "queue": 0.5 }"#).unwrap();
        assert_eq!(calls.cost(&prices), 1.5);
        assert_eq!((prices.table_read, &*prices.currency), (Prices::default().table_read, "EUR"));
        assert!(serde_json::from_str::<Prices>(r#"{ "queues": 0.5 }"#).is_err(), "a slip is told");
    }
}
