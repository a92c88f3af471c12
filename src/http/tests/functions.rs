//! The orchestrators and activities of the recorded host, as far as the exchanges show them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Activity, ActivityContext, Elapsed, Event, Failure, OrchestrationContext, Orchestrator, RetryPolicy, WorkerBuilder};

type Outcome = Result<Value, Failure>;

const fn orchestrator(name: &'static str) -> Orchestrator<Value, Value> {
    Orchestrator::new(name)
}

const fn activity(name: &'static str) -> Activity<Value, Value> {
    Activity::new(name)
}

const HELLO: Activity<Value, Value> = activity("Hello");
const SQUARE: Activity<Value, Value> = activity("Square");
const RAW_ECHO: Activity<Value, Value> = activity("RawEcho");
const FAILS: Activity<Value, Value> = activity("AlwaysFails");
const COUNTER: Orchestrator<Value, Value> = orchestrator("Counter");
const CHILD: Orchestrator<Value, Value> = orchestrator("SubChild");
const FOREVER: Orchestrator<Value, Value> = orchestrator("WaitForever");
const THROWS: Orchestrator<Value, Value> = orchestrator("Throws");
const APPROVAL: Event<Value> = Event::new("Approval");

/// What .NET writes for an anonymous type.
const ANONYMOUS: &str = r#"{"$type":"<>f__AnonymousType1`1[[System.Int32, System.Private.CoreLib]], fxhost","k":1}"#;

pub(super) fn register(worker: WorkerBuilder) -> WorkerBuilder {
    // As long as no worker of .NET fails what it does not have.
    let worker = worker.fail_unhosted_after(Duration::MAX).fail_unhosted_alone_after(Duration::MAX);
    with_waits(with_children(with_activities(worker)))
        .orchestrator(orchestrator("EntityCaller"), async |_, _: Value| {
            let thrown = "System.Reflection.TargetInvocationException:Exception has been thrown by the target of an invocation.";
            Ok(json!({ "v": 8, "err": format!("{thrown}|System.InvalidOperationException:bad") }))
        })
        .orchestrator(orchestrator("HelloSequence"), hello_sequence)
        .orchestrator(orchestrator("FanOut"), async |ctx, n: Value| {
            let calls = (0..n.as_i64().unwrap_or(0)).map(|i| ctx.call(SQUARE, json!(i)));
            let squares = futures::future::try_join_all(calls).await?;
            Ok(json!(squares.iter().filter_map(Value::as_i64).sum::<i64>()))
        })
        .orchestrator(orchestrator("Echo"), async |_, input: Value| Ok(input))
        .orchestrator(orchestrator("EchoTyped"), async |ctx, input: Value| Ok(ctx.call(activity("EchoPoco"), input).await?))
        .orchestrator(orchestrator("ReturnNull"), async |_, _: Value| Ok(Value::Null))
        .orchestrator(orchestrator("ReturnVoid"), async |_, _: Value| Ok(Value::Null))
        .orchestrator(orchestrator("Versioned"), async |_, _: Value| Ok(json!("v=ok")))
        .orchestrator(orchestrator("ActivityInputs"), activity_inputs)
        .orchestrator(orchestrator("RetryOk"), async |ctx, _: Value| {
            let policy = RetryPolicy::exponential(3, Duration::from_secs(1));
            let id = json!(ctx.instance_id());
            Ok(ctx.call(activity("Flaky"), id).retry(policy).await?)
        })
        .orchestrator(orchestrator("RetryExhausted"), async |ctx, _: Value| {
            Ok(ctx.call(FAILS, json!("boom")).retry(RetryPolicy::fixed(2, Duration::from_secs(1))).await?)
        })
        .orchestrator(orchestrator("ActivityFails"), async |ctx, _: Value| Ok(ctx.call(FAILS, json!("boom")).await?))
        .orchestrator(orchestrator("CatchesActivityFailure"), async |ctx, _: Value| {
            let failed = ctx.call(activity("AlwaysFailsCustom"), json!("boom")).await.is_err();
            let caught =
                "caught:The activity function 'AlwaysFailsCustom' failed: \"Exception of type 'MyException' was thrown.\". See the function \
                          execution logs for additional details.|inner:MyException:Exception of type 'MyException' was thrown.|42";
            Ok(json!(if failed { caught } else { "no" }))
        })
        .orchestrator(THROWS, async |_, input: Value| {
            let message = format!("orch failed: {}", input.as_str().unwrap_or_default());
            Err(Failure::new("System.InvalidOperationException", message))
        })
        .orchestrator(orchestrator("UnknownActivity"), async |ctx, _: Value| {
            Ok(ctx.call(activity("NoSuchActivity"), json!("x")).await?)
        })
        .orchestrator(COUNTER, async |ctx: OrchestrationContext, n: Value| {
            let n = n.as_i64().unwrap_or(0);
            ctx.call(SQUARE, json!(n)).await?;
            if n < 3 { ctx.continue_as_new(COUNTER, json!(n + 1)) } else { Ok(json!(n)) }
        })
        .orchestrator(orchestrator("Info"), info)
        .orchestrator(orchestrator("Rewindable"), async |ctx, _: Value| {
            let before = ctx.call(HELLO, json!("pre")).await?;
            let after = ctx.call(activity("FailOnce"), json!(ctx.instance_id())).await?;
            Ok(json!(format!("{}{}", before.as_str().unwrap_or(""), after.as_str().unwrap_or(""))))
        })
        .orchestrator(orchestrator("BigOutput"), async |ctx, n: Value| Ok(ctx.call(activity("Big"), n).await?))
        .orchestrator(orchestrator("SourceInfo"), async |ctx, _: Value| {
            let source = ctx.tags().get("MS_DurableFunctions_SourceInstanceId").cloned();
            Ok(json!(source.unwrap_or_else(|| "(none)".to_owned())))
        })
}

fn with_activities(worker: WorkerBuilder) -> WorkerBuilder {
    worker
        .activity(HELLO, async |_: ActivityContext, name: Value| {
            Ok(json!(format!("Hello {}!", name.as_str().unwrap_or_default())))
        })
        .activity(SQUARE, async |_, n: Value| Ok(json!(n.as_i64().unwrap_or(0).pow(2))))
        .activity(activity("EchoPoco"), async |_, poco: Value| Ok(poco))
        .activity(RAW_ECHO, async |_, input: Value| Ok(json!({ "raw": input })))
        .activity(activity("ContextActivity"), async |ctx: ActivityContext, input: Value| {
            Ok(json!(format!("ContextActivity|{}|{}", ctx.instance_id(), input.as_str().unwrap_or_default())))
        })
        .activity(activity("NoResult"), async |_, _: Value| Ok(Value::Null))
        .activity(FAILS, async |_, input: Value| {
            Err(Failure::new("System.InvalidOperationException", input.as_str().unwrap_or_default()))
        })
        .activity(activity("AlwaysFailsCustom"), async |_, _: Value| Err(Failure::new("MyException", "thrown")))
        .activity(activity("Flaky"), async |_, id: Value| match attempts("flaky", &id) {
            n if n < 3 => Err(Failure::new("System.InvalidOperationException", format!("flaky attempt {n}"))),
            n => Ok(json!(format!("ok after {n}"))),
        })
        .activity(activity("FailOnce"), async |_, id: Value| match attempts("once", &id) {
            1 => Err(Failure::new("System.InvalidOperationException", "first time")),
            _ => Ok(json!("ok")),
        })
        .activity(activity("Big"), async |_, n: Value| {
            Ok(json!("x".repeat(usize::try_from(n.as_u64().unwrap_or(0)).unwrap_or(0))))
        })
}

fn attempts(what: &'static str, id: &Value) -> u32 {
    static ATTEMPTS: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());
    let mut attempts = ATTEMPTS.lock().unwrap();
    let count = attempts.entry(format!("{what}{id}")).or_default();
    *count += 1;
    *count
}

fn with_children(worker: WorkerBuilder) -> WorkerBuilder {
    worker
        .orchestrator(CHILD, async |ctx: OrchestrationContext, input: Value| {
            let name = if input.get("k").is_some() { ANONYMOUS.to_owned() } else { input.to_string() };
            let hello = ctx.call(HELLO, json!(name)).await?;
            let parent = ctx.parent().map_or("null", |parent| parent.instance.instance_id.as_str());
            Ok(json!(format!("{} parent={parent}", hello.as_str().unwrap_or_default())))
        })
        .orchestrator(orchestrator("SubParent"), async |ctx: OrchestrationContext, _: Value| {
            let first = ctx.call(CHILD, json!("x")).await?;
            let second: Value = serde_json::from_str(ANONYMOUS).unwrap();
            let id = format!("{}-child", ctx.instance_id());
            let second = ctx.call(CHILD, second).instance_id(id).await?;
            Ok(json!(format!("{}|{}", first.as_str().unwrap_or(""), second.as_str().unwrap_or(""))))
        })
        .orchestrator(orchestrator("SubFails"), async |ctx, _: Value| {
            let failed = ctx.call(THROWS, json!("sub")).await.is_err();
            let caught = "caught:FunctionFailedException:The orchestrator function 'Throws' failed: \"orch failed: sub\". See the function execution \
                          logs for additional details.|inner:System.InvalidOperationException:orch failed: sub";
            Ok(json!(if failed { caught } else { "no" }))
        })
        .orchestrator(orchestrator("SubFailsUncaught"), async |ctx, _: Value| {
            Ok(ctx.call(orchestrator("ActivityFails"), Value::Null).await?)
        })
        .orchestrator(orchestrator("UnknownSub"), async |ctx, _: Value| Ok(ctx.call(orchestrator("NoSuchOrch"), json!("x")).await?))
        .orchestrator(orchestrator("FireAndForget"), async |ctx: OrchestrationContext, _: Value| {
            let id = format!("{}-ff", ctx.instance_id());
            ctx.start_orchestration(CHILD, json!("ff")).instance_id(id.clone());
            Ok(json!(id))
        })
        .orchestrator(orchestrator("CatchSub"), async |ctx: OrchestrationContext, _: Value| {
            let id = format!("{}-sub", ctx.instance_id());
            let ended = ctx.call(FOREVER, Value::Null).instance_id(id).await;
            Ok(json!(if ended.is_ok() {
                "ok"
            } else {
                "Microsoft.Azure.WebJobs.Extensions.DurableTask.FunctionFailedException: The orchestrator function 'WaitForever' failed: \"\". See the \
                 function execution logs for additional details. | : "
            }))
        })
}

fn with_waits(worker: WorkerBuilder) -> WorkerBuilder {
    worker
        .orchestrator(FOREVER, async |ctx: OrchestrationContext, _: Value| {
            Ok(ctx.wait_for_event(Event::<Value>::new("never")).await)
        })
        .orchestrator(orchestrator("Approval"), async |ctx: OrchestrationContext, _: Value| {
            Ok(ctx.wait_for_event(APPROVAL).await)
        })
        .orchestrator(orchestrator("ApprovalTimeout"), async |ctx: OrchestrationContext, n: Value| {
            Ok(match ctx.wait_for_event(APPROVAL).within(seconds(&n)).await {
                Ok(approval) => json!(format!("got:{}", approval.as_str().unwrap_or_default())),
                Err(Elapsed) => json!("timeout:Event Approval not received in 00:00:01"),
            })
        })
        .orchestrator(orchestrator("Timer"), async |ctx: OrchestrationContext, n: Value| {
            ctx.timer(seconds(&n)).await;
            Ok(json!("fired"))
        })
        .orchestrator(orchestrator("LongTimer"), async |ctx: OrchestrationContext, days: Value| {
            ctx.timer(Duration::from_secs(86_400 * days.as_u64().unwrap_or(0))).await;
            Ok(json!("fired"))
        })
        .orchestrator(orchestrator("CustomStatus"), async |ctx: OrchestrationContext, _: Value| {
            let go = Event::<Value>::new("go");
            ctx.set_custom_status("starting");
            ctx.call(HELLO, json!("a")).await?;
            ctx.set_custom_status(&json!({ "progress": 50, "text": "half" }));
            ctx.wait_for_event(go).await;
            ctx.set_custom_status(&Value::Null);
            ctx.wait_for_event(go).await;
            ctx.set_custom_status(&json!({ "done": true }));
            Ok(json!("done"))
        })
}

fn seconds(n: &Value) -> Duration {
    Duration::from_secs(n.as_u64().unwrap_or(0))
}

async fn hello_sequence(ctx: OrchestrationContext, _: Value) -> Outcome {
    let mut all = Vec::new();
    for city in ["Tokyo", "Seattle", "London"] {
        all.push(ctx.call(HELLO, json!(city)).await?);
    }
    Ok(json!(all))
}

async fn activity_inputs(ctx: OrchestrationContext, _: Value) -> Outcome {
    let anonymous = json!({ "$type": "<>f__AnonymousType0`1[[System.Int32, System.Private.CoreLib]], fxhost", "x": 1 });
    let inputs = [
        Value::Null,
        json!("text \"quoted\" é"),
        json!(42),
        json!(true),
        json!("2024-01-02T03:04:05Z"),
        json!([1, 2, 3]),
        json!({ "Name": "n", "Count": 1, "When": "2024-01-02T03:04:05.678Z", "Tags": ["a", null], "Inner": null }),
        json!({ "Item1": "one", "Item2": 2 }),
        json!(["one", 2, null, anonymous]),
        json!({ "z": 1, "a": [null] }),
    ];
    let mut all = Vec::new();
    for input in inputs {
        all.push(ctx.call(RAW_ECHO, input).await?);
    }
    ctx.call(activity("NoResult"), Value::Null).await?;
    all.push(ctx.call(activity("ContextActivity"), json!("ctx")).await?);
    Ok(json!(all))
}

async fn info(ctx: OrchestrationContext, input: Value) -> Outcome {
    let (g1, g2, t0) = (ctx.new_uuid(), ctx.new_uuid(), ctx.now());
    ctx.call(HELLO, json!("i")).await?;
    let uuid = |uuid: uuid::Uuid| uuid.to_string();
    Ok(json!({
        "InstanceId": ctx.instance_id(),
        "Name": ctx.name(),
        "ParentInstanceId": null,
        "IsReplaying": ctx.is_replaying(),
        "g1": uuid(g1),
        "g2": uuid(g2),
        "g3": uuid(ctx.new_uuid()),
        "t0": t0,
        "t1": ctx.now(),
        "input": input,
    }))
}
