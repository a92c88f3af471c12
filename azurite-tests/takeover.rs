//! Take-over from .NET: every hub that a .NET worker left when it was killed is finished by a worker of ours.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use taskhub::internals::{Leftovers, Snapshot, completed_twice, memory_at};
use taskhub::{Client, Clock, EventKind, HistoryEvent, RawValue, RuntimeStatus, Storage, TaskHub, Timestamp, Worker};

use crate::catalogue;
use crate::fleet::{leftovers_until, size};
use crate::harness::{azurite, unique_hub_name};

/// The output that the snapshot must end with: the recorded one, or that of an undisturbed run.
async fn expected_output(snapshot: &Snapshot) -> Option<String> {
    if snapshot.expected_output.is_some() {
        return snapshot.expected_output.clone();
    }
    let (storage, clock) = memory_at(Timestamp::parse("2026-12-01T00:00:00Z").unwrap(), 0);
    let hub = TaskHub::builder(storage, "Undisturbed").clock(clock).open().await.unwrap();
    let client = Client::new(&hub);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = catalogue::register(Worker::builder(&hub)).run(async { drop(stopped.await) });
    let acting = async {
        let instance = client.start_named(&snapshot.orchestrator, raw(snapshot.input.as_ref())).await.unwrap();
        let status = instance.wait().within(Duration::from_secs(60)).await.unwrap();
        drop(stop);
        status.output
    };
    let (ran, output) = tokio::join!(running, acting);
    ran.unwrap();
    output
}

/// The recorded hubs of a folder, by their names.
pub(crate) fn snapshots(folder: &str) -> Vec<(String, Snapshot)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("azurite-tests/golden").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let snapshot = Snapshot::parse(&std::fs::read_to_string(path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        (name, snapshot)
    };
    files.into_iter().filter(|f| f.extension().is_some_and(|e| e == "json")).map(read).collect()
}

/// Where a snapshot is taken over.
struct World {
    storage: Storage,
    clock: Clock,
    /// How long the instance may take.
    limit: Duration,
    /// How long what is left of the messages may take; timers are waited for only where time is free.
    patience: Duration,
}

fn raw(json: Option<&String>) -> Option<Box<RawValue>> {
    json.map(|json| RawValue::from_string(json.clone()).unwrap())
}

/// Loads the snapshot and lets a worker of ours end it. What is wrong with the outcome, if anything.
async fn take_over(snapshot: &Snapshot, expected: &Option<String>, world: World, hub_name: &str) -> Result<(), String> {
    let World { storage, clock, limit, patience } = world;
    snapshot.load(&storage, hub_name).await.map_err(|e| e.to_string())?;
    let hub = TaskHub::builder(storage.clone(), hub_name).clock(clock.clone()).open().await.map_err(|e| e.to_string())?;
    let instance = Client::new(&hub).instance(&snapshot.instance);
    let before = completed_twice(&instance.history().await.map_err(|e| e.to_string())?);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = catalogue::register(Worker::builder(&hub)).max_poll_interval(Duration::from_millis(500));
    let running = worker.run(async { drop(stopped.await) });
    let acting = async {
        for event in snapshot.raise.iter().filter(|e| !e.already_sent) {
            instance.raise_named(&event.name, raw(event.data.as_ref())).await.map_err(|e| e.to_string())?;
        }
        let ended = instance.wait().within(limit).await;
        let left = settle(&storage, &hub, snapshot, patience).await;
        drop(stop);
        let status = ended.map_err(|e| e.to_string())?;
        if status.status != RuntimeStatus::Completed || status.output != *expected {
            return Err(format!("ended {} with {:?}", status.status, status.output));
        }
        left
    };
    let (ran, outcome) = tokio::join!(running, acting);
    ran.map_err(|e| e.to_string())?;
    outcome?;
    let history = instance.history().await.map_err(|e| e.to_string())?;
    let twice: Vec<_> = completed_twice(&history).into_iter().filter(|id| !before.contains(id)).collect();
    if !twice.is_empty() {
        return Err(format!("tasks {twice:?} stand twice completed in the history"));
    }
    in_order(&history)
}

/// Waits until no message is left, or none but timers that are not due for long.
async fn settle(storage: &Storage, hub: &TaskHub, snapshot: &Snapshot, patience: Duration) -> Result<(), String> {
    // A turn of .NET that was never committed leaves its timer beside that of ours.
    let timers = if patience < Duration::from_secs(700) { 2 * snapshot.long_timers() } else { 0 };
    let is_settled = |left: &Leftovers| left.visible.is_empty() && left.messages <= timers;
    let left = leftovers_until(storage, hub, patience, is_settled).await?;
    match is_settled(&left) {
        true => Ok(()),
        false => Err(format!("{} messages are left, visible: {:?}", left.messages, left.visible)),
    }
}

/// Decisions precede their completions, and the history ends with its completion.
pub(crate) fn in_order(history: &[HistoryEvent]) -> Result<(), String> {
    let mut decided = std::collections::BTreeSet::new();
    for event in history {
        decided.extend(Some(event.event_id).filter(|id| *id >= 0));
        if let Some(id) = event.kind.completes().filter(|id| !decided.contains(id)) {
            return Err(format!("task {id} is completed before it is scheduled"));
        }
    }
    let ends = history.iter().filter(|e| matches!(e.kind, EventKind::ExecutionCompleted { .. })).count();
    if ends == 1 { Ok(()) } else { Err(format!("the history has {ends} ends")) }
}

fn report(failed: &[String], all: usize) {
    assert!(failed.is_empty(), "{} of {all} snapshots ended wrongly:\n{}", failed.len(), failed.join("\n"));
    assert_eq!(all, 101, "every recorded snapshot is taken over");
}

#[tokio::test(start_paused = true)]
async fn every_snapshot_of_dotnet_is_finished_in_memory() {
    let (mut failed, snapshots) = (Vec::new(), snapshots("handover"));
    for (seed, (name, snapshot)) in (0..).zip(&snapshots) {
        let expected = expected_output(snapshot).await;
        let (storage, clock) = memory_at(Timestamp::parse("2026-12-01T00:00:00Z").unwrap(), seed);
        let world = World { storage, clock, limit: Duration::from_secs(1200), patience: Duration::from_secs(1200) };
        if let Err(wrong) = take_over(snapshot, &expected, world, &snapshot.hub).await {
            failed.push(format!("{name}: {wrong}"));
        }
    }
    report(&failed, snapshots.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_snapshot_of_dotnet_is_finished_on_azurite() {
    let snapshots = snapshots("handover");
    // The store in memory has them all; which of them are here too, in an ordinary run, does not depend on what they are about.
    let here = snapshots.iter().step_by(size(5, 1));
    let failed: Vec<_> = futures::stream::iter(here)
        .map(|(name, snapshot)| async move {
            let expected = expected_output(snapshot).await;
            let (limit, patience) = (Duration::from_secs(120), Duration::from_secs(60));
            let world = World { storage: azurite().storage(), clock: Clock::system(), limit, patience };
            let ended = take_over(snapshot, &expected, world, &unique_hub_name("takeover")).await;
            ended.err().map(|wrong| format!("{name}: {wrong}"))
        })
        .buffer_unordered(12)
        .filter_map(std::future::ready)
        .collect()
        .await;
    report(&failed, snapshots.len());
}
