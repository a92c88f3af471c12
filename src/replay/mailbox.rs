//! External events of one execution: a buffer per name, first in first out, and who waits for them.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::model::EventKind;

/// Every event that arrived and was not consumed, and every wait that is open.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    lanes: BTreeMap<String, Lane>,
    /// Numbers events and waits in the order of their arrival.
    clock: u64,
}

/// One name.
#[derive(Debug, Default)]
struct Lane {
    events: BTreeMap<u64, Letter>,
    waits: BTreeMap<u64, Wait>,
}

/// An event: its payload, and its place in history.
#[derive(Debug)]
struct Letter {
    position: usize,
    input: Option<String>,
}

#[derive(Debug, Default)]
struct Wait {
    event: Option<(u64, Letter)>,
    waker: Option<Waker>,
}

/// A place in the queue of a name.
#[derive(Clone, Debug)]
pub(super) struct WaitId {
    lane: String,
    number: u64,
}

impl Mailbox {
    /// Takes an `EventRaised` in, which has this place in history; answers whom to wake.
    pub(super) fn deliver(&mut self, position: usize, event: &EventKind) -> Vec<Waker> {
        let EventKind::EventRaised { name, input, .. } = event else { return Vec::new() };
        let number = self.tick();
        let lane = self.lanes.entry(name.to_lowercase()).or_default();
        lane.events.insert(number, Letter { position, input: input.clone() });
        lane.settle()
    }

    /// Opens a wait, which takes the oldest event of that name if there is one.
    pub(super) fn open(&mut self, name: &str) -> WaitId {
        let id = WaitId { lane: name.to_lowercase(), number: self.tick() };
        let lane = self.lanes.entry(id.lane.clone()).or_default();
        lane.waits.insert(id.number, Wait::default());
        lane.settle();
        id
    }

    /// The event's payload, once there is one; until then the waker is kept. Answers the waker that it replaced, for the
    /// caller to drop.
    pub(super) fn poll(&mut self, id: &WaitId, waker: &Waker) -> (Option<Option<String>>, Option<Waker>) {
        let Some(lane) = self.lanes.get_mut(&id.lane) else { return (None, None) };
        let Some(wait) = lane.waits.get_mut(&id.number) else { return (None, None) };
        let Some((_, letter)) = wait.event.take() else { return (None, wait.waker.replace(waker.clone())) };
        let old = lane.waits.remove(&id.number).and_then(|wait| wait.waker);
        (Some(letter.input), old)
    }

    /// Closes a wait; an event that it had but did not consume goes to the next one.
    pub(super) fn close(&mut self, id: &WaitId) -> Vec<Waker> {
        let Some(lane) = self.lanes.get_mut(&id.lane) else { return Vec::new() };
        let Some(wait) = lane.waits.remove(&id.number) else { return Vec::new() };
        if let Some((number, event)) = wait.event {
            lane.events.insert(number, event);
        }
        lane.settle()
    }

    /// Whether a wait that was polled is still without its event.
    pub(super) fn is_awaited(&self) -> bool {
        self.lanes.values().flat_map(|lane| lane.waits.values()).any(|wait| wait.event.is_none() && wait.waker.is_some())
    }

    /// The places in history of what nobody consumed, in the order of arrival.
    pub(super) fn into_unconsumed(self) -> Vec<usize> {
        let mut all = BTreeMap::new();
        for lane in self.lanes.into_values() {
            all.extend(lane.events);
            all.extend(lane.waits.into_values().filter_map(|wait| wait.event));
        }
        all.into_values().map(|letter: Letter| letter.position).collect()
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl Lane {
    /// Gives the oldest events to the oldest waits that have none.
    fn settle(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        if self.events.is_empty() {
            return wakers;
        }
        for wait in self.waits.values_mut().filter(|wait| wait.event.is_none()) {
            let Some(event) = self.events.pop_first() else { break };
            wait.event = Some(event);
            wakers.extend(wait.waker.clone());
        }
        wakers
    }
}
