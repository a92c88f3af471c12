//! How large a test is: an ordinary run has little time, and `.ci/run` runs everything in full (docs/testing.md, Running).

/// The second with `TASKHUB_FULL=1`, otherwise the first.
pub(crate) fn of<T>(ordinary: T, full: T) -> T {
    if std::env::var_os("TASKHUB_FULL").is_some() { full } else { ordinary }
}
