//! One turn: run the orchestrator over its history and new events, and write down what has to be committed. No I/O.

mod ended;
mod generations;

use std::rc::Rc;
use std::time::Duration;

use uuid::Uuid;

pub(crate) use self::ended::Ended;
use crate::authoring::Registry;
use crate::clock::Clock;
use crate::hub::{QueueId, partition_of};
use crate::ids::DecisionId;
use crate::limits;
use crate::model::{
    EventKind, ExecutionStarted, FailureDetails, HistoryEvent, InstanceRef, Message, ParentInstance, RuntimeStatus, Sender,
    State, StoredEvent, Tags, Timestamp,
};
use crate::replay::{Action, ActionKind, Completion, Difference, Recorded, Retrying, Turn};

/// The tag of a child that nobody waits for: it sends no completion (docs/storage-layout.md, Events).
const FIRE_AND_FORGET: &str = "FireAndForget";

/// An execution as it is loaded, and what arrives in this turn.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) instance_id: String,
    pub(crate) execution_id: String,
    /// Committed events of this execution; none if it starts now.
    pub(crate) past: Vec<StoredEvent>,
    /// What arrives, in order; the start first if it is among them.
    pub(crate) inputs: Vec<StoredEvent>,
    /// The custom status with which the execution began.
    pub(crate) custom_status: Option<String>,
    /// What the sentinel remembers of earlier executions.
    pub(crate) applied: Vec<Uuid>,
    pub(crate) superseded: Vec<String>,
    /// How the execution ends, if it does so without its code.
    pub(crate) ends: Option<Completion>,
}

/// What a turn wants committed.
#[derive(Debug)]
pub(crate) struct Record {
    /// The execution that the rows belong to: another than was opened after a continue-as-new.
    pub(crate) execution_id: String,
    /// Rows that stay in front of the new ones.
    pub(crate) kept_rows: u64,
    pub(crate) events: Vec<StoredEvent>,
    /// Messages in the order of .NET: to instances, timers, work items.
    pub(crate) outbound: Vec<Outbound>,
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
}

/// A message on its way out.
#[derive(Clone, Debug)]
pub(crate) struct Outbound {
    pub(crate) queue: QueueId,
    pub(crate) message: Message,
    pub(crate) delay: Duration,
}

/// Runs the turn, and the generations that follow in it.
pub(crate) fn run(registry: &Registry, clock: &Clock, partitions: u32, opened: Opened) -> Record {
    let state = State::fold(&opened.past);
    let writer = Writer {
        clock,
        partitions,
        instance_id: opened.instance_id,
        sender: Sender { instance_id: String::new(), execution_id: Some(opened.execution_id.clone()) },
        episode: state.episodes + 1,
        not_before: state.last_turn.unwrap_or(Timestamp::MIN),
        ends: opened.ends,
        record: Record {
            execution_id: opened.execution_id,
            kept_rows: opened.past.len() as u64,
            events: Vec::new(),
            outbound: Vec::new(),
            first_rows: 0,
            carried_status: opened.custom_status.clone(),
            custom_status: opened.custom_status,
            applied: opened.applied,
            superseded: opened.superseded,
            status: None,
            generations: 0,
            retries: Vec::new(),
            differences: Vec::new(),
        },
    };
    writer.run(registry, opened.past, opened.inputs)
}

struct Writer<'a> {
    clock: &'a Clock,
    partitions: u32,
    instance_id: String,
    /// The instance as it was loaded, also after a continue-as-new (docs/storage-layout.md, Envelope).
    sender: Sender,
    episode: i32,
    not_before: Timestamp,
    ends: Option<Completion>,
    record: Record,
}

impl Writer<'_> {
    fn run(mut self, registry: &Registry, mut past: Vec<StoredEvent>, inputs: Vec<StoredEvent>) -> Record {
        self.sender.instance_id.clone_from(&self.instance_id);
        let now = self.now();
        self.record.events.push(HistoryEvent::arriving(now, EventKind::OrchestratorStarted).into());
        self.record.events.extend(inputs);
        for generation in 0.. {
            let all: Vec<_> = past.iter().map(|s| s.event.clone()).collect();
            let new: Vec<_> = self.record.events.iter().map(|s| s.event.clone()).collect();
            let turn = Turn {
                past: &all,
                new: &new,
                custom_status: self.record.custom_status.take(),
                recorded: self.recorded(&past),
                is_repeat: false,
            };
            let outcome = match self.ends.take() {
                Some(completion) => turn.ended_without_code(completion),
                None => registry.run_turn(&turn),
            };
            let started = start_of(&past, &self.record.events);
            self.mark_played();
            self.record.custom_status = outcome.custom_status;
            self.record.retries.extend(outcome.retries);
            self.record.differences.extend(outcome.differences);
            for action in outcome.actions {
                self.decide(action, &started);
            }
            match outcome.completion {
                None => break,
                Some(Completion::ContinuedAsNew { input, version, carry }) => {
                    let (carried, consumed) =
                        generations::divide(std::mem::take(&mut past), std::mem::take(&mut self.record.events), &carry);
                    self.forget(&consumed);
                    let next = self.next_generation(outcome.next_id, &started, input, version);
                    // Another version than this worker has goes on where it is hosted.
                    let is_here = matches!(&next.event.kind, EventKind::ExecutionStarted(start) if registry.hosts(start));
                    self.begin_generation(next, carried);
                    if generation + 1 == limits::GENERATIONS_PER_TURN_MAX || !is_here {
                        self.wake_self();
                        break;
                    }
                }
                Some(Completion::Completed { output }) => {
                    self.complete(outcome.next_id, RuntimeStatus::Completed, output, None, &started);
                    break;
                }
                Some(Completion::Failed { failure }) => {
                    let reason = Some(failure.error_message.clone());
                    self.complete(outcome.next_id, RuntimeStatus::Failed, reason, Some(failure), &started);
                    break;
                }
                Some(Completion::Terminated { reason }) => {
                    self.complete(outcome.next_id, RuntimeStatus::Terminated, reason, None, &started);
                    break;
                }
            }
        }
        self.close()
    }

    /// What the decisions of these events are compared with.
    fn recorded(&self, past: &[StoredEvent]) -> Rc<Recorded> {
        let decided = past.iter().filter(|stored| stored.event.event_id >= 0);
        let decisions = decided.filter_map(|stored| Some((stored.event.event_id, stored.decision_id.clone()?))).collect();
        Rc::new(Recorded { execution_id: self.record.execution_id.clone(), decisions })
    }

    /// Turn times never go back, whatever the clocks of the workers say.
    fn now(&self) -> Timestamp {
        self.clock.now().max(self.not_before)
    }

    /// As .NET marks what went through its executor (docs/storage-layout.md, Columns): what arrived, not the decisions.
    fn mark_played(&mut self) {
        for stored in &mut self.record.events {
            stored.event.is_played = !matches!(stored.event.kind, EventKind::OrchestratorStarted);
        }
    }

    fn decide(&mut self, action: Action, started: &StoredStart) {
        let decision = action.decision(&self.record.execution_id);
        let (id, now) = (action.id, self.now());
        let kind = match action.kind {
            ActionKind::Activity { name, version, input, tags } => {
                let version = Some(version.unwrap_or_default());
                let event = |input| EventKind::TaskScheduled {
                    name: name.clone(),
                    version: version.clone(),
                    input,
                    trace: None,
                    tags: tags.clone(),
                };
                let message = HistoryEvent::decision(id, now, event(input));
                let target = InstanceRef::new(&self.instance_id, &self.record.execution_id);
                let mut message = self.message(decision, message, target);
                message.context_tags = Some(started.event.tags.clone().unwrap_or_default());
                message.attempt = Some(action.attempt).filter(|attempt| *attempt > 1);
                self.send(QueueId::WorkItems, message, Duration::ZERO);
                event(None)
            }
            ActionKind::SubOrchestration { name, version, instance_id, input, tags } => {
                let child = instance_id.unwrap_or_else(|| decision.child_instance_id(&self.record.execution_id));
                let version = Some(version.unwrap_or_default());
                let own_tags = tags.clone();
                self.start_child(id, decision, started, &child, (&name, &version, input), tags);
                EventKind::SubOrchestrationCreated {
                    name,
                    version,
                    instance_id: child,
                    input: None,
                    client_span_id: None,
                    tags: own_tags,
                }
            }
            ActionKind::Timer { fire_at } => {
                let fired = HistoryEvent::arriving(now, EventKind::TimerFired { timer_id: id, fire_at });
                let target = InstanceRef::new(&self.instance_id, &self.record.execution_id);
                let message = self.message(decision, fired, target);
                let delay = fire_at.since(self.clock.now());
                self.send(self.control_queue(&self.instance_id), message, delay);
                EventKind::TimerCreated { fire_at }
            }
            ActionKind::SendEvent { instance_id, name, input } => {
                let raised = EventKind::EventRaised { name: name.clone(), input: input.clone(), trace: None };
                let queue = self.control_queue(&instance_id);
                let message = self.message(decision, HistoryEvent::arriving(now, raised), InstanceRef::current(&instance_id));
                self.send(queue, message, Duration::ZERO);
                EventKind::EventSent { instance_id, name, input }
            }
        };
        let event = HistoryEvent::decision(id, now, kind);
        self.record.events.push(StoredEvent { decision_id: Some(decision.text()), ..event.into() });
    }

    fn start_child(
        &mut self,
        id: i32,
        decision: DecisionId,
        started: &StoredStart,
        child: &str,
        (name, version, input): (&str, &Option<String>, Option<String>),
        tags: Option<Tags>,
    ) {
        let instance = InstanceRef::new(child, decision.execution_id());
        let parent = ParentInstance {
            name: Some(started.event.name.clone()),
            instance: InstanceRef::new(&self.instance_id, &self.record.execution_id),
            task_id: id,
            version: started.event.version.clone(),
        };
        let inherited = started.event.tags.clone().unwrap_or_default();
        let inherited: Tags = inherited.into_iter().filter(|(name, _)| name != FIRE_AND_FORGET).collect();
        let merged: Tags = inherited.clone().into_iter().chain(tags.unwrap_or_default()).collect();
        let start = ExecutionStarted {
            instance: instance.clone(),
            parent: Some(parent),
            name: name.to_owned(),
            version: version.clone(),
            input,
            tags: Some(merged).filter(|t| !t.is_empty()),
            level: Some(started.event.level.unwrap_or(0).saturating_add(1)),
            ..ExecutionStarted::default()
        };
        let event = HistoryEvent::arriving(self.now(), EventKind::ExecutionStarted(Box::new(start)));
        let mut message = self.message(decision, event, instance);
        message.context_tags = Some(inherited);
        self.send(self.control_queue(child), message, Duration::ZERO);
    }

    fn complete(
        &mut self,
        id: i32,
        status: RuntimeStatus,
        result: Option<String>,
        failure: Option<FailureDetails>,
        started: &StoredStart,
    ) {
        self.record.status = Some(status);
        let kind = EventKind::ExecutionCompleted { status, result: result.clone(), failure: failure.clone() };
        self.record.events.push(HistoryEvent::decision(id, self.now(), kind).into());
        let end = Ended { execution_id: &self.record.execution_id, episode: self.episode, id, status, result, failure };
        let decision_id = started.decision_id.as_deref();
        if let Some(message) = end.answer(&started.event, decision_id, self.sender.clone(), self.now()) {
            self.send(self.control_queue(&message.target.instance_id), message, Duration::ZERO);
        }
    }

    fn message(&self, decision: DecisionId, event: HistoryEvent, target: InstanceRef) -> Message {
        Message {
            activity_id: decision.message_id(),
            event,
            target,
            context_tags: None,
            sequence_number: 0,
            episode: Some(self.episode),
            sender: self.sender.clone(),
            decision_id: Some(decision.text()),
            attempt: None,
        }
    }

    fn send(&mut self, queue: QueueId, message: Message, delay: Duration) {
        self.record.outbound.push(Outbound { queue, message, delay });
    }

    fn control_queue(&self, instance_id: &str) -> QueueId {
        QueueId::Control(partition_of(instance_id, self.partitions))
    }

    fn close(mut self) -> Record {
        if !matches!(self.record.events.last().map(|e| &e.event.kind), Some(EventKind::OrchestratorCompleted)) {
            self.record.events.push(HistoryEvent::arriving(self.now(), EventKind::OrchestratorCompleted).into());
        }
        self.record.outbound.sort_by_key(|o| match (o.queue, &o.message.event.kind) {
            (QueueId::WorkItems, _) => 2,
            (_, EventKind::TimerFired { .. }) => 1,
            _ => 0,
        });
        self.record
    }
}

/// The sentinel has room for so many.
pub(crate) fn keep_last<T>(all: &mut Vec<T>, most: usize) {
    all.drain(..all.len().saturating_sub(most));
}

/// Whether nobody waits for what this start begins.
pub(crate) fn is_detached(start: &ExecutionStarted) -> bool {
    start.tags.as_ref().is_some_and(|tags| tags.contains_key(FIRE_AND_FORGET))
}

/// The start of the execution and the decision of the parent behind it.
struct StoredStart {
    event: ExecutionStarted,
    decision_id: Option<String>,
}

fn start_of(past: &[StoredEvent], new: &[StoredEvent]) -> StoredStart {
    past.iter()
        .chain(new)
        .find_map(|stored| match &stored.event.kind {
            EventKind::ExecutionStarted(event) => {
                Some(StoredStart { event: (**event).clone(), decision_id: stored.decision_id.clone() })
            }
            _ => None,
        })
        .expect("a turn is only opened for an execution that has started or starts in it")
}
