//! `taskhub rewind`, `terminate --recursive`, `wait --custom-status`, `start --replace` and the filters of `list`, on Azurite.

use std::time::Duration;

use serde_json::{Value, json};
use taskhub::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator, TaskHub, Worker};

use super::World;
use crate::harness::azurite;

const PARENT: Orchestrator<Value, String> = Orchestrator::new("Parent");
const CHILD: Orchestrator<Value, String> = Orchestrator::new("Child");
const FLAKY: Activity<String, String> = Activity::new("Flaky");
const GO: Event<String> = Event::new("go");

/// Fails the first time for each instance.
fn flaky() -> impl Fn(ActivityContext, String) -> std::future::Ready<Result<String, Failure>> + Send + Sync + 'static {
    let seen = std::sync::Mutex::new(Vec::new());
    move |_, id| {
        let mut seen = seen.lock().expect("nobody panics with it");
        let is_first = !seen.contains(&id);
        seen.push(id);
        std::future::ready(if is_first { Err(Failure::new("Flaky", "the first time")) } else { Ok("done".to_owned()) })
    }
}

async fn child(ctx: OrchestrationContext, _: Value) -> Result<String, Failure> {
    let done = ctx.call(FLAKY, ctx.instance_id()).await?;
    ctx.set_custom_status("waits");
    Ok(format!("{done} {}", ctx.wait_for_event(GO).await))
}

async fn with_worker<T>(world: &World, user: impl Future<Output = T>) -> T {
    let hub = TaskHub::builder(azurite().storage(), &world.hub).partitions(1).open().await.expect("a hub");
    let worker = Worker::builder(&hub)
        .max_poll_interval(Duration::from_millis(200))
        .activity(FLAKY, flaky())
        .orchestrator(CHILD, child)
        .orchestrator(PARENT, async |ctx, _: Value| {
            Ok(ctx.call(CHILD, Value::Null).instance_id(format!("{}-c", ctx.instance_id())).await?)
        });
    let mut result = None;
    worker.run(async { result = Some(user.await) }).await.expect("the worker runs");
    result.expect("the user came to the end")
}

#[tokio::test]
async fn an_instance_is_rewound_watched_listed_and_ended_with_its_sub_orchestrations() {
    let world = World::new();
    with_worker(&world, async {
        world.run(&["start", "Parent", "--id", "p", "--tag", "customer=7"]).await.ok();
        assert_eq!(world.run(&["wait", "p"]).await.code, 6);
        let rewound = world.json(&["rewind", "p", "--reason", "mended"]).await;
        assert_eq!(rewound, json!({ "instanceId": "p", "rewoundInstanceCount": 2, "reason": "mended" }));
        let waits = world.run(&["wait", "p-c", "--custom-status", "waits", "--timeout", "1m"]).await.waited();
        assert!(waits.contains("Custom status  \"waits\""), "{waits}");
        world.run(&["rewind", "p"]).await.failed(4, "only an instance that is Failed can be rewound");
        world.run(&["wait", "p-c", "--custom-status", "\"other\"", "--timeout", "1s"]).await.failed(7, "is still Running");

        let listed = world.json(&["list", "--tag", "customer=7", "--newest"]).await;
        let ids: Vec<_> = listed["instances"].as_array().expect("a list").iter().map(|i| i["instanceId"].clone()).collect();
        assert_eq!(ids, ["p-c", "p"], "the child has inherited the tag, and is younger");
        world.run(&["list", "--tag", "customer"]).await.failed(2, "such as customer=7");

        let said = world.run(&["terminate", "p", "--recursive", "--reason", "enough"]).await.ok();
        assert_eq!(said, "Instance \"p\" and its sub-orchestrations will be terminated as soon as a worker sees it.\n");
        for id in ["p", "p-c"] {
            world.until(&["show", id], |i| i["runtimeStatus"] == "Terminated" && i["output"] == "enough").await;
        }
        world.run(&["terminate", "p", "--recursive"]).await.failed(5, "is Terminated already");
        world.run(&["rewind", "p"]).await.failed(5, "is Terminated; only an instance that is Failed can be rewound");
        world.run(&["rewind", "nobody"]).await.failed(3, "there is no instance \"nobody\"");

        world.run(&["start", "Child", "--id", "busy", "null"]).await.ok();
        world.run(&["wait", "busy"]).await;
        world.run(&["restart", "busy"]).await.ok();
        world.run(&["wait", "busy", "--custom-status", "waits"]).await.waited();
        world.run(&["start", "Child", "--id", "busy"]).await.failed(4, "--replace");
        world.run(&["start", "Child", "--id", "busy", "--replace"]).await.ok();
        assert_eq!(world.json(&["show", "busy"]).await["generation"], 2);
        world.run(&["start", "Child", "--id", "later", "--after", "40d"]).await.ok();
        assert_eq!(world.json(&["show", "later"]).await["runtimeStatus"], "Pending");
        let history = world.json(&["history", "p", "--inputs"]).await;
        assert_eq!(history["events"][2]["childInstanceId"], "p-c");
    })
    .await;
}
