//! Activities, sub-orchestrations and their options.

use std::time::Duration;

use futures::future::{join_all, try_join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::value::RawValue;

use super::play::{Play, done, failed, fired, sub_done};
use crate::authoring::{Activity, Failure, OrchestrationContext, Orchestrator, Registry, RegistryBuilder};
use crate::replay::{Completion, RetryPolicy};

const HELLO: Activity<String, String> = Activity::new("Hello");
const SQUARE: Activity<u64, u64> = Activity::new("Square");
const CHILD: Orchestrator<String, String> = Orchestrator::new("Child");
const MAIN: Orchestrator<u64, String> = Orchestrator::new("Main");

fn activities() -> RegistryBuilder {
    Registry::builder()
        .activity(HELLO, async |_, name: String| Ok(format!("Hello, {name}!")))
        .activity(SQUARE, async |_, n: u64| Ok(n * n))
}

/// A play of the orchestrator `Main`, which is this code.
macro_rules! main {
    ($code:expr) => {
        Play::new(activities().orchestrator(MAIN, $code))
    };
}

#[test]
fn a_chain_takes_ids_in_program_order() {
    let mut play = main!(async |ctx: OrchestrationContext, _| {
        let a = ctx.call(HELLO, "Tokyo").await?;
        let b = ctx.call(HELLO, "Seattle").await?;
        Ok(format!("{a} {b}"))
    });
    assert_eq!(play.start("main", Some("0")), ["#0 Hello([\"Tokyo\"])"]);
    assert_eq!(play.turn([done(0, "\"A\"")]), ["#1 Hello([\"Seattle\"])"]);
    assert_eq!(play.turn([done(1, "\"B\"")]), ["completed \"A B\""]);
    assert_eq!(play.turn([done(1, "\"B\"")]), [""; 0], "an ended execution decides nothing");
}

#[test]
fn fan_out_works_at_any_width() {
    async fn joined(ctx: OrchestrationContext, n: u64) -> Result<String, Failure> {
        let all = try_join_all((0..n).map(|i| ctx.call(SQUARE, i))).await?;
        Ok(all.iter().sum::<u64>().to_string())
    }
    async fn unordered(ctx: OrchestrationContext, n: u64) -> Result<String, Failure> {
        let mut all: FuturesUnordered<_> = (0..n).map(|i| ctx.call(SQUARE, i)).collect();
        let mut sum = 0;
        while let Some(square) = all.next().await {
            sum += square?;
        }
        Ok(sum.to_string())
    }
    for n in [0, 1, 31, 64, 1000] {
        let sum: u64 = (0..n).map(|i| i * i).sum();
        let expected = Completion::Completed { output: Some(format!("\"{sum}\"")) };
        assert_eq!(main!(joined).play_out("Main", Some(&n.to_string())), expected);
        assert_eq!(main!(unordered).play_out("Main", Some(&n.to_string())), expected);
    }
}

#[test]
fn results_can_come_one_by_one_in_any_order() {
    let mut play = main!(async |ctx: OrchestrationContext, n: u64| {
        let all = join_all((0..n).map(|i| ctx.call(SQUARE, i))).await;
        Ok(format!("{}", all.into_iter().filter_map(Result::ok).sum::<u64>()))
    });
    assert_eq!(play.start("Main", Some("40")).len(), 40);
    for id in (1..40).rev() {
        assert_eq!(play.turn([done(id, "1")]), [""; 0]);
    }
    assert_eq!(play.turn([failed(0, "no"), done(3, "7")]), ["completed \"39\""]);
}

#[test]
fn options_change_the_decision() {
    let mut play = main!(async |ctx: OrchestrationContext, _| {
        let a = ctx.call(HELLO, "x").version("2.0").tag("color", "red");
        let b = ctx.call(CHILD, "y").instance_id("mine").version("3.0");
        let c = ctx.call(CHILD, "z");
        ctx.start_orchestration(CHILD, "w").instance_id("alone");
        drop(a);
        Ok(b.await? + &c.await?)
    });
    assert_eq!(
        play.start("Main", Some("0")),
        [
            "#0 Hello([\"x\"]) v2.0 color=red",
            "#1 sub Child@mine(\"y\") v3.0",
            "#2 sub Child@?(\"z\")",
            "#3 sub Child@alone(\"w\") FireAndForget="
        ]
    );
    assert_eq!(play.turn([sub_done(1, Some("\"b\"")), sub_done(2, Some("\"c\""))]), ["completed \"bc\""]);
}

#[test]
fn a_failed_call_is_tried_again() {
    let mut play = main!(async |ctx: OrchestrationContext, _| {
        Ok(ctx.call(HELLO, "x").retry(RetryPolicy::exponential(3, Duration::from_secs(2))).await?)
    });
    assert_eq!(play.start("Main", Some("0")), ["#0 Hello([\"x\"])"]);
    assert_eq!(play.turn([failed(0, "one")]), ["#1 timer 2s"]);
    assert_eq!(play.turn([fired(1)]), ["#2 Hello([\"x\"])"]);
    assert_eq!(play.turn([failed(2, "two")]), ["#3 timer 4s"]);
    assert_eq!(play.turn([fired(3)]), ["#4 Hello([\"x\"])"]);
    // The last timer of .NET's retries, which fires at once.
    assert_eq!(play.turn([failed(4, "three")]), ["#5 timer 0s"]);
    assert_eq!(play.turn([fired(5)]), ["failed DurableTask.Core.Exceptions.TaskFailedException"]);
    let failure = play.failure();
    assert_eq!(failure.error_message, "Task 'Hello' (#4) failed with an unhandled exception: three");
    assert_eq!(failure.inner.unwrap().error_message, "three");
}

#[tokio::test]
async fn raw_json_keeps_every_digit() {
    const PASS: Activity<Box<RawValue>, Box<RawValue>> = Activity::new("Pass");
    const RAW: Orchestrator<Box<RawValue>, Box<RawValue>> = Orchestrator::new("Main");
    let builder = Registry::builder()
        .orchestrator(RAW, async |ctx: OrchestrationContext, raw: Box<RawValue>| Ok(ctx.call(PASS, raw).await?))
        .activity(PASS, async |_, raw: Box<RawValue>| Ok(raw));
    let mut play = Play::new(builder);
    let json = r#"{"a":79228162514264337593543950335,"b":[1.10]}"#;
    assert_eq!(play.start("Main", Some(json)), [format!("#0 Pass([{json}])")]);
    assert_eq!(play.turn([done(0, json)]), [format!("completed {json}")]);
    let task = super::play::task("Pass", Some(format!("[{json}]")));
    assert_eq!(play.registry.run_activity(task).await.unwrap().as_deref(), Some(json));
}
