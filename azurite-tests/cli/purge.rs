//! `taskhub purge` on Azurite: what it refuses, what it asks, and that nothing is left.

use serde_json::{Value, json};
use taskhub::{Client, TaskHub};

use super::World;
use crate::harness::azurite;

#[tokio::test]
async fn what_has_ended_is_purged_and_nothing_else() {
    let world = World::new();
    // More than a column, a message and one page of blobs' folders hold.
    let input = Value::from("x".repeat(100_000)).to_string();
    world
        .with_worker(async {
            let hub = TaskHub::open(azurite().storage(), &world.hub).await.expect("a hub");
            let client = Client::new(&hub);
            for id in ["order-1", "order-10", "order-1/x", "a b#?/ü"] {
                let name: String = serde_json::from_str(&input).expect("JSON");
                let greeted = client.start(super::GREET, name).instance_id(id).await.expect("it starts");
                greeted.result().await.expect("it completes");
            }
            world.run(&["start", "Approval", "--id", "open"]).await.ok();
            world.run(&["start", "Broken", "--id", "broken"]).await.ok();
            assert_eq!(world.run(&["wait", "broken"]).await.code, 6);
            world.until(&["show", "open"], |i| i["runtimeStatus"] == "Running").await;
        })
        .await;
    refuses(&world).await;

    let one = world.json(&["purge", "order-1", "--yes"]).await;
    assert_eq!(
        (&one["deletedInstanceCount"], &one["isComplete"], &one["openInstanceCount"]),
        (&json!(1), &json!(true), &json!(0))
    );
    assert!(one["deletedRowCount"].as_u64() > Some(8) && one["deletedBlobCount"].as_u64() >= Some(3), "{one}");
    world.run(&["show", "order-1"]).await.failed(3, "there is no instance");
    world.run(&["purge", "order-1", "--yes"]).await.failed(3, "there is no instance \"order-1\"");
    for id in ["order-10", "order-1/x"] {
        let shown = world.json(&["show", id]).await;
        assert_eq!(shown["input"].as_str().map(str::len), Some(100_000), "{id}");
        assert!(world.json(&["history", id]).await["events"].as_array().is_some_and(|events| events.len() > 5), "{id}");
    }
    let none = world.json(&["purge", "--before", "2020-01-01", "--status", "completed"]).await;
    assert_eq!(none["deletedInstanceCount"], 0);
    let named = world.run(&["purge", "--name", "Greet", "--before", "2100-01-01", "--status", "completed", "--yes"]).await.ok();
    assert!(named.starts_with("Deleted 3 instances: "), "{named}");
    assert_eq!(world.json(&["purge", "--all", "--recursive", "--yes"]).await["deletedInstanceCount"], 1);
    let left = world.json(&["list"]).await;
    let left: Vec<_> = left["instances"].as_array().expect("an array").iter().map(|i| i["instanceId"].clone()).collect();
    assert_eq!(left, ["open"]);
}

async fn refuses(world: &World) {
    world.run(&["purge", "open", "--yes"]).await.failed(4, "only an instance that has ended can be purged");
    world.run(&["purge", "nobody", "--yes"]).await.failed(3, "there is no instance \"nobody\"");
    world.run(&["purge", "@counter@a", "--yes"]).await.failed(2, "reserved for entities");
    world.run(&["purge", "--status", "running", "--yes"]).await.failed(2, "is Running has not ended");
    world.run(&["purge", "--yes"]).await.failed(2, "required");
    world.run(&["purge", "order-1", "--all", "--yes"]).await.failed(2, "cannot be used with");
    // Nobody can be asked.
    world.run(&["purge", "order-1"]).await.failed(2, "Instance \"order-1\" would be deleted for good");
    world.run(&["purge", "--all"]).await.failed(2, "5 instances would be deleted for good, and nobody can be asked");
    world.run(&["purge", "--all", "--recursive", "--json"]).await.failed(2, "pass --yes");
    assert_eq!(world.json(&["list"]).await["instances"].as_array().map(Vec::len), Some(6));
}
