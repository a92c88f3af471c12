//! Workers come, go and change builds between a start and its code: nothing that has its code is kept waiting by what once waited.

use super::fleet::Fleet;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn first(worker: WorkerBuilder) -> WorkerBuilder {
    worker.orchestrator(WAIT, wait).max_poll_interval(SECOND)
}

fn second(worker: WorkerBuilder) -> WorkerBuilder {
    first(worker).orchestrator_version(WAIT, "2.0", wait)
}

/// A hub that workers join and leave, each a process of its own, and a client of it.
struct Moving {
    fleet: Fleet,
    client: Client,
}

impl Moving {
    async fn new(partitions: u32) -> Self {
        let fleet = Fleet::new(partitions);
        let client = fleet.process().await.client;
        Self { fleet, client }
    }

    async fn run(&self, id: &str, build: Build) -> Running {
        self.fleet.process().await.run(id, build)
    }

    async fn has_ended(&self, id: &str) -> bool {
        let history = self.client.history(id).await.unwrap();
        history.iter().any(|event| matches!(event.kind, EventKind::ExecutionCompleted { .. }))
    }

    async fn status(&self, id: &str) -> RuntimeStatus {
        self.client.status(id).await.unwrap().unwrap().status
    }
}

/// A canary is taken back: what was started as 2.0 is started again as what every worker has.
#[tokio::test(start_paused = true)]
async fn an_instance_whose_code_is_here_goes_on_where_another_of_its_id_once_waited() {
    let world = Moving::new(2).await;
    let _old = world.run("a", first).await;
    tokio::time::sleep(MINUTE).await;
    let ids: Vec<_> = (0..12).map(|n| format!("i{n}")).collect();
    for id in &ids {
        world.client.start(WAIT, 1).version("2.0").instance_id(id).await.unwrap();
    }
    tokio::time::sleep(10 * SECOND).await;
    let canary = world.run("b", second).await;
    tokio::time::sleep(40 * SECOND).await;
    let mut moved = Vec::new();
    for id in &ids {
        if world.status(id).await == RuntimeStatus::Running {
            moved.push(id);
        }
    }
    assert!(!moved.is_empty(), "the canary has begun some");
    for id in &moved {
        world.client.terminate(id.as_str(), "the canary is taken back").await.unwrap();
    }
    tokio::time::sleep(3 * SECOND).await;
    for id in &moved {
        assert_eq!(world.status(id).await, RuntimeStatus::Terminated);
        world.client.start(WAIT, 1).instance_id(id.as_str()).replacing([RuntimeStatus::Terminated]).await.unwrap();
    }
    tokio::time::sleep(5 * SECOND).await;
    for id in &moved {
        assert_eq!(world.status(id).await, RuntimeStatus::Running, "the first version runs");
    }
    canary.stop().await;
    tokio::time::sleep(15 * SECOND).await;
    for id in &moved {
        world.client.raise(id.as_str(), GO, &"go".to_owned()).await.unwrap();
    }
    // Where other workers are alive it is a day, and not ten minutes.
    tokio::time::sleep(8 * MINUTE).await;
    let mut stuck = Vec::new();
    for id in &moved {
        if world.status(id).await != RuntimeStatus::Completed {
            stuck.push(id);
        }
    }
    assert!(stuck.is_empty(), "of {moved:?}, whose code every worker has, minutes later still wait: {stuck:?}");
}

/// A new build is deployed, and six minutes after it left a newer one in its place: never was the old worker alone for ten minutes.
#[tokio::test(start_paused = true)]
async fn who_was_not_alone_until_just_now_does_not_fail_what_waits() {
    let world = Moving::new(1).await;
    let _owner = world.run("owner", first).await;
    tokio::time::sleep(HOUR).await;
    let guest = world.run("guest", second).await;
    tokio::time::sleep(MINUTE).await;
    world.client.start(WAIT, 1).version("2.0").instance_id("i").await.unwrap();
    tokio::time::sleep(6 * MINUTE).await;
    assert_eq!(world.status("i").await, RuntimeStatus::Pending);
    guest.stop().await;
    tokio::time::sleep(6 * MINUTE).await;
    let _guest = world.run("its successor", second).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(world.status("i").await, RuntimeStatus::Pending, "another worker was there but for six minutes");
}

/// What is to replace an execution tomorrow is no reason to keep its mail from it today.
#[tokio::test(start_paused = true)]
async fn an_execution_gets_its_events_until_a_scheduled_start_replaces_it() {
    for moves in [false, true] {
        let world = Moving::new(1).await;
        let mut worker = world.run("first", first).await;
        world.client.start(WAIT, 1).instance_id("i").await.unwrap();
        tokio::time::sleep(MINUTE).await;
        let tomorrow = world.client.start(WAIT, 1).instance_id("i").after(24 * HOUR);
        tomorrow.replacing([RuntimeStatus::Running]).await.unwrap();
        tokio::time::sleep(MINUTE).await;
        if moves {
            worker.stop().await;
            worker = world.run("second", first).await;
        }
        tokio::time::sleep(MINUTE).await;
        world.client.raise("i", GO, &"go".to_owned()).await.unwrap();
        tokio::time::sleep(5 * MINUTE).await;
        let ended = world.has_ended("i").await;
        assert!(ended, "moved to another worker: {moves}; the execution has not got its event within five minutes");
        worker.stop().await;
    }
}

/// A worker that has left by SIGTERM is not waited for.
#[tokio::test(start_paused = true)]
async fn who_has_left_is_not_there_any_more() {
    let world = Moving::new(1).await;
    let _owner = world.run("owner", first).await;
    tokio::time::sleep(MINUTE).await;
    let guest = world.run("guest", first).await;
    world.client.start(WAIT, 1).version("2.0").instance_id("i").await.unwrap();
    tokio::time::sleep(5 * MINUTE).await;
    let hub = world.fleet.process().await.hub.0;
    assert!(hub.awaited.others_are_present("owner").await.unwrap());
    guest.stop().await;
    assert!(!hub.awaited.others_are_present("owner").await.unwrap(), "its row is still there");
}

/// A start of a version that nobody has is replaced by one of the version that all have, for tomorrow. Until then what runs goes on.
#[tokio::test(start_paused = true)]
async fn a_start_that_waited_and_was_replaced_holds_nothing_up() {
    for waited in [false, true] {
        let world = Moving::new(2).await;
        let _workers = [world.run("a", first).await, world.run("b", first).await];
        tokio::time::sleep(MINUTE).await;
        world.client.start(WAIT, 1).instance_id("i").await.unwrap();
        tokio::time::sleep(MINUTE).await;
        if waited {
            let start = world.client.start(WAIT, 1).version("2.0").instance_id("i");
            start.replacing([RuntimeStatus::Running]).await.unwrap();
            tokio::time::sleep(10 * SECOND).await;
        }
        let tomorrow = world.client.start(WAIT, 1).instance_id("i").after(72 * HOUR);
        tomorrow.replacing([RuntimeStatus::Running, RuntimeStatus::Pending]).await.unwrap();
        tokio::time::sleep(25 * MINUTE).await;
        world.client.raise("i", GO, &"go".to_owned()).await.unwrap();
        tokio::time::sleep(HOUR).await;
        assert!(
            world.has_ended("i").await,
            "after a start that waited: {waited}; what runs has not got its event within an hour"
        );
    }
}
