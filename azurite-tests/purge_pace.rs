//! Many instances that have ended are purged: that it tells how far it is and leaves nothing; and how long it takes, where it has the machine to itself.
//!
//! `TASKHUB_PURGE=10000 cargo test --release --test azurite purge_pace -- --nocapture` is the long run; one on the store in memory takes ten times as many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use taskhub::{
    Activity, ActivityContext, Client, ExportedInstance, InstanceQuery, OrchestrationContext, Orchestrator, Storage, TaskHub,
    Worker,
};
use tokio::time::Instant;

use crate::fleet::{beside_others, size};
use crate::harness::{azurite, unique_hub_name};

/// Imports at once.
const PARALLEL: usize = 16;
const HELLO3: Orchestrator<(), usize> = Orchestrator::new("Hello3");
const HELLO: Activity<usize, usize> = Activity::new("Hello");

/// Three activities in sequence: a history of twenty rows and the sentinel.
async fn hello3(ctx: OrchestrationContext, (): ()) -> Result<usize, taskhub::Failure> {
    let mut sum = 0;
    for n in 0..3 {
        sum += ctx.call(HELLO, n).await?;
    }
    Ok(sum)
}

fn instances() -> u64 {
    std::env::var("TASKHUB_PURGE").map_or(size(60, 200), |count| count.parse().expect("TASKHUB_PURGE is a number"))
}

/// An instance that has ended, as its export.
async fn ended(client: &Client, hub: &TaskHub) -> ExportedInstance {
    let worker = Worker::builder(hub).orchestrator(HELLO3, hello3).activity(HELLO, async |_: ActivityContext, n| Ok(n));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = worker.run(async { drop(stopped.await) });
    let using = async {
        client.start(HELLO3, ()).instance_id("number-0").await.unwrap().result().await.unwrap();
        drop(stop);
    };
    let (ran, ()) = tokio::join!(running, using);
    ran.unwrap();
    client.export("number-0").await.unwrap()
}

/// Purges so many, and says how long that took.
#[allow(clippy::print_stdout, reason = "the figure of a run by hand")]
async fn purge(storage: Storage, count: u64, told: &str) {
    let hub = TaskHub::open(storage, &unique_hub_name("Purge")).await.unwrap();
    let client = Client::new(&hub);
    let text = serde_json::to_string(&ended(&client, &hub).await).unwrap();
    let import = |number: u64| {
        let (client, copy) = (&client, text.replace("number-0", &format!("number-{number}")));
        async move { client.import(&serde_json::from_str(&copy).unwrap()).await }
    };
    stream::iter(1..count).map(import).buffer_unordered(PARALLEL).try_collect::<()>().await.unwrap();
    let (told_of, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let telling = Arc::clone(&told_of);
    let purge = client.purge(InstanceQuery::default()).progress(move |so_far| {
        telling.fetch_max(so_far.instances, Relaxed);
    });
    let report = purge.await.unwrap();
    println!("{count} instances with {} rows were purged from {told} in {:?}", report.rows, begun.elapsed());
    assert_eq!((report.instances, report.open, report.is_complete), (count, 0, true));
    assert_eq!(told_of.load(Relaxed), count, "the last word about its progress");
    assert!(client.pages(InstanceQuery::default()).all().await.unwrap().is_empty());
    hub.delete().await.unwrap();
}

#[tokio::test]
async fn purge_pace_on_azurite() {
    let _beside = beside_others().await;
    purge(azurite().storage(), instances(), "Azurite").await;
}

#[tokio::test]
async fn purge_pace_in_memory() {
    let _beside = beside_others().await;
    purge(Storage::in_memory(), 10 * instances(), "memory").await;
}
