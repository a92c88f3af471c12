//! Versioning: code changes while instances run that began with the code before. Three ways, each with what runs then (docs/versioning.md).
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::process::ExitCode;
use std::time::Duration;

use taskhub::{
    Activity, ActivityContext, Client, ErrorKind, Event, Failure, OrchestrationContext, Orchestrator, TaskHub, Worker,
    WorkerBuilder,
};

const CHECK: Activity<String, String> = Activity::new("CheckFraud");
const CHARGE: Activity<String, String> = Activity::new("Charge");
const PAID: Event<()> = Event::new("Paid");
const ORDER: Orchestrator<String, String> = Orchestrator::new("Order");
const METER: Orchestrator<u32, String> = Orchestrator::new("Meter");

const MINUTE: Duration = Duration::from_secs(60);

/// The code of yesterday.
async fn order_1(ctx: OrchestrationContext, goods: String) -> Result<String, Failure> {
    let charged = ctx.call(CHARGE, &goods).await?;
    ctx.wait_for_event(PAID).await;
    Ok(charged)
}

/// The code of today, which does more before it charges, as a version of its own.
async fn order_2(ctx: OrchestrationContext, goods: String) -> Result<String, Failure> {
    let checked = ctx.call(CHECK, &goods).await?;
    let charged = ctx.call(CHARGE, &goods).await?;
    ctx.wait_for_event(PAID).await;
    Ok(format!("{checked}, {charged}"))
}

/// The code of today for every instance: those that began with the code of yesterday came past the check before there was one.
async fn order_patched(ctx: OrchestrationContext, goods: String) -> Result<String, Failure> {
    let checked = if ctx.patched("fraud check") { ctx.call(CHECK, &goods).await? + ", " } else { String::new() };
    let charged = ctx.call(CHARGE, &goods).await?;
    ctx.wait_for_event(PAID).await;
    Ok(checked + &charged)
}

/// It never ends, so it moves to the next version between two generations.
async fn meter_1(ctx: OrchestrationContext, reading: u32) -> Result<String, Failure> {
    ctx.wait_for_event(PAID).await;
    ctx.continue_as_new_version(METER, reading + 1, "2.0")
}

async fn meter_2(ctx: OrchestrationContext, reading: u32) -> Result<String, Failure> {
    Ok(format!("reading {reading} of version {}", ctx.version().unwrap_or("none")))
}

fn activities(worker: WorkerBuilder) -> WorkerBuilder {
    worker
        .activity(CHECK, async |_: ActivityContext, goods: String| Ok(format!("{goods} checked")))
        .activity(CHARGE, async |_: ActivityContext, goods: String| Ok(format!("{goods} charged")))
}

/// What was deployed before.
fn yesterday(worker: WorkerBuilder) -> WorkerBuilder {
    activities(worker).orchestrator(ORDER, order_1).orchestrator(METER, meter_1)
}

/// Both versions side by side.
fn side_by_side(worker: WorkerBuilder) -> WorkerBuilder {
    yesterday(worker).orchestrator_version(ORDER, "2.0", order_2).orchestrator_version(METER, "2.0", meter_2)
}

/// One code for all instances.
fn patched(worker: WorkerBuilder) -> WorkerBuilder {
    activities(worker).orchestrator(ORDER, order_patched)
}

/// Only the new code: for a hub in which no instance of the old one is open.
fn replaced(worker: WorkerBuilder) -> WorkerBuilder {
    activities(worker).orchestrator(ORDER, order_2)
}

/// Runs a worker of one build for as long as `body` takes.
async fn with(
    hub: &TaskHub,
    build: fn(WorkerBuilder) -> WorkerBuilder,
    body: impl Future<Output = support::Outcome>,
) -> support::Outcome {
    let worker = build(Worker::builder(hub)).max_poll_interval(Duration::from_millis(200)).build()?;
    support::beside_worker(worker, body).await
}

/// Starts an order, and waits until it waits to be paid.
async fn begin(client: &Client, id: &str, version: &str) -> support::Outcome {
    client.start(ORDER, "tea").instance_id(id).version(version).await?;
    loop {
        let open = client.instance(id).history().await?.into_iter().any(|event| event.kind.completes().is_some());
        if open {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Pays, and checks what the order has become.
async fn end(client: &Client, id: &str, expected: &str) -> support::Outcome {
    client.instance(id).raise(PAID, ()).await?;
    let output: String = client.instance_of(ORDER, id).result().within(MINUTE).await?;
    println!("  {id}: {output}");
    support::expect(&*output, expected)
}

async fn shown(hub: TaskHub) -> support::Outcome {
    let client = Client::new(&hub);
    let client = &client;
    // The hub may be one that is kept, in which an earlier run has left its instances.
    for id in ["order-of-1", "order-of-2", "before", "after", "last", "waits"] {
        match client.instance(id).purge().await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }

    println!("Side by side: each version runs its own code.");
    with(&hub, side_by_side, async {
        begin(client, "order-of-1", "").await?;
        begin(client, "order-of-2", "2.0").await?;
        let meter = client.start(METER, 7).await?;
        meter.raise(PAID, ()).await?;
        println!("  meter: {}", meter.result().within(MINUTE).await?);
        end(client, "order-of-1", "tea charged").await?;
        end(client, "order-of-2", "tea checked, tea charged").await
    })
    .await?;

    println!("A branch inside the code: what began before goes on as it began.");
    with(&hub, yesterday, begin(client, "before", "")).await?;
    with(&hub, patched, async {
        begin(client, "after", "").await?;
        end(client, "before", "tea charged").await?;
        end(client, "after", "tea checked, tea charged").await
    })
    .await?;

    println!("Drained: the new code begins when nothing of the old one is left.");
    let drain = client.drain(ORDER.name());
    with(&hub, yesterday, async {
        begin(client, "last", "").await?;
        drain.begin().await?;
        // Every worker knows that half a minute later.
        tokio::time::sleep(Duration::from_secs(26)).await;
        client.start(ORDER, "tea").instance_id("waits").await?;
        end(client, "last", "tea charged").await?;
        while !drain.progress().await?.is_done {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let progress = drain.progress().await?;
        println!("  open: {}, waiting to begin: {}", progress.open, progress.waiting);
        support::expect((progress.open, progress.waiting), (0, 1))
    })
    .await?;
    drain.lift().await?;
    with(&hub, replaced, end(client, "waits", "tea checked, tea charged")).await
}

#[tokio::main]
async fn main() -> ExitCode {
    support::log_to_stderr("error");
    let arguments = match support::Arguments::from_command_line(&[support::STORAGE, support::HUB]) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let outcome = async {
        let (hub, _) = support::open(&arguments, "Versioning", None).await?;
        shown(hub).await
    };
    support::exit_code(outcome.await)
}

#[cfg(test)]
mod tests {
    use taskhub::testing::TestHost;

    use super::*;

    #[tokio::test]
    async fn new_orders_are_checked_by_either_code() {
        for (build, version) in [(side_by_side as fn(WorkerBuilder) -> WorkerBuilder, "2.0"), (patched, ""), (replaced, "")] {
            let host = TestHost::builder(build).start().await;
            let order = host.start(ORDER, "tea").version(version).await.unwrap();
            order.raise(PAID, ()).await.unwrap();
            assert_eq!(order.result().await.unwrap(), "tea checked, tea charged");
        }
    }

    #[tokio::test]
    async fn a_meter_moves_to_the_next_version() {
        let host = TestHost::builder(side_by_side).start().await;
        let meter = host.start(METER, 1).await.unwrap();
        meter.raise(PAID, ()).await.unwrap();
        assert_eq!(meter.result().await.unwrap(), "reading 2 of version 2.0");
    }
}
