//! An async closure that keeps what it captures: `with_state` gives it a state instead.
//~ async closure does not implement `Fn` because it captures state from its environment

use taskhub::{Activity, ActivityContext, WorkerBuilder};

const CHARGE: Activity<u64, String> = Activity::new("Charge");

pub fn register(worker: WorkerBuilder, bank: String) -> WorkerBuilder {
    worker.activity(CHARGE, async move |_: ActivityContext, cents: u64| Ok(format!("{bank} {cents}")))
}
