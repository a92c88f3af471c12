//! Hubs of .NET with entities: while our worker owns them, everything of the entities stays as it is, and .NET goes on afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use taskhub::internals::{Snapshot, leftovers, memory_at, stored};
use taskhub::{Client, Clock, ErrorKind, RuntimeStatus, Storage, TaskHub, Timestamp, Worker};

use crate::catalogue;
use crate::harness::{azurite, unique_hub_name};
use crate::takeover::snapshots;

/// How long our worker owns the hub: what it gives back is away for as long as that, and no longer than a minute.
const OWNED: Duration = Duration::from_secs(15);

/// Loads a snapshot, lets our worker own it while the mail of another one comes, and compares. What has changed, if anything.
async fn own(snapshot: &Snapshot, mail: &Snapshot, storage: Storage, clock: Clock, owned: Duration) -> Result<(), String> {
    let name = unique_hub_name("entities");
    snapshot.load(&storage, &name).await.map_err(|e| e.to_string())?;
    let hub = TaskHub::builder(storage.clone(), &name).clock(clock).open().await.map_err(|e| e.to_string())?;
    let before = stored(&storage, &hub, "@").await.map_err(|e| e.to_string())?;
    let mut texts = snapshot.texts(&storage, &name);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    // As in a hub that other processes can share, in memory too.
    let worker = catalogue::register(Worker::builder(&hub)).max_poll_interval(Duration::from_millis(500));
    let day = Duration::from_secs(86_400);
    let running = worker.fail_unhosted_after(day).fail_unhosted_alone_after(day).run(async { drop(stopped.await) });
    let acting = async {
        tokio::time::sleep(owned / 4).await;
        mail.send_to(&storage, &hub).await.map_err(|e| e.to_string())?;
        tokio::time::sleep(owned * 3 / 4).await;
        let awaited = Client::new(&hub).awaited().await.map_err(|e| e.to_string())?;
        drop(stop);
        Ok::<_, String>(awaited)
    };
    let (ran, awaited) = tokio::join!(running, acting);
    ran.map_err(|e| e.to_string())?;
    if !awaited?.iter().any(|awaited| awaited.kind.name() == "entity" && awaited.name == "@counter") {
        return Err("nobody is told that entities are waited for".to_owned());
    }
    if stored(&storage, &hub, "@").await.map_err(|e| e.to_string())? != before {
        return Err("rows or payloads have changed".to_owned());
    }
    for (instance, more) in mail.texts(&storage, &name) {
        texts.entry(instance).or_default().extend(more);
    }
    // The orchestration beside them has no code here either: it waits, and only repeats of what it has taken are dropped.
    match Client::new(&hub).instance(&snapshot.instance).status().await {
        Ok(caller) if caller.status == RuntimeStatus::Failed => {
            return Err("the orchestration that calls them has failed".to_owned());
        }
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.to_string()),
        _ => {}
    }
    texts.retain(|instance, _| instance.starts_with('@'));
    compare(&storage, &hub, &texts).await
}

/// Every message is there, as it was put and in its order, and visible within a minute.
async fn compare(storage: &Storage, hub: &TaskHub, expected: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(62);
    loop {
        let mut left = leftovers(storage, hub).await.map_err(|e| e.to_string())?;
        left.by_instance.retain(|instance, _| instance.starts_with('@'));
        if left.by_instance == *expected {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(format!(
                "{} messages, visible in order: {:#?}, expected: {expected:#?}",
                left.messages, left.by_instance
            ));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn mail(all: &[(String, Snapshot)]) -> &Snapshot {
    &all.iter().find(|(name, _)| name == "Signals-before").unwrap().1
}

fn report(failed: &[String], all: usize, expected: usize) {
    assert!(failed.is_empty(), "{} of {all} hubs were changed:\n{}", failed.len(), failed.join("\n"));
    assert_eq!(all, expected, "hubs with entities");
}

#[tokio::test(start_paused = true)]
async fn entities_of_dotnet_are_as_if_we_had_not_been_there_in_memory() {
    let (mut failed, snapshots) = (Vec::new(), snapshots("handover-entities"));
    for (seed, (name, snapshot)) in (0..).zip(&snapshots) {
        let (storage, clock) = memory_at(Timestamp::parse("2026-12-01T00:00:00Z").unwrap(), seed);
        if let Err(wrong) = own(snapshot, mail(&snapshots), storage, clock, 100 * OWNED).await {
            failed.push(format!("{name}: {wrong}"));
        }
    }
    report(&failed, snapshots.len(), 14);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entities_of_dotnet_are_as_if_we_had_not_been_there_on_azurite() {
    let snapshots = snapshots("handover-entities");
    let mail = mail(&snapshots);
    // Entities that wait for a first message, that are at rest, and that are locked: memory has shown the rest.
    let some: Vec<_> = snapshots.iter().filter(|(name, _)| name.starts_with("Signals") || name == "Entities-045").collect();
    let failed: Vec<_> = futures::stream::iter(&some)
        .map(|(name, snapshot)| async move {
            let owned = own(snapshot, mail, azurite().storage(), Clock::system(), OWNED).await;
            owned.err().map(|wrong| format!("{name}: {wrong}"))
        })
        .buffer_unordered(3)
        .filter_map(std::future::ready)
        .collect()
        .await;
    report(&failed, some.len(), 3);
}
