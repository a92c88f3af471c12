//! What a rewind takes back from a history: decided over its rows alone, so that the code runs the same way up to there.
//!
//! A step that has completed is never taken back, and with it nothing that was decided before it: what failed before the last such
//! step was decided has been caught. What failed after that is taken back with everything that was decided since the first of it, because the code may
//! decide something else now: retries with their timers, what was sent, what nobody has answered.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::hub::rows::RowReader;
use crate::model::members::MemberReader as _;
use crate::storage::table::Row;

/// What .NET calls the rows that it takes back.
pub(super) const GENERIC: &str = "GenericEvent";
pub(super) const CHILD: &str = "SubOrchestrationInstanceCreated";
pub(super) const END: &str = "ExecutionCompleted";

const DECISIONS: [&str; 4] = ["TaskScheduled", CHILD, "TimerCreated", "EventSent"];
const FAILURES: [&str; 2] = ["TaskFailed", "SubOrchestrationInstanceFailed"];
const SUCCESSES: [&str; 2] = ["TaskCompleted", "SubOrchestrationInstanceCompleted"];

/// The name of the event of a row.
pub(super) fn kind(row: &Row) -> &str {
    row.entity.text("EventType").unwrap_or_default()
}

fn number(row: &Row, column: &'static str) -> i32 {
    // As in .NET an absent number is zero.
    RowReader(&row.entity).int(column).ok().flatten().unwrap_or(0)
}

/// The id of a decision.
pub(super) fn id(row: &Row) -> i32 {
    number(row, "EventId")
}

/// The id of the decision that a row answers.
pub(super) fn answered(row: &Row) -> Option<i32> {
    match kind(row) {
        "TimerFired" => Some(number(row, "TimerId")),
        kind if FAILURES.contains(&kind) || SUCCESSES.contains(&kind) => Some(number(row, "TaskScheduledId")),
        _ => None,
    }
}

fn is_decision(row: &Row) -> bool {
    DECISIONS.contains(&kind(row))
}

/// A row, by its place, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) place: usize,
    /// It stays what it is, and is only marked: the call of a child that is rewound.
    pub(super) stays: bool,
}

/// What a failed execution takes back.
#[derive(Debug)]
pub(super) struct TakenBack<'a> {
    rows: &'a [Row],
    /// The end of the execution.
    end: usize,
    /// The failures.
    blamed: Vec<usize>,
}

impl<'a> TakenBack<'a> {
    /// Of the rows of an execution that has ended at this place. `from_first`: back to the first failure, whatever has completed since.
    pub(super) fn of(rows: &'a [Row], end: usize, from_first: bool) -> Self {
        let done: BTreeSet<_> = rows.iter().filter(|row| SUCCESSES.contains(&kind(row))).filter_map(answered).collect();
        let last_done = rows.iter().rposition(|row| is_decision(row) && done.contains(&id(row))).filter(|_| !from_first);
        let is_blamed = |place: &usize| FAILURES.contains(&kind(&rows[*place])) && last_done.is_none_or(|last| *place > last);
        Self { rows, end, blamed: (0..end).filter(is_blamed).collect() }
    }

    /// The places of everything that was decided because of a failure, perhaps.
    fn doubtful(&self) -> Range<usize> {
        self.blamed.first().map_or(self.end..self.end, |first| *first..self.end)
    }

    fn blamed_ids(&self) -> BTreeSet<i32> {
        self.blamed.iter().filter_map(|place| answered(&self.rows[*place])).collect()
    }

    /// The calls of children that have failed and may go on as they are.
    pub(super) fn children(&self) -> Vec<usize> {
        let (failed, doubtful) = (self.blamed_ids(), self.doubtful());
        let is_child = |place: &usize| kind(&self.rows[*place]) == CHILD && failed.contains(&id(&self.rows[*place]));
        (0..doubtful.start).filter(is_child).collect()
    }

    /// The changes in an order in which each may be the last one for now: decisions before their answers, of which the first one goes
    /// last, so that the same is taken back by the next try, and the end of the execution at the very end.
    pub(super) fn changes(&self, stays: &BTreeSet<usize>) -> Vec<Change> {
        let (failed, doubtful) = (self.blamed_ids(), self.doubtful());
        let goes = |place: usize| {
            let row = &self.rows[place];
            is_decision(row) && !stays.contains(&place) && (doubtful.contains(&place) || failed.contains(&id(row)))
        };
        let (gone, left): (Vec<_>, Vec<_>) =
            (0..self.end).filter(|place| is_decision(&self.rows[*place])).partition(|p| goes(*p));
        let left: BTreeSet<_> = left.into_iter().map(|place| id(&self.rows[place])).collect();
        let answers_nothing = |place: &usize| answered(&self.rows[*place]).is_some_and(|id| !left.contains(&id));
        let mut answers: BTreeSet<_> = doubtful.filter(answers_nothing).collect();
        answers.extend(&self.blamed);
        let change = |place, stays| Change { place, stays };
        let marked = stays.iter().map(|place| change(*place, true));
        let gone = gone.into_iter().map(|place| change(place, false));
        let answers = answers.into_iter().rev().map(|place| change(place, false));
        marked.chain(gone).chain(answers).chain([change(self.end, false)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use crate::storage::table::{Entity, Etag, Value};

    /// Rows in short: `S0` schedules, `C0` completes, `F0` fails, `K0` calls a child, `k0` completes and `f0` fails it, `T0` and `t0` are a timer,
    /// `E9` is the end, `!0` sends.
    fn rows(text: &str) -> Vec<Row> {
        let row = |word: &str| {
            let (kind, column) = match &word[..1] {
                "S" => ("TaskScheduled", "EventId"),
                "C" => ("TaskCompleted", "TaskScheduledId"),
                "F" => ("TaskFailed", "TaskScheduledId"),
                "K" => (CHILD, "EventId"),
                "k" => ("SubOrchestrationInstanceCompleted", "TaskScheduledId"),
                "f" => ("SubOrchestrationInstanceFailed", "TaskScheduledId"),
                "T" => ("TimerCreated", "EventId"),
                "t" => ("TimerFired", "TimerId"),
                "!" => ("EventSent", "EventId"),
                "G" => (GENERIC, "EventId"),
                _ => (END, "EventId"),
            };
            let entity = Entity::new("i", word)
                .with("EventType", Value::string(kind))
                .with(column, Value::I32(word[1..].parse().unwrap()));
            Row { entity, etag: Etag(String::new()), timestamp: Timestamp::MIN }
        };
        text.split(' ').map(row).collect()
    }

    /// What is taken back, in order; what is only marked in brackets.
    fn taken(text: &str, from_first: bool) -> String {
        let rows = rows(text);
        let taken = TakenBack::of(&rows, rows.len() - 1, from_first);
        let stays = taken.children().into_iter().collect();
        let shown = |change: Change| {
            let name = &rows[change.place].entity.row_key;
            if change.stays { format!("[{name}]") } else { name.clone() }
        };
        taken.changes(&stays).into_iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_failed_step_goes_and_what_has_completed_stays() {
        assert_eq!(taken("S0 C0 S1 F1 E2", false), "S1 F1 E2");
        assert_eq!(taken("S0 S1 S2 S3 C0 F1 C2 F3 E4", false), "S1 S3 F3 F1 E4", "all failed siblings");
        assert_eq!(taken("S0 K1 K2 f1 C0 k2 E3", false), "[K1] f1 E3", "a child goes on as it is");
        assert_eq!(taken("S0 F0 S1 C1 E2", false), "E2", "what failed before a completed step was caught");
        assert_eq!(taken("S0 F0 S1 C1 S2 F2 E3", false), "S2 F2 E3");
        assert_eq!(taken("S0 C0 E1", false), "E1", "a failure of the code itself");
    }

    #[test]
    fn what_was_decided_behind_a_failure_goes_with_it() {
        assert_eq!(taken("S0 F0 T1 t1 S2 F2 T3 t3 E4", false), "S0 T1 S2 T3 t3 F2 t1 F0 E4", "retries and their timers");
        assert_eq!(taken("K0 f0 T1 t1 K2 f2 E3", false), "[K0] T1 K2 f2 t1 f0 E3", "of children the first one");
        assert_eq!(taken("S0 T1 F0 t1 !2 S3 E4", false), "S0 !2 S3 F0 E4", "a timer from before it stays, and what is open goes");
    }

    #[test]
    fn back_to_the_first_failure_even_completed_steps_go() {
        assert_eq!(taken("S0 C0 S1 S2 F1 C2 S3 C3 E4", true), "S1 S3 C3 F1 E4");
        assert_eq!(taken("S0 C0 E1", true), "E1");
    }

    #[test]
    fn a_rewind_that_was_cut_off_takes_back_the_same() {
        let all = "S0 C0 S1 S2 F1 T3 t3 S4 F4 T5 t5 E6";
        let rows = rows(all);
        let changes = TakenBack::of(&rows, rows.len() - 1, false).changes(&BTreeSet::new());
        for done in 0..changes.len() {
            let mut cut = rows.clone();
            for change in &changes[..done] {
                cut[change.place].entity.set("EventType", Value::string(GENERIC));
            }
            let rest = TakenBack::of(&cut, cut.len() - 1, false).changes(&BTreeSet::new());
            assert_eq!(rest, changes[done..], "{done}");
        }
    }
}
