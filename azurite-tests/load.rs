//! Orchestrations of the catalogue with the outputs that they must have, started and watched as an outside client does.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use taskhub::internals::completed_twice;
use taskhub::{Client, InstanceQuery, InstanceStatus, RuntimeStatus};
use tokio::time::Instant;

/// Starts that are under way at once.
const STARTERS: usize = 4;

/// What was started, and what must come of it: outputs by instance.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    client: &'a Client,
    expected: BTreeMap<String, Value>,
}

/// A bit of every pattern, in turn: name, input, output.
fn mixed(number: usize) -> (&'static str, Option<Value>, Value) {
    match number % 6 {
        0 => ("HelloSequence", None, json!(["Hello, Tokyo!", "Hello, Seattle!", "Hello, London!"])),
        1 => ("FanInSum", Some(json!(8)), json!(140)),
        2 => ("SubParent", Some(json!("x")), json!(["Hello, x!", "Hello, x!"])),
        3 => ("Counter", Some(json!([0, 3])), json!(3)),
        4 => ("Sequence", Some(json!(5)), json!(5)),
        _ => ("Mixed", Some(json!("m")), json!(["Hello, m!", "Hello, m!", "tick", "failed: activity failed: m"])),
    }
}

impl<'a> Load<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client, expected: BTreeMap::new() }
    }

    /// Starts `count` orchestrations of every kind.
    pub(crate) async fn start_mixed(&mut self, count: usize) {
        self.start_all((0..count).map(mixed)).await;
    }

    /// Starts `count` sequences of so many activities.
    pub(crate) async fn start_sequences(&mut self, count: usize, activities: i32) {
        self.start_all((0..count).map(|_| ("Sequence", Some(json!(activities)), json!(activities)))).await;
    }

    async fn start_all(&mut self, all: impl Iterator<Item = (&'static str, Option<Value>, Value)>) {
        let first = self.expected.len();
        let starts: Vec<_> =
            (first..).zip(all).map(|(n, (name, input, output))| (format!("i{n:04}"), name, input, output)).collect();
        let client = self.client;
        stream::iter(&starts)
            .map(|(id, name, input, _)| async move {
                client.start_json(*name, input.as_ref().map(Value::to_string)).instance_id(id).await.map(drop)
            })
            .buffer_unordered(STARTERS)
            .try_collect::<()>()
            .await
            .expect("an instance can be started");
        self.expected.extend(starts.into_iter().map(|(id, _, _, output)| (id, output)));
    }

    /// How many have ended.
    pub(crate) async fn ended(&self) -> usize {
        let all = self.statuses(false).await;
        all.values().filter(|status| status.status.is_terminal()).count()
    }

    /// Waits until so many have ended.
    pub(crate) async fn wait_for(&self, count: usize, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.ended().await;
            if ended >= count {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{ended} of {} have ended within {limit:?}: {:?}",
                self.expected.len(),
                self.open().await
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Waits until all have ended, and checks that each has its output and applied no completion twice.
    pub(crate) async fn finish(&self, limit: Duration) -> BTreeMap<String, InstanceStatus> {
        self.wait_for(self.expected.len(), limit).await;
        let all = self.statuses(true).await;
        for (id, expected) in &self.expected {
            let status = &all[id];
            assert_eq!(status.status, RuntimeStatus::Completed, "{id}: {status:?}");
            assert_eq!(&status.output::<Value>().expect("outputs are JSON"), expected, "{id}, {}", status.name);
            let history = self.client.history(id).await.expect("a history can be read");
            assert_eq!(completed_twice(&history), [0; 0], "{id}, {}", status.name);
        }
        all
    }

    async fn open(&self) -> Vec<String> {
        let all = self.statuses(false).await;
        let open = all.values().filter(|status| !status.status.is_terminal());
        open.take(20).map(|status| format!("{} {} {}", status.instance_id, status.name, status.status)).collect()
    }

    /// The instances of the load, without their children.
    async fn statuses(&self, with_payloads: bool) -> BTreeMap<String, InstanceStatus> {
        let mut query =
            InstanceQuery { with_payloads, page_size: 1000, id_prefix: Some("i".to_owned()), ..InstanceQuery::default() };
        let mut all = BTreeMap::new();
        loop {
            let page = self.client.list(&query).await.expect("instances can be listed");
            all.extend(page.instances.into_iter().map(|status| (status.instance_id.clone(), status)));
            if page.continuation.is_none() {
                all.retain(|id, _| self.expected.contains_key(id));
                return all;
            }
            query.continuation = page.continuation;
        }
    }
}

/// From start to end as the rows tell, shortest first, in seconds.
pub(crate) fn latencies(all: &BTreeMap<String, InstanceStatus>) -> Vec<f64> {
    let mut latencies: Vec<_> =
        all.values().filter_map(|status| Some(status.completed?.since(status.created?).as_secs_f64())).collect();
    latencies.sort_by(f64::total_cmp);
    latencies
}
