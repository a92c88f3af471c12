//! A synchronous activity: `blocking` makes one of it.
//~ `Result<String, Failure>` is not a future

use taskhub::{Activity, ActivityContext, Failure, WorkerBuilder};

const CHARGE: Activity<u64, String> = Activity::new("Charge");

fn charge(_: ActivityContext, cents: u64) -> Result<String, Failure> {
    Ok(cents.to_string())
}

pub fn register(worker: WorkerBuilder) -> WorkerBuilder {
    worker.activity(CHARGE, charge)
}
