//! Metrics and traces: a worker whose page Prometheus scrapes, and whose spans go to a collector if there is one.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use futures::future::try_join_all;
use support::{Argument, Arguments, HUB, Outcome, STORAGE};
use taskhub::metrics::Metrics;
use taskhub::traces::Traces;
use taskhub::{Activity, ActivityContext, Client, Failure, OrchestrationContext, Orchestrator, Worker};
use tokio::time::Instant;

const PRICE: Activity<String, u64> = Activity::new("Price");
const CHARGE: Activity<u64, String> = Activity::new("Charge");
const CHECK_OUT: Orchestrator<Vec<String>, String> = Orchestrator::new("CheckOut");

const ADDRESS: Argument = ("--address", "where the page is, such as 127.0.0.1:9464; a free port of this machine without it");
const SECONDS: Argument = ("--seconds", "how long orders come; one second without it");

async fn check_out(ctx: OrchestrationContext, basket: Vec<String>) -> Result<String, Failure> {
    let prices = try_join_all(basket.into_iter().map(|item| ctx.call(PRICE, item).local())).await?;
    Ok(ctx.call(CHARGE, prices.into_iter().sum::<u64>()).await?)
}

async fn price(_: ActivityContext, item: String) -> Result<u64, Failure> {
    if item.is_empty() { Err(Failure::new("NoItem", "there is no item without a name")) } else { Ok(item.len() as u64 * 100) }
}

async fn charge(_: ActivityContext, cents: u64) -> Result<String, Failure> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    Ok(format!("charged {cents}"))
}

/// Orders for so long, four at a time; each tenth is wrong.
async fn orders(client: &Client, time: Duration) -> Outcome<u64> {
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < time {
        let order = async |n: u64| {
            let basket = if n % 10 == 9 { vec![String::new()] } else { vec!["tea".to_owned(), "cake".to_owned()] };
            let order = client.start(CHECK_OUT, basket).await?;
            order.wait().within(Duration::from_secs(30)).await
        };
        try_join_all((count..count + 4).map(order)).await?;
        count += 4;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(count)
}

/// Runs a worker that is seen from outside, and shows what its page says of the orders.
async fn run(arguments: &Arguments) -> Outcome {
    let metrics = Metrics::prometheus();
    // Without a collector nothing is traced: spans that nobody takes are lost with a warning each.
    let is_traced = std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some();
    let traces = is_traced.then(|| Traces::otlp("taskhub-example")).transpose()?;
    let (hub, is_shared) = support::open_with(arguments, "Metrics", |hub| match &traces {
        Some(traces) => hub.metrics(&metrics).traces(traces),
        None => hub.metrics(&metrics),
    })
    .await?;
    let worker = Worker::builder(&hub).orchestrator(CHECK_OUT, check_out).activity(PRICE, price).activity(CHARGE, charge);
    let address = arguments.text(ADDRESS).unwrap_or("127.0.0.1:0").parse::<SocketAddr>()?;
    let seconds = arguments.number(SECONDS)?.unwrap_or(1);
    // With port 0 the system chooses, and RUST_LOG=info tells what.
    if address.port() != 0 {
        println!("metrics on http://{address}/metrics while orders come, for {seconds} s");
    }
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let client = Client::new(&hub);
    let working = worker.metrics_address(address).run(async { drop(stopped.await) });
    let ordering = async {
        let count = orders(&client, Duration::from_secs(seconds)).await;
        drop(stop);
        count
    };
    let (ran, count) = tokio::join!(working, ordering);
    ran?;
    let (count, page) = (count?, metrics.page());
    page.lines().filter(|line| line.starts_with("taskhub_orchestrations_ended_total")).for_each(|line| println!("{line}"));
    if is_shared {
        // Other workers may have had some.
        return Ok(());
    }
    let ended = |status: &str, wanted: u64| {
        let name = hub.name();
        let series =
            format!(r#"taskhub_orchestrations_ended_total{{hub="{name}",orchestrator="CheckOut",status="{status}"}} {wanted}"#);
        support::expect(page.contains(&series), true)
    };
    ended("Completed", count - count / 10)?;
    ended("Failed", count / 10)
}

#[tokio::main]
async fn main() -> ExitCode {
    support::log_to_stderr("error");
    match Arguments::from_command_line(&[STORAGE, HUB, ADDRESS, SECONDS]) {
        Ok(arguments) => support::exit_code(run(&arguments).await),
        Err(code) => code,
    }
}
