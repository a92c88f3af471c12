//! What a worker can be told beside what it hosts.

use std::time::Duration;

use super::WorkerBuilder;
#[cfg(feature = "testing")]
use crate::authoring::RegistryBuilder;
use crate::authoring::{Activity, Orchestrator, Rigour};
use crate::worker::app_lease::App;
#[cfg(any(test, feature = "testing"))]
use crate::worker::fast_path::FastPath;
use crate::worker::instance_limits::InstanceLimits;
#[cfg(feature = "testing")]
use crate::worker::options::Options;
use crate::worker::patience::Patience;
use crate::worker::throttle::{Limit, Limited};

/// A turn holds its messages meanwhile, and nothing of it is committed.
const LOCAL_TIME_MAX: Duration = Duration::from_secs(60);

impl WorkerBuilder {
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

    /// Turns of orchestrations that run at once; 100 unless set. Each partition that the worker owns has an equal share, at least one, so
    /// that none waits for the storage of another. While a partition comes, turns that have begun may be more for as long as they take.
    /// Zero is refused; there is no upper limit.
    pub fn max_orchestrations(mut self, count: usize) -> Self {
        self.options.turns = count;
        self
    }

    /// Activities that run at once; ten per core unless set. Zero is refused; there is no upper limit.
    pub fn max_activities(mut self, count: usize) -> Self {
        self.options.activities = count;
        self
    }

    /// How long a turn goes on with [local activities](crate::Call::local) before it is committed; five seconds unless set, and a minute at
    /// most. With zero every call is an ordinary one.
    pub fn local_activity_time(mut self, time: Duration) -> Self {
        self.options.local_time = time.min(LOCAL_TIME_MAX);
        self
    }

    /// [Local activities](crate::Call::local) that run at once, beside [the others](Self::max_activities); as many as of those unless set, and
    /// at least one. The rest waits, inside its turns.
    pub fn max_local_activities(mut self, count: usize) -> Self {
        self.options.local_activities = Some(count);
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
    /// them again: 64 MiB unless it is set. Each partition that the worker owns has an even share of it. What was not used for longest gives way; 0 keeps none.
    /// One history of a partition that is larger than the whole share is kept beside the others if it takes up no more than 16 times as much, which is 256 MiB of
    /// a worker that owns four partitions, or some 100,000 activities in a row: it is in memory in each of its turns anyway, and to read it in each would take ever longer.
    pub fn history_cache_bytes(mut self, bytes: usize) -> Self {
        self.options.history_bytes = bytes;
        self
    }

    /// Serves the page of the hub's [metrics](crate::metrics::Metrics) under this address and `/metrics` while the worker runs, for Prometheus. Whoever
    /// reaches it may read it. For hubs that were opened [with metrics](crate::TaskHubBuilder::metrics).
    #[cfg(feature = "metrics")]
    pub fn metrics_address(mut self, address: std::net::SocketAddr) -> Self {
        self.metrics_address = Some(address);
        self
    }

    /// Which short cuts are taken.
    #[cfg(test)]
    pub(crate) fn fast_path(mut self, fast_path: FastPath) -> Self {
        self.options.fast_path = fast_path;
        self
    }

    /// The way of .NET: no short cut, and one work item a receive.
    #[cfg(feature = "testing")]
    pub(crate) fn like_dotnet(mut self) -> Self {
        self.options.fast_path = FastPath::NONE;
        self.options.work_items_a_receive = 1;
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
}
