//! Sub-orchestrations: an orchestrator called by another one, with an id, a history and a failure of its own.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::process::ExitCode;
use std::time::Duration;

use futures::future::join_all;
use taskhub::{Activity, ActivityContext, ErrorKind, Failure, OrchestrationContext, Orchestrator};

const PROVISION: Activity<String, String> = Activity::new("Provision");
const REPORT: Activity<Vec<String>, ()> = Activity::new("Report");
const SET_UP_DEVICE: Orchestrator<String, String> = Orchestrator::new("SetUpDevice");
const SET_UP_SITE: Orchestrator<Vec<String>, Vec<String>> = Orchestrator::new("SetUpSite");
const AUDIT: Orchestrator<Vec<String>, ()> = Orchestrator::new("Audit");

/// The same `call` as for an activity: the type of the handle says which it is.
async fn set_up_site(ctx: OrchestrationContext, devices: Vec<String>) -> Result<Vec<String>, Failure> {
    let children = devices.iter().map(|device| {
        let child = format!("{}-{device}", ctx.instance_id());
        ctx.call(SET_UP_DEVICE, device).instance_id(child)
    });
    // `join_all` waits for all of them, also if some fail.
    let results = join_all(children).await;
    let report: Vec<_> = results
        .into_iter()
        .map(|result| match result {
            Ok(address) => address,
            Err(failed) => format!("failed: {}", failed.root_cause().error_message),
        })
        .collect();
    // Nobody waits for this one: its end and its failure are its own.
    ctx.start_orchestration(AUDIT, &report).instance_id(format!("{}-audit", ctx.instance_id()));
    Ok(report)
}

async fn set_up_device(ctx: OrchestrationContext, device: String) -> Result<String, Failure> {
    Ok(ctx.call(PROVISION, device).await?)
}

async fn audit(ctx: OrchestrationContext, report: Vec<String>) -> Result<(), Failure> {
    Ok(ctx.call(REPORT, report).await?)
}

async fn provision(ctx: ActivityContext, device: String) -> Result<String, Failure> {
    println!("  {}: provisioning {device}", ctx.instance_id());
    if device == "toaster" {
        return Err(Failure::new("Unsupported", "a toaster has no network").non_retriable());
    }
    Ok(format!("{device}.local"))
}

async fn report(_: ActivityContext, lines: Vec<String>) -> Result<(), Failure> {
    println!("  audited {} devices", lines.len());
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    support::run(
        "SubOrchestrations",
        |worker| {
            worker
                .orchestrator(SET_UP_SITE, set_up_site)
                .orchestrator(SET_UP_DEVICE, set_up_device)
                .orchestrator(AUDIT, audit)
                .activity(PROVISION, provision)
                .activity(REPORT, report)
        },
        async |client| {
            let devices = ["door", "toaster", "camera"].map(str::to_owned).to_vec();
            let site = client.start(SET_UP_SITE, devices).instance_id("site-1").await?;
            let set_up = site.result().within(Duration::from_secs(60)).await?;
            println!("{set_up:?}");
            support::expect(
                set_up,
                ["door.local", "failed: a toaster has no network", "camera.local"].map(str::to_owned).to_vec(),
            )?;
            for child in ["site-1-door", "site-1-toaster", "site-1-camera"] {
                let child = client.instance(child).wait().within(Duration::from_secs(30)).await?;
                println!("{:16} {}", child.instance_id, child.status);
            }
            // The site may have ended before the audit began, so its row need not be there yet.
            let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
            let audit = client.instance_of(AUDIT, "site-1-audit");
            let is_missing = |status: Result<_, taskhub::Error>| status.is_err_and(|error| error.kind() == ErrorKind::NotFound);
            while is_missing(audit.status().await) && tokio::time::Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            audit.result().within(Duration::from_secs(30)).await?;
            println!("{:16} {}", audit.id(), audit.status().await?.status);
            Ok(())
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use taskhub::testing::TestHost;

    use super::*;

    #[tokio::test]
    async fn a_device_that_fails_is_reported_and_audited() {
        let host = TestHost::builder(|worker| worker.orchestrator(SET_UP_SITE, set_up_site))
            .on(SET_UP_DEVICE, |_, device| match device.as_str() {
                "toaster" => Err(Failure::new("Unsupported", "a toaster has no network")),
                _ => Ok(format!("{device}.local")),
            })
            .on(AUDIT, |_, _| Ok(()))
            .start()
            .await;
        let devices = ["door", "toaster"].map(str::to_owned).to_vec();
        let report = ["door.local", "failed: a toaster has no network"].map(str::to_owned).to_vec();
        assert_eq!(host.run(SET_UP_SITE, &devices).await.unwrap(), report);
        assert_eq!(host.calls(SET_UP_DEVICE), devices);
        assert_eq!(host.calls(AUDIT), [report]);
    }

    #[tokio::test]
    async fn a_device_is_provisioned() {
        let host = TestHost::builder(|worker| worker.orchestrator(SET_UP_DEVICE, set_up_device).activity(PROVISION, provision));
        assert_eq!(host.start().await.run(SET_UP_DEVICE, "door").await.unwrap(), "door.local");
    }
}
