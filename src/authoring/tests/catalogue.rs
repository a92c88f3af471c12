//! The shapes of the peer catalogue that need more than a call: each must be expressible, with the ids that .NET gives.

use std::time::Duration;

use futures::future::{Either, select};
use serde_json::{Value, json};

use super::play::{Play, done, failed, fired, raised, start, sub_done};
use crate::authoring::{Activity, Code, Event, Failure, OrchestrationContext, Orchestrator, Registry, Serves};
use crate::model::{EventKind, FailureDetails};
use crate::replay::RetryPolicy;

const HELLO: Activity<String, String> = Activity::new("Hello");
const ALWAYS_FAILS: Activity<String, String> = Activity::new("AlwaysFails");
const GEN_STRING: Activity<(u32, u32), String> = Activity::new("GenString");
const NOTHING: Activity<(), Value> = Activity::new("Nothing");
const CHILD: Orchestrator<String, String> = Orchestrator::new("SubChild");
const VERSIONED: Orchestrator<String, String> = Orchestrator::new("Versioned");
const APPROVAL: Event<Value> = Event::new("Approval");
const MAIN: Orchestrator<Value, Value> = Orchestrator::new("Main");

fn play<R>(code: impl Fn(OrchestrationContext, Value) -> R + Send + Sync + 'static) -> Play
where
    R: Future<Output = Result<Value, Failure>> + 'static,
{
    Play::new(Registry::builder().orchestrator(MAIN, code))
}

fn child_failed(task_id: i32, message: &str) -> EventKind {
    let failure = FailureDetails { error_type: "Bad".into(), error_message: message.into(), ..FailureDetails::default() };
    EventKind::SubOrchestrationFailed { task_id, reason: None, details: None, failure: Some(failure) }
}

#[test]
fn mixed() {
    let mut play = play(async |ctx: OrchestrationContext, _| {
        let hello = ctx.call(HELLO, "x");
        let child = ctx.call(CHILD, "x").instance_id(format!("{}-mix", ctx.instance_id()));
        let timer = ctx.timer(Duration::from_millis(700));
        let fails = ctx.call(ALWAYS_FAILS, "m");
        let (hello, child) = (hello.await?, child.await?);
        timer.await;
        let caught = fails.await.unwrap_err();
        Ok(json!([hello, child, caught.to_string()]))
    });
    let decided = ["#0 Hello([\"x\"])", "#1 sub SubChild@abc-mix(\"x\")", "#2 timer 0.7s", "#3 AlwaysFails([\"m\"])"];
    assert_eq!(play.start("Main", None), decided);
    assert_eq!(play.turn([failed(3, "no"), fired(2), sub_done(1, Some("\"c\""))]).len(), 0);
    let end = "completed [\"h\",\"c\",\"Bad: no (task \\\"AlwaysFails\\\" #3)\"]";
    assert_eq!(play.turn([done(0, "\"h\"")]), [end]);
}

#[test]
fn approval() {
    let mut play = play(async |ctx: OrchestrationContext, seconds: Value| {
        ctx.set_custom_status("waiting");
        let limit = Duration::from_secs_f64(seconds.as_f64().unwrap_or(3600.0));
        match select(ctx.wait_for_event(APPROVAL), ctx.timer(limit)).await {
            Either::Left((payload, _)) => Ok(json!(payload.to_string())),
            Either::Right(_) => Ok(json!("timeout")),
        }
    });
    assert_eq!(play.start("Main", Some("1.5")), ["#0 timer 1.5s"]);
    assert_eq!(play.custom_status.as_deref(), Some("\"waiting\""));
    assert_eq!(play.turn([raised("approval", "{\"by\":1}")]), ["completed \"{\\\"by\\\":1}\""]);
}

#[test]
fn nulls_tuples_and_versions() {
    let mut play = play(async |ctx: OrchestrationContext, _| {
        let nothing = ctx.call(NOTHING, ()).await?;
        let text = ctx.call(GEN_STRING, (5, 0)).await?;
        let two = ctx.call(VERSIONED, text).version("2.0").tag("child", "yes").await?;
        let four: u8 = ctx.call_named("Square", 2).await?;
        let five: Option<u8> = ctx.call_sub_orchestration_named("Other", ()).await?;
        Ok(json!([nothing, two, four, five]))
    });
    assert_eq!(play.start("Main", None), ["#0 Nothing([null])"]);
    assert_eq!(play.turn([EventKind::TaskCompleted { task_id: 0, result: None }]), ["#1 GenString([[5,0]])"]);
    assert_eq!(play.turn([done(1, "\"xxxxx\"")]), ["#2 sub Versioned@?(\"xxxxx\") v2.0 child=yes"]);
    assert_eq!(play.turn([sub_done(2, Some("\"v2\""))]), ["#3 Square([2])"]);
    assert_eq!(play.turn([done(3, "4")]), ["#4 sub Other@?()"]);
    assert_eq!(play.turn([sub_done(4, None)]), ["completed [null,\"v2\",4,null]"]);
}

#[test]
fn a_child_is_tried_again_until_the_time_is_over() {
    let mut play = play(async |ctx: OrchestrationContext, _| {
        let policy = RetryPolicy::fixed(99, Duration::from_secs(1)).timeout(Duration::from_secs(2));
        let child = ctx.call(CHILD, "x").instance_id("same").retry(policy).await?;
        Ok(json!(child))
    });
    assert_eq!(play.start("Main", None), ["#0 sub SubChild@same(\"x\")"]);
    assert_eq!(play.turn([child_failed(0, "one")]), ["#1 timer 1s"]);
    assert_eq!(play.turn([fired(1)]), ["#2 sub SubChild@same(\"x\")"]);
    assert_eq!(play.turn([child_failed(2, "two")]), ["failed DurableTask.Core.Exceptions.SubOrchestrationFailedException"]);
    assert_eq!(play.failure().inner.unwrap().error_message, "two");
}

#[test]
fn failures_of_orchestrators_keep_their_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot pay")]
    struct CannotPay(#[source] std::io::Error);

    let mut caused = play(async |_, _| {
        let cause = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
        Err(CannotPay(cause))?
    });
    assert_eq!(caused.start("Main", None), ["failed CannotPay"]);
    assert_eq!(caused.failure().error_message, "cannot pay");
    assert_eq!(caused.failure().inner.unwrap().error_message, "no such file");
    let mut plain = play(async |_, _| Err(std::io::Error::other("x"))?);
    assert_eq!(plain.start("Main", None), ["failed std::io::error::Error"]);
}

#[test]
fn the_code_of_the_version_that_was_asked_for_runs_or_the_fallback_and_no_other() {
    let any = async |ctx: OrchestrationContext, _: String| Ok(format!("any for {}", ctx.version().unwrap_or("none")));
    let registry = || {
        let first = Code::orchestrator(VERSIONED, async |_, _| Ok("1.0".to_owned()));
        Registry::builder().orchestrator(VERSIONED, async |_, _| Ok("none".to_owned())).host(first, Serves::Version("1.0"))
    };
    let missing = "failed OrchestratorTaskNotFound";
    let with_fallback = registry().host(Code::orchestrator(VERSIONED, any), Serves::AnyOther);
    for (builder, other) in [(registry(), missing), (with_fallback, "completed \"any for 2.0\"")] {
        let mut play = Play::new(builder);
        for (version, end) in [
            (Some("1.0"), "completed \"1.0\""),
            (Some("2.0"), other),
            (Some(""), "completed \"none\""),
            (None, "completed \"none\""),
        ] {
            play.history.clear();
            let EventKind::ExecutionStarted(mut started) = start("VERSIONED", Some("\"x\"")) else { panic!() };
            started.version = version.map(str::to_owned);
            assert_eq!(play.turn([EventKind::ExecutionStarted(started)]), [end]);
        }
    }
}

#[test]
fn a_worker_can_share_the_registry_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    fn sent<T: Send>(_: &T) {}
    let registry = Registry::builder().activity(HELLO, async |_, name| Ok(name)).build().unwrap();
    shared(&registry);
    sent(&registry.run_activity(super::play::task("Hello", None)));
}
