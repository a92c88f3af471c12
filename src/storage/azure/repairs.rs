//! Every repaired fault of the crates, shown on a live account. Run by the `azurite` test target; each function panics on a
//! broken promise and returns the error of a call that should have worked.

pub mod blobs;
pub mod queues;
pub mod tables;

use std::time::Duration;

use super::config::account;
use super::exchange::TimeLimits;
use crate::storage::Storage;
use crate::storage::error::{Error, ErrorKind, Result};

/// Checks that the call failed in this way.
#[track_caller]
fn assert_failed<T: std::fmt::Debug>(outcome: Result<T>, kind: ErrorKind, code: &str) -> Error {
    match outcome {
        Ok(value) => panic!("{kind:?} {code} was expected, not {value:?}"),
        Err(error) => {
            assert_eq!((error.kind, error.code.as_deref().unwrap_or_default()), (kind, code), "{error}");
            error
        }
    }
}

/// With every service of the account refusing connections, nothing was sent, so everything may be tried again.
///
/// # Errors
/// None.
pub async fn a_refused_connection_is_transient(connection_string: &str) -> Result<()> {
    let storage = Storage::connect(connection_string)?;
    assert_failed(storage.queues.put("queue", "text", Duration::ZERO).await, ErrorKind::Transient, "");
    assert_failed(storage.tables.delete_table("table").await, ErrorKind::Transient, "");
    assert_failed(storage.blobs.get("container", "name", 1).await, ErrorKind::Transient, "");
    Ok(())
}

/// With every service of the account accepting connections and never answering, calls end; the outcome of a write is unknown.
///
/// # Errors
/// None.
pub async fn a_hung_server_meets_the_time_limit(connection_string: &str) -> Result<()> {
    let limits = TimeLimits { total: Duration::from_millis(300), ..TimeLimits::default() };
    let storage = account(connection_string)?.open(limits)?;
    let started = tokio::time::Instant::now();
    assert_failed(storage.queues.put("queue", "text", Duration::ZERO).await, ErrorKind::Unknown, "");
    assert_failed(storage.queues.peek("queue", 1).await, ErrorKind::Transient, "");
    assert_failed(storage.tables.create_table("table").await, ErrorKind::Unknown, "");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    Ok(())
}

/// A wrong key is refused, and the refusal shows neither the key nor a signature.
///
/// # Errors
/// None.
pub async fn a_wrong_key_is_denied_without_a_secret(connection_string: &str, key: &str) -> Result<()> {
    let storage = Storage::connect(connection_string)?;
    let errors = [storage.queues.count("queue").await.err(), storage.tables.get("table", "p", "r", &[]).await.err()];
    for error in errors.into_iter().flatten() {
        let shown = format!("{error} {error:?} {storage:?}");
        assert!(error.kind == ErrorKind::Denied && error.status == Some(403), "{shown}");
        assert!(!shown.contains(key) && !shown.contains("SharedKey"), "{shown}");
    }
    Ok(())
}
