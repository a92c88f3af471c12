//! Workers with a version of their own: which instances they take, and what becomes of the others.

use super::*;
use crate::authoring::VersionMatch;

const CHILD: Orchestrator<(), String> = Orchestrator::new("Child");
const FAMILY: Orchestrator<(), String> = Orchestrator::new("Family");

async fn version(ctx: OrchestrationContext, (): ()) -> Result<String, Failure> {
    Ok(ctx.version().unwrap_or("none").to_owned())
}

fn versioned(worker: WorkerBuilder, own: &str) -> WorkerBuilder {
    worker.version(own).orchestrator(O, version).orchestrator(CHILD, version).orchestrator(FAMILY, async |ctx, ()| {
        let own = ctx.call(CHILD, ()).await?;
        let named = ctx.call(CHILD, ()).version("1.1").await?;
        Ok(format!("{own} {named} {}", ctx.call(CHILD, ()).version("").await?))
    })
}

/// Which of these versions end on a worker that is alone, as what they are, and which wait.
async fn ending(build: Build) -> Vec<&'static str> {
    let world = World::new(1).await;
    let worker = world.run("w", build);
    let all = ["", "1.0", "1.1", "1.1.0", "2.0"];
    for version in all {
        world.start(&format!("v{version}"), version).await;
    }
    tokio::time::sleep(MINUTE).await;
    let mut ended = Vec::new();
    for version in all {
        let status = world.status(&format!("v{version}")).await;
        if status.status == RuntimeStatus::Completed {
            let shown = if version.is_empty() { "none" } else { version };
            assert_eq!(status.output::<String>().unwrap(), shown);
            ended.push(version);
        } else {
            assert_eq!(status.status, RuntimeStatus::Pending, "{version}");
        }
    }
    worker.stop().await;
    ended
}

#[tokio::test(start_paused = true)]
async fn a_worker_takes_the_versions_that_its_strategy_says_and_leaves_the_others() {
    assert_eq!(ending(|worker| worker.orchestrator(O, version)).await, [""]);
    assert_eq!(ending(|worker| versioned(worker, "1.1")).await, ["", "1.0", "1.1"]);
    assert_eq!(ending(|worker| versioned(worker, "1.1").takes_versions(VersionMatch::Strict)).await, ["1.1"]);
    let any = |worker| versioned(worker, "1.1").takes_versions(VersionMatch::Any);
    assert_eq!(ending(any).await, ["", "1.0", "1.1", "1.1.0", "2.0"]);
    let both = |worker| versioned(worker, "1.1").takes_versions(VersionMatch::Strict).orchestrator_version(O, "2.0", version);
    assert_eq!(ending(both).await, ["1.1", "2.0"], "an exact registration goes before");
    let rest = |worker| versioned(worker, "1.1").takes_versions(VersionMatch::Strict).orchestrator_fallback(O, version);
    assert_eq!(ending(rest).await, ["", "1.0", "1.1", "1.1.0", "2.0"], "a fallback takes the rest");
}

#[tokio::test(start_paused = true)]
async fn what_one_worker_leaves_another_takes_and_nobody_fails_it_meanwhile() {
    let world = World::new(1).await;
    let old = world.run("old", |worker| versioned(worker, "1.1"));
    world.start("newer", "2.0").await;
    tokio::time::sleep(9 * MINUTE).await;
    let awaited = world.client.awaited().await.unwrap();
    assert_eq!((awaited[0].kind, awaited[0].version.as_deref()), (AwaitedKind::Orchestrator, Some("2.0")));
    old.stop().await;
    let new = world.run("new", |worker| versioned(worker, "2.0"));
    assert_eq!(world.output("newer").await, "2.0");
    new.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_of_another_version_fails_where_that_is_wanted_also_one_that_has_begun() {
    let world = World::new(1).await;
    let new = world.run("new", |worker| worker.version("2.0").orchestrator(WAIT, wait));
    world.client.start(WAIT, 1).version("2.0").instance_id("begun").await.unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(world.status("begun").await.status, RuntimeStatus::Running);
    new.stop().await;
    let fails = |worker: WorkerBuilder| worker.version("1.0").orchestrator(WAIT, wait).fail_other_versions();
    let old = world.run("old", fails);
    world.client.start(WAIT, 1).version("2.0").instance_id("new").await.unwrap();
    world.client.raise("begun", GO, &"go".to_owned()).await.unwrap();
    for id in ["begun", "new"] {
        let ended = world.client.wait(id, 2 * MINUTE).await.unwrap();
        assert_eq!(
            ended.failure().unwrap().to_string(),
            "VersionMismatch: An instance of the orchestrator \"Wait\" has version \"2.0\". This worker is version \"1.0\" and takes that one and \
             older ones."
        );
    }
    // What is missing altogether waits all the same.
    world.start("other", "1.0").await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(world.status("other").await.status, RuntimeStatus::Pending);
    old.stop().await;
}

#[tokio::test(start_paused = true)]
async fn children_have_the_version_of_the_worker_and_starts_that_of_their_client() {
    let world = World::new(1).await;
    let worker = world.run("w", |worker| versioned(worker, "1.5"));
    let client = world.client.clone().default_version("1.2");
    let family = client.start(FAMILY, ()).await.unwrap();
    assert_eq!(family.result().await.unwrap(), "1.5 1.1 none");
    assert_eq!(family.status().await.unwrap().version.as_deref(), Some("1.2"));
    assert_eq!(client.start(O, ()).version("").await.unwrap().result().await.unwrap(), "none");
    worker.stop().await;
}
