//! Monitor: look at something again and again, with durable pauses, until it is ready or the patience is over.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskhub::{Activity, ActivityContext, Failure, OrchestrationContext, Orchestrator, with_state};

/// What to watch, and what is known about it.
#[derive(Debug, Serialize, Deserialize)]
struct Watch {
    job: String,
    looks: u32,
    looks_max: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Verdict {
    Ready { looks: u32 },
    GaveUp,
}

const STATUS: Activity<String, bool> = Activity::new("JobIsReady");
const MONITOR: Orchestrator<Watch, Verdict> = Orchestrator::new("Monitor");

/// The pause costs nothing while it lasts: no thread, no memory, and it survives every restart.
async fn monitor(ctx: OrchestrationContext, mut watch: Watch) -> Result<Verdict, Failure> {
    while watch.looks < watch.looks_max {
        watch.looks += 1;
        ctx.set_custom_status(&format!("look {}", watch.looks));
        if ctx.call(STATUS, &watch.job).await? {
            return Ok(Verdict::Ready { looks: watch.looks });
        }
        ctx.timer(Duration::from_millis(500)).await;
        // A long watch would have a long history, which every turn replays: it begins anew from time to time.
        if watch.looks.is_multiple_of(3) {
            return ctx.continue_as_new(MONITOR, watch);
        }
    }
    Ok(Verdict::GaveUp)
}

async fn job_is_ready(looks: Arc<AtomicU32>, _: ActivityContext, job: String) -> Result<bool, Failure> {
    let look = looks.fetch_add(1, Ordering::Relaxed) + 1;
    let ready = look >= 5;
    println!("  look {look}: {job} is {}", if ready { "ready" } else { "not ready" });
    Ok(ready)
}

#[tokio::main]
async fn main() -> ExitCode {
    support::run(
        "Monitor",
        |worker| {
            // The state brings what the activity needs.
            worker.orchestrator(MONITOR, monitor).activity(STATUS, with_state(&Arc::new(AtomicU32::new(0)), job_is_ready))
        },
        async |client| {
            let job = client.start(MONITOR, Watch { job: "render-42".to_owned(), looks: 0, looks_max: 20 }).await?;
            let verdict = job.result().within(Duration::from_secs(60)).await?;
            println!("{verdict:?}");
            support::expect(verdict, Verdict::Ready { looks: 5 })
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use taskhub::testing::TestHost;

    use super::*;

    fn watch() -> Watch {
        Watch { job: "render-42".to_owned(), looks: 0, looks_max: 20 }
    }

    #[tokio::test]
    async fn it_looks_until_the_job_is_ready() {
        let host = TestHost::builder(|worker| worker.orchestrator(MONITOR, monitor)).on(STATUS, |look, _| Ok(look == 5));
        let host = host.start().await;
        assert_eq!(host.run(MONITOR, watch()).await.unwrap(), Verdict::Ready { looks: 5 });
        assert_eq!(host.calls(STATUS), ["render-42"; 5]);
    }

    #[tokio::test]
    async fn it_gives_up_after_so_many_looks() {
        let host = TestHost::builder(|worker| worker.orchestrator(MONITOR, monitor)).on(STATUS, |_, _| Ok(false)).start().await;
        assert_eq!(host.run(MONITOR, watch()).await.unwrap(), Verdict::GaveUp);
        assert_eq!(host.calls(STATUS).len(), 20);
        assert_eq!(host.elapsed(), Duration::from_secs(10));
    }
}
