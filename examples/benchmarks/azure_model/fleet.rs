//! Workers on an account of Azure in memory, on paused time: what they get done when they have more than enough to do, how long one
//! orchestration takes alone, and what they cost.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures::future::{join_all, select, try_join_all};
use taskhub::testing::{AccountLimits, ModelAccount};
use taskhub::{
    Activity, ActivityContext, Calls, Client, Clock, Error, Failure, InstanceQuery, OrchestrationContext, Orchestrator,
    RuntimeStatus, TaskHub, Timestamp, Worker, with_state,
};
use tokio::sync::Semaphore;

use crate::cpu::cpu;

const STEP: Activity<u64, u64> = Activity::new("Step");
const SEQUENCE: Orchestrator<bool, u64> = Orchestrator::new("Sequence");
const FAN_OUT: Orchestrator<bool, u64> = Orchestrator::new("FanOut");

/// Activities of one orchestration.
const STEPS: u64 = 3;
const WIDTH: u64 = 20;
/// Activities that run at once in each worker: what Durable Functions allow on two cores.
const ACTIVITIES: usize = 20;
/// Activities of all open orchestrations, with and for each worker: more than is done in a second, and less than in `WARM_UP`.
const OPEN: usize = 300;
const OPEN_EACH: usize = 120;
/// Orchestrations that each client may be starting at once.
const STARTS: usize = 50;
/// Until everybody works as fast as he can, and how long is measured then.
const WARM_UP: Duration = Duration::from_secs(6);
const MEASURED: Duration = Duration::from_secs(5);

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Three activities in sequence.
    Hello,
    /// Twenty activities at once.
    FanOut,
}

/// Who runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Taskhub,
    /// Activities run inside the turn.
    TaskhubLocal,
    /// The calls of a .NET worker.
    Dotnet,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) engine: Engine,
    pub(crate) shape: Shape,
    pub(crate) workers: usize,
    pub(crate) partitions: u32,
}

/// What a fleet did in a time.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// How long each orchestration took that ended in that time, in order.
    pub(crate) latencies: Vec<Duration>,
    pub(crate) time: Duration,
    pub(crate) calls: Calls,
    pub(crate) refused: u64,
    /// Processor time of this process.
    pub(crate) cpu: f64,
}

impl Measured {
    /// Orchestrations a second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64()
    }

    /// The latency that so many of a hundred orchestrations do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        self.latencies
            .get((self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

/// Ends of orchestrations, as their last activity tells them: whoever keeps so many open starts the next one.
#[derive(Debug)]
struct Ends {
    activities: AtomicUsize,
    each: usize,
    places: Semaphore,
}

async fn step(ends: Arc<Ends>, _: ActivityContext, n: u64) -> Result<u64, Failure> {
    if (ends.activities.fetch_add(1, SeqCst) + 1).is_multiple_of(ends.each) {
        ends.places.add_permits(1);
    }
    Ok(n + 1)
}

async fn call(ctx: &OrchestrationContext, local: bool, n: u64) -> Result<u64, Failure> {
    let call = ctx.call(STEP, n);
    Ok(if local { call.local().await? } else { call.await? })
}

async fn sequence(ctx: OrchestrationContext, local: bool) -> Result<u64, Failure> {
    let mut n = 0;
    for _ in 0..STEPS {
        n = call(&ctx, local, n).await?;
    }
    Ok(n)
}

async fn fan_out(ctx: OrchestrationContext, local: bool) -> Result<u64, Failure> {
    Ok(try_join_all((0..WIDTH).map(|n| call(&ctx, local, n))).await?.into_iter().sum())
}

/// An account with a hub, and what runs on it.
pub(crate) struct Fleet {
    case: Case,
    account: ModelAccount,
    clock: Clock,
    ends: Arc<Ends>,
    /// Sees everything at no cost.
    observer: Client,
}

impl Fleet {
    async fn new(case: Case) -> Result<Self, Error> {
        let clock = Clock::paused(Timestamp::UNIX_EPOCH);
        let account = ModelAccount::new(AccountLimits::default(), clock.clone(), 1);
        let hub = TaskHub::builder(account.unlimited(), "Model").partitions(case.partitions).clock(clock.clone()).open().await?;
        let each = if case.shape == Shape::Hello { STEPS } else { WIDTH } as usize;
        let ends = Arc::new(Ends { activities: AtomicUsize::new(0), each, places: Semaphore::new(0) });
        Ok(Self { case, account, clock, ends, observer: Client::new(&hub) })
    }

    /// A hub as another process has it.
    async fn process(&self) -> Result<TaskHub, Error> {
        TaskHub::builder(self.account.storage(), "Model").clock(self.clock.clone()).open().await
    }

    async fn worker(&self, number: usize) -> Result<Worker, Error> {
        let worker = Worker::builder(&self.process().await?)
            .worker_id(format!("worker-{number}"))
            .max_activities(ACTIVITIES)
            .max_local_activities(1000)
            .activity(STEP, with_state(&self.ends, step))
            .orchestrator(SEQUENCE, sequence)
            .orchestrator(FAN_OUT, fan_out);
        let worker = if self.case.engine == Engine::Dotnet { taskhub::internals::like_dotnet(worker) } else { worker };
        worker.build()
    }

    /// Runs the workers beside what is done with them, which begins when all partitions have their owners.
    async fn beside<T>(&self, acting: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let workers = try_join_all((0..self.case.workers).map(|number| self.worker(number))).await?;
        let working = std::pin::pin!(join_all(workers.into_iter().map(|worker| worker.run(std::future::pending()))));
        let acting = std::pin::pin!(async {
            self.settled().await?;
            acting.await
        });
        match select(working, acting).await {
            futures::future::Either::Left((ended, _)) => panic!("a worker ended: {ended:?}"),
            futures::future::Either::Right((outcome, _)) => outcome,
        }
    }

    /// Waits until the partitions are spread evenly over as many workers as can have one.
    async fn settled(&self) -> Result<(), Error> {
        let partitions = self.case.partitions as usize;
        let owners = self.case.workers.min(partitions);
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let status = self.observer.hub_status().await?;
            let mut owned: Vec<_> =
                status.partitions.into_iter().filter(|row| !row.is_draining).filter_map(|row| row.owner).collect();
            owned.sort_unstable();
            let is_even =
                owned.len() == partitions && owned.chunk_by(|a, b| a == b).all(|own| own.len() <= partitions.div_ceil(owners));
            if is_even {
                return Ok(());
            }
        }
        panic!("the partitions are not spread evenly after ten minutes");
    }

    async fn start(&self, client: &Client) -> Result<(), Error> {
        let orchestrator = if self.case.shape == Shape::Hello { SEQUENCE } else { FAN_OUT };
        client.start(orchestrator, self.case.engine == Engine::TaskhubLocal).await?;
        Ok(())
    }

    /// Measures what is done while `time` passes.
    async fn measure(&self, time: Duration) -> Result<Measured, Error> {
        let (begun, calls, refused, cpu) = (self.clock.now(), self.account.calls(), self.account.refused(), cpu("self"));
        tokio::time::sleep(time).await;
        let ended = self.clock.now();
        let (calls, refused, cpu) =
            (self.account.calls().without(&calls), self.account.refused() - refused, self::cpu("self") - cpu);
        let completed = InstanceQuery { statuses: vec![RuntimeStatus::Completed], ..cheap() };
        let rows = self.observer.pages(completed).all().await?.into_iter();
        let rows = rows.filter_map(|row| row.created.zip(row.completed)).filter(|(_, end)| (begun..ended).contains(end));
        let mut latencies: Vec<_> = rows.map(|(created, end)| end.since(created)).collect();
        latencies.sort_unstable();
        Ok(Measured { latencies, time, calls, refused, cpu })
    }

    /// How many orchestrations are open at once. Of local activities it is no matter how many there are.
    fn open(&self) -> usize {
        let each = if self.case.engine == Engine::TaskhubLocal { 1 } else { self.ends.each };
        (OPEN + OPEN_EACH * self.case.workers) / each
    }

    /// Keeps enough orchestrations open, from as many other processes, and measures.
    async fn saturated(&self) -> Result<Measured, Error> {
        let clients = try_join_all((0..self.case.workers).map(|_| self.process())).await?;
        self.ends.places.add_permits(self.open());
        let starting = async {
            let starters = clients.iter().flat_map(|hub| std::iter::repeat_n(hub, STARTS)).map(|hub| async {
                let client = Client::new(hub);
                loop {
                    self.ends.places.acquire().await.expect("it is never closed").forget();
                    // What is refused for too long is not started, and the place is free again.
                    if self.start(&client).await.is_err() {
                        self.ends.places.add_permits(1);
                    }
                }
            });
            join_all(starters).await
        };
        let measuring = async {
            tokio::time::sleep(WARM_UP).await;
            self.measure(MEASURED).await
        };
        match select(std::pin::pin!(starting), std::pin::pin!(measuring)).await {
            futures::future::Either::Left(_) => unreachable!("starters go on for ever"),
            futures::future::Either::Right((measured, _)) => measured,
        }
    }

    /// Starts so many orchestrations from another process, one every so often, and measures.
    async fn steady(&self, count: u32, every: Duration) -> Result<Measured, Error> {
        let client = Client::new(&self.process().await?);
        let starting = async {
            for _ in 0..count {
                self.start(&client).await?;
                tokio::time::sleep(every).await;
            }
            Ok(())
        };
        let (measured, started) = tokio::join!(self.measure(every * (count + 2)), starting);
        started.and(measured)
    }
}

/// All instances without what they carry.
fn cheap() -> InstanceQuery {
    InstanceQuery { with_payloads: false, page_size: 1000, ..InstanceQuery::default() }
}

/// Does something with a fleet on paused time.
fn on_paused_time<T>(case: Case, acting: impl AsyncFnOnce(&Fleet) -> Result<T, Error>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime can be built").block_on(async {
        let fleet = Fleet::new(case).await?;
        fleet.beside(acting(&fleet)).await
    })
}

/// Orchestrations a second, if there are always more to start.
pub(crate) fn saturated(case: Case) -> Result<Measured, Error> {
    on_paused_time(case, async |fleet| fleet.saturated().await)
}

/// The latency and the calls of orchestrations that come one every so often.
pub(crate) fn steady(case: Case, count: u32, every: Duration) -> Result<Measured, Error> {
    on_paused_time(case, async |fleet| fleet.steady(count, every).await)
}

/// What a fleet does in a time in which nothing is to be done, after an hour of that.
pub(crate) fn idle(case: Case, time: Duration) -> Result<Measured, Error> {
    on_paused_time(case, async |fleet| {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        fleet.measure(time).await
    })
}
