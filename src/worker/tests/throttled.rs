//! Orchestrators and activities with a limit of their own.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use tokio::time::Instant;

use super::harness::hub;
use crate::clock::Clock;
use crate::hub::AwaitedKind;
use crate::model::{RuntimeStatus, Timestamp};
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::layer::metered::Metered;
use crate::{
    Activity, ActivityContext, Client, ErrorKind, Event, Failure, Limit, OrchestrationContext, Orchestrator, TaskHub, Worker,
    WorkerBuilder, with_state,
};

const SLOW: Activity<u64, u64> = Activity::new("Slow");
const QUICK: Activity<u64, u64> = Activity::new("Quick");
const FAN: Orchestrator<(u64, u64), usize> = Orchestrator::new("Fan");
const ONE: Orchestrator<u64, u64> = Orchestrator::new("One");
const FAMILY: Orchestrator<u64, usize> = Orchestrator::new("Family");
const TOLD: Orchestrator<(), String> = Orchestrator::new("Told");
const TELLS: Orchestrator<u64, usize> = Orchestrator::new("Tells");
const GO: Event<String> = Event::new("go");

const SECOND: Duration = Duration::from_secs(1);

/// What runs, how much of it ran at once, and when each began.
#[derive(Debug, Default)]
struct Watched {
    now: AtomicUsize,
    most: AtomicUsize,
    begun: Mutex<Vec<Instant>>,
}

impl Watched {
    /// The most that began in any window of so long.
    fn most_in(&self, window: Duration) -> usize {
        let begun = self.begun.lock().unwrap();
        begun.iter().map(|first| begun.iter().filter(|at| **at >= *first && **at < *first + window).count()).max().unwrap_or(0)
    }
}

async fn slow(watched: Arc<Watched>, _: ActivityContext, millis: u64) -> Result<u64, Failure> {
    watched.begun.lock().unwrap().push(Instant::now());
    watched.most.fetch_max(watched.now.fetch_add(1, SeqCst) + 1, SeqCst);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    watched.now.fetch_sub(1, SeqCst);
    Ok(millis)
}

fn worker(hub: &TaskHub, watched: &Arc<Watched>) -> WorkerBuilder {
    Worker::builder(hub)
        .activity(SLOW, with_state(watched, slow))
        .activity(QUICK, async |_: ActivityContext, n: u64| Ok(n))
        .orchestrator(FAN, async |ctx: OrchestrationContext, (count, millis): (u64, u64)| {
            Ok(try_join_all((0..count).map(|_| ctx.call(SLOW, millis))).await?.len())
        })
        .orchestrator(ONE, async |ctx: OrchestrationContext, n: u64| Ok(ctx.call(QUICK, n).await?))
        .orchestrator(FAMILY, async |ctx: OrchestrationContext, count: u64| {
            Ok(try_join_all((0..count).map(|n| ctx.call(ONE, n))).await?.len())
        })
        .orchestrator(TOLD, async |ctx: OrchestrationContext, ()| Ok(ctx.wait_for_event(GO).await))
        .orchestrator(TELLS, async |ctx: OrchestrationContext, count: u64| {
            let told = (0..count).map(|n| {
                let id = format!("told{n}");
                let told = ctx.call(TOLD, ()).instance_id(&id);
                ctx.send_event(id, GO, format!("{n}"));
                told
            });
            Ok(try_join_all(told.collect::<Vec<_>>()).await?.len())
        })
        .max_poll_interval(SECOND)
        .max_activities(40)
}

async fn with<T>(workers: Vec<WorkerBuilder>, acting: impl Future<Output = T>) -> T {
    let (stop, _) = tokio::sync::broadcast::channel::<()>(1);
    let running = join_all(workers.into_iter().map(|worker| {
        let mut stopped = stop.subscribe();
        worker.run(async move { drop(stopped.recv().await) })
    }));
    let acting = async {
        let result = acting.await;
        drop(stop);
        result
    };
    let (ran, result) = tokio::join!(running, acting);
    ran.into_iter().for_each(|ran| ran.unwrap());
    result
}

#[tokio::test(start_paused = true)]
async fn an_activity_runs_no_more_at_once_than_it_may_and_others_are_not_kept_waiting() {
    let (hub, watched) = (hub().await, Arc::new(Watched::default()));
    let client = Client::new(&hub);
    let worker = worker(&hub, &watched).limit_activity(SLOW, Limit::new().at_once(2));
    let begun = Instant::now();
    with(vec![worker], async {
        let fan = client.start(FAN, (200, 500)).await.unwrap();
        tokio::time::sleep(5 * SECOND).await;
        let asked = Instant::now();
        client.start(ONE, 7).await.unwrap().result().await.unwrap();
        assert!(asked.elapsed() < 3 * SECOND, "{:?}", asked.elapsed());
        let awaited = client.awaited().await.unwrap();
        assert_eq!((awaited[0].kind, &*awaited[0].name), (AwaitedKind::Limit, "Slow"), "{awaited:?}");
        assert_eq!(fan.result().within(600 * SECOND).await.unwrap(), 200);
    })
    .await;
    assert_eq!(watched.most.load(SeqCst), 2);
    // 50 seconds if no place were ever free.
    assert!(begun.elapsed() < 85 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_one_worker_may_not_run_another_does() {
    let (hub, few, many) = (hub().await, Arc::new(Watched::default()), Arc::new(Watched::default()));
    let client = Client::new(&hub);
    let limited = worker(&hub, &few).worker_id("a").limit_activity(SLOW, Limit::new().at_once(1));
    let begun = Instant::now();
    with(vec![limited, worker(&hub, &many).worker_id("b")], async {
        tokio::time::sleep(10 * SECOND).await;
        let fan = client.start(FAN, (100, 2000)).await.unwrap();
        assert_eq!(fan.result().within(600 * SECOND).await.unwrap(), 100);
    })
    .await;
    assert_eq!(few.most.load(SeqCst), 1);
    assert!(many.begun.lock().unwrap().len() > 85, "{}", many.begun.lock().unwrap().len());
    assert!(begun.elapsed() < 40 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_activity_begins_no_more_often_than_it_may_and_nearly_as_often() {
    for (rate, window, most) in [(10.0, SECOND, 10), (0.5, 2 * SECOND, 1)] {
        let (hub, watched) = (hub().await, Arc::new(Watched::default()));
        let client = Client::new(&hub);
        let worker = worker(&hub, &watched).limit_activity(SLOW, Limit::new().per_second(rate));
        let (count, begun) = ((rate * 20.0) as u64, Instant::now());
        with(vec![worker], async {
            let fan = client.start(FAN, (count, 10)).await.unwrap();
            assert_eq!(fan.result().within(600 * SECOND).await.unwrap(), usize::try_from(count).unwrap());
        })
        .await;
        assert_eq!(watched.most_in(window), most, "{rate}");
        assert!((18 * SECOND..32 * SECOND).contains(&begun.elapsed()), "{rate}: {:?}", begun.elapsed());
    }
}

/// What waits costs a receive and a hand-back each time it comes by: about as often as a place is free.
#[tokio::test(start_paused = true)]
async fn a_long_queue_behind_a_limit_costs_few_calls() {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let metered = Metered::default();
    let storage = Storage::memory(clock.clone(), Rng::seeded(1)).layered(metered.clone());
    let hub = TaskHub::builder(storage, "Test").partitions(1).clock(clock).rng(Rng::seeded(2)).open().await.unwrap();
    let (client, watched) = (Client::new(&hub), Arc::new(Watched::default()));
    let worker = worker(&hub, &watched).limit_activity(SLOW, Limit::new().at_once(1));
    with(vec![worker], async {
        let fan = client.start(FAN, (300, 1000)).await.unwrap();
        assert_eq!(fan.result().within(900 * SECOND).await.unwrap(), 300);
    })
    .await;
    assert_eq!(watched.most.load(SeqCst), 1);
    let given_back = metered.snapshot().of("queue.update");
    assert!(given_back < 4 * 300, "{}", metered.snapshot());
}

#[tokio::test(start_paused = true)]
async fn no_more_instances_begin_a_second_than_may_and_all_of_them_end() {
    let (hub, watched) = (hub().await, Arc::new(Watched::default()));
    let client = Client::new(&hub);
    let worker = worker(&hub, &watched)
        .limit_orchestrator(ONE, Limit::new().per_second(5.0).at_once(1))
        .limit_orchestrator(TOLD, Limit::new().per_second(5.0));
    with(vec![worker], async {
        let begun = Instant::now();
        let ones = join_all((0..50).map(async |n| client.start(ONE, n).await.unwrap())).await;
        tokio::time::sleep(3 * SECOND).await;
        let mut ended = 0;
        for one in &ones {
            let status = one.status().await.unwrap();
            ended += usize::from(status.status.is_terminal());
            assert!(status.status.is_terminal() || status.status == RuntimeStatus::Pending, "{status:?}");
        }
        assert!((5..=20).contains(&ended), "{ended}");
        for one in ones {
            one.result().within(600 * SECOND).await.unwrap();
        }
        assert!((9 * SECOND..30 * SECOND).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        // Children too.
        let begun = Instant::now();
        let family = client.start(FAMILY, 50).await.unwrap();
        assert_eq!(family.result().within(600 * SECOND).await.unwrap(), 50);
        assert!(begun.elapsed() >= 9 * SECOND, "{:?}", begun.elapsed());
        // What is sent to a child that waits finds it.
        let tells = client.start(TELLS, 30).await.unwrap();
        assert_eq!(tells.result().within(600 * SECOND).await.unwrap(), 30);
    })
    .await;
}

/// What runs waits for the new execution too: an event that comes meanwhile is for that.
#[tokio::test(start_paused = true)]
async fn a_start_that_replaces_what_runs_and_waits_for_its_turn_is_not_lost() {
    let (hub, watched) = (hub().await, Arc::new(Watched::default()));
    let client = Client::new(&hub);
    let worker = worker(&hub, &watched).limit_orchestrator(TOLD, Limit::new().per_second(0.05));
    with(vec![worker], async {
        client.start(TOLD, ()).instance_id("i").await.unwrap();
        tokio::time::sleep(SECOND).await;
        client.start(TOLD, ()).instance_id("i").replacing([RuntimeStatus::Running]).await.unwrap();
        tokio::time::sleep(SECOND).await;
        let second = client.instance("i").status().await.unwrap().execution_id;
        client.instance("i").raise(GO, "for the second").await.unwrap();
        tokio::time::sleep(5 * SECOND).await;
        assert_eq!(client.instance("i").status().await.unwrap().status, RuntimeStatus::Pending);
        assert_eq!(client.instance_of(TOLD, "i").result().within(120 * SECOND).await.unwrap(), "for the second");
        assert_eq!(client.instance("i").status().await.unwrap().execution_id, second);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_does_not_wait_in_a_worker_for_its_place_while_another_worker_is_idle() {
    let (hub, here, there) = (hub().await, Arc::new(Watched::default()), Arc::new(Watched::default()));
    let client = Client::new(&hub);
    let limited = |watched, id| worker(&hub, watched).worker_id(id).limit_activity(SLOW, Limit::new().at_once(1));
    with(vec![limited(&here, "a"), limited(&there, "b")], async {
        // Who owns everything sees that another has come when it renews.
        tokio::time::sleep(15 * SECOND).await;
        let begun = Instant::now();
        let fan = client.start(FAN, (2, 600_000)).await.unwrap();
        assert_eq!(fan.result().within(3600 * SECOND).await.unwrap(), 2);
        assert!(begun.elapsed() < 660 * SECOND, "{:?}", begun.elapsed());
    })
    .await;
}

const OTHERS: [Activity<u64, u64>; 5] =
    [Activity::new("B"), Activity::new("C"), Activity::new("D"), Activity::new("E"), Activity::new("F")];

#[tokio::test(start_paused = true)]
async fn what_waits_under_several_limits_leaves_places_to_what_has_none() {
    let (hub, watched) = (hub().await, Arc::new(Watched::default()));
    let client = Client::new(&hub);
    let mut worker = worker(&hub, &watched).limit_activity(SLOW, Limit::new().at_once(4)).max_activities(40);
    for other in OTHERS {
        worker = worker.activity(other, with_state(&watched, slow)).limit_activity(other, Limit::new().at_once(4));
    }
    let all = Orchestrator::<u64, u64>::new("All");
    let worker = worker.orchestrator(all, async |ctx: OrchestrationContext, millis: u64| {
        let calls = (0..20).flat_map(|_| OTHERS.into_iter().map(|other| ctx.call(other, millis)));
        Ok(try_join_all(calls.collect::<Vec<_>>()).await?.len() as u64)
    });
    with(vec![worker], async {
        client.start(all, 60_000).instance_id("all").await.unwrap();
        tokio::time::sleep(10 * SECOND).await;
        let asked = Instant::now();
        client.start(ONE, 7).await.unwrap().result().await.unwrap();
        assert!(asked.elapsed() < 3 * SECOND, "{:?}", asked.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_cannot_be_kept_is_refused() {
    let (hub, watched) = (hub().await, Arc::new(Watched::default()));
    let other = Activity::<(), ()>::new("Other");
    let new = || worker(&hub, &watched);
    for (worker, words) in [
        (new().limit_activity(SLOW, Limit::new().at_once(0)), "the limit of the activity \"Slow\": nothing could run"),
        (new().limit_activity(SLOW, Limit::new().per_second(0.0)), "a limit of 0 a second is none"),
        (new().limit_activity(SLOW, Limit::new().per_second(f64::NAN)), "a limit of NaN a second is none"),
        (new().limit_activity(other, Limit::new()), "the activity \"Other\" has a limit and is not registered"),
        (
            new().limit_orchestrator(ONE, Limit::new()).limit_orchestrator(ONE, Limit::new()),
            "the orchestrator \"One\" has more than one limit",
        ),
    ] {
        let error = worker.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(words), "{error}");
    }
}
