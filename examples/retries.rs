//! Retries: durable pauses between attempts, an end to them, and failures that no retry can help.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::process::ExitCode;
use std::time::Duration;

use taskhub::{Activity, ActivityContext, Failure, OrchestrationContext, Orchestrator, RetryPolicy};

const FETCH: Activity<String, String> = Activity::new("Fetch");
const PARSE: Activity<String, i64> = Activity::new("Parse");
const IMPORT: Orchestrator<String, i64> = Orchestrator::new("Import");

/// A pause may be days long: it is a timer in storage, and the attempts are counted by replaying the history.
async fn import(ctx: OrchestrationContext, source: String) -> Result<i64, Failure> {
    let patient = RetryPolicy::exponential(5, Duration::from_millis(250)).max_interval(Duration::from_secs(2));
    let text = ctx.call(FETCH, source).retry(patient.clone()).await?;
    match ctx.call(PARSE, text).retry(patient.only_if(|failure| failure.error_type != "NotANumber")).await {
        Ok(number) => Ok(number),
        Err(failed) => {
            ctx.set_custom_status(&format!("{}, so the default is taken", failed.details().error_message));
            Ok(-1)
        }
    }
}

async fn fetch(ctx: ActivityContext, source: String) -> Result<String, Failure> {
    let attempt = ctx.attempt();
    if attempt <= 2 {
        println!("  fetch {source:?}: attempt {attempt} fails");
        return Err(Failure::new("Unavailable", "the source does not answer"));
    }
    println!("  fetch {source:?}: attempt {attempt} succeeds");
    Ok(source.trim_start_matches("db:").to_owned())
}

async fn parse(_: ActivityContext, text: String) -> Result<i64, Failure> {
    println!("  parse {text:?}");
    text.parse().map_err(|_| Failure::new("NotANumber", format!("{text:?} is not a number")))
}

#[tokio::main]
async fn main() -> ExitCode {
    support::run(
        "Retries",
        |worker| worker.orchestrator(IMPORT, import).activity(PARSE, parse).activity(FETCH, fetch),
        async |client| {
            let good = client.start(IMPORT, "db:42").await?;
            let number = good.result().within(Duration::from_secs(60)).await?;
            println!("imported {number}");
            support::expect(number, 42)?;

            let bad = client.start(IMPORT, "db:forty-two").await?;
            let status = bad.wait().within(Duration::from_secs(60)).await?;
            println!("imported {} ({})", status.output::<i64>()?, status.custom_status::<String>()?);
            support::expect(status.output::<i64>()?, -1)
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use taskhub::testing::TestHost;

    use super::*;

    #[tokio::test]
    async fn a_source_that_does_not_answer_is_asked_five_times() {
        let host = TestHost::builder(|worker| worker.orchestrator(IMPORT, import))
            .on(FETCH, |_, _| Err(Failure::new("Unavailable", "the source does not answer")))
            .start()
            .await;
        let error = host.run(IMPORT, "db:42").await.unwrap_err();
        assert_eq!(error.failure().unwrap().root_cause().error_type, "Unavailable");
        assert_eq!(host.calls(FETCH), ["db:42"; 5]);
    }

    #[tokio::test]
    async fn what_is_no_number_is_not_tried_again() {
        let host = TestHost::builder(|worker| worker.orchestrator(IMPORT, import).activity(PARSE, parse))
            .on(FETCH, |call, source| if call < 3 { Err(Failure::new("Unavailable", "not yet")) } else { Ok(source) })
            .start()
            .await;
        assert_eq!(host.run(IMPORT, "forty-two").await.unwrap(), -1);
        assert_eq!((host.calls(FETCH).len(), host.calls(PARSE).len()), (3, 1));
    }
}
