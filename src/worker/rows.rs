//! Versions of instance rows as a partition saw them last, so that a write replaces what was seen and nothing else.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::storage::table::Etag;

/// Most versions that a partition remembers; one that is forgotten costs two reads.
const VERSIONS_MAX: usize = 4096;

/// The rows of the instances of one partition.
#[derive(Debug, Default)]
pub(crate) struct RowVersions(Mutex<BTreeMap<String, Etag>>);

impl RowVersions {
    /// What is known of a row, for a write that makes it void.
    pub(crate) fn take(&self, instance_id: &str) -> Option<Etag> {
        self.all().remove(instance_id)
    }

    /// Whether the row is known to be of the execution that runs.
    pub(crate) fn knows(&self, instance_id: &str) -> bool {
        self.all().contains_key(instance_id)
    }

    /// The row has this version now.
    pub(crate) fn saw(&self, instance_id: &str, version: Etag) {
        let mut all = self.all();
        if all.len() >= VERSIONS_MAX {
            all.clear();
        }
        all.insert(instance_id.to_owned(), version);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Etag>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
