//! Instances that go from .NET to us and back in the middle: both must decide the same under the same ids.

use std::time::Duration;

use super::play::{Play, done, failed, fired, start, stored};
use crate::authoring::{Activity, Failure, OrchestrationContext, Orchestrator, Registry, TaskFailed};
use crate::hub::golden::history::{Turns, history};
use crate::model::{EventKind, HistoryEvent, RuntimeStatus};
use crate::replay::{Completion, Outcome, RetryPolicy, Turn};

const MAIN: Orchestrator<u64, String> = Orchestrator::new("Main");
const HELLO: Activity<String, String> = Activity::new("Hello");
const FLAKY: Activity<String, String> = Activity::new("Flaky");

/// An orchestrator under its recorded name.
fn registry<R>(
    name: &'static str,
    code: impl Fn(OrchestrationContext, serde_json::Value) -> R + Send + Sync + 'static,
) -> Registry
where
    R: Future<Output = Result<String, Failure>> + 'static,
{
    Registry::builder().orchestrator(Orchestrator::new(name), code).build().unwrap()
}

/// What a turn decided, as the events that history gets.
fn decided(outcome: &Outcome, turn: &[HistoryEvent]) -> Vec<String> {
    let mut shown: Vec<_> = outcome.actions.iter().map(|action| show(&super::play::event_of(&action.kind), action.id)).collect();
    if let Some(completion) = &outcome.completion {
        let status = match completion {
            Completion::Completed { .. } => RuntimeStatus::Completed,
            Completion::Failed { failure } if failure.error_type.starts_with("NonDet") => panic!("{failure} in {turn:?}"),
            Completion::Failed { .. } => RuntimeStatus::Failed,
            Completion::Terminated { .. } => RuntimeStatus::Terminated,
            Completion::ContinuedAsNew { .. } => RuntimeStatus::ContinuedAsNew,
        };
        shown.push(format!("#{} {status:?}", outcome.next_id));
    }
    shown
}

fn show(kind: &EventKind, id: i32) -> String {
    match kind {
        EventKind::TaskScheduled { name, .. } | EventKind::SubOrchestrationCreated { name, .. } => format!("#{id} {name}"),
        EventKind::TimerCreated { fire_at } => format!("#{id} timer {}", fire_at.to_table_text()),
        EventKind::ExecutionCompleted { status, .. } => format!("#{id} {status:?}"),
        other => panic!("{other:?}"),
    }
}

/// Takes the recorded instance over before each of its turns: ours must decide what .NET decided, also when it has to replay what
/// .NET did before.
fn agrees(turns: &Turns, registry: &Registry) {
    for (at, turn) in turns.iter().enumerate() {
        let past = turns[..at].concat();
        let (new, decisions): (Vec<_>, Vec<_>) = turn.iter().cloned().partition(|event| event.event_id == -1);
        let new: Vec<_> = new.into_iter().filter(|event| event.kind != EventKind::OrchestratorCompleted).collect();
        let outcome = registry.run_turn(&Turn { past: &stored(&past), new: &stored(&new), ..Turn::default() });
        assert_eq!(outcome.differences, [], "turn {at}");
        let expected: Vec<_> = decisions.iter().map(|event| show(&event.kind, event.event_id)).collect();
        assert_eq!(decided(&outcome, turn), expected, "turn {at}");
    }
}

#[test]
fn recorded_retries_are_taken_over_at_every_turn() {
    let ms = Duration::from_millis;
    let ok = registry("RetryOk", move |ctx, _| {
        let policy = RetryPolicy::exponential(5, ms(500)).max_interval(ms(5000));
        async move { Ok(ctx.call_named("FlakyTwice", "r").retry(policy).await?) }
    });
    agrees(&history("10-RetryOk", "RetryOk"), &ok);
    let exhausted = registry("RetryExhausted", move |ctx, _| async move {
        Ok(ctx.call_named("AlwaysFails", "r").retry(RetryPolicy::fixed(3, ms(300))).await?)
    });
    agrees(&history("11-RetryExhausted", "RetryExhausted"), &exhausted);
}

#[test]
fn recorded_retries_of_functions_are_taken_over_at_every_turn() {
    let second = Duration::from_secs(1);
    let ok = registry("RetryOk", move |ctx, _| async move {
        Ok(ctx.call_named("Flaky", "x").retry(RetryPolicy::exponential(3, second)).await?)
    });
    agrees(&history("retry-ok", "RetryOk"), &ok);
    let exhausted = registry("RetryExhausted", move |ctx, _| async move {
        Ok(ctx.call_named("AlwaysFails", "boom").retry(RetryPolicy::fixed(2, second)).await?)
    });
    agrees(&history("retry-exhausted", "RetryExhausted"), &exhausted);
    let handled = registry("RetryHandler", move |ctx, _| {
        let policy = RetryPolicy::fixed(5, second).only_if(|failure| !failure.error_message.contains("boom"));
        async move { Ok(ctx.call_named("AlwaysFails", "boom").retry(policy).await?) }
    });
    agrees(&history("retry-handler", "RetryHandler"), &handled);
    let child = registry("SubRetry", move |ctx, _| async move {
        let call = ctx.call_sub_orchestration_named("Throws", "sub").instance_id(format!("{}-sr", ctx.instance_id()));
        Ok(call.retry(RetryPolicy::fixed(2, second)).await?)
    });
    agrees(&history("sub-retry", "SubRetry"), &child);
    let http = registry("HttpCaller", move |ctx, _| async move {
        Ok(ctx.call_named("BuiltIn::HttpActivity", 1).retry(RetryPolicy::fixed(2, second)).await?)
    });
    agrees(&history("http-retry", "HttpCaller"), &http);
}

/// Tries `attempts` times, catches the last failure and goes on.
async fn tries(ctx: OrchestrationContext, attempts: u64) -> Result<String, Failure> {
    let policy = RetryPolicy::exponential(u32::try_from(attempts)?, Duration::from_secs(2));
    let tried = ctx.call(FLAKY, "x").retry(policy).await;
    go_on(ctx, tried).await
}

/// The same, with the retries spelled out as .NET has them.
async fn tries_as_dotnet(ctx: OrchestrationContext, attempts: u64) -> Result<String, Failure> {
    let mut pause = Duration::from_secs(2);
    for attempt in 1.. {
        let tried = ctx.call(FLAKY, "x").await;
        if tried.is_ok() {
            return go_on(ctx, tried).await;
        }
        if attempt == attempts {
            ctx.timer_until(ctx.now()).await;
            return go_on(ctx, tried).await;
        }
        ctx.timer(pause).await;
        pause *= 2;
    }
    unreachable!("the attempts end")
}

async fn go_on(ctx: OrchestrationContext, tried: Result<String, TaskFailed>) -> Result<String, Failure> {
    let told = tried.unwrap_or_else(|failed| failed.to_string());
    Ok(ctx.call(HELLO, told).await?)
}

#[test]
fn caught_retries_go_back_and_forth_between_dotnet_and_us() {
    let ours = || Play::new(Registry::builder().orchestrator(MAIN, tries));
    let dotnet = || Play::new(Registry::builder().orchestrator(MAIN, tries_as_dotnet));
    for (attempts, failures) in [(1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (3, 3)] {
        let mut seen = Vec::new();
        // Who begins, and after which turn the other takes over; or they change at every turn.
        for (first, second) in [(ours(), dotnet()), (dotnet(), ours())] {
            for change in 0..8 {
                let players = [(&first, &second), (&second, &first)];
                seen.push(played(players[0].0, players[0].1, attempts, failures, |turn| turn >= change));
            }
            seen.push(played(&first, &second, attempts, failures, |turn| turn % 2 == 1));
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{attempts} {failures}: {seen:#?}");
        assert!(seen[0].last().unwrap().starts_with("completed \"H\""), "{:?}", seen[0]);
    }
}

/// Everything that is decided while `is_second` tells who has the instance.
fn played(first: &Play, second: &Play, attempts: u64, failures: u64, is_second: impl Fn(usize) -> bool) -> Vec<String> {
    let mut play = first.again();
    let mut arrived = start("Main", Some(&attempts.to_string()));
    let (mut left, mut all) = (failures, Vec::new());
    for turn in 0.. {
        play.registry = if is_second(turn) { &second.registry } else { &first.registry }.clone();
        let outcome = play.turn([arrived]);
        all.extend(outcome.iter().cloned());
        let Some((id, what)) = outcome.last().and_then(|shown| shown.strip_prefix('#')?.split_once(' ')) else { break };
        let id = id.parse().unwrap();
        arrived = match what {
            timer if timer.starts_with("timer") => fired(id),
            hello if hello.starts_with("Hello") => done(id, "\"H\""),
            _ if left > 0 => {
                left -= 1;
                failed(id, "no")
            }
            _ => done(id, "\"F\""),
        };
    }
    all
}
