//! Whether our worker may work on a hub that .NET set up: lease managers, app names, apps without a lease, and the swap of apps.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::handover::{Account, DO, Running, owned_by, seconds, worker};
use super::mixed_hub::dotnet;
use super::overheard::Overheard;
use crate::clock::Clock;
use crate::hub::app_lease::{AppLeaseInfo, lease_id};
use crate::hub::golden::ownership::{Act, BlobHub, blob_hubs, recorded, setting};
use crate::hub::partition_of;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::blob::{Lease, PutCondition};
use crate::storage::layer::tapped::{Effect, Tap};
use crate::{Client, ErrorKind, Event, InstanceQuery, RuntimeStatus, TaskHub};

const CONTAINER: &str = "test-applease";
const INFO: &str = "test-appleaseinfo";

async fn load(hub: &BlobHub) -> Storage {
    let clock = Clock::paused(Timestamp::parse("2026-12-01T00:00:00Z").unwrap());
    let storage = Storage::memory(clock, Rng::seeded(1));
    for (container, blobs) in &hub.containers {
        storage.blobs.create_container(container).await.unwrap();
        for (name, text) in blobs {
            storage.blobs.put(container, name, Bytes::from(text.clone()), PutCondition::Always).await.unwrap();
        }
    }
    for table in &hub.tables {
        storage.tables.create_table(table).await.unwrap();
    }
    for queue in &hub.queues {
        storage.queues.create_queue(queue).await.unwrap();
    }
    storage
}

/// The recorded hubs of the blob lease managers: created, running, stopped.
async fn blob_lease_hubs() -> Vec<(Storage, &'static str)> {
    let mut hubs = Vec::new();
    for (scenario, name) in [("55-BlobSafe", "h55BlobSafe"), ("56-BlobLegacy", "h56BlobLegacy")] {
        let moments = blob_hubs(scenario);
        assert_eq!(moments.len(), 3);
        for moment in moments {
            hubs.push((load(&moment).await, name));
        }
    }
    hubs
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_refused_by_hubs_of_the_blob_lease_managers_with_the_remedy() {
    for (storage, name) in blob_lease_hubs().await {
        let hub = TaskHub::open(storage.clone(), name).await.unwrap();
        let refused = worker(&hub, "w").run(std::future::pending()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Mismatch, "{refused}");
        let text = refused.to_string();
        for part in ["4 partitions", "useTablePartitionManagement", &format!("{}-leases", name.to_lowercase())] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        assert!(storage.tables.query(&format!("{name}Partitions"), &Default::default()).await.is_err(), "nothing is created");
        // The remedy, done.
        storage.blobs.delete_container(&format!("{}-leases", name.to_lowercase())).await.unwrap();
        assert_eq!(TaskHub::open(storage, name).await.unwrap().partitions(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_uses_hubs_of_the_blob_lease_managers_and_is_warned_once() {
    for (storage, name) in blob_lease_hubs().await {
        let heard = Overheard::default();
        let _listening = heard.listen();
        let hub = TaskHub::builder(storage.clone(), name).must_exist().open().await.unwrap();
        assert_eq!((hub.partitions(), hub.is_run_with_blob_leases()), (4, true));
        assert_eq!(heard.with("leases of blobs").len(), 1);
        let client = Client::new(&hub);
        for number in 0..8 {
            let id = format!("i{number}");
            let queue = format!("{}-control-{:02}", name.to_lowercase(), partition_of(&id, 4));
            let before = storage.queues.count(&queue).await.unwrap();
            client.start(DO, 1).instance_id(&id).await.unwrap();
            assert_eq!(storage.queues.count(&queue).await.unwrap(), before + 1, "where .NET looks for it");
            client.raise(&id, Event::<u32>::new("go"), &1).await.unwrap();
            assert_eq!(storage.queues.count(&queue).await.unwrap(), before + 2);
            assert_eq!(client.status(&id).await.unwrap().unwrap().status, RuntimeStatus::Pending);
            assert_eq!(client.history(&id).await.unwrap(), []);
        }
        let query = InstanceQuery { id_prefix: Some("i".to_owned()), ..InstanceQuery::default() };
        assert_eq!(client.list(&query).await.unwrap().instances.len(), 8);
        let status = client.hub_status().await.unwrap();
        assert_eq!((status.partitions.len(), status.is_run_with_blob_leases), (4, true));
        assert!(storage.tables.query(&format!("{name}Partitions"), &Default::default()).await.is_err(), "nothing is created");
        let other = TaskHub::builder(storage, name).partitions(8).open().await.unwrap_err();
        assert!(other.to_string().contains("has 4 partitions"), "{other}");
    }
}

/// What a worker does to the app lease: the headers of lease calls and the bodies of the info blob.
fn acts_of(tap: &Tap) -> Vec<Json> {
    let acts = tap.seen().into_iter().filter(|seen| seen.done).filter_map(|seen| match seen.effect {
        Effect::Lease(Lease::Acquire { id, duration }) => Some(json!({
            "x-ms-lease-action": "acquire",
            "x-ms-lease-duration": duration.as_secs().to_string(),
            "x-ms-proposed-lease-id": id,
        })),
        Effect::Lease(Lease::Renew { id }) => Some(json!({ "x-ms-lease-action": "renew", "x-ms-lease-id": id })),
        Effect::Blob { name, bytes } if name == INFO => Some(serde_json::from_slice(&bytes).unwrap()),
        _ => None,
    });
    acts.collect()
}

fn recorded_acts(scenario: &str) -> Vec<Json> {
    let acts = recorded(scenario).0.into_iter().filter_map(|step| match step.act {
        Act::Lease(headers) => Some(json!(headers)),
        Act::Info(body) => Some(body),
        _ => None,
    });
    acts.collect()
}

#[tokio::test(start_paused = true)]
async fn an_app_takes_and_keeps_its_lease_as_recorded() {
    let name = setting("58-AppName", "AppName").unwrap();
    let (account, tap) = Account::tapped();
    let hub = account.hub(1).await;
    let ours = Running::start(worker(&hub, "ours").app_name(name));
    seconds(45).await;
    ours.stop().await;
    assert_eq!(acts_of(&tap), recorded_acts("58-AppName"));
}

#[tokio::test(start_paused = true)]
async fn without_the_app_lease_ours_works_beside_a_dotnet_owner_and_touches_nothing_of_it() {
    assert_eq!(setting("57-NoAppLease", "UseAppLease").as_deref(), Some("false"));
    let (account, tap) = Account::tapped();
    let hub = account.hub(1).await;
    let net = dotnet(&account, "golden-a");
    net.play(&recorded("57-NoAppLease"), Duration::ZERO, Duration::from_secs(1)).await;
    let ours = Running::start(worker(&hub, "ours").without_app_lease());
    seconds(10).await;
    assert_eq!((owned_by(&hub, "dotnet").await, owned_by(&hub, "ours").await), (1, 3));
    ours.stop().await;
    assert_eq!(acts_of(&tap), recorded_acts("57-NoAppLease"), "the empty info blob of the creation, no lease");
}

/// A .NET app by hand.
struct DotnetApp {
    storage: Storage,
    id: String,
}

impl DotnetApp {
    async fn act(&self, lease: Lease) -> bool {
        self.storage.blobs.lease(CONTAINER, &lease).await.is_ok()
    }

    async fn acquire(&self) {
        assert!(self.act(Lease::Acquire { id: self.id.clone(), duration: Duration::from_secs(60) }).await);
        self.write(&AppLeaseInfo { owner_id: Some(self.id.clone()), desired_swap_id: None }).await;
    }

    /// As .NET does every 25 seconds. `false` if another app has the lease.
    async fn renew(&self) -> bool {
        self.act(Lease::Renew { id: self.id.clone() }).await
    }

    /// Without condition, as .NET does.
    async fn write(&self, info: &AppLeaseInfo) {
        let json = Bytes::from(serde_json::to_vec(info).unwrap());
        self.storage.blobs.put(CONTAINER, INFO, json, PutCondition::Always).await.unwrap();
    }

    async fn info(&self) -> Json {
        let blob = self.storage.blobs.get(CONTAINER, INFO, 1000).await.unwrap();
        serde_json::from_slice(&blob.bytes).unwrap()
    }
}

async fn beside_dotnet() -> (Account, TaskHub, DotnetApp) {
    let account = Account::new();
    let hub = account.hub(1).await;
    let app = DotnetApp { storage: account.storage.clone(), id: recorded_id() };
    (account, hub, app)
}

/// The id of the recorded app.
fn recorded_id() -> String {
    let acts = recorded_acts("58-AppName");
    acts.iter().find_map(|act| act["x-ms-proposed-lease-id"].as_str()).unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn ours_works_beside_a_dotnet_app_of_the_same_name() {
    let (_account, hub, app) = beside_dotnet().await;
    assert_eq!(lease_id("GoldenApp"), app.id);
    app.acquire().await;
    let ours = Running::start(worker(&hub, "ours").app_name("GoldenApp"));
    for _ in 0..8 {
        seconds(25).await;
        assert!(app.renew().await);
        assert_eq!(owned_by(&hub, "ours").await, 4);
    }
    assert_eq!(app.info().await, json!({ "OwnerId": app.id, "DesiredSwapId": null }));
    // Whoever stops does not take the lease from the others.
    ours.stop().await;
    assert!(app.renew().await);
}

#[tokio::test(start_paused = true)]
async fn ours_stands_by_for_a_dotnet_app_of_another_name_until_its_lease_ends() {
    let (_account, hub, app) = beside_dotnet().await;
    app.acquire().await;
    let ours = Running::start(worker(&hub, "ours").app_name("another"));
    for _ in 0..8 {
        seconds(25).await;
        assert!(app.renew().await);
        assert_eq!(owned_by(&hub, "ours").await, 0);
    }
    seconds(55).await;
    assert_eq!(owned_by(&hub, "ours").await, 0);
    seconds(40).await;
    assert_eq!(owned_by(&hub, "ours").await, 4);
    assert_eq!(app.info().await, json!({ "OwnerId": lease_id("another"), "DesiredSwapId": null }));
    assert!(!app.renew().await);
    ours.stop().await;
}

#[tokio::test(start_paused = true)]
async fn ours_takes_the_lease_over_when_dotnet_is_told_to_swap_and_gives_it_back_the_same_way() {
    let (_account, hub, app) = beside_dotnet().await;
    app.acquire().await;
    let ours = Running::start(worker(&hub, "ours").app_name("another"));
    seconds(5).await;
    // ForceChangeAppLease of the other app.
    app.write(&AppLeaseInfo { owner_id: Some(app.id.clone()), desired_swap_id: Some(lease_id("another")) }).await;
    seconds(31).await;
    assert_eq!(owned_by(&hub, "ours").await, 4);
    assert_eq!(app.info().await, json!({ "OwnerId": lease_id("another"), "DesiredSwapId": null }));
    assert!(!app.renew().await, "the .NET app notices when it renews");
    // And back: .NET is told to swap, changes the lease and writes the blob; ours notices when it renews.
    assert!(app.act(Lease::Change { id: lease_id("another"), proposed: app.id.clone() }).await);
    app.write(&AppLeaseInfo { owner_id: Some(app.id.clone()), desired_swap_id: None }).await;
    for _ in 0..4 {
        seconds(20).await;
        assert!(app.renew().await);
    }
    assert_eq!(owned_by(&hub, "ours").await, 0, "all partitions are released");
    assert_eq!(app.info().await, json!({ "OwnerId": app.id, "DesiredSwapId": null }));
    ours.stop().await;
}
