//! Chaos: workers are killed and paused beyond their leases, and storage fails around them, while a mixed load runs.

#![allow(clippy::print_stdout, reason = "what a run did can be read with --nocapture, or when it fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use taskhub::{Client, TaskHub};
use tokio::time::Instant;

use crate::fleet::{beside_others, leftovers_until, size};
use crate::harness::{azurite, connection_string_at, unique_hub_name};
use crate::load::Load;
use crate::proxy::{Fate, Proxy, Weather};
use crate::workers::{Place, WorkerProcess};

/// Chooses or repeats a run.
const SEED: &str = "TASKHUB_CHAOS_SEED";
/// So many runs, each with the seed after that of the last.
const ROUNDS: &str = "TASKHUB_CHAOS_ROUNDS";

const TICK: Duration = Duration::from_millis(450);
const STARTS_PER_TICK: usize = 5;
const WORKERS: usize = 3;
/// A lease of 30 seconds, its margin of five, and a bit.
const PAUSE: Duration = Duration::from_secs(38);
/// How long a paused worker stays so, at most, until others have taken what it owned: they may die, or find no storage.
const TAKEN_WITHIN: Duration = Duration::from_secs(100);

/// What happens when, all of it drawn from the seed.
#[derive(Debug)]
struct Plan {
    ticks: usize,
    kills: BTreeSet<usize>,
    /// When an owner of partitions is paused.
    pause: usize,
    outage: Range<usize>,
    /// Draws who is meant.
    rng: fastrand::Rng,
}

impl Plan {
    fn of(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let ticks = size(50, 100);
        let mut within = |percent: Range<usize>| rng.usize(percent.start * ticks / 100..percent.end * ticks / 100);
        let kills = [15..35, 45..65, 75..95].into_iter().map(&mut within).collect();
        let pause = within(2..12);
        let outage = within(40..60);
        // It ends with the storm, or before: who waits for the partitions of a paused worker waits for storage too.
        let outage = outage..(outage + rng.usize(15..27)).min(ticks * 9 / 10);
        Self { ticks, kills, pause, outage, rng }
    }

    fn weather(&self, tick: usize) -> Weather {
        if self.outage.contains(&tick) { Weather::Outage } else { Weather::Stormy }
    }
}

/// The worker processes of a run.
struct Crew {
    place: Place,
    client: Client,
    working: BTreeMap<String, WorkerProcess>,
    paused: Option<(Instant, String, WorkerProcess)>,
    started: usize,
}

impl Crew {
    /// Starts what is missing, each worker under a name of its own, as a supervisor does. Who comes while storage fails may be turned away.
    fn complete(&mut self) {
        self.working.retain(|_, worker| !worker.was_turned_away());
        while self.working.len() + usize::from(self.paused.is_some()) < WORKERS {
            let id = format!("w{}", self.started);
            self.working.insert(id.clone(), self.place.start(&id));
            self.started += 1;
        }
    }

    async fn owners(&self) -> BTreeSet<String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let status = loop {
            match self.client.hub_status().await {
                Ok(status) => break status,
                // The tests beside this one keep Azurite busy.
                Err(error) => assert!(Instant::now() < deadline, "partitions cannot be read: {error}"),
            }
            tokio::time::sleep(TICK).await;
        };
        status.partitions.into_iter().filter_map(|partition| partition.owner).collect()
    }

    /// Waits until the first workers have shared the partitions, so that whoever is struck has something to lose.
    async fn share(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.owners().await.len() < WORKERS {
            assert!(Instant::now() < deadline, "the partitions are owned by {:?}", self.owners().await);
            tokio::time::sleep(TICK).await;
        }
    }

    /// One that works, and owns partitions if there is such.
    async fn draw(&mut self, rng: &mut fastrand::Rng) -> (String, WorkerProcess) {
        let owners = self.owners().await;
        let (owning, idle): (Vec<_>, Vec<_>) = self.working.keys().cloned().partition(|id| owners.contains(id));
        let among = if owning.is_empty() { idle } else { owning };
        let id = among[rng.usize(..among.len())].clone();
        let mut drawn = self.working.remove(&id).expect("it works");
        drawn.assert_runs();
        println!("  {id} was drawn, the owners are {owners:?}");
        (id, drawn)
    }

    async fn pause(&mut self, rng: &mut fastrand::Rng) {
        let (id, drawn) = self.draw(rng).await;
        drawn.pause();
        self.paused = Some((Instant::now(), id, drawn));
    }

    /// Wakes the paused worker when others own what it believes to own.
    async fn resume_if_due(&mut self) {
        let Some((since, id, _)) = self.paused.as_ref().filter(|(since, ..)| since.elapsed() >= PAUSE) else { return };
        if self.owners().await.contains(id) {
            assert!(since.elapsed() < TAKEN_WITHIN, "nobody has taken the partitions of {id}");
        } else if let Some((_, id, paused)) = self.paused.take() {
            paused.resume();
            self.working.insert(id, paused);
        }
    }
}

/// Runs the load through the plan. It is clear when this returns, and nobody is paused.
async fn storm(plan: &mut Plan, crew: &mut Crew, proxy: &Proxy, load: &mut Load<'_>) {
    proxy.set(Weather::Stormy);
    crew.complete();
    crew.share().await;
    let begun = Instant::now();
    for tick in 0..plan.ticks {
        proxy.set(plan.weather(tick));
        crew.resume_if_due().await;
        if tick == plan.pause {
            crew.pause(&mut plan.rng).await;
        }
        if plan.kills.contains(&tick) {
            crew.draw(&mut plan.rng).await.1.kill();
        }
        // A worker that finds no storage when it starts ends with an error, as it should.
        if !plan.outage.contains(&tick) {
            crew.complete();
        }
        load.start_mixed(STARTS_PER_TICK).await;
        tokio::time::sleep_until(begun + TICK * u32::try_from(tick + 1).expect("few ticks")).await;
    }
    while crew.paused.is_some() {
        tokio::time::sleep(TICK).await;
        crew.resume_if_due().await;
    }
    proxy.set(Weather::Clear);
}

/// Nothing is left in the queues: also what killed workers held, and answers to decisions that were never committed.
async fn settle(hub: &TaskHub, limit: Duration) {
    let left = leftovers_until(&azurite().storage(), hub, limit, |left| left.messages == 0).await.expect("queues can be read");
    assert_eq!(left.messages, 0, "messages are left, visible: {:?}", left.visible);
}

async fn run(seed: u64) {
    println!("chaos: to repeat: {SEED}={seed} cargo test --test azurite chaos");
    let begun = Instant::now();
    let mut plan = Plan::of(seed);
    println!("  {plan:?}");
    let proxy = Proxy::start(&azurite().endpoints, seed).await;
    let name = unique_hub_name("chaos");
    let hub = TaskHub::open(azurite().storage(), &name).await.expect("a hub can be created");
    let client = Client::new(&hub);
    let mut load = Load::new(&client);
    let place = Place { connection_string: connection_string_at(&proxy.endpoints), hub: name };
    let mut crew = Crew { place, client: client.clone(), working: BTreeMap::new(), paused: None, started: 0 };
    storm(&mut plan, &mut crew, &proxy, &mut load).await;
    println!("  storm: {:?}, {} had ended, {:?}", begun.elapsed(), load.ended().await, proxy.fates());
    load.finish(Duration::from_secs(120)).await;
    println!("  all ended: {:?}", begun.elapsed());
    settle(&hub, Duration::from_secs(90)).await;
    load.check_hub().await;
    assert_eq!(client.poison().await.expect("poison can be listed").len(), 0, "good messages were parked");
    for mut worker in crew.working.into_values() {
        worker.assert_runs();
        worker.stop(Duration::from_secs(20)).await;
    }
    let fates = proxy.fates();
    for fate in [Fate::Refused, Fate::Slow, Fate::CutBefore, Fate::CutAfter, Fate::Hung] {
        assert!(fates.get(&fate).is_some_and(|count| *count > 0), "no request was {fate:?}: {fates:?}");
    }
    println!("  {} workers in all, {:?}", crew.started, begun.elapsed());
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_ends_once_whatever_happens_to_workers_and_storage() {
    let _beside = beside_others().await;
    let first = number(SEED, 1);
    for seed in first..first + number(ROUNDS, 1) {
        run(seed).await;
    }
}
