//! Ids that are asked for while their instances have not ended, and events in order across generations, on a real storage service.

use std::time::Duration;

use taskhub::{Client, Clock, ErrorKind, Event, Failure, OrchestrationContext, Orchestrator, RuntimeStatus, TaskHub, Worker};
use tokio::time::sleep;

use super::harness::{azurite, unique_hub_name};

const HOLD: Orchestrator<(), String> = Orchestrator::new("Hold");
const ASK: Orchestrator<(bool, String), String> = Orchestrator::new("Ask");
const TAKE: Orchestrator<Vec<usize>, Vec<usize>> = Orchestrator::new("Take");
const NOTE: Event<String> = Event::new("note");
const NEWS: Event<(usize, String)> = Event::new("news");
/// More than a transaction holds, after the first of two workers too.
const EVENTS: usize = 150;
const PATIENCE: Duration = Duration::from_secs(180);

async fn hold(ctx: OrchestrationContext, (): ()) -> Result<String, Failure> {
    Ok(ctx.wait_for_event(NOTE).await)
}

/// Asks for a child with this id, or leaves one to itself.
async fn ask(ctx: OrchestrationContext, (waits, id): (bool, String)) -> Result<String, Failure> {
    if !waits {
        ctx.start_orchestration(HOLD, ()).instance_id(id);
        return Ok("left".to_owned());
    }
    Ok(ctx.call(HOLD, ()).instance_id(id).await.unwrap_or_else(|failed| failed.details().error_type.clone()))
}

/// Ten events a generation, with a pause in front of them.
async fn take(ctx: OrchestrationContext, mut taken: Vec<usize>) -> Result<Vec<usize>, Failure> {
    ctx.timer(Duration::from_millis(if taken.is_empty() { 5000 } else { 200 })).await;
    for _ in 0..10 {
        taken.push(ctx.wait_for_event(NEWS).await.0);
    }
    if taken.len() == EVENTS { Ok(taken) } else { ctx.continue_as_new(TAKE, taken) }
}

async fn with_worker<T>(hub: &TaskHub, acting: impl Future<Output = T>) -> T {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = Worker::builder(hub).orchestrator(HOLD, hold).orchestrator(ASK, ask).orchestrator(TAKE, take);
    let running = worker.max_poll_interval(Duration::from_millis(250)).run(async { drop(stopped.await) });
    let acting = async {
        let result = acting.await;
        drop(stop);
        result
    };
    let (ran, result) = tokio::join!(running, acting);
    ran.unwrap();
    result
}

async fn output(client: &Client, id: &str) -> String {
    client.instance_of(HOLD, id).result().within(PATIENCE).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_has_not_ended_keeps_its_id() {
    let hub = TaskHub::builder(azurite().storage(), unique_hub_name("clashes")).partitions(2).open().await.unwrap();
    let client = Client::new(&hub);
    with_worker(&hub, async {
        let soon = Clock::system().now().plus(Duration::from_secs(20));
        client.start(HOLD, ()).instance_id("running").await.unwrap();
        client.start(HOLD, ()).instance_id("suspended").await.unwrap();
        client.start(HOLD, ()).instance_id("scheduled").at(soon).await.unwrap();
        let parent = client.start(ASK, (true, "child".to_owned())).await.unwrap();
        sleep(Duration::from_secs(3)).await;
        client.instance("suspended").suspend("for now").await.unwrap();
        sleep(Duration::from_secs(2)).await;
        let all = ["running", "suspended", "scheduled", "child"];
        for id in all {
            let before = client.instance(id).status().await.unwrap().execution_id;
            for waits in [true, false] {
                let asking = client.start(ASK, (waits, id.to_owned())).await.unwrap();
                let told = output(&client, asking.id()).await;
                assert_eq!(told, if waits { "InstanceIdInUse" } else { "left" }, "{id}");
            }
            let refused = client.start(HOLD, ()).instance_id(id).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{id}");
            sleep(Duration::from_secs(1)).await;
            assert_eq!(client.instance(id).status().await.unwrap().execution_id, before, "{id}");
        }
        client.instance("suspended").resume("go on").await.unwrap();
        for id in all {
            client.instance(id).raise(NOTE, format!("for {id}")).await.unwrap();
            assert_eq!(output(&client, id).await, format!("for {id}"));
        }
        assert_eq!(output(&client, parent.id()).await, "for child");
        // What has ended gives its id away.
        let asking = client.start(ASK, (true, "running".to_owned())).await.unwrap();
        while client.instance("running").status().await.unwrap().status != RuntimeStatus::Running {
            sleep(Duration::from_millis(100)).await;
        }
        client.instance("running").raise(NOTE, "again").await.unwrap();
        assert_eq!(output(&client, asking.id()).await, "again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_keep_their_order_across_generations_and_workers() {
    let hub = TaskHub::builder(azurite().storage(), unique_hub_name("order")).partitions(1).open().await.unwrap();
    let client = Client::new(&hub);
    let taking = client.start(TAKE, Vec::<usize>::new()).await.unwrap();
    let raise = async |number: usize| {
        // Some bodies go to blobs.
        let text = "x".repeat(if number % 40 == 7 { 60_000 } else { number });
        taking.raise(NEWS, (number, text)).await.unwrap();
    };
    with_worker(&hub, async {
        for number in 0..EVENTS / 2 {
            raise(number).await;
        }
        sleep(Duration::from_secs(6)).await;
    })
    .await;
    with_worker(&hub, async {
        for number in EVENTS / 2..EVENTS {
            raise(number).await;
        }
        let taken = taking.result().within(PATIENCE).await.unwrap();
        assert_eq!(taken, (0..EVENTS).collect::<Vec<_>>());
    })
    .await;
}
