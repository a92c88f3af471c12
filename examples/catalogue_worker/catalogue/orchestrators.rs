//! Orchestrators of the catalogue: those of calls, children, retries and failures.

use std::time::Duration;

use futures::future::try_join_all;
use serde_json::Value;
use taskhub::{Failure, OrchestrationContext, Orchestrator, RetryPolicy, TaskFailed, WorkerBuilder};

use super::activities::{
    ALWAYS_FAILS, ECHO, FLAKY_ONCE, FLAKY_TWICE, GEN_STRING, HELLO, NO_SUCH_ACTIVITY, NOTHING, POCO, Poco, SLOW, SQUARE,
    invalid_operation,
};
use super::short;

/// What an orchestrator of the catalogue returns.
pub(super) type End<T> = Result<T, Failure>;

pub(super) const SUB_CHILD: Orchestrator<String, String> = Orchestrator::new("SubChild");
const SUB_FLAKY: Orchestrator<String, String> = Orchestrator::new("SubFlaky");
const VERSIONED: Orchestrator<String, String> = Orchestrator::new("Versioned");
const REWINDABLE: Orchestrator<Value, String> = Orchestrator::new("Rewindable");

pub(super) fn register(builder: WorkerBuilder) -> WorkerBuilder {
    builder
        .orchestrator(Orchestrator::new("HelloSequence"), hello_sequence)
        .orchestrator(Orchestrator::new("Sequence"), sequence)
        .orchestrator(Orchestrator::new("FanOut"), fan_out)
        .orchestrator(Orchestrator::new("FanInSum"), fan_in_sum)
        .orchestrator(Orchestrator::new("SubParent"), sub_parent)
        .orchestrator(SUB_CHILD, sub_child)
        .orchestrator(Orchestrator::new("SubParentCatches"), sub_parent_catches)
        .orchestrator(Orchestrator::new("SubFanOut"), sub_fan_out)
        .orchestrator(Orchestrator::new("RetryOk"), retry_ok)
        .orchestrator(Orchestrator::new("RetryExhausted"), retry_exhausted)
        .orchestrator(Orchestrator::new("SubRetry"), sub_retry)
        .orchestrator(SUB_FLAKY, sub_flaky)
        .orchestrator(Orchestrator::new("ActivityFails"), activity_fails)
        .orchestrator(Orchestrator::new("CatchesFailure"), catches_failure)
        .orchestrator(Orchestrator::new("OrchThrows"), orch_throws)
        .orchestrator(Orchestrator::new("LargeEcho"), echo)
        .orchestrator(Orchestrator::new("LargeFromActivity"), large_from_activity)
        .orchestrator(Orchestrator::new("CustomStatus"), custom_status)
        .orchestrator(Orchestrator::new("UnicodeEcho"), echo)
        .orchestrator(Orchestrator::new("TagsParent"), tags_parent)
        .orchestrator_version(VERSIONED, "1.0", async |_: OrchestrationContext, input: String| Ok(format!("v1:{input}")))
        .orchestrator_version(VERSIONED, "2.0", async |_: OrchestrationContext, input: String| Ok(format!("v2:{input}")))
        .orchestrator(REWINDABLE, rewindable)
        .orchestrator(Orchestrator::new("RewindParent"), rewind_parent)
        .orchestrator(Orchestrator::new("PocoEcho"), poco_echo)
        .orchestrator(Orchestrator::new("FireAndForgetParent"), fire_and_forget_parent)
        .orchestrator(Orchestrator::new("NullVoid"), null_void)
        .orchestrator(Orchestrator::new("UnknownActivityCaller"), unknown_activity_caller)
        .orchestrator(Orchestrator::new("SlowSequence"), slow_sequence)
}

/// Input: anything.
async fn hello_sequence(ctx: OrchestrationContext, _: Value) -> End<[String; 3]> {
    let a = short(ctx.call(HELLO, "Tokyo")).await?;
    let b = short(ctx.call(HELLO, "Seattle")).await?;
    let c = short(ctx.call(HELLO, "London")).await?;
    Ok([a, b, c])
}

/// Input: how many activities one after another.
async fn sequence(ctx: OrchestrationContext, count: i32) -> End<i32> {
    let mut done = 0;
    for i in 0..count {
        short(ctx.call(SQUARE, i)).await?;
        done += 1;
    }
    Ok(done)
}

/// Input: how many activities at once.
async fn fan_out(ctx: OrchestrationContext, count: i32) -> End<usize> {
    let all = try_join_all((0..count).map(|i| short(ctx.call(HELLO, format!("n{i}"))))).await?;
    Ok(all.len())
}

/// Output: the sum of the squares of 0 to the input minus one.
async fn fan_in_sum(ctx: OrchestrationContext, count: i32) -> End<i32> {
    let all = try_join_all((0..count).map(|i| short(ctx.call(SQUARE, i)))).await?;
    Ok(all.into_iter().fold(0, i32::wrapping_add))
}

/// One child with an id of our choosing, one with a derived id.
async fn sub_parent(ctx: OrchestrationContext, input: String) -> End<[String; 2]> {
    let named = ctx.call(SUB_CHILD, &input).instance_id(beside(&ctx, "-child")).await?;
    let unnamed = ctx.call(SUB_CHILD, &input).await?;
    Ok([named, unnamed])
}

/// The id of an instance that belongs to this one.
pub(super) fn beside(ctx: &OrchestrationContext, suffix: &str) -> String {
    format!("{}{suffix}", ctx.instance_id())
}

async fn sub_child(ctx: OrchestrationContext, input: String) -> End<String> {
    if input == "fail" {
        // The failure of the activity becomes that of the child, as it does in .NET where exceptions are serialized.
        let failed: Result<String, TaskFailed> = ctx.call(ALWAYS_FAILS, "child").await;
        failed.map_err(|failed| Failure::from(failed.details().clone()))?;
    }
    Ok(short(ctx.call(HELLO, input)).await?)
}

async fn sub_parent_catches(ctx: OrchestrationContext, _: Value) -> End<String> {
    match ctx.call(SUB_CHILD, "fail").instance_id(beside(&ctx, "-child")).await {
        Ok(text) => Ok(text),
        Err(failed) => Ok(format!("caught: {}", failed.details().error_message)),
    }
}

/// Input: how many children at once.
async fn sub_fan_out(ctx: OrchestrationContext, count: i32) -> End<usize> {
    let children = (0..count).map(|i| ctx.call(SUB_CHILD, format!("c{i}")).instance_id(beside(&ctx, &format!("-c{i}"))));
    Ok(try_join_all(children).await?.len())
}

async fn retry_ok(ctx: OrchestrationContext, _: Value) -> End<String> {
    let policy = RetryPolicy::exponential(5, Duration::from_millis(500)).max_interval(Duration::from_secs(5));
    Ok(ctx.call(FLAKY_TWICE, "r").retry(policy).await?)
}

async fn retry_exhausted(ctx: OrchestrationContext, _: Value) -> End<String> {
    Ok(ctx.call(ALWAYS_FAILS, "r").retry(RetryPolicy::fixed(3, Duration::from_millis(300))).await?)
}

/// A child that fails once and is started again.
async fn sub_retry(ctx: OrchestrationContext, _: Value) -> End<String> {
    let policy = RetryPolicy::fixed(3, Duration::from_millis(500));
    Ok(ctx.call(SUB_FLAKY, ctx.instance_id()).retry(policy).await?)
}

async fn sub_flaky(ctx: OrchestrationContext, key: String) -> End<String> {
    Ok(ctx.call(FLAKY_ONCE, key).await?)
}

async fn activity_fails(ctx: OrchestrationContext, _: Value) -> End<String> {
    Ok(ctx.call(ALWAYS_FAILS, "x").await?)
}

async fn catches_failure(ctx: OrchestrationContext, _: Value) -> End<String> {
    match ctx.call(ALWAYS_FAILS, "x").await {
        Ok(text) => Ok(text),
        // .NET keeps no inner exception beside the message of a failed task.
        Err(failed) => Ok(format!("caught: {} inner none", failed.details().error_message)),
    }
}

async fn orch_throws(ctx: OrchestrationContext, _: Value) -> End<String> {
    ctx.call(HELLO, "before").await?;
    Err(invalid_operation("boom \u{e9}", "inner cause"))
}

/// Text in, through an activity, and out: `LargeEcho`, `UnicodeEcho`.
async fn echo(ctx: OrchestrationContext, input: String) -> End<String> {
    Ok(ctx.call(ECHO, input).await?)
}

/// Input: characters, and 1 for random ones.
async fn large_from_activity(ctx: OrchestrationContext, input: [i32; 2]) -> End<String> {
    Ok(ctx.call(GEN_STRING, input).await?)
}

/// A custom status of each kind of JSON in turn.
async fn custom_status(ctx: OrchestrationContext, _: Value) -> End<&'static str> {
    ctx.set_custom_status("step one");
    ctx.call(HELLO, "1").await?;
    ctx.set_custom_status(&42);
    ctx.call(HELLO, "2").await?;
    ctx.set_custom_status(&serde_json::json!({ "progress": 0.75, "note": "\u{fc} \u{2713}", "list": [1, 2, 3] }));
    ctx.call(HELLO, "3").await?;
    Ok("done")
}

/// Children of two versions; the first with tags. Output: what they say, and this one's own version.
async fn tags_parent(ctx: OrchestrationContext, _: Value) -> End<String> {
    let tagged = ctx.call(VERSIONED, "x").version("2.0").instance_id(beside(&ctx, "-v2"));
    let one = tagged.tag("child", "yes").tag("color", "gr\u{fc}n").await?;
    let two = ctx.call(VERSIONED, "y").version("1.0").instance_id(beside(&ctx, "-v1")).await?;
    Ok(format!("{one},{two},{}", ctx.version().unwrap_or_default()))
}

/// Fails the first time, works after a rewind.
async fn rewindable(ctx: OrchestrationContext, _: Value) -> End<String> {
    let before = ctx.call(HELLO, "before").await?;
    let after = ctx.call(FLAKY_ONCE, ctx.instance_id()).await?;
    Ok(format!("{before},{after}"))
}

/// Fails because its child does.
async fn rewind_parent(ctx: OrchestrationContext, _: Value) -> End<String> {
    Ok(ctx.call(REWINDABLE, Value::from("c")).instance_id(beside(&ctx, "-child")).await?)
}

async fn poco_echo(ctx: OrchestrationContext, input: Poco) -> End<Poco> {
    Ok(ctx.call(POCO, input).await?)
}

/// Starts a child that nobody waits for.
async fn fire_and_forget_parent(ctx: OrchestrationContext, _: Value) -> End<String> {
    ctx.start_orchestration(SUB_CHILD, "d").instance_id(beside(&ctx, "-detached"));
    Ok(ctx.call(HELLO, "parent").await?)
}

async fn null_void(ctx: OrchestrationContext, _: Value) -> End<Value> {
    Ok(ctx.call(NOTHING, Value::Null).await?)
}

async fn unknown_activity_caller(ctx: OrchestrationContext, _: Value) -> End<String> {
    Ok(ctx.call(NO_SUCH_ACTIVITY, "x").await?)
}

/// Input: how many activities, and milliseconds of each.
async fn slow_sequence(ctx: OrchestrationContext, [count, milliseconds]: [i32; 2]) -> End<i32> {
    for _ in 0..count {
        ctx.call(SLOW, milliseconds).await?;
    }
    Ok(count)
}
