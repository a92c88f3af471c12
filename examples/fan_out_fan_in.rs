//! Fan-out, fan-in: many activities at once, on every worker that has a free slot, and one result from all of theirs.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::process::ExitCode;
use std::time::Duration;

use futures::future::try_join_all;
use taskhub::{Activity, ActivityContext, Failure, OrchestrationContext, Orchestrator};

const LIST: Activity<String, Vec<String>> = Activity::new("ListFiles");
const COPY: Activity<String, u64> = Activity::new("CopyFile");
const BACKUP: Orchestrator<String, u64> = Orchestrator::new("Backup");

/// Each call is scheduled when it is made, so all of them run at once; `try_join_all` ends with the first failure.
async fn backup(ctx: OrchestrationContext, folder: String) -> Result<u64, Failure> {
    let files = ctx.call(LIST, folder).await?;
    let sizes = try_join_all(files.iter().map(|file| ctx.call(COPY, file))).await?;
    Ok(sizes.iter().sum())
}

async fn list_files(_: ActivityContext, folder: String) -> Result<Vec<String>, Failure> {
    Ok((1..=8).map(|number| format!("{folder}/photo-{number}.raw")).collect())
}

async fn copy_file(_: ActivityContext, file: String) -> Result<u64, Failure> {
    println!("  copying {file}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    println!("  copied  {file}");
    Ok(file.len() as u64)
}

#[tokio::main]
async fn main() -> ExitCode {
    support::run(
        "FanOut",
        |worker| worker.orchestrator(BACKUP, backup).activity(LIST, list_files).activity(COPY, copy_file),
        async |client| {
            let backup = client.start(BACKUP, "holiday").await?;
            let bytes = backup.result().within(Duration::from_secs(60)).await?;
            println!("copied {bytes} bytes");
            support::expect(bytes, 8 * "holiday/photo-1.raw".len() as u64)
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use taskhub::testing::{Answer, TestHost};

    use super::*;

    #[tokio::test]
    async fn all_files_are_copied_at_once() {
        let host = TestHost::builder(|worker| worker.orchestrator(BACKUP, backup))
            .on(LIST, |_, _| Ok(["a", "b", "c"].map(str::to_owned).to_vec()))
            .on(COPY, |call, _| Answer::after(Duration::from_secs(3600), Ok(u64::from(call))))
            .start()
            .await;
        assert_eq!(host.run(BACKUP, "holiday").await.unwrap(), 6);
        assert_eq!(host.calls(COPY), ["a", "b", "c"]);
        assert_eq!(host.elapsed(), Duration::from_secs(3600));
    }

    #[tokio::test]
    async fn the_first_file_that_cannot_be_copied_ends_the_backup() {
        let host = TestHost::builder(|worker| worker.orchestrator(BACKUP, backup).activity(LIST, list_files))
            .on(COPY, |call, _| if call == 3 { Err(Failure::new("DiskFull", "no room")).into() } else { Answer::never() })
            .start()
            .await;
        let error = host.run(BACKUP, "holiday").await.unwrap_err();
        assert_eq!(error.failure().unwrap().root_cause().error_type, "DiskFull");
    }
}
