//! Function chaining: each activity takes what the one before it gave.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::process::ExitCode;
use std::time::Duration;

use taskhub::{Activity, ActivityContext, Failure, OrchestrationContext, Orchestrator};

const TRIM: Activity<String, String> = Activity::new("Trim");
const CAPITALIZE: Activity<String, String> = Activity::new("Capitalize");
const GREET: Activity<String, String> = Activity::new("Greet");
const WELCOME: Orchestrator<String, String> = Orchestrator::new("Welcome");

/// Every `await` is a durable step: after a crash the orchestrator goes on behind the last step that was recorded.
async fn welcome(ctx: OrchestrationContext, name: String) -> Result<String, Failure> {
    let trimmed = ctx.call(TRIM, name).await?;
    let capitalized = ctx.call(CAPITALIZE, trimmed).await?;
    let greeting = ctx.call(GREET, capitalized).await?;
    Ok(greeting)
}

async fn trim(_: ActivityContext, text: String) -> Result<String, Failure> {
    println!("  trim       {text:?}");
    Ok(text.trim().to_owned())
}

async fn capitalize(_: ActivityContext, text: String) -> Result<String, Failure> {
    println!("  capitalize {text:?}");
    let mut letters = text.chars();
    let first = letters.next().ok_or_else(|| Failure::new("NoName", "the name is empty").non_retriable())?;
    Ok(first.to_uppercase().chain(letters).collect())
}

async fn greet(_: ActivityContext, name: String) -> Result<String, Failure> {
    println!("  greet      {name:?}");
    Ok(format!("Welcome, {name}!"))
}

#[tokio::main]
async fn main() -> ExitCode {
    support::run(
        "Chaining",
        |worker| {
            worker.orchestrator(WELCOME, welcome).activity(TRIM, trim).activity(CAPITALIZE, capitalize).activity(GREET, greet)
        },
        async |client| {
            let welcome = client.start(WELCOME, "  ada ").await?;
            println!("started {}", welcome.id());
            let greeting = welcome.result().within(Duration::from_secs(30)).await?;
            println!("{greeting}");
            support::expect(greeting.as_str(), "Welcome, Ada!")
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use taskhub::WorkerBuilder;
    use taskhub::testing::TestHost;

    use super::*;

    #[tokio::test]
    async fn each_activity_gets_what_the_one_before_it_gave() {
        let host = TestHost::builder(|worker| worker.orchestrator(WELCOME, welcome))
            .on(TRIM, |_, text| Ok(format!("trimmed {text}")))
            .on(CAPITALIZE, |_, text| Ok(format!("capital {text}")))
            .on(GREET, |_, name| Ok(format!("Welcome, {name}!")))
            .start()
            .await;
        assert_eq!(host.run(WELCOME, "ada").await.unwrap(), "Welcome, capital trimmed ada!");
        let calls: Vec<_> = host.all_calls().iter().map(ToString::to_string).collect();
        assert_eq!(calls, ["Trim(\"ada\")", "Capitalize(\"trimmed ada\")", "Greet(\"capital trimmed ada\")"]);
    }

    #[tokio::test]
    async fn a_name_that_is_empty_is_not_greeted() {
        let activities = |worker: WorkerBuilder| worker.activity(TRIM, trim).activity(CAPITALIZE, capitalize);
        let host = TestHost::builder(move |worker| activities(worker.orchestrator(WELCOME, welcome)))
            .on(GREET, |_, _| Err(Failure::new("Unexpected", "nobody is greeted")))
            .start()
            .await;
        let error = host.run(WELCOME, "  ").await.unwrap_err();
        assert_eq!(error.failure().unwrap().root_cause().error_type, "NoName");
        assert!(host.calls(GREET).is_empty());
    }
}
