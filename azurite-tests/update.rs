//! Rolling updates: worker processes are replaced one by one under load, and every start runs the code of its version.

#![allow(clippy::print_stdout, reason = "what a run did can be read with --nocapture, or when it fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use taskhub::internals::leftovers;
use taskhub::{Client, RuntimeStatus, TaskHub};
use tokio::time::Instant;

use crate::fleet::size;
use crate::harness::{azurite, unique_hub_name};
use crate::versions::{self, GROWING};
use crate::workers::{Place, WorkerProcess};

const TICK: Duration = Duration::from_millis(500);

/// Starts of all versions that run, and may run after the update.
struct Load<'a> {
    client: &'a Client,
    /// Version and input by instance.
    started: BTreeMap<String, (&'static str, u32)>,
}

impl Load<'_> {
    /// So many ticks, with a start in each: of every version in turn.
    async fn run(&mut self, ticks: u32) {
        let begun = Instant::now();
        for tick in 0..ticks {
            let n = u32::try_from(self.started.len()).expect("few starts");
            let version = ["", "2.0", "3.0"][self.started.len() % 3];
            let id = self.client.start(GROWING, n).version(version).await.expect("an instance can be started");
            self.started.insert(id.into_id(), (version, n));
            tokio::time::sleep_until(begun + TICK * (tick + 1)).await;
        }
    }

    /// Waits for every instance, and tells what ended otherwise than it must.
    async fn wrong(&self, limit: Duration) -> Vec<String> {
        let deadline = Instant::now() + limit;
        let mut wrong = Vec::new();
        for (id, (version, n)) in &self.started {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.client.instance(id).wait().within(left).await {
                Ok(ended) if ended.output::<String>().is_ok_and(|output| output == versions::expected(version, *n)) => {}
                Ok(ended) => wrong.push(format!("{id} of version {version:?} is {} with {:?}", ended.status, ended.output)),
                Err(error) => wrong.push(format!("{id} of version {version:?}: {error}")),
            }
        }
        wrong
    }

    async fn none_failed(&self) {
        let query = taskhub::InstanceQuery { statuses: vec![RuntimeStatus::Failed], ..taskhub::InstanceQuery::default() };
        let failed = self.client.list(&query).await.expect("instances can be listed").instances;
        assert!(failed.is_empty(), "{failed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_of_three_versions_runs_every_version_by_its_own_code() {
    let name = unique_hub_name("update");
    let hub = TaskHub::builder(azurite().storage(), &name).partitions(4).open().await.expect("a hub can be created");
    let place = Place { connection_string: azurite().connection_string(), hub: name };
    let client = Client::new(&hub);
    let mut load = Load { client: &client, started: BTreeMap::new() };

    // A canary of one in four, whose version is already started by clients.
    let mut fleet: Vec<WorkerProcess> = (0..3).map(|number| place.start_build(&format!("one{number}"), 1)).collect();
    let canary = place.start_build("canary", 3);
    load.run(size(40, 60)).await;
    load.none_failed().await;
    let awaited = client.awaited().await.expect("what is waited for can be read");
    assert!(awaited.iter().any(|awaited| awaited.name == "Growing"), "partitions of old workers wait: {awaited:?}");

    // The rest, one by one, through both builds.
    let between = size(3, 8);
    for build in [2, 3] {
        for number in 0..fleet.len() {
            fleet.push(place.start_build(&format!("build{build}number{number}"), build));
            load.run(between).await;
            fleet.remove(0).stop(Duration::from_secs(30)).await;
            load.run(between).await;
        }
    }
    let begun = Instant::now();
    let wrong = load.wrong(Duration::from_secs(150)).await;
    println!("{} starts, the last ended {:?} after the update", load.started.len(), begun.elapsed());
    assert!(wrong.is_empty(), "{} of {} ended wrongly:\n{}", wrong.len(), load.started.len(), wrong.join("\n"));
    load.none_failed().await;
    assert!(client.poison().await.expect("poison can be listed").is_empty());
    for mut worker in fleet.into_iter().chain([canary]) {
        worker.assert_runs();
        worker.stop(Duration::from_secs(20)).await;
    }
    let left = leftovers(&azurite().storage(), &hub).await.expect("queues can be read");
    assert_eq!(left.messages, 0, "messages that nobody needs are left: {:?}", left.visible);
}
