//! Unit tests of workflows (feature `testing`): the engine itself, in memory and on virtual time.
//!
//! A [`TestHost`] runs orchestrators as a worker does, on a hub of its own. Its time goes forward when everybody waits, so that a
//! timer of three days passes in milliseconds. Activities and sub-orchestrations are real, or scripted call by call.

mod answer;
mod calls;
mod model_account;
mod script;
mod stuck;
#[cfg(test)]
mod tests;
mod virtual_time;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use answer::Answer;
pub use calls::{Called, What};
pub use model_account::ModelAccount;
pub use script::Scriptable;

use crate::authoring::{AsInput, Code, Orchestrator, RegistryBuilder, Rehearsal, Rigour};
use crate::client::{Client, Start};
use crate::clock::Clock;
use crate::error::{ErrorKind, Result};
use crate::hub::{Changes, TaskHub, Telling};
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::Storage;
pub use crate::storage::layer::modelled::AccountLimits;
use crate::worker::{Worker, WorkerBuilder};

/// When virtual time begins, unless a test says when.
const BEGINNING: &str = "2030-01-01T00:00:00Z";
/// How long a wait for the end of an instance waits, unless a test says how long.
const PATIENCE: Duration = Duration::from_secs(3650 * 24 * 3600);

/// A hub in memory on virtual time, with a worker, for one test.
pub struct TestHost {
    client: Client,
    clock: Clock,
    begun: Instant,
    beginning: Timestamp,
    rehearsal: Arc<Rehearsal>,
    working: JoinHandle<Result<()>>,
}

/// What a [`TestHost`] runs, before it runs. Made by [`TestHost::builder`].
#[must_use]
pub struct TestHostBuilder {
    register: Box<dyn FnOnce(WorkerBuilder) -> WorkerBuilder>,
    scripts: Vec<Code>,
    beginning: Timestamp,
    patience: Duration,
}

impl TestHost {
    /// Begins a host that runs what `register` registers: the same function that registers for the worker in production, or less.
    pub fn builder(register: impl FnOnce(WorkerBuilder) -> WorkerBuilder + 'static) -> TestHostBuilder {
        TestHostBuilder {
            register: Box::new(register),
            scripts: Vec::new(),
            beginning: Timestamp::parse(BEGINNING).unwrap_or(Timestamp::UNIX_EPOCH),
            patience: PATIENCE,
        }
    }

    /// Starts an instance; see [`Client::start`].
    #[allow(clippy::needless_pass_by_value, reason = "a value and a reference both serve as input")]
    pub fn start<I: Serialize, O>(&self, orchestrator: Orchestrator<I, O>, input: impl AsInput<I>) -> Start<'_, O> {
        self.client.start(orchestrator, input)
    }

    /// Starts an instance and waits for its result.
    ///
    /// # Errors
    /// As [`Start`] and [`Instance::result`](crate::Instance::result). After a [long time](TestHostBuilder::patience) without an end the error
    /// says what the instance waits for.
    pub async fn run<I: Serialize, O: DeserializeOwned + 'static>(
        &self,
        orchestrator: Orchestrator<I, O>,
        input: impl AsInput<I>,
    ) -> Result<O> {
        let instance = self.start(orchestrator, input).await?;
        match instance.result().await {
            Err(error) if error.kind() == ErrorKind::Timeout => Err(stuck::explained(&instance, error).await),
            result => result,
        }
    }

    /// A client of the hub, for all else.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The virtual time that has passed since the host was started.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The virtual time of day, as orchestrators see it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets this much virtual time pass, with all that falls due in it. With zero: what can happen at once happens.
    pub async fn pass_time(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

impl TestHostBuilder {
    /// Answers the calls of an activity, or of a sub-orchestration, by a script: `answer` gets the number of the call, from 1, and its
    /// input, and gives a `Result` or an [`Answer`] that comes late or never. It stands for what is registered under that name,
    /// if anything is, whatever the version. A name that is not registered, but like one that is, is taken for a slip: the host does not
    /// [`start`](Self::start).
    pub fn on<C: Scriptable, A: Into<Answer<C::Output>>>(
        mut self,
        callee: C,
        answer: impl FnMut(u32, C::Input) -> A + Send + 'static,
    ) -> Self {
        self.scripts.extend(callee.scripted(answer).0);
        self
    }

    /// When virtual time begins: 2030-01-01 at midnight unless set.
    pub fn beginning(mut self, time: Timestamp) -> Self {
        self.beginning = time;
        self
    }

    /// How much virtual time a wait for the end of an instance may take unless it has a limit of its own: ten years unless set. A test
    /// that waits for what never happens fails then, instead of hanging.
    pub fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// Starts it. The clock of the runtime stands still from now on, except while everybody waits.
    ///
    /// # Panics
    /// Outside of a `#[tokio::test]`, in one with several threads, and if something was registered twice or cannot be registered, or if
    /// the name of a script is not registered, but like one that is.
    pub async fn start(self) -> TestHost {
        virtual_time::begin().await;
        let clock = Clock::paused(self.beginning);
        let changes = Changes::new(self.patience);
        let storage = Storage::memory(clock.clone(), Rng::seeded(1)).layered(Telling(changes.clone()));
        let hub = TaskHub::builder(storage, "Test").partitions(1).clock(clock.clone()).rng(Rng::seeded(2));
        let hub = hub.open().await.expect("a hub in memory can be opened").tells(changes);
        let (scripts, rehearsal) = (self.scripts, Arc::<Rehearsal>::default());
        let rigour = Rigour::Rehearses(Arc::clone(&rehearsal));
        let revise = |registry: RegistryBuilder| registry.replace(scripts).rigour(rigour);
        let worker = (self.register)(Worker::builder(&hub)).on_virtual_time(revise).build();
        let worker = worker.unwrap_or_else(|error| panic!("the worker of the test host cannot be built: {error}"));
        #[allow(clippy::disallowed_methods, reason = "the worker of a test host runs beside the test")]
        let working = tokio::spawn(worker.run(std::future::pending()));
        let (client, begun, beginning) = (Client::new(&hub), Instant::now(), clock.now());
        TestHost { client, clock, begun, beginning, rehearsal, working }
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        self.working.abort();
    }
}

impl fmt::Debug for TestHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestHost").field("elapsed", &self.elapsed()).finish_non_exhaustive()
    }
}

impl fmt::Debug for TestHostBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestHostBuilder").finish_non_exhaustive()
    }
}
