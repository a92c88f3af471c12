//! The layout of a task hub on storage: names, queues, histories, instance rows, payloads, ownership. No user code runs here.

pub(crate) mod app_lease;
mod awaited;
mod batches;
pub(crate) mod blob_names;
#[cfg(feature = "testing")]
mod changes;
mod codec;
mod doorbell;
mod failed_row;
#[cfg(test)]
pub(crate) mod golden;
mod gzip;
pub(crate) mod history;
mod hold;
pub(crate) mod instance_row;
mod instances;
pub(crate) mod keys;
mod lanes;
pub(crate) mod lease;
mod names;
#[cfg(test)]
mod opening;
pub(crate) mod ownership;
mod parked;
mod partition;
mod payloads;
mod queues;
mod remainder;
pub(crate) mod rows;
mod soundness;
mod stored;
mod table;
mod task_hub;
mod waiting;

pub use awaited::{Awaited, AwaitedKind};
pub(crate) use awaited::{INSTANCE_IDS_MAX, Need};
#[cfg(feature = "testing")]
pub(crate) use changes::{Changes, Telling};
pub(crate) use doorbell::Doorbell;
pub(crate) use failed_row::Culprit;
pub(crate) use hold::Hold;
pub(crate) use instance_row::InstanceRow;
pub(crate) use instances::{RowVersion, RowWrite, RowWritten, StoredRow};
pub use parked::PoisonMessage;
pub(crate) use partition::partition_of;
pub(crate) use queues::{Body, Held, InBlob, QueueId, Received, Unreadable};
pub(crate) use task_hub::Hub;
pub use task_hub::{TaskHub, TaskHubBuilder};
