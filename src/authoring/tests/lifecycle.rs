//! Suspend, resume, terminate, continue-as-new, custom status, time and ids.

use std::time::Duration;

use super::play::{Play, done, fired, instance, raised, resumed, start, sub_done, suspended, terminated};
use crate::authoring::{Activity, Event, Failure, OrchestrationContext, Orchestrator, Registry};
use crate::model::{EventKind, HistoryEvent};
use crate::replay::Completion;

const HELLO: Activity<String, String> = Activity::new("Hello");
const MAIN: Orchestrator<u64, String> = Orchestrator::new("Main");
const ITEM: Event<u64> = Event::new("item");
const NOTHING: [&str; 0] = [];

fn play<R>(code: impl Fn(OrchestrationContext, u64) -> R + Send + Sync + 'static) -> Play
where
    R: Future<Output = Result<String, Failure>> + 'static,
{
    Play::new(Registry::builder().orchestrator(MAIN, code))
}

/// Two activities, one after the other.
async fn two(ctx: OrchestrationContext, _: u64) -> Result<String, Failure> {
    ctx.set_custom_status("one");
    ctx.call(HELLO, "a").await?;
    ctx.set_custom_status("two");
    Ok(ctx.call(HELLO, "b").await?)
}

#[test]
fn what_arrives_while_suspended_waits() {
    let mut play = play(two);
    assert_eq!(play.start("Main", Some("0")).len(), 1);
    assert_eq!(play.turn([suspended()]), NOTHING);
    assert_eq!(play.turn([done(0, "\"A\"")]), NOTHING);
    assert_eq!(play.turn([suspended()]), NOTHING);
    assert_eq!(play.custom_status.as_deref(), Some("\"one\""));
    assert_eq!(play.turn([resumed()]), ["#1 Hello([\"b\"])"]);
    assert_eq!(play.turn([resumed()]), NOTHING);
    assert_eq!(play.turn([done(1, "\"B\"")]), ["completed \"B\""]);
}

#[test]
fn decisions_of_a_turn_that_ends_suspended_wait_for_the_resume() {
    let mut play = play(two);
    play.start("Main", Some("0"));
    assert_eq!(play.turn([done(0, "\"A\""), suspended()]), NOTHING);
    assert_eq!(play.turn([raised("x", "1")]), NOTHING);
    assert_eq!(play.turn([resumed()]), ["#1 Hello([\"b\"])"]);
    assert_eq!(play.turn([done(1, "\"B\"")]), ["completed \"B\""]);
}

#[test]
fn a_start_that_comes_with_a_suspend_runs_nothing() {
    let mut play = play(two);
    assert_eq!(play.turn([start("Main", Some("0")), raised("item", "1"), suspended()]), NOTHING);
    assert_eq!(play.custom_status, None);
    assert_eq!(play.turn([resumed()]), ["#0 Hello([\"a\"])"]);
    assert_eq!(play.turn([suspended(), done(0, "\"A\""), resumed()]), ["#1 Hello([\"b\"])"]);
}

#[test]
fn a_suspended_execution_can_be_terminated() {
    let mut play = play(two);
    play.start("Main", Some("0"));
    play.turn([suspended()]);
    assert_eq!(play.turn([done(0, "\"A\""), terminated("why")]), ["terminated why"]);
}

#[test]
fn the_first_completion_wins_and_a_termination_drops_decisions() {
    let mut first = play(two);
    first.start("Main", Some("0"));
    assert_eq!(first.turn([done(0, "\"A\""), terminated("why")]), ["terminated why"]);
    let mut second = play(two);
    second.start("Main", Some("0"));
    second.turn([done(0, "\"A\"")]);
    assert_eq!(second.turn([done(1, "\"B\""), terminated("late")]), ["completed \"B\""]);
    let mut third = play(two);
    assert_eq!(third.turn([start("Main", Some("0")), terminated("at once")]), ["terminated at once"]);
    assert_eq!(third.custom_status, None, "the code did not run");
}

/// Takes one item per generation.
async fn one_item(ctx: OrchestrationContext, seen: u64) -> Result<String, Failure> {
    let item = ctx.wait_for_event(ITEM).await;
    if seen == 2 {
        return Ok(format!("last {item}"));
    }
    ctx.continue_as_new(MAIN, seen + 1)
}

#[test]
fn continue_as_new_carries_what_nobody_consumed() {
    let mut play = play(one_item);
    play.start("Main", Some("0"));
    let arrived = [raised("ITEM", "1"), raised("other", "0"), raised("item", "2"), done(7, "1"), raised("Item", "3")];
    assert_eq!(play.turn(arrived), ["again 1 other(0) item(2) Item(3)"]);
    let Some(Completion::ContinuedAsNew { carry, .. }) = play.completion.take() else { panic!() };
    let arrived = std::iter::once(start("Main", Some("1"))).chain(play.carried(&carry)).collect::<Vec<_>>();
    play.history.clear();
    assert_eq!(play.turn(arrived), ["again 2 other(0) Item(3)"]);
}

#[test]
fn continue_as_new_loses_to_a_termination_and_carries_a_suspension() {
    let mut first = play(one_item);
    first.start("Main", Some("0"));
    assert_eq!(first.turn([raised("item", "1"), terminated("stop")]), ["terminated stop"]);
    let mut second = play(one_item);
    second.start("Main", Some("0"));
    let arrived = [raised("item", "1"), suspended(), raised("item", "2")];
    assert_eq!(second.turn(arrived), ["again 1 ExecutionSuspended item(2)"], "the suspension comes first");
}

#[test]
fn continue_as_new_can_move_to_another_version() {
    let mut play = play(async |ctx: OrchestrationContext, n: u64| ctx.continue_as_new_version(MAIN, n + 1, "2.0"));
    assert_eq!(play.start("Main", Some("0")), ["again 1 v2.0"]);
}

#[test]
fn a_return_ends_the_execution_whatever_is_open() {
    let mut play = play(async |ctx: OrchestrationContext, _| {
        let _open = ctx.call(HELLO, "open");
        let _timer = ctx.timer(Duration::from_secs(9));
        ctx.send_event("other", ITEM, 5);
        Ok("end".to_owned())
    });
    assert_eq!(
        play.start("Main", Some("0")),
        ["#0 Hello([\"open\"])", "#1 timer 9s", "#2 send item to other(5)", "completed \"end\""]
    );
}

#[test]
fn time_and_ids_come_from_the_turn() {
    let mut play = play(async |ctx: OrchestrationContext, _| {
        let early = (ctx.new_uuid(), ctx.new_uuid(), ctx.now());
        let was_replaying = ctx.is_replaying();
        ctx.timer_until(ctx.now().plus(Duration::from_secs(60))).await;
        ctx.timer(Duration::ZERO).await;
        let instance = (ctx.name().to_owned(), ctx.instance_id().to_owned(), ctx.execution_id().to_owned());
        assert_eq!((ctx.parent(), ctx.version(), ctx.tags().len()), (None, None, 0));
        Ok(format!("{early:?} {was_replaying} {} {instance:?}", ctx.now()))
    });
    assert_eq!(play.start("Main", Some("0")), ["#0 timer 60s"]);
    assert_eq!(play.turn([fired(0)]), ["#1 timer 0s"]);
    let end = "completed \"(57a22c3e-3904-5948-8839-19f63dadba5f, 5e33bcc6-9b5e-5f1a-89d0-99a71c94cc72, \
               2024-01-02T03:04:05.6789012Z) true 2024-01-02T03:04:07.6789012Z (\\\"Main\\\", \\\"abc\\\", \\\"e1\\\")\"";
    assert_eq!(play.turn([fired(1)]), [end]);
    assert_eq!(instance().instance_id, "abc");
}

#[test]
fn histories_of_other_engines_are_accepted() {
    let mut play = play(two);
    play.start("Main", Some("0"));
    let noise = [
        EventKind::Generic { data: Some("Rewound: TaskFailed".into()), was: None },
        EventKind::HistoryState { state: None },
        sub_done(99, None),
        fired(0),
        fired(-100),
    ];
    assert_eq!(play.turn(noise), NOTHING);
    let fire_at = play.now;
    play.history.push(HistoryEvent::decision(-100, play.now, EventKind::TimerCreated { fire_at }));
    assert_eq!(play.turn([done(0, "\"A\""), done(0, "\"again\"")]), ["#1 Hello([\"b\"])"]);
    // A rewind leaves the decision of the failed task as a generic row and decides again under the same id.
    let scheduled = play.history.iter().position(|event| event.event_id == 1).unwrap();
    let again = play.history[scheduled].clone();
    play.history[scheduled].kind = EventKind::Generic { data: None, was: None };
    play.history.push(again.clone());
    play.history.push(again);
    assert_eq!(play.turn([done(1, "\"B\"")]), ["completed \"B\""]);
}

#[test]
fn the_custom_status_stays_until_code_sets_another() {
    let mut play = play(async |ctx: OrchestrationContext, n: u64| {
        match n {
            0 => {}
            1 => ctx.set_custom_status(&()),
            _ => ctx.set_custom_status(&[1, 2]),
        }
        Ok(String::new())
    });
    for (input, expected) in [("0", Some("\"kept\"")), ("1", None), ("2", Some("[1,2]"))] {
        play.history.clear();
        play.custom_status = Some("\"kept\"".into());
        play.start("Main", Some(input));
        assert_eq!(play.custom_status.as_deref(), expected);
    }
}

/// Sets the custom status that it is told to, of so many letters.
async fn tells(ctx: OrchestrationContext, _: u64) -> Result<String, Failure> {
    ctx.set_custom_status("earlier");
    loop {
        let letters = ctx.wait_for_event(ITEM).await;
        ctx.set_custom_status(&"x".repeat(usize::try_from(letters)?));
        drop(ctx.call(HELLO, "decided"));
    }
}

#[test]
fn a_custom_status_that_is_too_long_fails_the_instance_and_leaves_the_earlier_one() {
    let mut play = play(tells);
    play.start("Main", Some("0"));
    let most = 8192 - "\"\"".len();
    assert_eq!(play.turn([raised("item", &most.to_string())]).len(), 1);
    assert_eq!(play.custom_status.as_ref().unwrap().len(), 8192);
    assert_eq!(play.turn([raised("item", "1")]).len(), 1);
    assert_eq!(play.turn([raised("item", &(most + 1).to_string())]), ["failed CustomStatusTooLarge"], "and decides nothing");
    let message = play.failure().error_message;
    assert!(message.contains("\"Main\"") && message.contains("8193") && message.contains("at most 8192"), "{message}");
    assert_eq!(play.custom_status.as_deref(), Some("\"x\""));
}

#[test]
fn a_custom_status_that_is_too_long_does_not_outlive_the_next_one_of_the_turn() {
    let mut play = play(tells);
    play.start("Main", Some("0"));
    assert_eq!(play.turn([raised("item", "9999"), raised("item", "2")]).len(), 2);
    assert_eq!(play.custom_status.as_deref(), Some("\"xx\""));
}

#[test]
fn a_termination_wins_over_a_custom_status_that_is_too_long() {
    let mut play = play(tells);
    play.start("Main", Some("0"));
    assert_eq!(play.turn([raised("item", "9999"), terminated("why")]), ["terminated why"]);
    assert_eq!(play.custom_status.as_deref(), Some("\"earlier\""));
}
