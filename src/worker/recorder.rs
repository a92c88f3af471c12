//! What a turn decided, written down: rows, messages, status. It calls no code of users, and does no I/O.

mod child;
mod ended;
mod generations;
mod local;
mod traced;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

pub(crate) use self::ended::Ended;
use self::traced::OwnSpan;
use super::descent::Descent;
use crate::clock::Clock;
use crate::hub::{QueueId, partition_of};
use crate::ids::DecisionId;
use crate::model::{
    EventKind, ExecutionStarted, FIRE_AND_FORGET, FailureDetails, HistoryEvent, InstanceRef, Message, RuntimeStatus, Sender,
    Started, State, StoredEvent, Timestamp,
};
use crate::replay::{Action, ActionKind, Completion, Difference, Outcome, Retrying, Turn};
use crate::traces::Span;

/// An execution as it is loaded, and what arrives in this turn.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    pub(crate) instance_id: &'a str,
    pub(crate) execution_id: String,
    /// Committed events of this execution; none if it starts now.
    pub(crate) past: &'a [StoredEvent],
    /// What they amount to.
    pub(crate) state: State,
    /// What arrives, in order; the start first if it is among them.
    pub(crate) inputs: Vec<StoredEvent>,
    /// The custom status with which the execution began.
    pub(crate) custom_status: Option<String>,
    /// What the sentinel remembers of earlier executions.
    pub(crate) applied: Vec<Uuid>,
    pub(crate) superseded: Vec<String>,
    /// What ends with the instance if the turn terminates it.
    pub(crate) descent: Option<Descent>,
    /// Whether history rows have the inputs of calls.
    pub(crate) stores_inputs: bool,
    /// Whether the spans of its trace are exported, if it has one.
    pub(crate) exports: bool,
}

/// What a turn wants committed.
#[derive(Debug)]
pub(crate) struct Record {
    /// The execution that the rows belong to: another than was opened after a continue-as-new.
    pub(crate) execution_id: String,
    /// Rows that stay in front of the new ones.
    pub(crate) kept_rows: u64,
    pub(crate) events: Vec<StoredEvent>,
    /// What the kept rows and the new ones amount to.
    pub(crate) state: State,
    /// Messages in the order of .NET: to instances, timers, work items.
    pub(crate) outbound: Vec<Outbound>,
    /// The tasks of local activities that have answered inside the turn.
    pub(crate) answered: BTreeSet<i32>,
    /// How many of the first events are those with which a generation begins: they replace the rows from which they were taken.
    pub(crate) first_rows: usize,
    pub(crate) custom_status: Option<String>,
    /// The custom status with which the execution began: carried over by continue-as-new, where replay cannot find it.
    pub(crate) carried_status: Option<String>,
    pub(crate) applied: Vec<Uuid>,
    pub(crate) superseded: Vec<String>,
    pub(crate) status: Option<RuntimeStatus>,
    /// Generations that the turn has begun.
    pub(crate) generations: u32,
    /// For the log.
    pub(crate) retries: Vec<Retrying>,
    pub(crate) differences: Vec<Difference>,
    /// What has ended with the turn, to be exported once it is committed.
    pub(crate) spans: Vec<Span>,
}

/// A message on its way out.
#[derive(Clone, Debug)]
pub(crate) struct Outbound {
    pub(crate) queue: QueueId,
    pub(crate) message: Message,
    pub(crate) delay: Duration,
}

/// How large an instance has become, by what is recorded so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Parents above it.
    pub(crate) level: u64,
    /// Events of the execution.
    pub(crate) events: u64,
    /// Sub-orchestrations that the execution has started.
    pub(crate) children: u64,
}

/// Whether a turn goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// What it decided can be committed.
    Done,
    /// Another generation has begun, and its code is to be run.
    Continues,
}

impl Progress {
    pub(crate) fn is_done(self) -> bool {
        self == Self::Done
    }
}

/// Writes down what a turn decides, over all the generations that it runs through.
pub(crate) struct Recorder<'a> {
    clock: &'a Clock,
    partitions: u32,
    pub(super) instance_id: &'a str,
    /// The instance as it was loaded, also after a continue-as-new (docs/storage-layout.md, Envelope).
    sender: Sender,
    episode: i32,
    not_before: Timestamp,
    /// The committed events of the execution; none once another generation has begun.
    pub(super) past: &'a [StoredEvent],
    pub(super) descent: Option<Descent>,
    stores_inputs: bool,
    exports: bool,
    /// The span of the execution that is run now, if it was started with a trace.
    trace: Option<OwnSpan>,
    /// How many of the events the code has been run on in this turn, before those that it is run on next.
    seen: usize,
    /// The work items of calls that are to run inside the turn, until somebody takes them.
    local: Vec<Message>,
    pub(super) record: Record,
}

impl Record {
    fn push(&mut self, event: impl Into<StoredEvent>) {
        let stored = event.into();
        self.state.apply(&stored);
        self.events.push(stored);
    }
}

impl<'a> Recorder<'a> {
    /// Begins to write down a turn.
    pub(crate) fn new(clock: &'a Clock, partitions: u32, opened: Opened<'a>) -> Self {
        let Opened { instance_id, execution_id, past, state, inputs, custom_status, applied, superseded, .. } = opened;
        let Opened { descent, stores_inputs, exports, .. } = opened;
        let mut recorder = Self {
            clock,
            partitions,
            instance_id,
            sender: Sender { instance_id: instance_id.to_owned(), execution_id: Some(execution_id.clone()) },
            episode: state.episodes + 1,
            not_before: state.not_before().max(asked_for(&inputs)),
            past,
            descent,
            stores_inputs,
            exports,
            trace: None,
            seen: 0,
            local: Vec::new(),
            record: Record {
                execution_id,
                kept_rows: past.len() as u64,
                events: Vec::new(),
                state,
                outbound: Vec::new(),
                answered: BTreeSet::new(),
                first_rows: 0,
                carried_status: custom_status.clone(),
                custom_status,
                applied,
                superseded,
                status: None,
                generations: 0,
                retries: Vec::new(),
                differences: Vec::new(),
                spans: Vec::new(),
            },
        };
        let now = recorder.now();
        recorder.record.push(HistoryEvent::arriving(now, EventKind::OrchestratorStarted));
        recorder.take_in(inputs, now);
        recorder
    }

    /// What the code is to be run on.
    pub(crate) fn input(&self) -> Turn<'_> {
        Turn {
            execution_id: &self.record.execution_id,
            before: 0,
            past: self.past,
            new: &self.record.events,
            seen: self.seen,
            custom_status: self.record.custom_status.as_deref(),
            is_repeat: false,
        }
    }

    /// How the execution was started that is run now.
    fn started(&self) -> &Arc<Started> {
        self.record.state.started.as_ref().expect("a turn is only opened for an execution that has started or starts in it")
    }

    /// How large the instance is.
    pub(crate) fn size(&self) -> Size {
        let level = self.started().event.level.unwrap_or(0);
        let events = self.past.len() + self.record.events.len();
        Size { level: level.try_into().unwrap_or(0), events: events as u64, children: self.record.state.children }
    }

    /// Generations that have begun in this turn.
    pub(crate) fn generations(&self) -> u32 {
        self.record.generations
    }

    /// Writes down what the code has decided.
    pub(crate) fn apply(&mut self, outcome: Outcome) -> Progress {
        let started = Arc::clone(self.started());
        self.mark_played();
        self.record.custom_status = outcome.custom_status;
        self.record.retries.extend(outcome.retries);
        self.record.differences.extend(outcome.differences);
        for change in outcome.patches {
            let record = StoredEvent::patched(self.now(), &change);
            self.record.push(record);
        }
        for action in outcome.actions {
            self.decide(action, &started);
        }
        let id = outcome.next_id;
        match outcome.completion {
            None => {}
            Some(Completion::ContinuedAsNew { input, version, carry }) => {
                return self.continue_as_new(id, &started, input, version, &carry);
            }
            Some(Completion::Completed { output }) => self.complete(id, RuntimeStatus::Completed, output, None, &started),
            Some(Completion::Failed { failure }) => {
                let reason = Some(failure.error_message.clone());
                self.complete(id, RuntimeStatus::Failed, reason, Some(failure), &started);
            }
            Some(Completion::Terminated { reason }) => {
                self.end_children(id, reason.as_deref());
                self.complete(id, RuntimeStatus::Terminated, reason, None, &started);
            }
        }
        Progress::Done
    }

    /// Ends the execution so, whatever its code would do.
    pub(crate) fn end_without_code(&mut self, completion: Completion) {
        let outcome = self.input().ended_without_code(completion);
        self.apply(outcome);
    }

    /// What is to be committed.
    pub(crate) fn finish(mut self) -> Record {
        self.end_spans();
        if !matches!(self.record.events.last().map(|e| &e.event.kind), Some(EventKind::OrchestratorCompleted)) {
            self.record.push(HistoryEvent::arriving(self.now(), EventKind::OrchestratorCompleted));
        }
        self.record.outbound.sort_by_key(|o| match (o.queue, &o.message.event.kind) {
            (QueueId::WorkItems, _) => 2,
            (_, EventKind::TimerFired { .. }) => 1,
            _ => 0,
        });
        self.record
    }

    /// Turn times never go back, whatever the clocks of the workers say.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now().max(self.not_before)
    }

    /// As .NET marks what went through its executor (docs/storage-layout.md, Columns): what arrived, not the decisions.
    fn mark_played(&mut self) {
        for stored in &mut self.record.events[self.seen..] {
            stored.event.is_played = !matches!(stored.event.kind, EventKind::OrchestratorStarted);
        }
    }

    fn decide(&mut self, action: Action, started: &Started) {
        let decision = action.decision(&self.record.execution_id).again(self.record.state.times_taken_back(action.id));
        let (id, now) = (action.id, self.now());
        let kind = match action.kind {
            ActionKind::Activity { name, version, input, tags, is_local } => {
                let version = Some(version.unwrap_or_default());
                let trace = self.trace_of(decision);
                let event = |input| EventKind::TaskScheduled {
                    name: name.clone(),
                    version: version.clone(),
                    input,
                    trace: trace.clone(),
                    tags: tags.clone(),
                };
                let stored = input.clone().filter(|_| self.stores_inputs);
                let message = HistoryEvent::decision(id, now, event(input));
                let target = InstanceRef::new(self.instance_id, &self.record.execution_id);
                let mut message = self.message(decision, message, target);
                message.context_tags = Some(started.event.tags.clone().unwrap_or_default());
                message.attempt = Some(action.attempt).filter(|attempt| *attempt > 1);
                if is_local {
                    self.local.push(message);
                } else {
                    self.send(QueueId::WorkItems, message, Duration::ZERO);
                }
                event(stored)
            }
            ActionKind::SubOrchestration { name, version, instance_id, input, tags } => {
                let child = instance_id.unwrap_or_else(|| decision.child_instance_id(&self.record.execution_id));
                let version = Some(version.unwrap_or_default());
                let (own_tags, stored) = (tags.clone(), input.clone().filter(|_| self.stores_inputs));
                self.start_child(id, decision, started, &child, (&name, &version, input), tags);
                EventKind::SubOrchestrationCreated {
                    name,
                    version,
                    instance_id: child,
                    input: stored,
                    client_span_id: self.client_span_of(decision),
                    tags: own_tags,
                }
            }
            ActionKind::Timer { fire_at } => {
                let fired = HistoryEvent::arriving(now, EventKind::TimerFired { timer_id: id, fire_at });
                let target = InstanceRef::new(self.instance_id, &self.record.execution_id);
                let message = self.message(decision, fired, target);
                let delay = fire_at.since(self.clock.now());
                self.send(self.control_queue(self.instance_id), message, delay);
                EventKind::TimerCreated { fire_at }
            }
            ActionKind::SendEvent { instance_id, name, input } => {
                let trace = self.trace_of(decision).filter(|_| !instance_id.starts_with('@'));
                let raised = EventKind::EventRaised { name: name.clone(), input: input.clone(), trace };
                let queue = self.control_queue(&instance_id);
                let message = self.message(decision, HistoryEvent::arriving(now, raised), InstanceRef::current(&instance_id));
                let call = self.last_call_of(&instance_id);
                self.send(queue, Message { call, ..message }, Duration::ZERO);
                EventKind::EventSent { instance_id, name, input }
            }
        };
        let event = HistoryEvent::decision(id, now, kind);
        self.record.push(StoredEvent { decision_id: Some(decision.text()), ..event.into() });
    }

    fn complete(
        &mut self,
        id: i32,
        status: RuntimeStatus,
        result: Option<String>,
        failure: Option<FailureDetails>,
        started: &Started,
    ) {
        self.record.status = Some(status);
        let kind = EventKind::ExecutionCompleted { status, result: result.clone(), failure: failure.clone() };
        self.record.push(HistoryEvent::decision(id, self.now(), kind));
        let end = Ended { execution_id: &self.record.execution_id, episode: self.episode, id, status, result, failure };
        let decision_id = started.decision_id.as_deref();
        if let Some(message) = end.answer(&started.event, decision_id, self.sender.clone(), self.now()) {
            self.send(self.control_queue(&message.target.instance_id), message, Duration::ZERO);
        }
    }

    pub(super) fn message(&self, decision: DecisionId, event: HistoryEvent, target: InstanceRef) -> Message {
        let decision_id = Some(decision.text());
        Message::from_instance(decision.message_id(), event, target, self.sender.clone(), self.episode, decision_id)
    }

    pub(super) fn send(&mut self, queue: QueueId, message: Message, delay: Duration) {
        self.record.outbound.push(Outbound { queue, message, delay });
    }

    pub(super) fn control_queue(&self, instance_id: &str) -> QueueId {
        QueueId::Control(partition_of(instance_id, self.partitions))
    }
}

/// When a parent asked for the execution that begins with these: its child is never before it.
fn asked_for(inputs: &[StoredEvent]) -> Timestamp {
    let of_child = |stored: &StoredEvent| match &stored.event.kind {
        EventKind::ExecutionStarted(start) if start.parent.is_some() => Some(stored.event.timestamp),
        _ => None,
    };
    inputs.iter().find_map(of_child).unwrap_or(Timestamp::MIN)
}

/// The sentinel has room for so many.
pub(crate) fn keep_last<T>(all: &mut Vec<T>, most: usize) {
    all.drain(..all.len().saturating_sub(most));
}

/// Whether nobody waits for what this start begins.
pub(crate) fn is_detached(start: &ExecutionStarted) -> bool {
    start.tags.as_ref().is_some_and(|tags| tags.contains_key(FIRE_AND_FORGET))
}
