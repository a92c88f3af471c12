//! A storage account in memory that has the limits and round trips of a real one, on the clock of the caller.

use crate::clock::Clock;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::layer::billed::Billed;
use crate::storage::layer::modelled::{AccountLimits, Modelled};
use crate::usage::{Calls, Meter};

/// A storage account in memory that is as fast as an account of Azure and no faster: its calls take round trips, its queues, partitions and the whole
/// account have [limits](AccountLimits), and beyond them it refuses. To find out how much a workflow gets done, with how many workers and
/// partitions, and how it bears being refused.
///
/// On paused time an hour of it takes seconds, and a program itself takes no time: what is found is what the account allows. Hubs that are opened
/// separately on [`storage`](Self::storage) are to each other as processes are. Waits end on whole milliseconds, as tokio's do.
///
/// ```
/// use taskhub::testing::{AccountLimits, ModelAccount};
/// use taskhub::{Activity, ActivityContext, Client, Clock, OrchestrationContext, Orchestrator, TaskHub, Timestamp, Worker};
///
/// const STEP: Activity<u32, u32> = Activity::new("Step");
/// const TWO: Orchestrator<u32, u32> = Orchestrator::new("Two");
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
/// runtime.block_on(async {
///     let clock = Clock::paused(Timestamp::UNIX_EPOCH);
///     let account = ModelAccount::new(AccountLimits::default(), clock.clone(), 1);
///     let (mine, theirs) = (TaskHub::builder(account.storage(), "Hub"), TaskHub::builder(account.storage(), "Hub"));
///     let (mine, theirs) = (mine.clock(clock.clone()).open().await?, theirs.clock(clock).open().await?);
///     let worker = Worker::builder(&theirs)
///         .activity(STEP, async |_: ActivityContext, n: u32| Ok(n + 1))
///         .orchestrator(TWO, async |ctx: OrchestrationContext, n: u32| {
///             let n = ctx.call(STEP, n).await?;
///             Ok(ctx.call(STEP, n).await?)
///         });
///     let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
///     let client = async {
///         let begun = tokio::time::Instant::now();
///         let result = Client::new(&mine).start(TWO, 5).await?.result().await?;
///         println!("{result} after {:?} and {} calls", begun.elapsed(), account.calls().total());
///         drop(stop);
///         Ok::<_, taskhub::Error>(result)
///     };
///     let (ran, result) = tokio::join!(worker.run(async { drop(stopped.await) }), client);
///     ran?;
///     assert_eq!(result?, 7);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ModelAccount {
    memory: Storage,
    limits: Modelled,
    served: Meter,
}

impl ModelAccount {
    /// An empty account. One seed gives the same round trips to the same calls.
    #[must_use]
    pub fn new(limits: AccountLimits, clock: Clock, seed: u64) -> Self {
        let rng = Rng::seeded(seed);
        let memory = Storage { in_process: false, ..Storage::memory(clock, rng.fork()) };
        Self { memory, limits: Modelled::new(limits, rng), served: Meter::default() }
    }

    /// The account as programs reach it.
    #[must_use]
    pub fn storage(&self) -> Storage {
        self.memory.clone().layered(Billed(self.served.clone())).layered(self.limits.clone())
    }

    /// The same account without limits, round trips and counts: to prepare it, and to look at what became of it.
    #[must_use]
    pub fn unlimited(&self) -> Storage {
        self.memory.clone()
    }

    /// The calls that it has served, those too that it answered with a failure other than a refusal.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.served.read()
    }

    /// How many calls it has refused because a limit was reached.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.limits.refused()
    }
}
