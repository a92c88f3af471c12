//! Local activities: short work inside the turn, beside work that is sent to whoever has room for it.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::process::ExitCode;
use std::time::Duration;

use taskhub::{Activity, ActivityContext, Failure, OrchestrationContext, Orchestrator};

const PRICE: Activity<String, u64> = Activity::new("Price");
const TAX: Activity<u64, u64> = Activity::new("Tax");
const CHARGE: Activity<u64, String> = Activity::new("Charge");
const CHECK_OUT: Orchestrator<Vec<String>, String> = Orchestrator::new("CheckOut");

/// Prices and tax take microseconds, so they are local: all of them are one commit. The charge is not: it asks somebody else, may take long, and
/// is not to be repeated because something behind it was.
async fn check_out(ctx: OrchestrationContext, basket: Vec<String>) -> Result<String, Failure> {
    let mut total = 0;
    for item in &basket {
        total += ctx.call(PRICE, item).local().await?;
    }
    let tax = ctx.call(TAX, total).local().await?;
    Ok(ctx.call(CHARGE, total + tax).await?)
}

async fn price(_: ActivityContext, item: String) -> Result<u64, Failure> {
    let cents = match item.as_str() {
        "tea" => 450,
        "cake" => 1_200,
        _ => return Err(Failure::new("UnknownItem", format!("{item:?} is not for sale")).non_retriable()),
    };
    println!("  price  {item}: {cents}");
    Ok(cents)
}

async fn tax(_: ActivityContext, cents: u64) -> Result<u64, Failure> {
    println!("  tax    of {cents}");
    Ok(cents / 5)
}

async fn charge(ctx: ActivityContext, cents: u64) -> Result<String, Failure> {
    // Whoever takes the money knows by this key what it has taken already.
    println!("  charge {cents} under the key {}", ctx.idempotency_key());
    Ok(format!("charged {}.{:02}", cents / 100, cents % 100))
}

#[tokio::main]
async fn main() -> ExitCode {
    support::run(
        "LocalActivities",
        |worker| worker.orchestrator(CHECK_OUT, check_out).activity(PRICE, price).activity(TAX, tax).activity(CHARGE, charge),
        async |client| {
            let basket = ["tea", "cake", "tea"].map(str::to_owned).to_vec();
            let order = client.start(CHECK_OUT, basket).await?;
            println!("started {}", order.id());
            let receipt = order.result().within(Duration::from_secs(30)).await?;
            println!("{receipt}");
            support::expect(receipt.as_str(), "charged 25.20")
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use taskhub::testing::TestHost;

    use super::*;

    #[tokio::test]
    async fn the_sum_of_the_basket_is_charged_with_its_tax() {
        let host = TestHost::builder(|worker| worker.orchestrator(CHECK_OUT, check_out).activity(TAX, tax))
            .on(PRICE, |_, item| Ok(item.len() as u64 * 100))
            .on(CHARGE, |_, cents| Ok(cents.to_string()))
            .start()
            .await;
        let basket = vec!["tea".to_owned(), "cake".to_owned()];
        assert_eq!(host.run(CHECK_OUT, basket).await.unwrap(), "840");
        let calls: Vec<_> = host.all_calls().iter().map(ToString::to_string).collect();
        assert_eq!(calls, ["Price(\"tea\")", "Price(\"cake\")", "Tax(700)", "Charge(840)"]);
    }

    #[tokio::test]
    async fn nothing_is_charged_for_what_is_not_for_sale() {
        let host =
            TestHost::builder(|worker| worker.orchestrator(CHECK_OUT, check_out).activity(PRICE, price).activity(TAX, tax))
                .on(CHARGE, |_, _| Ok("charged".to_owned()))
                .start()
                .await;
        let error = host.run(CHECK_OUT, vec!["tea".to_owned(), "gold".to_owned()]).await.unwrap_err();
        assert_eq!(error.failure().unwrap().root_cause().error_type, "UnknownItem");
        assert!(host.calls(CHARGE).is_empty());
    }
}
