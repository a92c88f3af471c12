//! Mixtures of everything that makes events go back, by seed.

use std::time::Duration;

use super::*;
use crate::size;

const CARRY: Orchestrator<(usize, Vec<usize>), Vec<usize>> = Orchestrator::new("Carry");

/// Takes seven events in each generation.
async fn carry(ctx: OrchestrationContext, (count, mut taken): (usize, Vec<usize>)) -> std::result::Result<Vec<usize>, Failure> {
    for _ in 0..7 {
        if taken.len() >= count {
            return Ok(taken);
        }
        let text = ctx.wait_for_event(NEWS).await;
        taken.push(text.split(' ').next().unwrap_or_default().parse().unwrap());
    }
    ctx.continue_as_new(CARRY, (count, taken))
}

/// What happens to the history of the instance, its row, or the deletes of its messages.
fn of_history(draw: &impl Fn(u64) -> u64) -> Rule {
    let took = Duration::from_millis(1 + draw(3000));
    let rules = [
        Rule("table.", "TestHistory", ALWAYS, Trouble::Fails),
        Rule("table.transact", "TestHistory", ALWAYS, Trouble::Takes(took)),
        Rule("table.", "TestInstances", ALWAYS, Trouble::Fails),
        Rule("queue.delete", "test-control", ALWAYS, Trouble::Fails),
        Rule("queue.delete", "test-control", 2, Trouble::Lost),
        Rule("table.transact", "TestHistory", 2, Trouble::Lost),
        Rule("table.", "TestHistory", ALWAYS, Trouble::Takes(took / 3)),
    ];
    rules[draw(7) as usize]
}

/// What happens to anything in storage.
fn of_anything(draw: &impl Fn(u64) -> u64) -> Rule {
    let (operation, target) = [
        ("table.", "TestHistory"),
        ("table.transact", "TestHistory"),
        ("table.", "TestInstances"),
        ("queue.delete", "test-control"),
        ("queue.update", "test-control"),
        ("queue.receive", "test-control"),
        ("queue.put", "test-control"),
        ("blob.get", "test-largemessages"),
        ("blob.delete", "test-largemessages"),
        ("blob.", "test-largemessages"),
        ("", ""),
        ("table.", "TestPartitions"),
    ][draw(12) as usize];
    let trouble = match draw(4) {
        0 | 1 => Trouble::Fails,
        2 => Trouble::Lost,
        _ => Trouble::Takes(Duration::from_millis(1 + draw(12_000))),
    };
    Rule(operation, target, if draw(2) == 0 { ALWAYS } else { 1 + draw(8) as usize }, trouble)
}

/// What the instance has taken, once it has ended, which may take so long.
async fn ended(world: &World, within: Duration) -> std::result::Result<Vec<usize>, String> {
    let ended = world.client.wait("i", within).await;
    let left = || world.memory.all_messages().remove("test-control-00").unwrap_or_default().len();
    ended.and_then(|ended| ended.output()).map_err(|error| format!("{error}; {} messages are left", left()))
}

/// One seed of mixtures.
async fn mixture(seed: u64) -> std::result::Result<(), String> {
    let rng = Rng::seeded(seed);
    let world = World::new().await;
    let draw = |below: u64| rng.next() % below;
    let mut log = Vec::new();
    let builder = |id: String| {
        let world = &world;
        async move { Running::start(world.worker(&id).await.orchestrator(CARRY, carry)) }
    };
    let mut running = builder("a".into()).await;
    let count = 120;
    let start = world.client.start(CARRY, (count, Vec::new())).instance_id("i");
    let scheduled = draw(3) == 0;
    if scheduled {
        start.at(world.clock.now().plus(Duration::from_secs(draw(60)))).await.unwrap()
    } else {
        start.await.unwrap()
    };
    log.push(format!("scheduled {scheduled}"));
    let stops = draw(2) == 0 && !scheduled;
    let (mut suspended, mut trouble) = (false, 0);
    for number in 0..count {
        let length = if draw(6) == 0 && !stops { LARGE + number } else { 1 };
        world.send(number, length).await;
        let pause = [0, 3, 40, 700, 2300, 9000][draw(6) as usize];
        tokio::time::sleep(Duration::from_millis(pause)).await;
        match draw(12) {
            0 => {
                trouble = 1 + draw(8) as usize;
                let rule = of_history(&draw);
                log.push(format!("{number}: {rule:?} for {trouble}"));
                world.trouble.set(&[rule]);
            }
            1 if !suspended => {
                drop(world.client.suspend("i", "why").await);
                suspended = true;
            }
            1 | 2 if suspended => {
                drop(world.client.resume("i", "why").await);
                suspended = false;
            }
            3 if stops
                && trouble == 0
                && log.last().is_none_or(|last| last.starts_with("scheduled") || last.ends_with("stop")) =>
            {
                log.push(format!("{number}: stop"));
                let next = builder(format!("{}{number}", "w".repeat(number % 9 + 2))).await;
                std::mem::replace(&mut running, next).stop().await;
            }
            _ => {}
        }
        trouble = trouble.saturating_sub(1);
        if trouble == 0 {
            world.trouble.set(&[]);
        }
    }
    world.trouble.set(&[]);
    if suspended {
        drop(world.client.resume("i", "why").await);
    }
    let taken = ended(&world, Duration::from_secs(200)).await.map_err(|error| format!("{seed}: {error} {log:?}"))?;
    running.stop().await;
    if taken != (0..count).collect::<Vec<_>>() {
        let mut sorted = taken.clone();
        sorted.sort_unstable();
        sorted.dedup();
        return Err(format!("{seed}: {} of {count} distinct, {taken:?} {log:?}", sorted.len()));
    }
    Ok(())
}

/// One seed of anything at all: nothing is lost or doubled.
async fn anything(seed: u64) -> std::result::Result<(), String> {
    let rng = Rng::seeded(seed);
    let world = World::new().await;
    let draw = |below: u64| rng.next() % below;
    let mut log = Vec::new();
    let builder = |id: String| {
        let world = &world;
        async move {
            // A hub is not opened in an outage.
            let rules = std::mem::take(&mut *world.trouble.0.lock().unwrap());
            let worker = world.worker(&id).await.orchestrator(CARRY, carry);
            let running = Running::start(worker);
            tokio::time::sleep(Duration::from_millis(300)).await;
            world.trouble.set(&rules);
            running
        }
    };
    let mut running = builder("a".into()).await;
    let count = 100;
    world.client.start(CARRY, (count, Vec::new())).instance_id("i").await.unwrap();
    let mut trouble = 0;
    for number in 0..count {
        let length = if draw(4) == 0 { LARGE + number } else { 1 };
        world.send(number, length).await;
        let pause = [0, 3, 40, 700, 2300, 9000][draw(6) as usize];
        tokio::time::sleep(Duration::from_millis(pause)).await;
        match draw(9) {
            0 => {
                trouble = 1 + draw(10) as usize;
                let rule = of_anything(&draw);
                log.push(format!("{number}: {rule:?} for {trouble}"));
                world.trouble.set(&[rule]);
            }
            1 => {
                log.push(format!("{number}: stop"));
                let next = builder(format!("{}{number}", "w".repeat(number % 9 + 2))).await;
                std::mem::replace(&mut running, next).stop().await;
            }
            2 => {
                log.push(format!("{number}: crash"));
                let next = builder(format!("{}{number}", "w".repeat(number % 9 + 2))).await;
                std::mem::replace(&mut running, next).crash();
            }
            _ => {}
        }
        trouble = trouble.saturating_sub(1);
        if trouble == 0 {
            world.trouble.set(&[]);
        }
    }
    world.trouble.set(&[]);
    let taken = ended(&world, Duration::from_secs(300)).await.map_err(|error| format!("{seed}: {error} {log:?}"))?;
    running.stop().await;
    let mut sorted = taken.clone();
    sorted.sort_unstable();
    if sorted != (0..count).collect::<Vec<_>>() {
        return Err(format!("{seed}: {taken:?} {log:?}"));
    }
    Ok(())
}

async fn every_seed(count: u64, play: impl AsyncFn(u64) -> std::result::Result<(), String>) {
    let mut failed = Vec::new();
    for seed in 0..count {
        failed.extend(play(seed).await.err());
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(start_paused = true)]
async fn mixtures_are_taken_in_order() {
    every_seed(size::of(3, 60), mixture).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_nothing_is_lost_or_doubled() {
    every_seed(size::of(3, 80), anything).await;
}

#[tokio::test(start_paused = true)]
async fn events_are_taken_in_order_while_workers_join_and_leave() {
    for (pause, takes) in [(5, 0), (30, 300), (30, 700)] {
        let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let memory = Memory::new(clock.clone(), Rng::seeded(1));
        let trouble = Troubled::default();
        let open =
            |storage, seed| TaskHub::builder(storage, "Test").partitions(4).clock(clock.clone()).rng(Rng::seeded(seed)).open();
        let client = Client::new(&open(memory.storage(), 1).await.unwrap());
        let run = async |id: &str| {
            let hub = open(memory.storage().layered(trouble.clone()), id.len() as u64).await.unwrap();
            let worker = worker(&hub).orchestrator(TAKE, take).max_poll_interval(Duration::from_secs(1)).worker_id(id);
            Running::start(worker)
        };
        let ids: Vec<_> = (0..8).map(|n| format!("i{n}")).collect();
        for id in &ids {
            client.start(TAKE, 300).instance_id(id).await.unwrap();
        }
        let first = run("a").await;
        seconds(2).await;
        trouble.set(&[Rule("table.transact", "TestHistory", ALWAYS, Trouble::Takes(Duration::from_millis(takes)))]);
        let moving = async {
            let second = run("bb").await;
            seconds(4).await;
            let third = run("ccc").await;
            seconds(5).await;
            first.stop().await;
            seconds(3).await;
            let fourth = run("dddd").await;
            seconds(6).await;
            third.stop().await;
            second.stop().await;
            fourth
        };
        let sending = async {
            for number in 0..300 {
                for id in &ids {
                    client.unchecked().raise(id, NEWS, &format!("{number} ")).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        };
        let ((), last) = tokio::join!(sending, moving);
        for id in &ids {
            let taken = client.wait(id, Duration::from_secs(600)).await.unwrap().output::<Vec<usize>>().unwrap();
            assert_eq!(taken, (0..300).collect::<Vec<_>>(), "{id} {pause} {takes}");
        }
        last.stop().await;
    }
}
