//! A call by a name in the place of a handle.
//~ `&str` cannot be called
//~ expected a handle, `Activity` or `Orchestrator`
//~ `call_named` calls an activity by its name

use taskhub::{Failure, OrchestrationContext};

pub async fn pay(ctx: OrchestrationContext, cents: u64) -> Result<String, Failure> {
    Ok(ctx.call("Charge", cents).await?)
}
