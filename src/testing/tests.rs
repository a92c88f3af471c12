//! What a test host promises, shown with it.

use std::time::Duration;

use super::*;
use crate::authoring::{Activity, Failure, OrchestrationContext};

const DAY: Duration = Duration::from_secs(24 * 3600);
const CHARGE: Activity<u32, String> = Activity::new("Charge");
const BILL: Orchestrator<u32, String> = Orchestrator::new("Bill");

async fn bill(ctx: OrchestrationContext, cents: u32) -> std::result::Result<String, Failure> {
    ctx.timer(3 * DAY).await;
    Ok(ctx.call(CHARGE, cents).await?)
}

#[tokio::test]
async fn a_timer_of_three_days_takes_three_days_of_virtual_time() {
    let host = TestHost::builder(|worker| worker.orchestrator(BILL, bill))
        .on(CHARGE, |call, cents| Ok(format!("receipt {call} for {cents}")))
        .start()
        .await;
    assert_eq!(host.run(BILL, 250).await.unwrap(), "receipt 1 for 250");
    assert_eq!(host.elapsed(), 3 * DAY);
}
