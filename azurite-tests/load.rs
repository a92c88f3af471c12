//! Orchestrations of the catalogue with the outputs that they must have, started and watched as an outside client does.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use taskhub::internals::completed_twice;
use taskhub::{Client, InstanceQuery, InstanceStatus, RuntimeStatus};
use tokio::time::Instant;

use crate::takeover::in_order;

/// Starts that are under way at once.
const STARTERS: usize = 4;

/// What was started, and what must come of it, by instance.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    client: &'a Client,
    expected: BTreeMap<String, Case>,
    /// Instances that wait for events which were not sent yet.
    owed: Vec<(String, usize)>,
}

/// One orchestration and how it must end.
#[derive(Debug)]
struct Case {
    name: &'static str,
    input: Option<Value>,
    /// How many events it waits for: `item` with the payloads 1, 2, ...
    items: usize,
    end: End,
    /// How many instances it starts itself.
    children: usize,
}

#[derive(Debug)]
enum End {
    Output(Value),
    /// A list in any order: of events that come at once, any may be first.
    Items(Value),
    Failure(&'static str),
}

impl Case {
    const fn new(name: &'static str, input: Option<Value>, output: Value) -> Self {
        Self { name, input, items: 0, end: End::Output(output), children: 0 }
    }

    fn check(&self, id: &str, status: &InstanceStatus) {
        let shown = format!("{id}, {}: {}", self.name, status.status);
        let output = || status.output::<Value>().unwrap_or_else(|e| panic!("{shown}: {e}"));
        let wanted = if matches!(self.end, End::Failure(_)) { RuntimeStatus::Failed } else { RuntimeStatus::Completed };
        assert_eq!(status.status, wanted, "{shown}, {status:?}");
        match &self.end {
            End::Output(expected) => assert_eq!(&output(), expected, "{shown}"),
            End::Items(expected) => {
                let mut items = output();
                items.as_array_mut().expect("a list").sort_by_key(Value::to_string);
                assert_eq!(&items, expected, "{shown}");
            }
            End::Failure(text) => assert_eq!(status.output.as_deref(), Some(*text), "{shown}"),
        }
    }
}

const RETRIES_EXHAUSTED: &str = "DurableTask.Core.Exceptions.TaskFailedException: Task 'AlwaysFails' (#4) failed with an unhandled exception: activity failed: r";

/// A bit of every pattern, in turn.
fn mixed(number: usize) -> Case {
    let large = "y".repeat(50_000);
    match number % 16 {
        0 => Case::new("HelloSequence", None, json!(["Hello, Tokyo!", "Hello, Seattle!", "Hello, London!"])),
        1 => Case::new("FanInSum", Some(json!(8)), json!(140)),
        2 => Case { children: 2, ..Case::new("SubParent", Some(json!("x")), json!(["Hello, x!", "Hello, x!"])) },
        3 => Case::new("Counter", Some(json!([0, 3])), json!(3)),
        4 => Case::new("Sequence", Some(json!(5)), json!(5)),
        5 => {
            let output = json!(["Hello, m!", "Hello, m!", "tick", "failed: activity failed: m"]);
            Case { children: 1, ..Case::new("Mixed", Some(json!("m")), output) }
        }
        6 => Case::new("Timer", Some(json!(3.5)), json!("fired")),
        7 => Case::new("Approval", Some(json!(1)), json!("timeout")),
        8 => {
            let end = End::Items(json!(["1", "2", "3"]));
            Case { items: 3, end, ..Case::new("ManyEvents", Some(json!(3)), Value::Null) }
        }
        9 => Case { items: 3, ..Case::new("EventCarry", Some(json!([0, 3])), json!(3)) },
        10 => Case { children: 4, ..Case::new("SubFanOut", Some(json!(4)), json!(4)) },
        11 => Case { children: 1, ..Case::new("SubParentCatches", None, json!("caught: activity failed: child")) },
        12 => Case { end: End::Failure(RETRIES_EXHAUSTED), ..Case::new("RetryExhausted", None, Value::Null) },
        13 => Case::new("LargeFromActivity", Some(json!([70_000, 0])), json!("x".repeat(70_000))),
        14 => Case::new("LargeEcho", Some(json!(large)), json!(large)),
        _ => Case::new("SlowSequence", Some(json!([3, 400])), json!(3)),
    }
}

impl<'a> Load<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client, expected: BTreeMap::new(), owed: Vec::new() }
    }

    /// Starts the next `count` orchestrations of all kinds. Those that wait for events get them with the next start, or at the end.
    pub(crate) async fn start_mixed(&mut self, count: usize) {
        self.send_owed().await;
        let first = self.expected.len();
        self.start_all((first..first + count).map(mixed)).await;
    }

    /// Starts `count` sequences of so many activities.
    pub(crate) async fn start_sequences(&mut self, count: usize, activities: i32) {
        self.start_all((0..count).map(|_| Case::new("Sequence", Some(json!(activities)), json!(activities)))).await;
    }

    async fn start_all(&mut self, all: impl Iterator<Item = Case>) {
        let first = self.expected.len();
        let starts: Vec<_> = (first..).zip(all).map(|(n, case)| (format!("i{n:04}"), case)).collect();
        let client = self.client;
        stream::iter(&starts)
            .map(|(id, case)| async move { client.start_named(case.name, &case.input).instance_id(id).await.map(drop) })
            .buffer_unordered(STARTERS)
            .try_collect::<()>()
            .await
            .expect("an instance can be started");
        self.owed.extend(starts.iter().filter(|(_, case)| case.items > 0).map(|(id, case)| (id.clone(), case.items)));
        self.expected.extend(starts);
    }

    async fn send_owed(&mut self) {
        for (id, items) in std::mem::take(&mut self.owed) {
            for item in 1..=items {
                self.client.instance(&id).raise_named("item", item).await.expect("an event can be raised");
            }
        }
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
            if Instant::now() >= deadline {
                let (all, open) = (self.expected.len(), self.open().await);
                let hub = self.client.hub_status().await;
                panic!("{ended} of {all} have ended within {limit:?}: {open:#?}\n{hub:#?}");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Waits until all have ended, and checks that each has its output and applied no completion twice.
    pub(crate) async fn finish(&mut self, limit: Duration) -> BTreeMap<String, InstanceStatus> {
        self.send_owed().await;
        self.wait_for(self.expected.len(), limit).await;
        let all = self.statuses(true).await;
        for (id, case) in &self.expected {
            case.check(id, &all[id]);
        }
        stream::iter(self.expected.keys()).for_each_concurrent(STARTERS, |id| self.check_history(id)).await;
        all
    }

    /// Checks that the hub holds what was started and its children, nothing else, and that each of them ran once.
    pub(crate) async fn check_hub(&self) {
        let all = self.list(InstanceQuery { page_size: 1000, ..InstanceQuery::default() }).await;
        let children: usize = self.expected.values().map(|case| case.children).sum();
        let open: Vec<_> = all.values().filter(|status| !status.status.is_terminal()).collect();
        assert!(open.is_empty(), "still open: {open:?}");
        assert_eq!(all.len(), self.expected.len() + children, "instances: {:?}", all.keys());
        stream::iter(all.keys()).for_each_concurrent(STARTERS, |id| self.check_history(id)).await;
    }

    async fn check_history(&self, id: &str) {
        let history = self.client.instance(id).history().await.expect("a history can be read");
        assert_eq!(completed_twice(&history), [0; 0], "{id}: {history:?}");
        assert_eq!(in_order(&history), Ok(()), "{id}: {history:?}");
    }

    /// Some of what has not ended, with their histories.
    async fn open(&self) -> Vec<String> {
        let all = self.statuses(false).await;
        let mut open = Vec::new();
        for (id, status) in all.iter().filter(|(_, status)| !status.status.is_terminal()).take(10) {
            let history = self.client.instance(id).history().await;
            let events = history.map(|events| events.into_iter().map(|event| event.kind.type_name()).collect::<Vec<_>>());
            let (name, shown, completed) = (&status.name, status.status, status.completed);
            open.push(format!("{id} {name} {shown}, completed {completed:?}: {events:?}"));
        }
        open
    }

    /// The instances of the load, without their children.
    async fn statuses(&self, with_payloads: bool) -> BTreeMap<String, InstanceStatus> {
        let query = InstanceQuery { with_payloads, page_size: 1000, id_prefix: Some("i".to_owned()), ..InstanceQuery::default() };
        let mut all = self.list(query).await;
        all.retain(|id, _| self.expected.contains_key(id));
        all
    }

    async fn list(&self, mut query: InstanceQuery) -> BTreeMap<String, InstanceStatus> {
        let mut all = BTreeMap::new();
        loop {
            let page = self.client.list(&query).await.expect("instances can be listed");
            all.extend(page.instances.into_iter().map(|status| (status.instance_id.clone(), status)));
            if page.continuation.is_none() {
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
