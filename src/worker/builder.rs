//! The settings of a worker and what it hosts, until it is built.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::app_lease::App;
use super::executor::Executor;
#[cfg(test)]
use super::fast_path::FastPath;
use super::hosting::Hosting;
use super::instance_limits::InstanceLimits;
use super::keeper::Keeper;
use super::memory::Bodies;
use super::options::Options;
use super::outages::Outages;
use super::patience::Patience;
use super::tasks::Tasks;
use super::throttle::{Limit, Limited, Throttles};
use super::usage::Usage;
use super::{Shared, Worker};
use crate::authoring::{
    Activity, ActivityContext, Code, Failure, OrchestrationContext, Orchestrator, Registry, RegistryBuilder, Rigour, Serves,
    VersionMatch,
};
use crate::error::{Error, ErrorKind, Result};
use crate::hub::TaskHub;
use crate::window::Window;

/// Registers what a worker hosts. Made by [`Worker::builder`].
#[derive(Debug)]
#[must_use]
pub struct WorkerBuilder {
    hub: TaskHub,
    registry: RegistryBuilder,
    options: Options,
    worker_id: Option<String>,
    app: App,
    limits: Vec<Limited>,
    instance_limits: InstanceLimits,
}

/// The longest worker id: it stands in columns of the partition rows.
const WORKER_ID_UNITS_MAX: usize = 1024;

impl WorkerBuilder {
    /// A worker that hosts nothing yet.
    pub(super) fn new(hub: &TaskHub) -> Self {
        let (options, worker_id, app, limits, instance_limits) = Default::default();
        Self { hub: hub.clone(), registry: Registry::builder(), options, worker_id, app, limits, instance_limits }
    }

    /// Registers an orchestrator: a plain `async fn(OrchestrationContext, I) -> Result<O, Failure>`.
    ///
    /// It serves instances that were started without a version. Instances of a version wait for a worker that has
    /// [registered that version](Self::orchestrator_version), or a [fallback](Self::orchestrator_fallback).
    pub fn orchestrator<I, O, F, R>(self, handle: Orchestrator<I, O>, run: F) -> Self
    where
        I: DeserializeOwned + 'static,
        O: Serialize + 'static,
        F: Fn(OrchestrationContext, I) -> R + Send + Sync + 'static,
        R: Future<Output = std::result::Result<O, Failure>> + 'static,
    {
        self.host(Code::orchestrator(handle, run), Serves::NoVersion)
    }

    /// Registers an orchestrator for one version, which is compared as a text. It never serves another.
    pub fn orchestrator_version<I, O, F, R>(self, handle: Orchestrator<I, O>, version: &str, run: F) -> Self
    where
        I: DeserializeOwned + 'static,
        O: Serialize + 'static,
        F: Fn(OrchestrationContext, I) -> R + Send + Sync + 'static,
        R: Future<Output = std::result::Result<O, Failure>> + 'static,
    {
        self.host(Code::orchestrator(handle, run), Serves::Version(version))
    }

    /// Registers an orchestrator for every version of its name, and for none, that has no registration of its own: for code that
    /// can go on with whatever other versions have begun. It may ask for [the version](OrchestrationContext::version).
    pub fn orchestrator_fallback<I, O, F, R>(self, handle: Orchestrator<I, O>, run: F) -> Self
    where
        I: DeserializeOwned + 'static,
        O: Serialize + 'static,
        F: Fn(OrchestrationContext, I) -> R + Send + Sync + 'static,
        R: Future<Output = std::result::Result<O, Failure>> + 'static,
    {
        self.host(Code::orchestrator(handle, run), Serves::AnyOther)
    }

    /// Registers an activity: a plain `async fn(ActivityContext, I) -> Result<O, Failure>`. A function that takes a state before these two is one
    /// by [`with_state`](crate::with_state), and a synchronous function by [`blocking`](crate::blocking).
    ///
    /// It serves calls without a version, as orchestrators of this crate make them unless they name one. Calls of a version wait
    /// for a worker that has [registered that version](Self::activity_version), or a [fallback](Self::activity_fallback).
    pub fn activity<I, O, F, R>(self, handle: Activity<I, O>, run: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + 'static,
        F: Fn(ActivityContext, I) -> R + Send + Sync + 'static,
        R: Future<Output = std::result::Result<O, Failure>> + Send + 'static,
    {
        self.host(Code::activity(handle, run), Serves::NoVersion)
    }

    /// Registers an activity for one version, which is compared as a text. It never serves another.
    pub fn activity_version<I, O, F, R>(self, handle: Activity<I, O>, version: &str, run: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + 'static,
        F: Fn(ActivityContext, I) -> R + Send + Sync + 'static,
        R: Future<Output = std::result::Result<O, Failure>> + Send + 'static,
    {
        self.host(Code::activity(handle, run), Serves::Version(version))
    }

    /// Registers an activity for every version of its name, and for none, that has no registration of its own. In a hub shared
    /// with isolated .NET workers most activities want this: those workers give a call the version of its orchestration.
    pub fn activity_fallback<I, O, F, R>(self, handle: Activity<I, O>, run: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + 'static,
        F: Fn(ActivityContext, I) -> R + Send + Sync + 'static,
        R: Future<Output = std::result::Result<O, Failure>> + Send + 'static,
    {
        self.host(Code::activity(handle, run), Serves::AnyOther)
    }

    /// The version of this worker's code: of the orchestrators that are registered without one.
    ///
    /// They take the instances that [`takes_versions`](Self::takes_versions) says, by default those of this version, of older ones and of none, and their
    /// sub-orchestrations get this version unless the call names one. New instances get a version from their client
    /// ([`Client::default_version`](crate::Client::default_version)). An [`orchestrator_version`](Self::orchestrator_version) goes before, and a
    /// [fallback](Self::orchestrator_fallback) takes what is left. Activities have nothing to do with it. At most 2,048 UTF-16 units; without a version, or an empty one, orchestrators take
    /// what has no version.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.registry = self.registry.versioning(|versioning| versioning.own = version.into());
        self
    }

    /// Which instances the orchestrators take that are registered without a version, if the worker has [one](Self::version).
    pub fn takes_versions(mut self, takes: VersionMatch) -> Self {
        self.registry = self.registry.versioning(|versioning| versioning.takes = takes);
        self
    }

    /// Fails instances of a version that this worker does not take, with `VersionMismatch`, also such as another worker has begun. Unless set they
    /// wait for a worker that takes them, as whatever has no code here. Only for where there is no such worker: during a rolling update the
    /// old workers would fail what the new ones have begun.
    pub fn fail_other_versions(mut self) -> Self {
        self.registry = self.registry.versioning(|versioning| versioning.fails_others = true);
        self
    }

    fn host(mut self, code: Code, serves: Serves<'_>) -> Self {
        self.registry = self.registry.host(code, serves);
        self
    }

    /// The name under which the worker owns partitions, of 1 to 1,024 UTF-16 units. It must differ from that of every other running
    /// worker of the hub.
    pub fn worker_id(mut self, id: impl Into<String>) -> Self {
        self.worker_id = Some(id.into());
        self
    }

    /// The app that the worker belongs to. Of several apps that share a hub one works at a time; the others stand by.
    ///
    /// Workers of one app, of this crate and of .NET, use one name. Unless set it is, as in .NET, the environment variable
    /// `WEBSITE_SITE_NAME`, else `DTFX_APP_NAME`, else empty.
    pub fn app_name(mut self, name: impl Into<String>) -> Self {
        self.app = App::Named(name.into());
        self
    }

    /// Works without the lease of an app, for hubs whose .NET workers have `UseAppLease` off. All workers of a hub must agree.
    pub fn without_app_lease(mut self) -> Self {
        self.app = App::None;
        self
    }

    /// Turns of orchestrations that run at once when the worker owns every partition; 100 unless set. Each partition has an
    /// equal share, at least one, so that none waits for the storage of another. Zero is refused; there is no upper limit.
    pub fn max_orchestrations(mut self, count: usize) -> Self {
        self.options.turns = count;
        self
    }

    /// Activities that run at once; ten per core unless set. Zero is refused; there is no upper limit.
    pub fn max_activities(mut self, count: usize) -> Self {
        self.options.activities = count;
        self
    }

    /// Runs no more of this activity than the limit says, beside [that of all activities](Self::max_activities); for a service that takes no
    /// more. What is above it goes back to the queue, where other workers find it, and comes again at the pace of the limit.
    ///
    /// ```no_run
    /// # use taskhub::{Activity, Limit, TaskHub, Worker};
    /// const MAIL: Activity<String, ()> = Activity::new("Mail");
    /// # fn f(hub: &TaskHub) {
    /// let worker = Worker::builder(hub).limit_activity(MAIL, Limit::new().at_once(5));
    /// # let _ = worker;
    /// # }
    /// ```
    pub fn limit_activity<I, O>(mut self, handle: Activity<I, O>, limit: Limit) -> Self {
        self.limits.push(Limited { name: handle.name(), is_activity: true, limit });
        self
    }

    /// Begins no more instances of this orchestrator a second than the limit says, and runs no more of its turns at once. What is above it
    /// waits: instances stay pending, in their queue, and turns in memory. Instances that have begun go on, whatever their number.
    pub fn limit_orchestrator<I, O>(mut self, handle: Orchestrator<I, O>, limit: Limit) -> Self {
        self.limits.push(Limited { name: handle.name(), is_activity: false, limit });
        self
    }

    /// How large an instance may become before it fails; generous unless set.
    pub fn instance_limits(mut self, limits: InstanceLimits) -> Self {
        self.instance_limits = limits;
        self
    }

    /// The longest pause between two receives from an idle queue. A pause is a fiftieth of the time since the last message of the queue,
    /// from 50 milliseconds to this: after ten quiet seconds what another process sends waits for 0.2 seconds at most, after five minutes
    /// for 6. Less than 50 milliseconds count as those, and more than a day as a day.
    ///
    /// Unless set it is 30 seconds, and five minutes for work items while the worker owns every partition: then only it sends any, and
    /// what it looks for is what a worker left that died.
    pub fn max_poll_interval(mut self, interval: Duration) -> Self {
        self.options.poll_interval_max = Some(interval);
        self
    }

    /// How long stopping waits for running activities; ten seconds unless set. With zero it waits for none, with `Duration::MAX` for
    /// all.
    pub fn grace_period(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }

    /// How often a message that cannot be read or keeps failing is received before it is parked; eight unless set. Outages and
    /// refusals of storage never make a message count as bad. Zero counts as one.
    pub fn poison_after(mut self, receives: u32) -> Self {
        self.options.poison_after = receives;
        self
    }

    /// How long what this worker has no code for waits for a worker that has it, while other workers are alive; a day unless set,
    /// counted from when a message is due, and for as much longer as it takes until the message comes by next: up to a minute, and the
    /// wait of a poll. Then it fails as [`orchestrator`](Self::orchestrator) and
    /// [`activity`](Self::activity) that nobody has registered do: an instance ends as Failed with `OrchestratorTaskNotFound`, a
    /// call fails with `ActivityTaskNotFound`. Messages of entities and of unknown kinds wait without an end.
    ///
    /// A hub in memory, which no other process can share, waits for nothing unless this or
    /// [`fail_unhosted_alone_after`](Self::fail_unhosted_alone_after) is set.
    pub fn fail_unhosted_after(mut self, limit: Duration) -> Self {
        self.patience().among_others = limit;
        self
    }

    /// The same while this is the only worker of the hub that is alive: it owns every partition, and nobody asks for one; ten
    /// minutes unless set, counted from when it became the only one, or the message was due if that is later. A .NET worker that owns
    /// no partition cannot be seen.
    pub fn fail_unhosted_alone_after(mut self, limit: Duration) -> Self {
        self.patience().alone = limit;
        self
    }

    /// Fails what this worker has no code for at once, instead of waiting for workers that have it. All workers of a hub should be
    /// told the same: during a rolling update the old ones would fail what the new ones are for.
    pub fn fail_unhosted_at_once(mut self) -> Self {
        *self.patience() = Patience::NONE;
        self
    }

    /// About how much memory the histories of open instances may take up that the worker keeps between their turns, so that it need not read
    /// them again: 64 MiB unless it is set. Each partition of the hub has an even share of it. What was not used for longest gives way; 0 keeps none.
    pub fn history_cache_bytes(mut self, bytes: usize) -> Self {
        self.options.history_bytes = bytes;
        self
    }

    /// Which short cuts are taken.
    #[cfg(test)]
    pub(crate) fn fast_path(mut self, fast_path: FastPath) -> Self {
        self.options.fast_path = fast_path;
        self
    }

    /// How many instances that wait for code are remembered.
    #[cfg(test)]
    pub(crate) fn remembered(mut self, instances: usize) -> Self {
        self.options.remembered = instances;
        self
    }

    /// On virtual time, with nobody else in the hub.
    #[cfg(feature = "testing")]
    pub(crate) fn on_virtual_time(mut self, revise: impl FnOnce(RegistryBuilder) -> RegistryBuilder) -> Self {
        self.options = Options::on_virtual_time();
        self.app = App::None;
        self.registry = revise(self.registry);
        self
    }

    fn patience(&mut self) -> &mut Patience {
        self.options.patience.get_or_insert_default()
    }

    /// Fails an instance whose orchestrator makes a call with another input, or another instance id, than its history has: it ends as
    /// `NonDeterministicOrchestration`, with the call named. Unless set that is a warning, and the instance goes on with results that may be
    /// of other calls. A change of code that gives running instances another input counts too, such as a new field of its type.
    pub fn strict_replay(mut self) -> Self {
        self.registry = self.registry.rigour(Rigour::Fails);
        self
    }

    /// Stores the inputs of calls in history rows, for those who look at them: [`History`](crate::History) and other tools. Nothing else
    /// needs them; histories grow by them. The setting of .NET is `storeInputsInOrchestrationHistory`.
    pub fn inputs_in_history(mut self) -> Self {
        self.options.stores_inputs = true;
        self
    }

    /// Builds the worker without starting it.
    ///
    /// # Errors
    /// `Invalid` if a name was registered twice or is empty, an orchestrator's name or a version has more than 2,048 UTF-16 units, a limit
    /// is zero, or the worker's id is empty or too long.
    pub fn build(mut self) -> Result<Worker> {
        let invalid = |what: String| Err(Error::new(ErrorKind::Invalid, what));
        if self.options.turns == 0 || self.options.activities == 0 {
            return invalid("a worker needs at least one orchestration and one activity at a time".to_owned());
        }
        // A semaphore counts no further.
        self.options.turns = self.options.turns.min(Semaphore::MAX_PERMITS);
        self.options.activities = self.options.activities.min(Semaphore::MAX_PERMITS);
        let units = self.worker_id.as_deref().map_or(1, |id| id.encode_utf16().count());
        if !(1..=WORKER_ID_UNITS_MAX).contains(&units) {
            return invalid(format!(
                "a worker id of {units} UTF-16 units is outside 1 to {WORKER_ID_UNITS_MAX}; give it another, or none"
            ));
        }
        let registry = match self.registry.build() {
            Ok(registry) => registry,
            Err(bad) => return invalid(bad.to_string()),
        };
        let throttles = match Throttles::of(&self.limits, &registry, self.options.activities) {
            Ok(throttles) => throttles,
            Err(why) => return invalid(why),
        };
        self.options.app_name = self.app.name();
        let hub = self.hub.0;
        let patience = if hub.storage.in_process { Patience::NONE } else { Patience::default() };
        let patience = self.options.patience.unwrap_or(patience);
        let worker_id = self.worker_id.unwrap_or_else(|| format!("taskhub-{}-{}", std::process::id(), hub.rng.uuid().simple()));
        let shared = Shared {
            hosting: Hosting::new(registry.clone(), worker_id.clone(), patience, self.options.remembered),
            executor: Executor::new(registry, throttles, self.instance_limits),
            worker_id,
            outages: Outages::default(),
            usage: Usage::default(),
            tasks: Tasks::default(),
            keeper: Keeper::default(),
            activities: Window::new(self.options.activities_window()),
            left_until: Mutex::default(),
            items: Bodies::default(),
            stopping: CancellationToken::new(),
            giving_up: CancellationToken::new(),
            options: self.options,
            hub,
        };
        Ok(Worker { shared: Arc::new(shared) })
    }

    /// Builds the worker and runs it; see [`Worker::run`].
    ///
    /// # Errors
    /// As [`build`](Self::build) and [`Worker::run`].
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        self.build()?.run(shutdown).await
    }
}
