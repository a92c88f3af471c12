//! Plays an orchestrator: keeps its history as a worker would and checks that every replay of it agrees.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::authoring::{
    Activity, ActivityContext, ActivityTask, Code, Ends, Failure, OrchestrationContext, Orchestrator, Registry, RegistryBuilder,
    Serves,
};
use crate::model::{
    EventKind, ExecutionStarted, FailureDetails, HistoryEvent, InstanceRef, RuntimeStatus, StoredEvent, Timestamp,
};
use crate::replay::{Action, ActionKind, Completion, Outcome, Turn};

/// One instance under test.
pub(super) struct Play {
    pub(super) registry: Registry,
    pub(super) history: Vec<HistoryEvent>,
    pub(super) now: Timestamp,
    pub(super) custom_status: Option<String>,
    pub(super) completion: Option<Completion>,
    /// Whether every turn runs twice, to compare.
    pub(super) checks_twice: bool,
}

/// Events as .NET stores them: without the identities of decisions.
pub(super) fn stored(events: &[HistoryEvent]) -> Vec<StoredEvent> {
    events.iter().cloned().map(StoredEvent::from).collect()
}

/// Registrations for no version, of which most tests need one.
impl RegistryBuilder {
    pub(crate) fn orchestrator<I, O, F, R>(self, handle: Orchestrator<I, O>, run: F) -> Self
    where
        I: DeserializeOwned + 'static,
        O: Serialize + 'static,
        F: Fn(OrchestrationContext, I) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, Failure>> + 'static,
    {
        self.host(Code::orchestrator(handle, run), Serves::NoVersion)
    }

    pub(crate) fn activity<I, O, F, R>(self, handle: Activity<I, O>, run: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + 'static,
        F: Fn(ActivityContext, I) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        self.host(Code::activity(handle, run), Serves::NoVersion)
    }
}

impl Play {
    pub(super) fn new(registry: RegistryBuilder) -> Self {
        let now = Timestamp::parse("2024-01-02T03:04:05.6789012Z").unwrap();
        let registry = registry.build().unwrap();
        Self { registry, history: Vec::new(), now, custom_status: None, completion: None, checks_twice: true }
    }

    /// The same code, nothing played yet.
    pub(super) fn again(&self) -> Self {
        let registry = self.registry.clone();
        Self { registry, history: Vec::new(), custom_status: None, completion: None, ..*self }
    }

    /// Starts the orchestrator; answers its first decisions.
    pub(super) fn start(&mut self, name: &str, input: Option<&str>) -> Vec<String> {
        self.turn([start(name, input)])
    }

    /// One turn over what arrived; answers the new decisions and, last, the completion.
    pub(super) fn turn(&mut self, arrived: impl IntoIterator<Item = EventKind>) -> Vec<String> {
        let outcome = self.run(arrived);
        let mut shown: Vec<String> = outcome.actions.iter().map(|action| self.show(action)).collect();
        shown.extend(outcome.completion.as_ref().map(|completion| self.show_completion(completion)));
        shown
    }

    /// One turn over what arrived, committed to history.
    pub(super) fn run(&mut self, arrived: impl IntoIterator<Item = EventKind>) -> Outcome {
        let mut new = vec![HistoryEvent::arriving(self.now, EventKind::OrchestratorStarted)];
        new.extend(arrived.into_iter().map(|kind| HistoryEvent::arriving(self.now, kind)));
        let (past, arriving) = (stored(&self.history), stored(&new));
        let turn = Turn { past: &past, new: &arriving, custom_status: self.custom_status.as_deref(), ..Turn::default() };
        let outcome = self.registry.run_turn(&turn);
        if self.checks_twice {
            assert_eq!(outcome, self.registry.run_turn(&turn), "the same turn twice differs");
        }
        self.commit(new, &outcome);
        self.now = self.now.plus(Duration::from_secs(1));
        outcome
    }

    fn commit(&mut self, new: Vec<HistoryEvent>, outcome: &Outcome) {
        self.history.extend(new);
        let decided = outcome.actions.iter().map(|action| HistoryEvent::decision(action.id, self.now, event_of(&action.kind)));
        self.history.extend(decided);
        self.custom_status.clone_from(&outcome.custom_status);
        self.completion.clone_from(&outcome.completion);
        if let Some(completion) = &outcome.completion {
            let status = match completion {
                Completion::Completed { .. } => RuntimeStatus::Completed,
                Completion::Failed { .. } => RuntimeStatus::Failed,
                Completion::Terminated { .. } => RuntimeStatus::Terminated,
                Completion::ContinuedAsNew { .. } => RuntimeStatus::ContinuedAsNew,
            };
            let kind = EventKind::ExecutionCompleted { status, result: None, failure: None };
            assert!(self.history.iter().all(|event| event.event_id < outcome.next_id), "the completion's id is taken");
            self.history.push(HistoryEvent::decision(outcome.next_id, self.now, kind));
        }
        self.history.push(HistoryEvent::arriving(self.now, EventKind::OrchestratorCompleted));
    }

    fn show(&self, action: &Action) -> String {
        let id = action.id;
        match &action.kind {
            ActionKind::Activity { name, version, input, tags, .. } => {
                format!("#{id} {name}({}){}", text(input), extras(version.as_ref(), tags.as_ref()))
            }
            ActionKind::SubOrchestration { name, version, instance_id, input, tags } => {
                let instance = instance_id.as_deref().unwrap_or("?");
                format!("#{id} sub {name}@{instance}({}){}", text(input), extras(version.as_ref(), tags.as_ref()))
            }
            ActionKind::Timer { fire_at } => format!("#{id} timer {}s", fire_at.since(self.turn_time()).as_secs_f64()),
            ActionKind::SendEvent { instance_id, name, input } => format!("#{id} send {name} to {instance_id}({})", text(input)),
        }
    }

    fn turn_time(&self) -> Timestamp {
        let last = self.history.iter().rev().find(|event| event.kind == EventKind::OrchestratorStarted);
        last.map_or(self.now, |event| event.timestamp)
    }

    /// The whole message of the failure that ended the execution.
    pub(super) fn failure(&self) -> FailureDetails {
        match &self.completion {
            Some(Completion::Failed { failure }) => failure.clone(),
            other => panic!("not failed but {other:?}"),
        }
    }

    /// Answers every decision until the execution ends: activities run, timers fire in order of their time, children and
    /// events to others are given to `other`. Answers how it ended.
    pub(super) fn play_out(&mut self, name: &str, input: Option<&str>) -> Completion {
        let mut due = Vec::new();
        let mut arrived = vec![start(name, input)];
        for _ in 0..10_000 {
            let outcome = self.run(std::mem::take(&mut arrived));
            if let Some(Completion::ContinuedAsNew { input, carry, .. }) = &outcome.completion {
                arrived = vec![start(name, input.as_deref())];
                arrived.extend(self.carried(carry));
                self.history.clear();
                due.clear();
                continue;
            }
            if let Some(completion) = outcome.completion {
                return completion;
            }
            for Action { id, kind, .. } in outcome.actions {
                match kind {
                    ActionKind::Timer { fire_at } => due.push((fire_at, id)),
                    ActionKind::Activity { name, version, input, tags, .. } => {
                        arrived.push(self.perform(id, name, version, input, tags.unwrap_or_default()));
                    }
                    ActionKind::SubOrchestration { input, .. } => arrived.push(sub_done(id, input.as_deref())),
                    ActionKind::SendEvent { .. } => {}
                }
            }
            if arrived.is_empty() {
                due.sort();
                assert!(!due.is_empty(), "nothing will ever happen: {:?}", self.history.last());
                let (fire_at, id) = due.remove(0);
                self.now = self.now.max(fire_at);
                arrived.push(fired(id));
            }
        }
        panic!("it never ends");
    }

    /// What stands at these places of the history.
    pub(super) fn carried(&self, carry: &[usize]) -> Vec<EventKind> {
        carry.iter().map(|position| self.history[*position].kind.clone()).collect()
    }

    fn show_completion(&self, completion: &Completion) -> String {
        match completion {
            Completion::Completed { output } => format!("completed {}", text(output)),
            Completion::Failed { failure } => format!("failed {}", failure.error_type),
            Completion::Terminated { reason } => format!("terminated {}", text(reason)),
            Completion::ContinuedAsNew { input, version, carry } => {
                let names = self.carried(carry).into_iter().map(|kind| match &kind {
                    EventKind::EventRaised { name, input, .. } => format!(" {name}({})", text(input)),
                    other => format!(" {}", other.type_name()),
                });
                format!("again {}{}{}", text(input), extras(version.as_ref(), None), names.collect::<String>())
            }
        }
    }

    fn perform(
        &self,
        task_id: i32,
        name: String,
        version: Option<String>,
        input: Option<String>,
        tags: crate::model::Tags,
    ) -> EventKind {
        let task = ActivityTask { task_id, version, tags, ..task(name, input) };
        match futures::executor::block_on(self.registry.run_activity(task)) {
            Ok(result) => EventKind::TaskCompleted { task_id, result },
            Err(failure) => EventKind::TaskFailed { task_id, reason: None, details: None, failure: Some(failure) },
        }
    }
}

/// The first attempt of an activity, without a version.
pub(super) fn task(name: impl Into<String>, input: Option<String>) -> ActivityTask {
    ActivityTask {
        instance: instance(),
        task_id: 0,
        name: name.into(),
        version: None,
        input,
        tags: crate::model::Tags::new(),
        attempt: 1,
        trace: None,
        ends: Ends::default(),
    }
}

fn text(json: &Option<String>) -> &str {
    json.as_deref().unwrap_or("")
}

fn extras(version: Option<&String>, tags: Option<&crate::model::Tags>) -> String {
    let version = version.map(|version| format!(" v{version}")).unwrap_or_default();
    let tags: String = tags.into_iter().flatten().map(|(key, value)| format!(" {key}={value}")).collect();
    version + &tags
}

pub(super) fn event_of(kind: &ActionKind) -> EventKind {
    match kind.clone() {
        ActionKind::Activity { name, version, tags, .. } => {
            EventKind::TaskScheduled { name, version, input: None, trace: None, tags }
        }
        ActionKind::SubOrchestration { name, version, instance_id, tags, .. } => EventKind::SubOrchestrationCreated {
            name,
            version,
            instance_id: instance_id.unwrap_or_else(|| "derived".to_owned()),
            input: None,
            client_span_id: None,
            tags,
        },
        ActionKind::Timer { fire_at } => EventKind::TimerCreated { fire_at },
        ActionKind::SendEvent { instance_id, name, input } => EventKind::EventSent { instance_id, name, input },
    }
}

pub(super) fn instance() -> InstanceRef {
    InstanceRef::new("abc", "e1")
}

pub(super) fn start(name: &str, input: Option<&str>) -> EventKind {
    let (name, input) = (name.to_owned(), input.map(str::to_owned));
    EventKind::ExecutionStarted(Box::new(ExecutionStarted { instance: instance(), name, input, ..ExecutionStarted::default() }))
}

pub(super) fn done(task_id: i32, json: &str) -> EventKind {
    EventKind::TaskCompleted { task_id, result: Some(json.to_owned()) }
}

pub(super) fn failed(task_id: i32, message: &str) -> EventKind {
    let failure = FailureDetails { error_type: "Bad".into(), error_message: message.into(), ..FailureDetails::default() };
    EventKind::TaskFailed { task_id, reason: None, details: None, failure: Some(failure) }
}

pub(super) fn sub_done(task_id: i32, json: Option<&str>) -> EventKind {
    EventKind::SubOrchestrationCompleted { task_id, result: json.map(str::to_owned) }
}

pub(super) fn fired(timer_id: i32) -> EventKind {
    EventKind::TimerFired { timer_id, fire_at: Timestamp::MIN }
}

pub(super) fn raised(name: &str, json: &str) -> EventKind {
    EventKind::EventRaised { name: name.to_owned(), input: Some(json.to_owned()), trace: None }
}

pub(super) fn suspended() -> EventKind {
    EventKind::ExecutionSuspended { reason: None }
}

pub(super) fn resumed() -> EventKind {
    EventKind::ExecutionResumed { reason: None }
}

pub(super) fn terminated(reason: &str) -> EventKind {
    EventKind::ExecutionTerminated { reason: Some(reason.to_owned()) }
}
