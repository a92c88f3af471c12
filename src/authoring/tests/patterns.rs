//! The five patterns, played to their ends, and what an orchestrator logs.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::try_join_all;

use super::play::{Play, done, raised};
use crate::authoring::{
    Activity, ActivityContext, Elapsed, Event, Failure, OrchestrationContext, Orchestrator, Registry, RegistryBuilder,
};
use crate::replay::{Completion, RetryPolicy};

const RESERVE: Activity<u64, String> = Activity::new("Reserve");
const CHARGE: Activity<String, String> = Activity::new("Charge");
const SHIP: Activity<(String, u64), String> = Activity::new("Ship");
const STATUS: Activity<u64, bool> = Activity::new("Status");
const LIST: Activity<(), Vec<String>> = Activity::new("List");
const RAW: Activity<String, String> = Activity::raw("Raw");
const APPROVAL: Event<bool> = Event::new("approval");

const FULFIL: Orchestrator<u64, String> = Orchestrator::new("Fulfil");
const BACKUP: Orchestrator<(), usize> = Orchestrator::new("Backup");
const MONITOR: Orchestrator<u64, String> = Orchestrator::new("Monitor");
const PURCHASE: Orchestrator<u64, String> = Orchestrator::new("Purchase");

fn registry() -> RegistryBuilder {
    // Captured, as a connection pool would be; counts the attempts.
    let attempts = Arc::new(Mutex::new(0));
    Registry::builder()
        .activity(RESERVE, async |_, order: u64| Ok(format!("hold {order}")))
        .activity(CHARGE, move |ctx, hold| charge(ctx, hold, Arc::clone(&attempts)))
        .activity(SHIP, async |ctx: ActivityContext, (receipt, order): (String, u64)| {
            Ok(format!("{receipt} shipped {order} by {} #{} of {}", ctx.name(), ctx.task_id(), ctx.instance_id()))
        })
        .activity(STATUS, async |_, polls: u64| Ok(polls >= 250))
        .activity(LIST, async |_, ()| Ok((0..100).map(|n| n.to_string()).collect()))
        .activity(RAW, async |_, text| Ok(text))
        .orchestrator(FULFIL, fulfil)
        .orchestrator(BACKUP, backup)
        .orchestrator(MONITOR, monitor)
        .orchestrator(PURCHASE, purchase)
}

async fn charge(_ctx: ActivityContext, hold: String, attempts: Arc<Mutex<u32>>) -> Result<String, Failure> {
    let mut attempts = attempts.lock().unwrap();
    *attempts += 1;
    if *attempts < 3 {
        return Err(Failure::new("Declined", "try again"));
    }
    Ok(format!("{hold} charged at {attempts}"))
}

async fn fulfil(ctx: OrchestrationContext, order: u64) -> Result<String, Failure> {
    let hold = ctx.call(RESERVE, order).await?;
    let receipt = ctx.call(CHARGE, &hold).retry(RetryPolicy::exponential(5, Duration::from_secs(2))).await?;
    Ok(ctx.call(SHIP, (receipt, order)).await?)
}

async fn backup(ctx: OrchestrationContext, (): ()) -> Result<usize, Failure> {
    let files = ctx.call(LIST, ()).await?;
    let copies = try_join_all(files.iter().map(|file| ctx.call(RAW, file))).await?;
    Ok(copies.iter().map(String::len).sum())
}

async fn monitor(ctx: OrchestrationContext, mut polls: u64) -> Result<String, Failure> {
    loop {
        if ctx.call(STATUS, polls).await? {
            return Ok(format!("ready after {polls}"));
        }
        ctx.timer(Duration::from_secs(3600)).await;
        polls += 1;
        if polls.is_multiple_of(100) {
            return ctx.continue_as_new(MONITOR, polls);
        }
    }
}

async fn purchase(ctx: OrchestrationContext, order: u64) -> Result<String, Failure> {
    match ctx.wait_for_event(APPROVAL).within(Duration::from_secs(3 * 86_400)).await {
        Ok(true) => Ok(ctx.call(RESERVE, order).await?),
        Ok(false) => Err(Failure::new("Rejected", "somebody said no").property("order", order)),
        Err(Elapsed) => Ok("nobody answered".to_owned()),
    }
}

fn completed(json: &str) -> Completion {
    Completion::Completed { output: Some(json.to_owned()) }
}

#[test]
fn chaining() {
    let expected = "\"hold 7 charged at 3 shipped 7 by Ship #6 of abc\"";
    assert_eq!(Play::new(registry()).play_out("Fulfil", Some("7")), completed(expected));
}

#[test]
fn fan_out_and_fan_in() {
    assert_eq!(Play::new(registry()).play_out("Backup", None), completed("190"));
}

#[test]
fn monitoring() {
    assert_eq!(Play::new(registry()).play_out("Monitor", Some("0")), completed("\"ready after 250\""));
}

#[test]
fn human_interaction() {
    assert_eq!(Play::new(registry()).play_out("Purchase", Some("1")), completed("\"nobody answered\""));
    let mut approved = Play::new(registry());
    assert_eq!(approved.start("Purchase", Some("1")), ["#0 timer 259200s"]);
    assert_eq!(approved.turn([raised("Approval", "true")]), ["#1 Reserve([1])"]);
    let mut rejected = Play::new(registry());
    rejected.start("Purchase", Some("1"));
    assert_eq!(rejected.turn([raised("Approval", "false")]), ["failed Rejected"]);
    assert_eq!(rejected.failure().properties.unwrap().get("order"), Some(1));
}

/// Where the lines of a test's log go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_are_logged_once() {
    let logs = Orchestrator::<(), ()>::new("Logs");
    let registry = Registry::builder().orchestrator(logs, async |ctx: OrchestrationContext, ()| {
        for n in 0..3 {
            tracing::info!("before {n}");
            ctx.call(RESERVE, n).await?;
        }
        Ok(())
    });
    let mut play = Play::new(registry);
    play.checks_twice = false;
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).without_time().finish();
    tracing::subscriber::with_default(subscriber, || {
        play.start("Logs", None);
        (0..3).for_each(|id| drop(play.turn([done(id, "\"\"")])));
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.matches("before").count(), 3, "{text}");
}
