//! External events and races.

use std::time::Duration;

use futures::future::{Either, join, select, select_all};
use proptest::prelude::*;

use super::play::{Play, done, failed, fired, raised, resumed, start, sub_done, suspended, terminated};
use crate::authoring::{Activity, Elapsed, Event, Failure, OrchestrationContext, Orchestrator, Registry};
use crate::model::EventKind;
use crate::replay::RetryPolicy;

const HELLO: Activity<String, String> = Activity::new("Hello");
const CHILD: Orchestrator<u64, u64> = Orchestrator::new("Child");
const MAIN: Orchestrator<u64, String> = Orchestrator::new("Main");
const ITEM: Event<u64> = Event::new("item");
const GO: Event<serde_json::Value> = Event::new("go");
const NOTHING: [&str; 0] = [];

fn play<R>(code: impl Fn(OrchestrationContext, u64) -> R + Send + Sync + 'static) -> Play
where
    R: Future<Output = Result<String, Failure>> + 'static,
{
    Play::new(Registry::builder().orchestrator(MAIN, code))
}

#[test]
fn events_are_buffered_in_order_and_names_ignore_case() {
    let mut play = play(async |ctx: OrchestrationContext, _| {
        ctx.timer(Duration::from_secs(1)).await;
        let first = ctx.wait_for_event(ITEM).await;
        let (second, third) = join(ctx.wait_for_event(ITEM), ctx.wait_for_event(ITEM)).await;
        Ok(format!("{first} {second} {third}"))
    });
    assert_eq!(play.turn([start("Main", Some("0")), raised("ITEM", "1")]), ["#0 timer 1s"]);
    assert_eq!(play.turn([raised("Item", "2"), raised("other", "9")]), NOTHING);
    assert_eq!(play.turn([fired(0)]), NOTHING);
    assert_eq!(play.turn([raised("item", "3")]), ["completed \"1 2 3\""]);
}

#[test]
fn a_dropped_wait_takes_no_event_with_it() {
    let mut play = play(async |ctx: OrchestrationContext, _| {
        let lost = ctx.wait_for_event(ITEM);
        let unseen = ctx.wait_for_event(ITEM);
        drop(lost);
        let kept = ctx.wait_for_event(ITEM);
        ctx.timer(Duration::ZERO).await;
        // `unseen` has the first event by now, but nobody looked.
        drop(unseen);
        let last = ctx.wait_for_event(ITEM);
        let (kept, last) = (kept.await, last.await);
        Ok(format!("{kept} {last}"))
    });
    play.start("Main", Some("0"));
    assert_eq!(play.turn([raised("item", "1"), raised("item", "2"), fired(0)]), ["completed \"2 1\""]);
}

#[test]
fn a_wait_has_a_limit() {
    async fn limited(ctx: OrchestrationContext, _: u64) -> Result<String, Failure> {
        Ok(match ctx.wait_for_event(ITEM).within(Duration::from_secs(60)).await {
            Ok(item) => item.to_string(),
            Err(Elapsed) => "elapsed".to_owned(),
        })
    }
    for (first, second, end) in [(raised("item", "1"), fired(0), "1"), (fired(0), raised("item", "1"), "elapsed")] {
        let mut play = play(limited);
        assert_eq!(play.start("Main", Some("0")), ["#0 timer 60s"]);
        assert_eq!(play.turn([first, second]), [format!("completed \"{end}\"")]);
    }
}

/// What comes next depends on which came first.
async fn race(ctx: OrchestrationContext, _: u64) -> Result<String, Failure> {
    match select(ctx.wait_for_event(GO), ctx.call(HELLO, "a")).await {
        Either::Left((payload, _)) => Ok(payload.to_string()),
        Either::Right((hello, _)) => Ok(ctx.call(HELLO, &hello?).await?),
    }
}

#[test]
fn races_follow_the_order_of_history() {
    let mut event = play(race);
    event.start("Main", Some("0"));
    assert_eq!(event.turn([raised("go", "[1]"), done(0, "\"A\"")]), ["completed \"[1]\""]);
    let mut activity = play(race);
    activity.start("Main", Some("0"));
    assert_eq!(activity.turn([done(0, "\"A\""), raised("go", "1")]), ["#1 Hello([\"A\"])"]);
    assert_eq!(activity.turn([done(1, "\"B\"")]), ["completed \"B\""]);
}

#[test]
fn the_first_of_many_wins() {
    let mut play = play(async |ctx: OrchestrationContext, n: u64| {
        let (_, index, _) = select_all((1..=n).map(|i| ctx.timer(Duration::from_secs(i)))).await;
        Ok(index.to_string())
    });
    assert_eq!(play.start("Main", Some("50")).len(), 50);
    assert_eq!(play.turn([fired(33), fired(2)]), ["completed \"33\""]);
}

#[test]
fn a_retry_advances_though_nobody_polls_it_and_stops_when_it_is_dropped() {
    let mut play = play(async |ctx: OrchestrationContext, _| {
        let call = ctx.call(HELLO, "x").retry(RetryPolicy::fixed(5, Duration::from_secs(3)));
        let dropped = ctx.call(HELLO, "y").retry(RetryPolicy::fixed(5, Duration::from_secs(3)));
        ctx.wait_for_event(ITEM).await;
        drop(dropped);
        ctx.wait_for_event(ITEM).await;
        Ok(call.await?)
    });
    play.start("Main", Some("0"));
    assert_eq!(play.turn([failed(0, "one")]), ["#2 timer 3s"]);
    assert_eq!(play.turn([fired(2)]), ["#3 Hello([\"x\"])"]);
    assert_eq!(play.turn([raised("item", "1"), failed(1, "one")]), NOTHING);
    assert_eq!(play.turn([done(3, "\"X\"")]), NOTHING);
    assert_eq!(play.turn([raised("item", "2")]), ["completed \"X\""]);
}

/// A bit of everything.
async fn everything(ctx: OrchestrationContext, _: u64) -> Result<String, Failure> {
    ctx.set_custom_status("started");
    let retry = RetryPolicy::exponential(3, Duration::from_secs(1)).timeout(Duration::from_secs(5));
    let calls = join(ctx.call(HELLO, "a").retry(retry.clone()), ctx.call(CHILD, 1).retry(retry));
    let (item, (hello, child)) = join(ctx.wait_for_event(ITEM).within(Duration::from_secs(9)), calls).await;
    match select(ctx.wait_for_event(ITEM), ctx.timer(Duration::from_secs(2))).await {
        Either::Left((n, _)) if n % 2 == 0 => return ctx.continue_as_new(MAIN, n),
        Either::Left((n, _)) => ctx.send_event("other", ITEM, n),
        Either::Right(_) => ctx.set_custom_status(&item.ok()),
    }
    Ok(format!("{}{}{}", ctx.call(HELLO, "b").await?, hello?, child?))
}

fn any_event() -> impl Strategy<Value = EventKind> {
    prop_oneof![
        6 => (0..9, "[0-9]|\"[a-z]\"|null|x").prop_map(|(id, json)| done(id, &json)),
        3 => (0..9).prop_map(|id| failed(id, "no")),
        5 => (0..9).prop_map(fired),
        3 => (0..9, "[0-9]|\"[a-z]\"").prop_map(|(id, json)| sub_done(id, Some(&json))),
        5 => ("item|ITEM|go", "[0-9]").prop_map(|(name, json)| raised(&name, &json)),
        1 => Just(suspended()),
        2 => Just(resumed()),
        1 => Just(terminated("t")),
        1 => Just(EventKind::Generic { data: None, was: None }),
    ]
}

proptest! {
    /// Whatever arrives in whatever order: no panic, the same turn twice is the same, and history is never contradicted.
    #[test]
    fn no_order_of_events_breaks_a_turn(
        turns in prop::collection::vec(prop::collection::vec(any_event(), 0..5), 0..12),
        with_start in prop::collection::vec(any_event(), 0..3),
    ) {
        let mut play = play(everything);
        play.run(std::iter::once(start("Main", Some("0"))).chain(with_start));
        for arrived in turns {
            let outcome = play.run(arrived);
            let ids: Vec<i32> = outcome.actions.iter().map(|action| action.id).collect();
            prop_assert!(ids.is_sorted() && ids.iter().all(|id| *id < outcome.next_id));
            if let Some(crate::replay::Completion::Failed { failure }) = &outcome.completion {
                prop_assert!(!failure.error_type.starts_with("Non") && failure.error_type != "Panic", "{failure}");
            }
            if outcome.completion.is_some() {
                break;
            }
        }
    }

    /// History that makes no sense ends in an outcome and not in a panic.
    #[test]
    fn no_history_breaks_a_turn(past in prop::collection::vec((any_event(), -1..5), 0..12), new in any_event()) {
        let mut play = play(everything);
        play.start("Main", Some("0"));
        for (kind, id) in past {
            let at = play.now;
            play.history.push(crate::model::HistoryEvent::decision(id, at, kind));
            let name = "Hello".to_owned();
            let scheduled = EventKind::TaskScheduled { name, version: None, input: None, trace: None, tags: None };
            play.history.push(crate::model::HistoryEvent::decision(id, at, scheduled));
        }
        play.run([new]);
    }
}
