//! What has been put aside until it is looked at again, and for how long: instances whose messages come again together, so that their
//! order stays, and calls of activities.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::step::back_off;
use crate::hub::{AwaitedKind, Need, QueueId};

/// The longest time that a message is away because of how often it was looked at.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The shortest that a call of an activity is away, if it is.
const CALL_PAUSE: Duration = Duration::from_secs(2);
/// How many messages are looked at in a minute: the more there are that wait, the longer is each away.
const LOOKS_PER_MINUTE: u32 = 600;
/// A long pause ends at one of so many times.
const STEPS: u32 = 50;
/// The longest time that a message is away, however many there are.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(20 * 60);
/// What has not come for so long after its time is in other hands: this worker may receive no more often than that.
const LATE: Duration = Duration::from_secs(120);
/// How many calls may be left visible: fewer than a peek shows, so that it shows whatever is visible behind them.
const VISIBLE_MAX: u32 = 31;
/// A queue in which calls are left visible is received from so often all the same.
const RECEIVE_EVERY: Duration = Duration::from_secs(60);

/// What waits in this worker.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// How many instances, and how many calls, are remembered; what is beyond them waits by its own counts.
    remembered_max: usize,
    instances: BTreeMap<String, Due>,
    /// By the ids of their messages.
    calls: BTreeMap<String, Call>,
    /// Messages of all the instances.
    messages: usize,
    swept: Option<Instant>,
    /// When the first message was put aside.
    begun: Option<Instant>,
    /// Until when the looks at calls that were left visible use up what may be used.
    looked: Option<Instant>,
    /// When work items were received last.
    received: Option<Instant>,
}

/// The messages of an instance.
#[derive(Debug)]
struct Due {
    at: Instant,
    queue: QueueId,
    need: Need,
    messages: usize,
    /// Everything that is for the instance waits, and nothing has to be read to know that.
    is_whole: bool,
    /// A start among them is to replace an execution, which must not go on.
    replaces: bool,
}

#[derive(Debug)]
struct Call {
    at: Instant,
    need: Need,
    instance_id: String,
}

impl Due {
    fn is_current(&self) -> bool {
        self.at + LATE > Instant::now()
    }
}

impl Aside {
    pub(super) fn new(remembered_max: usize) -> Self {
        Self { remembered_max, ..Self::default() }
    }

    /// Whether instances may wait that are not remembered.
    pub(super) fn is_full(&self) -> bool {
        self.instances.len() >= self.remembered_max
    }

    /// How long so many messages of an instance are away that were received so often.
    pub(super) fn instance(
        &mut self,
        instance_id: &str,
        need: &Need,
        queue: QueueId,
        messages: usize,
        receives: u32,
    ) -> Duration {
        let pause = self.pause(back_off(receives).min(PAUSE_MAX));
        let pause = self.in_step(pause).saturating_duration_since(Instant::now());
        self.for_so_long(instance_id, need, queue, messages, pause)
    }

    /// So many messages of an instance are away for so long, unless others of it are away already: then until these come.
    pub(super) fn for_so_long(
        &mut self,
        instance_id: &str,
        need: &Need,
        queue: QueueId,
        messages: usize,
        pause: Duration,
    ) -> Duration {
        let now = Instant::now();
        let at = now + pause;
        if let Some(due) = self.instances.get_mut(instance_id) {
            let is_pending = due.at > now;
            self.messages -= if is_pending { 0 } else { due.messages };
            due.messages = if is_pending { due.messages + messages } else { messages };
            self.messages += messages;
            if !is_pending {
                due.at = at;
            }
            // What also waits for an instance whose code is missing tells nothing of that.
            if need.kind == AwaitedKind::Orchestrator || due.need.kind != AwaitedKind::Orchestrator {
                due.is_whole &= due.need == *need;
                due.replaces &= due.need == *need;
                due.need = need.clone();
            }
            return due.at.duration_since(now);
        }
        if self.instances.len() < self.remembered_max {
            let due = Due { at, queue, need: need.clone(), messages, is_whole: false, replaces: false };
            self.messages += messages;
            self.instances.insert(instance_id.to_owned(), due);
        }
        at.duration_since(now)
    }

    /// The end of a pause. Where many wait it is one that many have, so that one receive brings as many of them as it can.
    fn in_step(&mut self, pause: Duration) -> Instant {
        let now = Instant::now();
        let step = (pause / STEPS).as_secs();
        let begun = *self.begun.get_or_insert(now);
        let end = (now + pause).duration_since(begun).as_secs();
        if step < 2 { now + pause } else { begun + Duration::from_secs((end / step + 1) * step) }
    }

    /// How long a call is away: not at all if few wait, so that whoever has its code finds it at any time, unless other work items make
    /// this worker receive them too often.
    pub(super) fn call(&mut self, message_id: &str, need: &Need, instance_id: &str) -> Duration {
        let now = Instant::now();
        let look = Duration::from_secs(60) / LOOKS_PER_MINUTE;
        let looked = self.looked.unwrap_or(now).max(now) + look;
        let pause = if self.calls.len() <= VISIBLE_MAX as usize && looked <= now + look * VISIBLE_MAX {
            self.looked = Some(looked);
            Duration::ZERO
        } else {
            self.pause(CALL_PAUSE)
        };
        if self.calls.len() < self.remembered_max || self.calls.contains_key(message_id) {
            let call = Call { at: now + pause, need: need.clone(), instance_id: instance_id.to_owned() };
            self.calls.insert(message_id.to_owned(), call);
        }
        pause
    }

    /// The longer of a message's own pause and of that which so many have.
    pub(super) fn pause(&mut self, own: Duration) -> Duration {
        self.sweep();
        let count = u32::try_from(self.messages + self.calls.len()).unwrap_or(u32::MAX);
        own.max(Duration::from_secs(60).saturating_mul(count) / LOOKS_PER_MINUTE).min(LONGEST_PAUSE)
    }

    /// Forgets now and then what is in other hands.
    fn sweep(&mut self) {
        let now = Instant::now();
        if self.swept.is_some_and(|swept| swept + LATE / 2 > now) {
            return;
        }
        self.swept = Some(now);
        self.keep_instances(Due::is_current);
        self.calls.retain(|_, call| call.at + LATE.max(RECEIVE_EVERY * 2) > now);
    }

    fn keep_instances(&mut self, keep: impl Fn(&Due) -> bool) {
        self.instances.retain(|_, due| keep(due));
        self.messages = self.instances.values().map(|due| due.messages).sum();
    }

    /// When messages of this instance come again, if any wait.
    pub(super) fn due_in(&self, instance_id: &str, replaces: bool) -> Option<Duration> {
        let due = self.instances.get(instance_id).filter(|due| due.is_current() && (due.replaces || !replaces))?;
        Some(due.at.saturating_duration_since(Instant::now()).max(Duration::from_secs(1)))
    }

    /// The orchestrator for which everything waits that is for this instance, and nothing runs meanwhile: what a start is to replace
    /// goes on as soon as that start is void, which the instance row tells.
    pub(super) fn whole(&self, instance_id: &str) -> Option<&Need> {
        let due = self.instances.get(instance_id).filter(|due| !due.replaces)?;
        (due.is_whole && due.is_current() && due.need.kind == AwaitedKind::Orchestrator).then_some(&due.need)
    }

    /// Everything that is for this instance waits; also for a start that is to replace an execution, if one is.
    pub(super) fn settle(&mut self, instance_id: &str, replaces: bool) {
        if let Some(due) = self.instances.get_mut(instance_id) {
            due.is_whole = true;
            due.replaces = replaces;
        }
    }

    /// What waited in a queue is somebody else's, who may do with it what he likes.
    pub(super) fn forget_queue(&mut self, queue: QueueId) {
        self.keep_instances(|due| due.queue != queue);
    }

    pub(super) fn forget(&mut self, instance_id: &str) {
        if let Some(due) = self.instances.remove(instance_id) {
            self.messages = self.messages.saturating_sub(due.messages);
        }
    }

    /// Whether it may be that what is visible among the work items can be left to other workers. If not, it will be received now.
    pub(super) fn may_leave_calls(&mut self) -> bool {
        let now = Instant::now();
        let may = !self.calls.is_empty() && self.received.is_some_and(|at| at + RECEIVE_EVERY > now);
        if !may {
            self.received = Some(now);
        }
        may
    }

    /// Whether the visible work items are calls that this worker does not host, and so few that they stand in nobody's way. If not,
    /// they will be received now.
    pub(super) fn leaves_calls<'i>(&mut self, visible: impl ExactSizeIterator<Item = &'i str>) -> bool {
        let now = Instant::now();
        let few = visible.len() <= VISIBLE_MAX as usize;
        let known = visible.map(|id| self.calls.get_mut(id).map(|call| call.at = now)).filter(Option::is_none).count() == 0;
        if !(few && known) {
            self.received = Some(now);
        }
        few && known
    }

    /// How many instances wait for each need in each queue.
    pub(super) fn counts(&self) -> BTreeMap<(Need, QueueId), usize> {
        let mut counts = BTreeMap::new();
        for due in self.instances.values().filter(|due| due.is_current()) {
            *counts.entry((due.need.clone(), due.queue)).or_default() += 1;
        }
        let calls = self.calls.values().map(|call| (&call.need, call.instance_id.as_str()));
        for (need, _) in calls.collect::<BTreeSet<_>>() {
            *counts.entry((need.clone(), QueueId::WorkItems)).or_default() += 1;
        }
        counts
    }
}
