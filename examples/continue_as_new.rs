//! Continue as new: an orchestration that runs for ever with a history that stays short, and loses no event on the way.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskhub::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator};

/// What one generation hands to the next.
#[derive(Debug, Serialize, Deserialize)]
struct Account {
    balance: i64,
    bookings: u32,
    bookings_max: u32,
    generation: u32,
}

const BOOKING: Event<i64> = Event::new("Booking");
const AUDIT: Activity<i64, ()> = Activity::new("Audit");
const ACCOUNT: Orchestrator<Account, i64> = Orchestrator::new("Account");

/// Three bookings a generation. A booking that comes while nobody waits is kept, also across generations.
async fn account(ctx: OrchestrationContext, mut account: Account) -> Result<i64, Failure> {
    for _ in 0..3 {
        let amount = ctx.wait_for_event(BOOKING).await;
        account.balance += amount;
        account.bookings += 1;
        ctx.set_custom_status(&account);
        if account.bookings == account.bookings_max {
            return Ok(account.balance);
        }
    }
    ctx.call(AUDIT, account.balance).await?;
    account.generation += 1;
    // Returned and not awaited, so that it cannot be forgotten.
    ctx.continue_as_new(ACCOUNT, account)
}

async fn audit(ctx: ActivityContext, balance: i64) -> Result<(), Failure> {
    println!("  execution {}: balance {balance}", ctx.execution_id());
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    support::run(
        "ContinueAsNew",
        |worker| worker.orchestrator(ACCOUNT, account).activity(AUDIT, audit),
        async |client| {
            let empty = Account { balance: 0, bookings: 0, bookings_max: 10, generation: 0 };
            let account = client.start(ACCOUNT, empty).instance_id("account-7").await?;
            for amount in 1..=10 {
                account.raise(BOOKING, amount).await?;
            }
            let status = account.wait().within(Duration::from_secs(60)).await?;
            let last: Account = status.custom_status()?;
            let rows = account.history().await?.len();
            println!(
                "balance {} after {} bookings; the history of generation {} has {rows} rows",
                last.balance, last.bookings, last.generation
            );
            support::expect(status.output::<i64>()?, 55)?;
            support::expect((last.bookings, last.generation), (10, 3))
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use taskhub::testing::TestHost;

    use super::*;

    #[tokio::test]
    async fn no_booking_is_lost_between_generations() {
        let host = TestHost::builder(|worker| worker.orchestrator(ACCOUNT, account)).on(AUDIT, |_, _| Ok(())).start().await;
        let empty = Account { balance: 0, bookings: 0, bookings_max: 10, generation: 0 };
        let account = host.start(ACCOUNT, empty).await.unwrap();
        for amount in 1..=10 {
            account.raise(BOOKING, amount).await.unwrap();
        }
        assert_eq!(account.result().await.unwrap(), 55);
        assert_eq!(host.calls(AUDIT), [6, 21, 45]);
        assert_eq!(account.status().await.unwrap().custom_status::<Account>().unwrap().generation, 3);
    }
}
