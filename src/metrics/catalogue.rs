//! Every metric there is: its name, its kind, and what it counts. docs/observability.md has the same list with its labels.

/// A metric.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "nothing reads it"))]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: MetricKind,
    pub(crate) help: &'static str,
}

/// What it is for whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in seconds.
    Seconds,
}

macro_rules! catalogue {
    ($($id:ident = $kind:ident $name:literal $help:literal;)*) => {
        $(pub(crate) const $id: Metric = Metric { name: $name, kind: MetricKind::$kind, help: $help };)*

        /// All of them.
        #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "nothing reads it"))]
        pub(crate) const ALL: &[Metric] = &[$($id),*];
    };
}

catalogue! {
    TURNS = Counter "taskhub_turns_total" "Turns of orchestrations, by what became of them.";
    TURN_DURATION = Seconds "taskhub_turn_duration_seconds" "How long a turn took, from its messages and its history to its commit.";
    STARTED = Counter "taskhub_orchestrations_started_total" "Executions whose first turn was committed.";
    ENDED = Counter "taskhub_orchestrations_ended_total" "Executions whose last turn was committed, by their status.";
    RUNS = Counter "taskhub_orchestrator_runs_total" "Runs of orchestrators' code: over an execution in memory, as a replay of its history, or as a check of the one by the other.";
    HISTORIES = Counter "taskhub_histories_total" "Where the history of a turn came from: the cache, storage, or assumed to be empty.";
    LIVE = Gauge "taskhub_live_executions" "Executions that stay in the memory of this process between their turns.";
    ACTIVITIES = Counter "taskhub_activities_total" "Runs of activities, local ones among them, by their outcome.";
    ACTIVITY_DURATION = Seconds "taskhub_activity_duration_seconds" "How long the code of an activity ran.";
    ACTIVITIES_RUNNING = Gauge "taskhub_activities_running" "Activities whose code runs now, local ones among them.";
    MESSAGE_WAIT = Seconds "taskhub_message_wait_seconds" "How long a message that was received for the first time had waited.";
    DROPPED = Counter "taskhub_messages_dropped_total" "Messages that were deleted without an effect, by the reason.";
    PARKED = Counter "taskhub_messages_parked_total" "Messages that this worker has parked.";
    PARKED_NOW = Gauge "taskhub_parked_messages" "Messages that are parked in the hub.";
    QUEUE_MESSAGES = Gauge "taskhub_queue_messages" "About how many messages a queue has, also those in work or not yet due.";
    QUEUE_AGE = Gauge "taskhub_queue_oldest_message_age_seconds" "How long the oldest message has waited that nobody has received; 0 if none waits.";
    PARTITIONS = Gauge "taskhub_partitions_owned" "Partitions that workers of this process own.";
    LEASE_LATENESS = Seconds "taskhub_lease_renewal_lateness_seconds" "How much later than planned the leases of partitions were renewed.";
    CALLS = Counter "taskhub_storage_calls_total" "Requests to the storage account, retries among them, by what the account bills them as.";
    CALL_ERRORS = Counter "taskhub_storage_call_errors_total" "Requests to the storage account that failed; many are part of normal work.";
    CALL_DURATION = Seconds "taskhub_storage_call_duration_seconds" "How long a request to the storage account took.";
    COST = Gauge "taskhub_storage_cost" "What the requests of this process cost, in the currency of its label.";
    MEMORY = Gauge "process_resident_memory_bytes" "Memory that this process takes up (Linux).";
}
