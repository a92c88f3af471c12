//! Where orchestrators run: a runtime of tokio without timers, sockets or anybody who runs its tasks. What needs those is not
//! durable, and shows when it is made, wherever the code hides it.

use tokio::runtime::{Builder, Runtime};

use crate::model::FailureDetails;
use crate::replay::is_panic;

/// How the panics of a runtime begin that lacks what somebody needs.
const LACKS: &str = "A Tokio 1.x context was found, but ";

/// The runtime of one turn.
#[derive(Debug)]
pub(super) struct BareRuntime(Runtime);

impl BareRuntime {
    pub(super) fn new() -> Self {
        Self(Builder::new_current_thread().build().expect("a runtime without drivers needs nothing of the system"))
    }

    /// Runs code in this runtime, instead of the one around it.
    pub(super) fn within<T>(&self, code: impl FnOnce() -> T) -> T {
        let _entered = self.0.enter();
        code()
    }

    /// Ends it; answers whether somebody spawned a task, which has not run.
    pub(super) fn has_tasks(self) -> bool {
        let has_tasks = self.0.metrics().num_alive_tasks() > 0;
        // Dropping would block, which a task of the runtime around may not.
        self.0.shutdown_background();
        has_tasks
    }
}

/// Whether code panicked because it needs what the runtime lacks: "timers are disabled", "IO is disabled".
pub(super) fn is_lack(failure: &FailureDetails) -> bool {
    is_panic(failure) && failure.error_message.contains(LACKS)
}
