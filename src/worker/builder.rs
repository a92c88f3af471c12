//! What a worker hosts and is told, until it is built.

mod settings;

use std::future::Future;
#[cfg(feature = "metrics")]
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::app_lease::App;
use super::executor::Executor;
use super::hosting::Hosting;
use super::instance_limits::InstanceLimits;
use super::keeper::Keeper;
use super::local::LocalActivities;
use super::measures::Measures;
use super::memory::Bodies;
use super::options::Options;
use super::outages::Outages;
#[cfg(feature = "metrics")]
use super::page::Page;
use super::patience::Patience;
use super::renewals::Pulse;
use super::tasks::Tasks;
use super::throttle::{Limited, Throttles};
use super::traffic::Traffic;
use super::usage::Usage;
use super::{Shared, Worker};
use crate::authoring::{
    Activity, ActivityContext, Code, Failure, OrchestrationContext, Orchestrator, Registry, RegistryBuilder, Serves, VersionMatch,
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
    #[cfg(feature = "metrics")]
    metrics_address: Option<SocketAddr>,
}

/// The longest worker id: it stands in columns of the partition rows.
const WORKER_ID_UNITS_MAX: usize = 1024;

impl WorkerBuilder {
    /// A worker that hosts nothing yet.
    pub(super) fn new(hub: &TaskHub) -> Self {
        let (options, worker_id, app, limits, instance_limits) = Default::default();
        Self {
            hub: hub.clone(),
            registry: Registry::builder(),
            options,
            worker_id,
            app,
            limits,
            instance_limits,
            #[cfg(feature = "metrics")]
            metrics_address: None,
        }
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

    /// Builds the worker without starting it.
    ///
    /// # Errors
    /// `Invalid` if a name was registered twice or is empty, an orchestrator's name or a version has more than 2,048 UTF-16 units, a limit
    /// is zero, the worker's id is empty or too long, or it is to serve metrics of a hub that was opened without any.
    pub fn build(mut self) -> Result<Worker> {
        let invalid = |what: String| Err(Error::new(ErrorKind::Invalid, what));
        if self.options.turns == 0 || self.options.activities == 0 || self.options.local_activities == Some(0) {
            return invalid(
                "a worker needs at least one orchestration, one activity and one local activity at a time".to_owned(),
            );
        }
        // A semaphore counts no further.
        self.options.turns = self.options.turns.min(Semaphore::MAX_PERMITS);
        self.options.activities = self.options.activities.min(Semaphore::MAX_PERMITS);
        self.options.local_activities = self.options.local_activities.map(|count| count.min(Semaphore::MAX_PERMITS));
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
        #[cfg(feature = "metrics")]
        let page = Page::of(&hub, self.metrics_address)?;
        let patience = if hub.storage.in_process { Patience::NONE } else { Patience::default() };
        let patience = self.options.patience.unwrap_or(patience);
        let worker_id = self.worker_id.unwrap_or_else(|| format!("taskhub-{}-{}", std::process::id(), hub.rng.uuid().simple()));
        let measures = Measures::new(hub.metrics.clone(), &registry);
        let (tracer, clock) = (hub.tracer.clone(), hub.clock.clone());
        let executor = Executor::new(registry.clone(), throttles, self.instance_limits, measures, tracer, clock);
        let executor = Arc::new(executor);
        let (stopping, places) = (CancellationToken::new(), self.options.local_activities.unwrap_or(self.options.activities));
        let shared = Shared {
            local: LocalActivities::new(Arc::clone(&executor), places, self.options.local_time, stopping.clone()),
            hosting: Hosting::new(registry, worker_id.clone(), patience, self.options.remembered),
            executor,
            worker_id,
            outages: Outages::default(),
            traffic: Traffic::new(),
            usage: Usage::default(),
            tasks: Tasks::default(),
            keeper: Keeper::default(),
            pulse: Pulse::default(),
            activities: Window::new(self.options.activities_window()),
            left_until: Mutex::default(),
            items: Bodies::default(),
            stopping,
            giving_up: CancellationToken::new(),
            options: self.options,
            hub,
        };
        let shared = Arc::new(shared);
        #[cfg(feature = "metrics")]
        let worker = Worker { shared, page };
        #[cfg(not(feature = "metrics"))]
        let worker = Worker { shared };
        Ok(worker)
    }

    /// Builds the worker and runs it; see [`Worker::run`].
    ///
    /// # Errors
    /// As [`build`](Self::build) and [`Worker::run`].
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        self.build()?.run(shutdown).await
    }
}
