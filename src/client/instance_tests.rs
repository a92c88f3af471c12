//! Handles of instances on the memory store: what they are typed by, and how a result tells that there is none.

use std::time::Duration;

use super::Client;
use crate::clock::Clock;
use crate::model::{RuntimeStatus, Timestamp};
use crate::rng::Rng;
use crate::storage::memory::Memory;
use crate::{
    Activity, ActivityContext, ErrorKind, Event, Failure, OrchestrationContext, Orchestrator, RawValue, TaskHub, Worker,
};

const CHARGE: Activity<u32, String> = Activity::new("Charge");
const PAY: Orchestrator<u32, String> = Orchestrator::new("Pay");
const FULFIL: Orchestrator<u32, (String, bool)> = Orchestrator::new("Fulfil");
const APPROVAL: Event<bool> = Event::new("Approval");
const LIMIT: Duration = Duration::from_secs(600);

async fn fulfil(ctx: OrchestrationContext, cents: u32) -> Result<(String, bool), Failure> {
    ctx.set_custom_status(&[cents]);
    let approved = ctx.wait_for_event(APPROVAL).await;
    Ok((ctx.call(PAY, cents).await?, approved))
}

async fn pay(ctx: OrchestrationContext, cents: u32) -> Result<String, Failure> {
    Ok(ctx.call(CHARGE, cents).await?)
}

async fn charge(_: ActivityContext, cents: u32) -> Result<String, Failure> {
    if cents == 0 { Err(Failure::new("CardDeclined", "no money").property("cents", cents)) } else { Ok(format!("{cents} paid")) }
}

async fn beside_worker(acting: impl AsyncFnOnce(Client)) {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let memory = Memory::new(clock.clone(), Rng::seeded(1));
    let hub = TaskHub::builder(memory.storage(), "Test").clock(clock).rng(Rng::seeded(2)).open().await.unwrap();
    let worker = Worker::builder(&hub).orchestrator(FULFIL, fulfil).orchestrator(PAY, pay).activity(CHARGE, charge);
    worker.run(acting(Client::new(&hub))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handle_is_typed_by_the_orchestrator_and_takes_everything_that_an_instance_can_be_told() {
    beside_worker(async |client| {
        let order = client.start(FULFIL, 7).instance_id("order").await.unwrap();
        assert_eq!((order.id(), order.to_string().as_str()), ("order", "order"));
        assert_eq!(order.result().within(Duration::ZERO).await.unwrap_err().kind(), ErrorKind::Timeout);
        order.suspend("for now").await.unwrap();
        order.resume("go on").await.unwrap();
        // The same instance by its id alone, typed again or not.
        client.instance("order").raise(APPROVAL, true).await.unwrap();
        let paid: (String, bool) = order.result().within(LIMIT).await.unwrap();
        assert_eq!(paid, ("7 paid".to_owned(), true));
        assert_eq!(client.instance_of(FULFIL, "order").result().await.unwrap(), paid);
        assert_eq!(client.instance("order").result().await.unwrap(), serde_json::json!(["7 paid", true]));

        let status = order.status().await.unwrap();
        assert_eq!((status.input::<u32>().unwrap(), status.custom_status::<[u32; 1]>().unwrap()), (7, [7]));
        assert_eq!((status.failure(), order.failure().await.unwrap()), (None, None));
        let misfit = status.input::<bool>().unwrap_err();
        assert!(misfit.kind() == ErrorKind::Invalid && misfit.to_string().contains("input of instance \"order\""), "{misfit}");
        assert!(order.history().await.unwrap().len() > 5);
        assert_eq!(order.raise(APPROVAL, true).await.unwrap_err().kind(), ErrorKind::Ended);
        assert_eq!(client.instance("nobody").status().await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(client.instance("nobody").result().await.unwrap_err().kind(), ErrorKind::NotFound);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_result_that_there_is_not_is_an_error_with_the_failure_behind_it() {
    beside_worker(async |client| {
        let order = client.start(FULFIL, 0).instance_id("order").await.unwrap();
        order.raise(APPROVAL, false).await.unwrap();
        let failed = order.result().within(LIMIT).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Failed);
        let words = "instance \"order\" failed: CardDeclined: no money (task \"Charge\" #0 of sub-orchestration \"Pay\" #0)";
        assert_eq!(failed.to_string(), words);
        // What a main prints that returns it.
        assert_eq!(format!("{failed:?}"), words);
        let cause = failed.failure().unwrap().root_cause();
        assert_eq!((cause.error_type.as_str(), cause.error_message.as_str()), ("CardDeclined", "no money"));
        assert!(cause.properties.is_some());

        assert_eq!(order.failure().await.unwrap().as_ref(), failed.failure());

        // The row has less, and has it as .NET writes it.
        let status = order.wait().await.unwrap();
        let column = "DurableTask.Core.Exceptions.SubOrchestrationFailedException: Task 'Pay' (#0) failed with an unhandled exception: \
                      Task 'Charge' (#0) failed with an unhandled exception: no money";
        assert_eq!(status.output.as_deref(), Some(column));
        let shown = status.failure().unwrap();
        assert!(shown.error_type.ends_with("SubOrchestrationFailedException"), "{shown}");
        assert_eq!(shown.to_string(), "no money (task \"Charge\" #0 of sub-orchestration \"Pay\" #0)");
        assert_eq!(status.output::<String>().unwrap_err().kind(), ErrorKind::Failed);

        let other = client.start(FULFIL, 1).await.unwrap();
        other.terminate("enough").await.unwrap();
        let terminated = other.result().within(LIMIT).await.unwrap_err();
        assert_eq!(terminated.kind(), ErrorKind::Terminated);
        assert!(terminated.to_string().ends_with("is Terminated: enough"), "{terminated}");
        assert_eq!(other.status().await.unwrap().status, RuntimeStatus::Terminated);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn json_text_is_sent_as_it_is() {
    beside_worker(async |client| {
        let raw = RawValue::from_string("{ \"a\" : 1.0, \"a\": 123456789012345678901234567890 }".to_owned()).unwrap();
        let nobody = client.start_named("Nobody", &raw).await.unwrap();
        assert_eq!(nobody.status().await.unwrap().input.as_deref(), Some(raw.get()));
        let null = client.start_named("Nobody", None::<Box<RawValue>>).await.unwrap();
        assert_eq!(null.status().await.unwrap().input, None);
        let order = client.start(FULFIL, 3).await.unwrap();
        order.raise_named("approval", RawValue::from_string("true".to_owned()).unwrap()).await.unwrap();
        assert_eq!(order.result().within(LIMIT).await.unwrap(), ("3 paid".to_owned(), true));
    })
    .await;
}
