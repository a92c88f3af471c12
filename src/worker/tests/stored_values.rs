//! What a user stores is what is read, at the ends of every range, on the memory store under paused time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::harness::hub;
use crate::authoring::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator};
use crate::model::{RuntimeStatus, Timestamp};
use crate::{Client, InstanceStatus, TaskHub, Worker};

const DUE: Orchestrator<i64, String> = Orchestrator::new("Due");
const FOR_EVER: Orchestrator<(), String> = Orchestrator::new("ForEver");
const SHAPES: Orchestrator<Shape, Shape> = Orchestrator::new("Shapes");
const TEXTS: Orchestrator<String, (String, String)> = Orchestrator::new("Texts");
const SAME: Activity<Shape, Shape> = Activity::new("Same");
const CUT: Activity<String, Box<RawValue>> = Activity::new("Cut");
const GO: Event<String> = Event::new("go");

/// JSON of a text that JavaScript has cut within an emoji.
const HALF: &str = r#""ab\ud83d""#;
const WHOLE: &str = "ab\u{fffd}";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "$type")]
enum Shape {
    Circle { radius: u64 },
    Group { shapes: BTreeMap<String, Self> },
}

async fn due(ctx: OrchestrationContext, ticks: i64) -> Result<String, Failure> {
    ctx.timer_until(Timestamp::from_ticks(ticks)).await;
    Ok(ctx.now().to_string())
}

/// Waits for an event as long as there is time, and once more, so that the history is read again.
async fn for_ever(ctx: OrchestrationContext, (): ()) -> Result<String, Failure> {
    let first = ctx.wait_for_event(GO).within(Duration::MAX).await.map_err(|e| Failure::of("Elapsed", &e))?;
    let second = ctx.wait_for_event(GO).within(Duration::MAX).await.map_err(|e| Failure::of("Elapsed", &e))?;
    Ok(first + &second)
}

async fn shapes(ctx: OrchestrationContext, shape: Shape) -> Result<Shape, Failure> {
    ctx.set_custom_status(&shape);
    Ok(ctx.call(SAME, shape).await?)
}

async fn texts(ctx: OrchestrationContext, input: String) -> Result<(String, String), Failure> {
    let event = ctx.wait_for_event(GO).await;
    let result: String = serde_json::from_str(ctx.call(CUT, input.clone()).await?.get())?;
    Ok((input + &event, result))
}

fn worker(hub: &TaskHub) -> Worker {
    let cut = async |_: ActivityContext, _: String| Ok(RawValue::from_string(HALF.to_owned())?);
    Worker::builder(hub)
        .orchestrator(DUE, due)
        .orchestrator(FOR_EVER, for_ever)
        .orchestrator(SHAPES, shapes)
        .orchestrator(TEXTS, texts)
        .activity(SAME, async |_: ActivityContext, shape: Shape| Ok(shape))
        .activity(CUT, cut)
        .build()
        .unwrap()
}

/// Runs a worker for that time.
async fn work_for(hub: &TaskHub, time: Duration) {
    worker(hub).run(tokio::time::sleep(time)).await.unwrap();
}

async fn shown(hub: &TaskHub, id: &str) -> InstanceStatus {
    Client::new(hub).status(id).await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_was_due_before_all_history_is_due_at_once() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let earliest_in_a_row = Timestamp::parse("1601-01-01T00:00:00Z").unwrap();
    for (id, due) in [("min", Timestamp::MIN), ("early", earliest_in_a_row.plus_ticks(-1)), ("over", Timestamp::UNIX_EPOCH)] {
        client.start(DUE, due.ticks()).instance_id(id).at(due).await.unwrap();
    }
    work_for(&hub, Duration::from_secs(5)).await;
    for id in ["min", "early", "over"] {
        let status = shown(&hub, id).await;
        assert_eq!(status.status, RuntimeStatus::Completed, "{id}: {:?}", status.output);
        assert!(status.scheduled_start.unwrap() >= earliest_in_a_row);
    }
    assert_eq!(client.poison().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_timer_to_the_last_tick_is_read_again_by_the_next_worker() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let id = client.start(FOR_EVER, ()).await.unwrap();
    let never = client.start(DUE, Timestamp::MAX.ticks()).await.unwrap();
    for event in ["a", "b"] {
        work_for(&hub, Duration::from_secs(5)).await;
        client.raise(&id, GO, &event.to_owned()).await.unwrap();
    }
    work_for(&hub, Duration::from_secs(5)).await;
    assert_eq!(shown(&hub, id.id()).await.output::<String>().unwrap(), "ab");
    assert_eq!(shown(&hub, never.id()).await.status, RuntimeStatus::Running);
    assert_eq!(client.poison().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_start_beyond_what_a_queue_hides_comes_at_its_time() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let at = hub.0.now().plus(days(15));
    let id = client.start(DUE, Timestamp::MIN.ticks()).at(at).await.unwrap();
    // Workers come and go, so that the test need not live through every poll.
    for pause in [days(7), days(7)] {
        tokio::time::sleep(pause).await;
        work_for(&hub, Duration::from_secs(60)).await;
        assert_eq!(shown(&hub, id.id()).await.status, RuntimeStatus::Pending);
    }
    tokio::time::sleep(days(1)).await;
    work_for(&hub, Duration::from_secs(60)).await;
    let status = shown(&hub, id.id()).await;
    assert!(status.output::<String>().unwrap() >= at.to_string(), "{status:?}");
    assert_eq!(status.scheduled_start, Some(at));
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_has_the_name_of_dotnets_types_is_kept_everywhere() {
    let hub = hub().await;
    let group = |shape| Shape::Group { shapes: BTreeMap::from([("a".to_owned(), shape)]) };
    let shape = group(group(Shape::Circle { radius: u64::MAX }));
    let id = Client::new(&hub).start(SHAPES, &shape).await.unwrap();
    work_for(&hub, Duration::from_secs(5)).await;
    let status = shown(&hub, id.id()).await;
    assert_eq!(status.output::<Shape>().unwrap(), shape);
    assert_eq!(status.custom_status, Some(serde_json::to_string(&shape).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn half_an_emoji_is_replaced_in_inputs_events_and_results() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let id = client.start_json("Texts", Some(HALF.to_owned())).await.unwrap();
    client.raise_json(&id, "go", Some(HALF.to_owned())).await.unwrap();
    work_for(&hub, Duration::from_secs(5)).await;
    let status = shown(&hub, id.id()).await;
    assert_eq!(status.output::<(String, String)>().unwrap(), (WHOLE.repeat(2), WHOLE.to_owned()));
}
