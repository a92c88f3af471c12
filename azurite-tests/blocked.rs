//! A worker whose activities keep every thread of its runtime: what it owns and holds stays its own, and runs once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use taskhub::{Activity, ActivityContext, Client, Clock, OrchestrationContext, Orchestrator, TaskHub, Worker};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::fleet::{beside_others, size};
use crate::harness::{azurite, unique_hub_name};

const BLOCK: Activity<(), ()> = Activity::new("Block");
const MAIN: Orchestrator<(), ()> = Orchestrator::new("Main");
/// Threads of the runtime. That many activities run, and keep them all.
const THREADS: usize = 2;

/// Runs a worker on a thread and runtime of its own until it is told to stop.
#[allow(clippy::disallowed_methods, reason = "the thread stands for the process around a worker")]
fn run(hub: String, blocks: Duration, runs: Arc<AtomicUsize>, stopped: oneshot::Receiver<()>) -> std::thread::JoinHandle<()> {
    let work = async move {
        let hub = TaskHub::open(azurite().storage(), &hub).await.unwrap();
        let block = move |_: ActivityContext, (): ()| {
            runs.fetch_add(1, SeqCst);
            std::thread::sleep(blocks);
            async { Ok(()) }
        };
        let main = async |ctx: OrchestrationContext, (): ()| Ok(ctx.call(BLOCK, ()).await?);
        let worker = Worker::builder(&hub).worker_id("blocked").activity(BLOCK, block).orchestrator(MAIN, main);
        worker.max_activities(THREADS).run(async { drop(stopped.await) }).await.unwrap();
    };
    std::thread::spawn(move || {
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
        runtime.block_on(runtime.spawn(work)).unwrap();
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_blocks_every_thread_costs_neither_a_lease_nor_a_second_run() {
    let _beside = beside_others().await;
    // Longer than a lease and the margin behind it.
    let blocks = Duration::from_secs(size(40, 120));
    let name = unique_hub_name("blocked");
    let hub = TaskHub::builder(azurite().storage(), &name).partitions(2).open().await.unwrap();
    let (client, runs) = (Client::new(&hub), Arc::new(AtomicUsize::new(0)));
    let (stop, stopped) = oneshot::channel();
    let worker = run(name, blocks, Arc::clone(&runs), stopped);
    let mut started = Vec::new();
    for _ in 0..THREADS {
        started.push(client.start(MAIN, ()).await.unwrap());
    }
    while runs.load(SeqCst) < THREADS {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let until = Instant::now() + blocks - Duration::from_secs(2);
    while Instant::now() < until {
        for partition in client.hub_status().await.unwrap().partitions {
            assert!(partition.expires_at.unwrap() > Clock::system().now(), "nobody renews the lease of {}", partition.queue.name);
            assert_eq!((partition.owner.as_deref(), partition.is_draining), (Some("blocked"), false));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for instance in &started {
        instance.result().within(Duration::from_secs(60)).await.unwrap();
    }
    assert_eq!(runs.load(SeqCst), THREADS, "an activity ran twice");
    drop(stop);
    while !worker.is_finished() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    worker.join().unwrap();
}
