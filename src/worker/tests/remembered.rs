//! What an execution has applied is remembered by the next one: the twin of an event is dropped, however late it comes.

use std::time::Duration;

use super::harness::hub;
use crate::authoring::{Event, Failure, OrchestrationContext, Orchestrator};
use crate::sabotage::{self, Sabotage};
use crate::{Client, Worker};

const TAKE: Orchestrator<Vec<String>, Vec<String>> = Orchestrator::new("Take");
const GO: Event<String> = Event::new("go");
const MINUTE: Duration = Duration::from_secs(60);

/// Takes one event in each generation, until none has come for a minute.
async fn take(ctx: OrchestrationContext, mut taken: Vec<String>) -> Result<Vec<String>, Failure> {
    match ctx.wait_for_event(GO).within(MINUTE).await {
        Ok(event) => {
            taken.push(event);
            ctx.continue_as_new(TAKE, taken)
        }
        Err(_) => Ok(taken),
    }
}

/// What an instance takes of an event whose twin comes when another generation has begun.
async fn taken() -> Vec<String> {
    let hub = hub().await;
    let client = Client::new(&hub);
    let worker = || Worker::builder(&hub).orchestrator(TAKE, take).max_poll_interval(Duration::from_secs(1));
    let instance = client.start(TAKE, Vec::new()).instance_id("i").await.unwrap();
    worker().run(tokio::time::sleep(Duration::from_secs(5))).await.unwrap();
    instance.raise(GO, "once").await.unwrap();
    let (queues, queue) = (&hub.0.storage.queues, hub.0.queues.name(hub.0.queues.of_instance("i")));
    let event = queues.peek(queue, 32).await.unwrap().remove(0).text;
    worker().run(tokio::time::sleep(Duration::from_secs(5))).await.unwrap();
    assert_eq!(
        client.status("i").await.unwrap().unwrap().input::<Vec<String>>().unwrap(),
        ["once"],
        "another generation has begun"
    );
    queues.put(queue, &event, Duration::ZERO).await.unwrap();
    let result = async { instance.result().within(10 * MINUTE).await.unwrap() };
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let (ran, ()) = tokio::join!(worker().run(async { drop(stopped.await) }), async { drop(stop.send(result.await)) });
    ran.unwrap();
    client.status("i").await.unwrap().unwrap().output().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_twin_of_an_event_that_an_earlier_generation_has_taken_is_dropped() {
    assert_eq!(taken().await, ["once"]);
    // Without the rule it would be taken again.
    sabotage::set(Some(Sabotage::AppliedForgotten));
    let doubled = taken().await;
    sabotage::set(None);
    assert_eq!(doubled, ["once", "once"]);
}
