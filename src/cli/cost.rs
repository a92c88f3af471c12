//! `taskhub cost`: the storage calls of the workers, by what they were made for, and their price.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use taskhub::{CallKind, Calls, Client, Prices, UsageReport, WorkerUsage};

use super::failure::{Failure, Kind, Outcome};
use super::output::{Output, table};
use super::text;

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
/// A shorter time tells nothing about a month.
const TELLING: Duration = Duration::from_secs(600);

/// What to price.
#[derive(Args, Debug)]
pub(crate) struct Cost {
    /// A JSON file with the prices of 10,000 calls of each kind, such as {"currency": "EUR", "queue": 0.0037, "table_batch": 0.0003}; what it
    /// leaves out has about its list price in US dollars
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Only workers that have told something within this time, such as 90m or 7d
    #[arg(long, value_name = "TIME", value_parser = super::values::duration)]
    within: Option<Duration>,
    /// Shows the default prices as a file to be changed
    #[arg(long, conflicts_with_all = ["prices", "within"])]
    show_prices: bool,
}

impl Cost {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        if self.show_prices {
            let prices = json!(Prices::default());
            return out.print(|| prices.clone(), || format!("{prices:#}"));
        }
        let prices = self.prices()?;
        let mut usage = client.usage().await?;
        let now = client.now();
        usage.retain(|worker| self.within.is_none_or(|within| now.since(worker.until) <= within));
        let report = UsageReport::new(usage, prices);
        out.print(|| json!(report), || as_text(&report.workers, &report.prices))
    }

    fn prices(&self) -> Result<Prices, Failure> {
        let Some(path) = &self.prices else { return Ok(Prices::default()) };
        let invalid = |error: String| Failure::new(Kind::Invalid, format!("the prices in {}: {error}", path.display()));
        let json = std::fs::read_to_string(path).map_err(|error| invalid(error.to_string()))?;
        read_prices(&json).map_err(|error| invalid(format!("{error}; `taskhub cost --show-prices` shows the form")))
    }
}

/// Above it is no price, and sums could become too large to be numbers.
const PRICE_MAX: f64 = 1e6;

fn read_prices(json: &str) -> Result<Prices, String> {
    // A list would be read as the members in their order.
    if !json.trim_start().starts_with('{') {
        return Err("there is no JSON object in it".to_owned());
    }
    let prices: Prices = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let Value::Object(members) = json!(prices) else { return Ok(prices) };
    let bad = members.into_iter().find(|(_, price)| price.as_f64().is_some_and(|price| !(0.0..=PRICE_MAX).contains(&price)));
    match bad {
        Some((name, price)) => Err(format!("{name} is {price}, and a price is a number from 0 to a million")),
        None => Ok(prices),
    }
}

fn as_text(usage: &[WorkerUsage], prices: &Prices) -> String {
    if usage.is_empty() {
        return "No worker has told what it has cost: each does so five minutes after it began to work.".to_owned();
    }
    let all = usage.iter().map(|worker| worker.calls).sum::<Calls>();
    let mut parts = vec![format!(
        "{} of {}, about {}. Prices are for 10,000 calls; set those of your account by --prices.",
        text::count(all.total(), "storage call"),
        text::count(usage.len() as u64, "worker"),
        money(all.cost(prices), prices)
    )];
    parts.push(table(
        &["WORKER", "SINCE", "FOR", "CALLS", "POLLS", "COST", "A MONTH"],
        &usage.iter().map(|w| worker_row(w, prices)).collect::<Vec<_>>(),
    ));
    let kinds = CallKind::ALL
        .into_iter()
        .filter(|kind| all.of(*kind) > 0)
        .map(|kind| vec![kind.name().to_owned(), all.of(kind).to_string(), money(all.cost_of(kind, prices), prices)]);
    parts.push(table(&["KIND", "CALLS", "COST"], &kinds.collect::<Vec<_>>()));
    for (heading, names) in
        [("ORCHESTRATOR", by_name(usage, |w| &w.orchestrators)), ("ACTIVITY", by_name(usage, |w| &w.activities))]
    {
        if !names.is_empty() {
            parts.push(table(&[heading, "CALLS", "OF ALL", "COST"], &name_rows(names, &all, prices)));
        }
    }
    parts.join("\n\n")
}

fn worker_row(worker: &WorkerUsage, prices: &Prices) -> Vec<String> {
    let (cost, span) = (worker.calls.cost(prices), worker.until.since(worker.since));
    let month = if span < TELLING { "-".to_owned() } else { money(cost * MONTH.as_secs_f64() / span.as_secs_f64(), prices) };
    vec![
        text::line(&worker.worker),
        text::time(worker.since),
        text::span(span),
        worker.calls.total().to_string(),
        worker.calls.of(CallKind::Poll).to_string(),
        money(cost, prices),
        month,
    ]
}

/// Those first that cost most.
#[allow(clippy::cast_precision_loss, reason = "a share is rounded anyway")]
fn name_rows(names: BTreeMap<String, Calls>, all: &Calls, prices: &Prices) -> Vec<Vec<String>> {
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by_key(|(_, calls)| std::cmp::Reverse(calls.total()));
    let row = |(name, calls): &(String, Calls)| {
        let share = 100.0 * calls.total() as f64 / all.total().max(1) as f64;
        vec![text::line(name), calls.total().to_string(), format!("{share:.0} %"), money(calls.cost(prices), prices)]
    };
    names.iter().map(row).collect()
}

fn by_name(usage: &[WorkerUsage], of: impl Fn(&WorkerUsage) -> &BTreeMap<String, Calls>) -> BTreeMap<String, Calls> {
    let mut all = BTreeMap::<String, Calls>::new();
    for (name, calls) in usage.iter().flat_map(of) {
        let sum = all.entry(name.clone()).or_default();
        *sum = *sum + *calls;
    }
    all
}

/// With as many digits as tell something.
fn money(amount: f64, prices: &Prices) -> String {
    if amount > 0.0 && amount < 0.000_000_5 {
        return format!("< 0.000001 {}", text::line(&prices.currency));
    }
    let digits = if amount >= 100.0 || amount == 0.0 {
        0
    } else if amount >= 0.1 {
        2
    } else {
        6
    };
    format!("{amount:.digits$} {}", text::line(&prices.currency))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_that_make_no_sense_are_refused_by_name() {
        assert_eq!(read_prices("{\"queue\": 0.5}").unwrap(), {
            let mut prices = Prices::default();
            prices.queue = 0.5;
            prices
        });
        for (bad, words) in [
            ("[]", "no JSON object"),
            ("{\"queue\": -1}", "queue is -1.0, and a price is a number from 0 to a million"),
            ("{\"table_read\": 1e300}", "table_read is 1e+300, and a price"),
            ("{\"queues\": 1}", "unknown field `queues`"),
        ] {
            let error = read_prices(bad).unwrap_err();
            assert!(error.contains(words), "{bad}: {error}");
        }
    }
}
