//! Three ports (tables, queues, blobs), their implementations (Azure, memory) and the layers around them.
//!
//! This layer knows what Azure Storage can do and nothing about orchestrations. Everything above it speaks to [`Storage`].

pub(crate) mod azure;
pub(crate) mod blob;
pub(crate) mod columns;
pub(crate) mod contract;
pub(crate) mod error;
pub(crate) mod layer;
pub(crate) mod memory;
pub(crate) mod pool;
pub(crate) mod queue;
pub(crate) mod table;

use std::sync::Arc;

#[cfg(feature = "entra")]
pub use azure::EntraIdentity;
pub use error::{Error, ErrorKind};

/// A storage account, real or in memory: the three ports and nothing else.
#[derive(Clone)]
pub struct Storage {
    pub(crate) tables: Arc<dyn table::TableStore>,
    pub(crate) queues: Arc<dyn queue::QueueStore>,
    pub(crate) blobs: Arc<dyn blob::BlobStore>,
    /// In the memory of this process, so that no other process can share it.
    pub(crate) in_process: bool,
}

impl std::fmt::Debug for dyn table::TableStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TableStore")
    }
}

impl std::fmt::Debug for dyn queue::QueueStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QueueStore")
    }
}

impl std::fmt::Debug for dyn blob::BlobStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlobStore")
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}
