//! Human interaction: wait for somebody's decision, but not for ever.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskhub::{Activity, ActivityContext, Elapsed, Event, Failure, Instance, OrchestrationContext, Orchestrator};

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    item: String,
    /// In life: days.
    patience_ms: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Decision {
    by: String,
    approved: bool,
}

const NOTIFY: Activity<Request, ()> = Activity::new("Notify");
const ESCALATE: Activity<Request, Decision> = Activity::new("Escalate");
const APPROVAL: Event<Decision> = Event::new("Approval");
const PURCHASE: Orchestrator<Request, Decision> = Orchestrator::new("Purchase");

/// The limit is a durable timer that begins with the wait. The event may also come first: then it is kept.
async fn purchase(ctx: OrchestrationContext, request: Request) -> Result<Decision, Failure> {
    ctx.call(NOTIFY, &request).await?;
    ctx.set_custom_status("waiting for approval");
    match ctx.wait_for_event(APPROVAL).within(Duration::from_millis(request.patience_ms)).await {
        Ok(decision) => Ok(decision),
        Err(Elapsed) => Ok(ctx.call(ESCALATE, &request).await?),
    }
}

async fn notify(ctx: ActivityContext, request: Request) -> Result<(), Failure> {
    println!("  {}: somebody wants a {}", ctx.instance_id(), request.item);
    Ok(())
}

async fn escalate(ctx: ActivityContext, _: Request) -> Result<Decision, Failure> {
    println!("  {}: nobody answered, so the boss decides", ctx.instance_id());
    Ok(Decision { by: "boss".to_owned(), approved: false })
}

async fn decided(purchase: &Instance<Decision>, expected: Decision) -> support::Outcome {
    let decision = purchase.result().within(Duration::from_secs(60)).await?;
    println!("{purchase}: {decision:?}");
    support::expect(decision, expected)
}

#[tokio::main]
async fn main() -> ExitCode {
    support::run(
        "HumanInteraction",
        |worker| worker.orchestrator(PURCHASE, purchase).activity(NOTIFY, notify).activity(ESCALATE, escalate),
        async |client| {
            let answered = Request { item: "lamp".to_owned(), patience_ms: 60_000 };
            let lamp = client.start(PURCHASE, answered).instance_id("purchase-lamp").await?;
            let unanswered = Request { item: "yacht".to_owned(), patience_ms: 1000 };
            let yacht = client.start(PURCHASE, unanswered).instance_id("purchase-yacht").await?;

            lamp.raise(APPROVAL, Decision { by: "Grace".to_owned(), approved: true }).await?;

            decided(&lamp, Decision { by: "Grace".to_owned(), approved: true }).await?;
            decided(&yacht, Decision { by: "boss".to_owned(), approved: false }).await
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use taskhub::testing::TestHost;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn boss() -> Decision {
        Decision { by: "boss".to_owned(), approved: false }
    }

    async fn host() -> TestHost {
        let host = TestHost::builder(|worker| worker.orchestrator(PURCHASE, purchase)).on(NOTIFY, |_, _| Ok(()));
        host.on(ESCALATE, |_, _| Ok(boss())).start().await
    }

    fn request() -> Request {
        Request { item: "lamp".to_owned(), patience_ms: 3 * 86_400_000 }
    }

    #[tokio::test]
    async fn an_answer_in_time_decides() {
        let host = host().await;
        let lamp = host.start(PURCHASE, request()).await.unwrap();
        host.pass_time(2 * DAY).await;
        assert_eq!(lamp.status().await.unwrap().custom_status::<String>().unwrap(), "waiting for approval");
        let decision = || Decision { by: "Grace".to_owned(), approved: true };
        lamp.raise(APPROVAL, decision()).await.unwrap();
        assert_eq!(lamp.result().await.unwrap(), decision());
        assert!(host.calls(ESCALATE).is_empty());
    }

    #[tokio::test]
    async fn without_an_answer_the_boss_decides_after_three_days() {
        let host = host().await;
        assert_eq!(host.run(PURCHASE, request()).await.unwrap(), boss());
        assert_eq!(host.elapsed(), 3 * DAY);
    }
}
