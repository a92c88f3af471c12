//! A turn that goes on with the answers of local activities: in history it is as many turns as it would be if messages had brought them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Record, Recorder};
use crate::hub::QueueId;
use crate::hub::histories::History;
use crate::model::{EventKind, HistoryEvent, Message, StoredEvent};
use crate::sabotage::{self, Sabotage};
use crate::worker::executor::Answer;
use crate::worker::local::{BYTES_MAX, EVENTS_MAX};

impl Record {
    /// Where the commit may take several transactions, puts the call of each local activity that has answered right in front of its answer,
    /// although an earlier episode has made it. What is stored of a commit that is interrupted between two transactions then has no call
    /// without an answer, for which there would be no work item.
    pub(crate) fn with_paired_local_calls(mut self, history: &History) -> Self {
        let answered = std::mem::take(&mut self.answered);
        if answered.is_empty() || !self.may_be_torn(history) {
            return self;
        }
        let is_call = |stored: &StoredEvent| {
            matches!(stored.event.kind, EventKind::TaskScheduled { .. }) && answered.contains(&stored.event.event_id)
        };
        let (calls, events): (Vec<_>, Vec<_>) = std::mem::take(&mut self.events).into_iter().partition(is_call);
        let mut calls: BTreeMap<_, _> = calls.into_iter().map(|call| (call.event.event_id, call)).collect();
        for stored in events {
            let call = stored.event.kind.answers_task().and_then(|task_id| calls.remove(&task_id));
            self.events.extend(call.into_iter().chain([stored]));
        }
        self
    }
}

impl Recorder<'_> {
    /// The work items of the calls that the code has made to be run inside the turn.
    pub(crate) fn take_local_calls(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.local)
    }

    /// How many events are to be committed so far.
    pub(crate) fn size_of_record(&self) -> usize {
        self.record.events.len()
    }

    /// Whether more of them may begin behind so many events.
    pub(crate) fn has_room(&self, events: usize) -> bool {
        let bytes = || self.record.events.iter().take(events).map(StoredEvent::weight).sum::<usize>();
        events < EVENTS_MAX && bytes() < BYTES_MAX
    }

    /// How long it takes until a timer is due that the turn has set.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let due = self.record.outbound.iter().filter_map(|sent| match sent.message.event.kind {
            EventKind::TimerFired { fire_at, .. } => Some(fire_at.since(self.clock.now())),
            _ => None,
        });
        due.min()
    }

    /// Whether the execution has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.record.status.is_some()
    }

    /// The code is to go on with these answers.
    pub(crate) fn go_on(&mut self, answers: Vec<(Message, Answer)>) {
        self.record.push(HistoryEvent::arriving(self.now(), EventKind::OrchestratorCompleted));
        self.seen = self.record.events.len();
        self.record.push(HistoryEvent::arriving(self.now(), EventKind::OrchestratorStarted));
        for (item, answer) in answers {
            let event = HistoryEvent::arriving(self.now(), EventKind::answer(item.event.event_id, answer));
            self.record.answered.insert(item.event.event_id);
            if sabotage::is(Sabotage::LocalAnswersDoubled) {
                self.record.push(event.clone());
            }
            self.record.push(event);
        }
    }

    /// Calls that are to be answered by messages after all.
    pub(crate) fn send_calls(&mut self, calls: Vec<Message>) {
        calls.into_iter().for_each(|call| self.send(QueueId::WorkItems, call, Duration::ZERO));
    }
}
