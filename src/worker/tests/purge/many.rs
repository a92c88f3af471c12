//! Purging by a query, and with sub-orchestrations.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{FAN, GO, MINUTE, PARENT, WAIT, World, beside, worker};
use crate::authoring::{Failure, OrchestrationContext, Orchestrator};
use crate::model::RuntimeStatus;
use crate::storage::table::{Entity, Value};
use crate::{ErrorKind, InstanceQuery, PurgeReport};

/// Starts children: one that ends, one that waits, one under an id that is in use, and one that has a child of its own.
const FAMILY: Orchestrator<(), ()> = Orchestrator::new("Family");

async fn family(ctx: OrchestrationContext, (): ()) -> Result<(), Failure> {
    ctx.call(FAN, (1, String::new())).instance_id("fan").await?;
    drop(ctx.call(WAIT, String::new()).instance_id("waits"));
    drop(ctx.call(FAN, (1, String::new())).instance_id("stranger").await);
    ctx.call(PARENT, ("grandchild".to_owned(), String::new())).instance_id("child").await?;
    Ok(())
}

async fn ids(world: &World) -> Vec<String> {
    let page = world.client.list(&InstanceQuery::default()).await.unwrap();
    page.instances.into_iter().map(|instance| instance.instance_id).collect()
}

async fn with_family() -> World {
    let world = World::new().await;
    world.client.start(WAIT, String::new()).instance_id("stranger").await.unwrap();
    beside(worker(&world.hub).orchestrator(FAMILY, family), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        world.client.start(FAMILY, ()).instance_id("family").await.unwrap();
        world.client.wait("family", 10 * MINUTE).await.unwrap();
        world.client.raise("stranger", GO, &String::new()).await.unwrap();
        world.client.wait("stranger", 10 * MINUTE).await.unwrap();
    })
    .await;
    assert_eq!(ids(&world).await, ["child", "family", "fan", "grandchild", "stranger", "waits"]);
    world
}

#[tokio::test(start_paused = true)]
async fn children_that_have_ended_go_and_those_that_have_not_or_belong_to_others_stay() {
    let world = with_family().await;
    let family = world.client.instance("family");
    let report = family.purge().recursive(true).await.unwrap();
    assert_eq!((report.instances, report.open, report.is_complete), (4, 1, true), "{report:?}");
    assert_eq!(ids(&world).await, ["stranger", "waits"]);
    let world = with_family().await;
    assert_eq!(world.client.instance("family").purge().await.unwrap().instances, 1);
    assert_eq!(ids(&world).await, ["child", "fan", "grandchild", "stranger", "waits"]);
    // A child of which its parent's history says nothing any more.
    let report = world.client.instance("child").purge().recursive(true).await.unwrap();
    assert_eq!((report.instances, ids(&world).await), (2, ["fan", "stranger", "waits"].map(str::to_owned).to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_recursive_purge_whose_time_is_up_leaves_the_parent_that_tells_where_to_go_on() {
    let world = with_family().await;
    let query = || InstanceQuery { name: Some("Family".to_owned()), ..InstanceQuery::default() };
    assert_eq!(world.client.purge(query()).count().await.unwrap(), 1);
    let report = world.client.purge(query()).recursive(true).within(Duration::ZERO).await.unwrap();
    assert_eq!((report.instances, report.is_complete), (0, false));
    let report = world.client.purge(query()).recursive(true).await.unwrap();
    assert_eq!((report.instances, report.open, report.is_complete), (4, 1, true));
    assert_eq!(ids(&world).await, ["stranger", "waits"]);
}

#[tokio::test(start_paused = true)]
async fn a_query_purges_what_has_ended_page_by_page_and_never_an_entity() {
    let world = World::new().await;
    let client = &world.client;
    world
        .work(async {
            for n in 0..130 {
                client.start(FAN, (1, String::new())).instance_id(format!("fan-{n}")).await.unwrap();
            }
            client.start(WAIT, String::new()).instance_id("waits").await.unwrap();
            client.start(WAIT, String::new()).version("2.0").after(MINUTE).instance_id("ended").await.unwrap();
            client.instance("ended").terminate("enough").await.unwrap();
            for id in (0..130).map(|n| format!("fan-{n}")).chain(["ended".to_owned()]) {
                client.wait(&id, 60 * MINUTE).await.unwrap();
            }
        })
        .await;
    let entity =
        Entity::new("@counter@a", "").with("Name", Value::string("@counter")).with("RuntimeStatus", Value::string("Completed"));
    world.memory.insert_row("TestInstances", entity);
    for status in RuntimeStatus::ALL.into_iter().filter(|status| !status.is_terminal()) {
        let query = || InstanceQuery { statuses: vec![RuntimeStatus::Completed, status], ..InstanceQuery::default() };
        assert_eq!(client.purge(query()).await.unwrap_err().kind(), ErrorKind::Invalid, "{status}");
        assert_eq!(client.purge(query()).count().await.unwrap_err().kind(), ErrorKind::Invalid, "{status}");
    }
    let damaged =
        Entity::new("damaged", "").with("RuntimeStatus", Value::string("Failed")).with("CreatedTime", Value::string("yesterday"));
    world.memory.insert_row("TestInstances", damaged);
    let entities = InstanceQuery { id_prefix: Some("@".to_owned()), ..InstanceQuery::default() };
    assert_eq!(client.purge(entities).await.unwrap().instances, 0);
    let terminated = InstanceQuery { statuses: vec![RuntimeStatus::Terminated], ..InstanceQuery::default() };
    assert_eq!(client.purge(terminated).await.unwrap().instances, 1);
    let unversioned = || InstanceQuery { version: Some(String::new()), ..InstanceQuery::default() };
    assert_eq!(client.purge(unversioned()).count().await.unwrap(), 131);
    let told = Arc::new(Mutex::new(Vec::<PurgeReport>::new()));
    let telling = Arc::clone(&told);
    let report = client.purge(unversioned()).progress(move |so_far| telling.lock().unwrap().push(*so_far)).await.unwrap();
    assert_eq!((report.instances, report.open, report.damaged, report.is_complete), (130, 0, 1, false), "{report:?}");
    let told: Vec<_> = told.lock().unwrap().iter().map(|report| report.instances).collect();
    assert_eq!(told, (1..=130).collect::<Vec<_>>());
    let left = ids(&world).await;
    assert_eq!(left, ["@counter@a", "damaged", "waits"]);
}
