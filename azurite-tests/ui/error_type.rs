//! An activity with another error type.
//~ to be a future that resolves to `Result<String, Failure>`, but it resolves to `Result<String, Error>`

use taskhub::{Activity, ActivityContext, WorkerBuilder};

const CHARGE: Activity<u64, String> = Activity::new("Charge");

async fn charge(_: ActivityContext, _: u64) -> std::io::Result<String> {
    std::fs::read_to_string("rates")
}

pub fn register(worker: WorkerBuilder) -> WorkerBuilder {
    worker.activity(CHARGE, charge)
}
