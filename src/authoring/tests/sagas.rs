//! Sagas, joins that wait for all, limits of calls, and continue-as-new that cannot be caught.

use std::time::Duration;

use super::play::{Play, done, failed, fired, raised};
use crate::authoring::{Activity, Event, Failure, OrchestrationContext, Orchestrator, Registry, wait_all};
use crate::replay::Completion;

const DO: Activity<String, String> = Activity::new("Do");
const UNDO: Activity<String, ()> = Activity::new("Undo");
const CHILD: Orchestrator<u64, String> = Orchestrator::new("Child");
const MAIN: Orchestrator<u64, String> = Orchestrator::new("Main");
const ITEM: Event<u64> = Event::new("item");
const NOTHING: [&str; 0] = [];

fn play<R>(code: impl Fn(OrchestrationContext, u64) -> R + Send + Sync + 'static) -> Play
where
    R: Future<Output = Result<String, Failure>> + 'static,
{
    Play::new(Registry::builder().orchestrator(MAIN, code))
}

/// Two steps that are compensated, and a third that is not; after that the saga does what it is told.
async fn steps(ctx: OrchestrationContext, then: u64) -> Result<String, Failure> {
    ctx.saga(async |saga| {
        for step in ["a", "b"] {
            let done = ctx.call(DO, step).await?;
            saga.compensate(move |ctx| ctx.call(UNDO, done));
        }
        match then {
            0 => Ok("done".to_owned()),
            1 => ctx.continue_as_new(MAIN, 0),
            _ => Ok(ctx.call(DO, "c").await?),
        }
    })
    .await
}

fn two_steps_done(then: &str) -> Play {
    let mut play = play(steps);
    assert_eq!(play.start("Main", Some(then)), ["#0 Do([\"a\"])"]);
    assert_eq!(play.turn([done(0, "\"A\"")]), ["#1 Do([\"b\"])"]);
    play
}

#[test]
fn a_saga_takes_back_in_reverse_what_it_has_done_when_a_step_fails() {
    let mut play = two_steps_done("2");
    assert_eq!(play.turn([done(1, "\"B\"")]), ["#2 Do([\"c\"])"]);
    assert_eq!(play.turn([failed(2, "no")]), ["#3 Undo([\"B\"])"]);
    // A compensation that fails keeps no other from running, and stands in the failure of the saga.
    assert_eq!(play.turn([failed(3, "stuck")]), ["#4 Undo([\"A\"])"]);
    play.turn([done(4, "null")]);
    let failure = play.failure();
    assert_eq!(failure.to_string(), "Bad: no (task \"Do\" #2)");
    let too = format!("{:?}", failure.properties);
    assert!(too.contains("compensationFailures") && too.contains("stuck"), "{too}");
}

#[test]
fn a_step_that_fails_is_not_taken_back_itself() {
    let mut play = two_steps_done("0");
    assert_eq!(play.turn([failed(1, "no")]), ["#2 Undo([\"A\"])"]);
    play.turn([done(2, "null")]);
    assert_eq!(play.failure().properties, None);
}

#[test]
fn a_saga_takes_back_what_it_has_done_when_an_event_does_not_fit() {
    let mut play = play(async |ctx: OrchestrationContext, _| {
        let caught = ctx
            .saga(async |saga| {
                let done = ctx.call(DO, "a").await?;
                saga.compensate(move |ctx| ctx.call(UNDO, done));
                Ok(ctx.wait_for_event(ITEM).await.to_string())
            })
            .await;
        Ok(caught.unwrap_or_else(|failure| format!("caught {failure}")))
    });
    play.start("Main", Some("1"));
    assert_eq!(play.turn([done(0, "\"A\"")]), NOTHING);
    assert_eq!(play.turn([raised("item", "\"seven\"")]), ["#1 Undo([\"A\"])"]);
    play.turn([done(1, "null")]);
    assert_eq!(play.failure().error_type, "PayloadMismatch");
}

#[test]
fn a_saga_that_succeeds_or_continues_as_new_takes_nothing_back() {
    let mut play = two_steps_done("0");
    assert_eq!(play.turn([done(1, "\"B\"")]), ["completed \"done\""]);
    let mut play = two_steps_done("1");
    assert_eq!(play.turn([done(1, "\"B\"")]), ["again 0"]);
}

#[test]
fn continue_as_new_cannot_be_caught_and_nothing_is_asked_for_after_it() {
    let mut play = play(async |ctx: OrchestrationContext, n| {
        ctx.set_custom_status("before");
        let caught: Result<String, Failure> = ctx.continue_as_new(MAIN, n + 1);
        assert!(caught.is_err());
        ctx.set_custom_status("after");
        ctx.send_event("other", ITEM, 1);
        // Not even an event that has arrived is taken: it is the next generation's.
        let (undo, item) = (ctx.call(UNDO, "x"), ctx.wait_for_event(ITEM).await);
        undo.await?;
        Ok(format!("caught it, and took {item}"))
    });
    let again = play.turn([super::play::start("Main", Some("1")), raised("item", "7")]);
    assert_eq!(again.len(), 1, "{again:?}");
    match &play.completion {
        Some(Completion::ContinuedAsNew { input, carry, .. }) => assert_eq!((input.as_deref(), carry.len()), (Some("2"), 1)),
        other => panic!("{other:?}"),
    }
    assert_eq!(play.custom_status.as_deref(), Some("\"before\""));
}

#[test]
fn an_instance_keeps_its_name_when_it_continues_as_new() {
    let mut play = play(async |ctx: OrchestrationContext, n| {
        let _caught = ctx.continue_as_new(CHILD, n);
        Ok("caught".to_owned())
    });
    play.start("Main", Some("1"));
    assert_eq!(play.failure().error_type, "WrongOrchestrator");
    let mut play = self::play(async |ctx: OrchestrationContext, n| {
        let main: Orchestrator<u64, String> = Orchestrator::new("MAIN");
        if n == 0 { Ok(String::new()) } else { ctx.continue_as_new(main, n - 1) }
    });
    assert_eq!(play.start("Main", Some("1")), ["again 0"]);
}

#[test]
fn wait_all_waits_for_every_branch_and_fails_with_the_first_in_their_order() {
    let all = async |ctx: OrchestrationContext, _| {
        let results = wait_all(["a", "b", "c"].map(|step| ctx.call(DO, step))).await;
        ctx.set_custom_status("all");
        Ok(results?.concat())
    };
    let mut play = play(all);
    play.start("Main", Some("0"));
    assert_eq!(play.turn([failed(2, "late in order"), failed(1, "first in order")]), NOTHING);
    assert_eq!(play.custom_status, None);
    play.turn([done(0, "\"A\"")]);
    assert_eq!(
        (play.failure().root_cause().error_message.as_str(), play.custom_status.as_deref()),
        ("first in order", Some("\"all\""))
    );
    let mut play = self::play(all);
    play.start("Main", Some("0"));
    let all_done = play.turn([done(2, "\"C\""), done(0, "\"A\""), done(1, "\"B\"")]);
    assert_eq!(all_done, ["completed \"ABC\""]);
}

#[test]
fn a_call_with_a_limit_ends_with_its_result_or_with_the_limit_and_knows_which() {
    let limited = async |ctx: OrchestrationContext, _| {
        let answer = ctx.call(DO, "x").within(Duration::from_secs(9)).await;
        match answer {
            Ok(answer) => Ok(answer),
            Err(late) if late.is_timeout() => Ok(format!("{late}")),
            Err(failed) => Err(failed.into()),
        }
    };
    let started = |play: &mut Play| assert_eq!(play.start("Main", Some("0")), ["#0 Do([\"x\"])", "#1 timer 9s"]);
    let mut play = play(limited);
    started(&mut play);
    assert_eq!(play.turn([done(0, "\"X\""), fired(1)]), ["completed \"X\""]);
    let mut play = self::play(limited);
    started(&mut play);
    let late = "completed \"TaskTimedOut: no result came within 9s (task \\\"Do\\\" #0)\"";
    assert_eq!(play.turn([fired(1), done(0, "\"X\"")]), [late]);
    let mut play = self::play(limited);
    started(&mut play);
    play.turn([failed(0, "no")]);
    assert_eq!(play.failure().root_cause().error_message, "no");
}
