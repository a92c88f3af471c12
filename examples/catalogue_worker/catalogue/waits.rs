//! Orchestrators of the catalogue that wait: for timers, events and races of them; and those that begin anew.

use std::time::Duration;

use futures::future::{Either, select};
use serde_json::Value;
use serde_json::value::RawValue;
use taskhub::{Event, Failure, OrchestrationContext, Orchestrator, Timer, WorkerBuilder};

use super::activities::{ALWAYS_FAILS, ECHO, HELLO, SQUARE};
use super::orchestrators::{End, SUB_CHILD, beside};

/// Payloads are given out as the text that they were sent with.
type Payload = Option<Box<RawValue>>;

const APPROVAL: Event<Payload> = Event::new("Approval");
const ITEM: Event<Payload> = Event::new("item");
const GO: Event<Payload> = Event::new("go");
const NEVER: Event<Payload> = Event::new("never");
const COUNTER: Orchestrator<[i32; 2], i32> = Orchestrator::new("Counter");
const EVENT_CARRY: Orchestrator<[i32; 2], i32> = Orchestrator::new("EventCarry");
const ETERNAL_MONITOR: Orchestrator<Option<i32>, Option<String>> = Orchestrator::new("EternalMonitor");

pub(super) fn register(builder: WorkerBuilder) -> WorkerBuilder {
    builder
        .orchestrator(Orchestrator::new("Timer"), timer)
        .orchestrator(Orchestrator::new("TimerRace"), timer_race)
        .orchestrator(Orchestrator::new("Approval"), approval)
        .orchestrator(Orchestrator::new("ManyEvents"), many_events)
        .orchestrator(COUNTER, counter)
        .orchestrator(EVENT_CARRY, event_carry)
        .orchestrator(Orchestrator::new("SuspendLoop"), suspend_loop)
        .orchestrator(Orchestrator::new("WaitForever"), wait_forever)
        .orchestrator(ETERNAL_MONITOR, eternal_monitor)
        .orchestrator(Orchestrator::new("SendEventer"), send_eventer)
        .orchestrator(Orchestrator::new("Mixed"), mixed)
        .orchestrator(Orchestrator::new("RaceNext"), race_next)
}

fn text(payload: Payload) -> Option<String> {
    payload.map(|json| json.get().to_owned())
}

/// A timer after a number of seconds, to the tick of .NET; negative ones lie in the past.
fn after(ctx: &OrchestrationContext, seconds: f64) -> Timer {
    ctx.timer_until(ctx.now().plus_ticks((seconds * 1e7) as i64))
}

/// Seconds to wait at most: an hour unless the input says otherwise.
fn or_an_hour(seconds: Option<f64>) -> f64 {
    seconds.filter(|seconds| *seconds > 0.0).unwrap_or(3600.0)
}

/// Input: seconds.
async fn timer(ctx: OrchestrationContext, seconds: Option<f64>) -> End<&'static str> {
    after(&ctx, seconds.unwrap_or_default()).await;
    Ok("fired")
}

/// A long timer against an activity; the timer loses.
async fn timer_race(ctx: OrchestrationContext, seconds: Option<f64>) -> End<String> {
    let timer = after(&ctx, or_an_hour(seconds));
    let work = ctx.call(HELLO, "race");
    match select(timer, work).await {
        Either::Left(((), _)) => Ok("timer: timeout".to_owned()),
        Either::Right((result, _)) => Ok(format!("activity: {}", result?)),
    }
}

/// Input: seconds to wait. Output: the payload's JSON or "timeout".
async fn approval(ctx: OrchestrationContext, seconds: Option<f64>) -> End<Option<String>> {
    ctx.set_custom_status("waiting");
    let event = ctx.wait_for_event(APPROVAL);
    let timer = after(&ctx, or_an_hour(seconds));
    match select(event, timer).await {
        Either::Left((payload, _)) => {
            ctx.set_custom_status("approved");
            Ok(text(payload))
        }
        Either::Right(((), _)) => {
            ctx.set_custom_status("timed out");
            Ok(Some("timeout".to_owned()))
        }
    }
}

/// Input: how many events to collect.
async fn many_events(ctx: OrchestrationContext, count: i32) -> End<Vec<Option<String>>> {
    let mut got = Vec::new();
    for _ in 0..count {
        got.push(text(ctx.wait_for_event(ITEM).await));
    }
    Ok(got)
}

/// Input: i and n. Begins anew until i is n, with one activity each time.
async fn counter(ctx: OrchestrationContext, [i, n]: [i32; 2]) -> End<i32> {
    ctx.call(SQUARE, i).await?;
    if i < n {
        return ctx.continue_as_new(COUNTER, [i + 1, n]);
    }
    Ok(i)
}

/// Input: events seen, and n. Takes one event per generation, so that others are carried over.
async fn event_carry(ctx: OrchestrationContext, [seen, n]: [i32; 2]) -> End<i32> {
    ctx.wait_for_event(ITEM).await;
    let seen = seen + 1;
    if seen < n {
        return ctx.continue_as_new(EVENT_CARRY, [seen, n]);
    }
    Ok(seen)
}

/// Input: rounds of a timer and an activity; the custom status is the round.
async fn suspend_loop(ctx: OrchestrationContext, rounds: i32) -> End<i32> {
    for i in 0..rounds {
        ctx.set_custom_status(&i);
        after(&ctx, 2.0).await;
        ctx.call(SQUARE, i).await?;
    }
    ctx.set_custom_status("done");
    Ok(rounds)
}

async fn wait_forever(ctx: OrchestrationContext, _: Value) -> End<Option<String>> {
    ctx.set_custom_status("waiting");
    Ok(text(ctx.wait_for_event(NEVER).await))
}

/// Input: the round. Never ends.
async fn eternal_monitor(ctx: OrchestrationContext, round: Option<i32>) -> End<Option<String>> {
    let round = round.unwrap_or_default();
    ctx.set_custom_status(&format!("round {round}"));
    ctx.call(SQUARE, round).await?;
    after(&ctx, 1.0).await;
    ctx.continue_as_new(ETERNAL_MONITOR, Some(round.wrapping_add(1)))
}

/// Input: instance, event name, text. Handles have fixed names, so only events of the catalogue can be sent.
async fn send_eventer(ctx: OrchestrationContext, [target, name, text]: [String; 3]) -> End<String> {
    let known = ["item", "Approval", "go", "never"].into_iter().find(|known| known.eq_ignore_ascii_case(&name));
    let known = known.ok_or_else(|| Failure::new("UnknownEvent", format!("no orchestrator here waits for \"{name}\"")))?;
    ctx.send_event(target, Event::<String>::new(known), text);
    Ok(ctx.call(HELLO, "sent").await?)
}

/// A bit of everything at once: activities, a child, a timer, and a failure that is caught.
async fn mixed(ctx: OrchestrationContext, input: String) -> End<[String; 4]> {
    let activity = ctx.call(HELLO, &input);
    let child = ctx.call(SUB_CHILD, &input).instance_id(beside(&ctx, "-mix"));
    let timer = ctx.timer(Duration::from_millis(700));
    let failing = ctx.call(ALWAYS_FAILS, "m");
    let (activity, child) = (activity.await?, child.await?);
    timer.await;
    let last = match failing.await {
        Ok(text) => text,
        Err(failed) => format!("failed: {}", failed.details().error_message),
    };
    Ok([activity, child, "tick".to_owned(), last])
}

/// What comes next depends on what came first in history: the event (then Echo) or the activity (then Square).
async fn race_next(ctx: OrchestrationContext, _: Value) -> End<String> {
    let event = ctx.wait_for_event(GO);
    let activity = ctx.call(HELLO, "a");
    match select(event, activity).await {
        Either::Right(_) => Ok(format!("squared: {}", ctx.call(SQUARE, 7).await?)),
        Either::Left(_) => Ok(format!("echoed: {}", ctx.call(ECHO, "event").await?)),
    }
}
