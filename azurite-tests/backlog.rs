//! A backlog of pending instances is worked off at a steady pace; what it costs is counted from the trace of the worker's calls.
//!
//! `TASKHUB_BACKLOG=10000 cargo test --release --test azurite backlog -- --nocapture` is the long run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskhub::{Client, TaskHub, Worker};
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::catalogue;
use crate::fleet::{alone, size};
use crate::harness::{azurite, unique_hub_name};
use crate::load::Load;

/// Pending instances, in full and in an ordinary run.
const INSTANCES: usize = 1500;
const FEW_INSTANCES: usize = 450;
const WINDOW: Duration = Duration::from_secs(15);

/// What a worker did, by the events that it logs. Clones share it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// Calls by operation, failed ones with their kind.
    calls: BTreeMap<String, usize>,
    /// Warnings and errors.
    warnings: BTreeMap<String, usize>,
}

/// The fields of an event.
#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !event.metadata().target().starts_with("taskhub") {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let field = |name: &str| fields.0.get(name).map_or("", String::as_str);
        let mut seen = self.0.lock().unwrap();
        let message = field("message");
        if *event.metadata().level() <= Level::WARN {
            *seen.warnings.entry(format!("{message} {}", field("error").chars().take(60).collect::<String>())).or_default() += 1;
        }
        if message.starts_with("storage call") && message != "storage call is tried again" {
            let kind = field("kind");
            let call = if kind.is_empty() { field("op").to_owned() } else { format!("{}!{kind}", field("op")) };
            *seen.calls.entry(call).or_default() += 1;
        }
    }
}

impl Log {
    /// Messages that were deleted, also those of which only a second try learned that the first had been heard.
    fn deleted(&self) -> usize {
        self.calls("queue.delete")
    }

    /// Messages that were sent: work items, and answers for which there was no place.
    fn sent(&self) -> usize {
        self.calls("queue.put")
    }

    fn calls(&self, op: &str) -> usize {
        let seen = self.0.lock().unwrap();
        seen.calls.iter().filter(|(call, _)| call.starts_with(op)).map(|(_, count)| count).sum()
    }
}

#[tokio::test]
async fn a_backlog_is_worked_off_at_a_steady_pace() {
    let instances = std::env::var("TASKHUB_BACKLOG")
        .map_or(size(FEW_INSTANCES, INSTANCES), |count| count.parse().expect("TASKHUB_BACKLOG is a number"));
    let _alone = alone().await;
    let hub = TaskHub::open(azurite().storage(), &unique_hub_name("backlog")).await.expect("a hub can be created");
    let client = Client::new(&hub);
    let mut load = Load::new(&client);
    load.start_sequences(instances, 1).await;
    let log = Log::default();
    // With one dispatcher alone, what a thread of another test reaches first would be left out for this one too.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let logging = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
    let worker = catalogue::register(Worker::builder(&hub)).max_poll_interval(Duration::from_secs(1));
    let begun = Instant::now();
    let mut pace = Vec::new();
    let watch = async {
        let (mut last, mut next, mut is_over) = (0, begun + WINDOW, false);
        while !is_over {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let (done, sent) = (log.deleted(), log.sent());
            // The starts, and all that was sent for them.
            is_over = sent >= instances && done >= instances + sent;
            if Instant::now() >= next || is_over {
                pace.push(done - last);
                println!("{:?}: {}", begun.elapsed(), done - last);
                (last, next) = (done, Instant::now() + WINDOW);
            }
            assert!(begun.elapsed() < Duration::from_secs(3600), "{done} messages of {instances} instances were worked off");
        }
    };
    worker.run(watch).await.expect("the worker runs");
    let took = begun.elapsed();
    drop(logging);
    let Seen { calls, warnings } = std::mem::take(&mut *log.0.lock().unwrap());
    let (all, updates) = (calls.values().sum::<usize>(), calls.get("queue.update").copied().unwrap_or_default());
    let rate = instances as f64 / took.as_secs_f64();
    println!("{instances} instances in {took:?}, {rate:.1} a second; messages in each {WINDOW:?}: {pace:?}");
    println!("{all} calls: {calls:?}\n{warnings:#?}");
    let windows = &pace[..pace.len() - 1];
    assert!(!windows.contains(&0), "it came to a standstill: {pace:?}");
    // Renewals, and what went back.
    assert!(updates * 20 < all || size(true, false), "{updates} of {all} calls");
    assert!(!warnings.keys().any(|warning| warning.starts_with("partition lost")), "{warnings:#?}");
    load.finish(Duration::from_secs(60)).await;
}
