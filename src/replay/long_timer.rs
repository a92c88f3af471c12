//! Timers that .NET cut into pieces: how a history tells that one which fired goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{EventKind, HistoryEvent, Timestamp};

/// The length of a piece, in Functions and in the SDK for isolated workers unless it was set otherwise.
const PIECE: Duration = Duration::from_secs(3 * 86_400);

/// The decisions of a history: when a timer is due, and nothing of the others.
#[derive(Debug, Default)]
pub(super) struct Decided(BTreeMap<i32, Option<Timestamp>>);

/// A timer of the code that .NET would cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct LongTimer {
    /// When the code wants it.
    until: Timestamp,
    /// When its current piece began.
    since: Timestamp,
}

impl Decided {
    /// What a history has decided, or more of it.
    pub(super) fn learn<'a>(&mut self, history: impl Iterator<Item = &'a HistoryEvent>) {
        let due = history.filter_map(|event| match &event.kind {
            EventKind::TimerCreated { fire_at } => Some((event.event_id, Some(*fire_at))),
            EventKind::TaskScheduled { .. } | EventKind::SubOrchestrationCreated { .. } | EventKind::EventSent { .. } => {
                Some((event.event_id, None))
            }
            _ => None,
        });
        self.0.extend(due);
    }
}

impl LongTimer {
    /// A timer that is set at `now`, if it is one that .NET cuts.
    pub(super) fn new(until: Timestamp, now: Timestamp) -> Option<Self> {
        (until.since(now) > PIECE).then_some(Self { until, since: now })
    }

    /// What is left of it at `now`, when decision `id` has fired: until when the next one lasts, whose id is `next`.
    ///
    /// We set one timer, however long. Functions sets pieces, and goes on as long as the turn's time is before that of the code:
    /// also behind the last piece, which its storage fires up to a second early. The SDK for isolated workers ends with a timer of
    /// what is left, however little. So history tells, as far as it goes; where it ends, what fired was a piece or the whole.
    pub(super) fn goes_on(&mut self, id: i32, next: i32, decided: &Decided, now: Timestamp) -> Option<Timestamp> {
        let is_early = now < self.until;
        let piece_ends = self.since.plus(PIECE);
        let is_piece = piece_ends < self.until && decided.0.get(&id) == Some(&Some(piece_ends));
        let goes_on = match decided.0.get(&next) {
            Some(Some(due)) => (*due == self.until && (is_early || is_piece)) || (*due == now.plus(PIECE) && is_early),
            Some(None) => false,
            None => is_early && is_piece,
        };
        self.since = now;
        goes_on.then_some(self.until)
    }
}
