//! The messages of one step, each with what the step decides about it.

use std::time::Duration;

use super::delivery::{Delivery, Disposition};
use crate::sabotage::{self, Sabotage};

/// What a step decides about one of its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing has been decided yet.
    Open,
    /// The turn applies it.
    Apply,
    /// The turn applies another copy of it. They may share a body, so that it goes only if that one does.
    Twin,
    /// It has no effect any more, and goes with the turn.
    Drop,
    /// It has come before what it follows or answers.
    Early,
    /// It goes back to its queue for this time, whatever becomes of the turn.
    Later(Duration),
}

/// The messages of a step in the order in which they are looked at, each with its fate.
#[derive(Clone, Debug)]
pub(super) struct Sorted<'a> {
    messages: &'a [Delivery],
    fates: Vec<Fate>,
    /// The start that opens a new execution. It is applied before everything else.
    start: Option<usize>,
}

impl<'a> Sorted<'a> {
    pub(super) fn new(messages: &'a [Delivery]) -> Self {
        Self { messages, fates: vec![Fate::Open; messages.len()], start: None }
    }

    pub(super) fn messages(&self) -> &'a [Delivery] {
        self.messages
    }

    pub(super) fn set(&mut self, at: usize, fate: Fate) {
        self.fates[at] = fate;
    }

    /// The message at this position opens a new execution.
    pub(super) fn accept(&mut self, at: usize) {
        self.fates[at] = Fate::Apply;
        self.start = Some(at);
    }

    /// The message at this position is applied, behind the start that opens the execution if there is one.
    pub(super) fn apply_alone(&mut self, at: usize) {
        for at in self.start.into_iter().chain([at]) {
            self.fates[at] = Fate::Apply;
        }
    }

    /// The message at this position waits for what it follows or answers.
    pub(super) fn wait(&mut self, at: usize) {
        self.fates[at] = if sabotage::is(Sabotage::EarlyDropped) { Fate::Drop } else { Fate::Early };
    }

    /// Gives every message of one fate another.
    pub(super) fn change(&mut self, from: Fate, to: Fate) {
        self.fates.iter_mut().filter(|fate| **fate == from).for_each(|fate| *fate = to);
    }

    pub(super) fn start(&self) -> Option<&'a Delivery> {
        self.start.map(|at| &self.messages[at])
    }

    /// The messages with this fate, each with its position.
    pub(super) fn with(&self, fate: Fate) -> Vec<(usize, &'a Delivery)> {
        let all = self.messages.iter().zip(&self.fates).enumerate();
        all.filter(|(_, (_, its))| **its == fate).map(|(at, (delivery, _))| (at, delivery)).collect()
    }

    pub(super) fn has(&self, fate: Fate) -> bool {
        self.fates.contains(&fate)
    }

    /// What the turn applies, in order.
    pub(super) fn applied(&self) -> Vec<&'a Delivery> {
        let others = self.with(Fate::Apply).into_iter().filter(|(at, _)| Some(*at) != self.start).map(|(_, delivery)| delivery);
        self.start().into_iter().chain(others).collect()
    }

    /// What goes with the turn without being applied.
    pub(super) fn dropped(&self) -> Vec<&'a Delivery> {
        self.with(Fate::Drop).into_iter().chain(self.with(Fate::Twin)).map(|(_, delivery)| delivery).collect()
    }

    /// The turn has been committed, or there was nothing to commit.
    pub(super) fn settled(self) -> Vec<Disposition> {
        let disposition = |fate| match fate {
            Fate::Apply | Fate::Twin | Fate::Drop => Disposition::Done,
            Fate::Early => Disposition::Retry,
            Fate::Later(delay) => Disposition::Later(delay),
            Fate::Open => Disposition::Later(Duration::ZERO),
        };
        self.fates.into_iter().map(disposition).collect()
    }

    /// Everything goes back at once, also what was to be away for longer.
    pub(super) fn all_back_now(self) -> Vec<Disposition> {
        vec![Disposition::Later(Duration::ZERO); self.fates.len()]
    }

    /// Nothing has been committed: everything goes back, so that whoever may write for the instance decides anew.
    pub(super) fn all_back(self) -> Vec<Disposition> {
        let disposition = |fate| match fate {
            Fate::Later(delay) => Disposition::Later(delay),
            Fate::Open | Fate::Apply | Fate::Twin | Fate::Drop | Fate::Early => Disposition::Later(Duration::ZERO),
        };
        self.fates.into_iter().map(disposition).collect()
    }
}
