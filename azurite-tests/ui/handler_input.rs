//! An activity whose input is not that of its handle.
//~ type mismatch in function arguments
//~ expected function signature `fn(ActivityContext, u64) -> _`
//~ found function signature `fn(ActivityContext, String) -> _`

use taskhub::{Activity, ActivityContext, Failure, WorkerBuilder};

const CHARGE: Activity<u64, String> = Activity::new("Charge");

async fn charge(_: ActivityContext, cents: String) -> Result<String, Failure> {
    Ok(cents)
}

pub fn register(worker: WorkerBuilder) -> WorkerBuilder {
    worker.activity(CHARGE, charge)
}
