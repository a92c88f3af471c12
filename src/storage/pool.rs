//! Which connections a thread uses. A connection is driven by the threads that opened it: those that renew leases share none with threads that
//! code of users may keep.

use std::cell::Cell;

thread_local! {
    static RENEWS: Cell<bool> = const { Cell::new(false) };
}

/// From now on this thread uses the connections of renewals.
pub(crate) fn renews() {
    RENEWS.set(true);
}

/// Whether it does.
pub(crate) fn is_renewing() -> bool {
    RENEWS.get()
}
