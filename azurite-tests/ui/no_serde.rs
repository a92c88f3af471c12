//! A payload without the traits of serde.
//~ the trait bound `Order: serde::Serialize` is not satisfied
//~ for local types consider adding `#[derive(serde::Serialize)]` to your `Order` type

use taskhub::{Activity, ActivityContext, Failure, OrchestrationContext, WorkerBuilder};

pub struct Order;

const CHARGE: Activity<Order, String> = Activity::new("Charge");

async fn charge(_: ActivityContext, _: Order) -> Result<String, Failure> {
    Ok(String::new())
}

pub fn register(worker: WorkerBuilder) -> WorkerBuilder {
    worker.activity(CHARGE, charge)
}

pub async fn pay(ctx: OrchestrationContext, order: Order) -> Result<String, Failure> {
    Ok(ctx.call(CHARGE, order).await?)
}
