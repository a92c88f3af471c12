//! What a .NET worker may expect of every call and at every moment: judged from all that was written, and from what lies there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::hub::golden::grammar::Grammar;
use crate::hub::{instances, keys, rows};
use crate::model::{EventKind, HistoryEvent, Message, RuntimeStatus, Timestamp};
use crate::storage::layer::tapped::{Effect, Seen, Tap};
use crate::storage::memory::Memory;
use crate::storage::table::{Entity, Match, Row, TableOp};

/// The shortest lease that a peer with another clock may find, and the longest that a message may be out of sight unrenewed.
const LEASE_MIN: Duration = Duration::from_secs(15);
const HIDDEN_MAX: Duration = Duration::from_secs(300);
const COLUMNS_OF_EVERY_ROW: [&str; 6] = ["ExecutionId", "RuntimeStatus", "CreatedTime", "Name", "TaskHubName", "LastUpdatedTime"];

/// Judges calls in their order. What has been written so far is remembered to judge the next by.
pub(super) struct Judge<'a> {
    grammar: &'static Grammar,
    hub: &'a str,
    /// Our worker ids: nobody else is written down as an owner.
    ours: &'a [&'a str],
    sent: Vec<Message>,
    messages: BTreeMap<(String, String), Message>,
    history: BTreeMap<String, BTreeMap<String, Entity>>,
    partitions: BTreeMap<String, Entity>,
    /// Instances whose end is in the history and not yet in their row.
    untold: BTreeSet<String>,
}

/// Panics at the first call that breaks a rule; `at` says where.
pub(super) fn check_calls(tap: &Tap, hub: &str, ours: &[&str], at: &str) {
    let mut judge = Judge::new(hub, ours);
    for seen in tap.seen() {
        judge.judge(&seen).unwrap_or_else(|why| panic!("{at}: {why}: {seen:?}"));
    }
}

fn ensure(holds: bool, why: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.to_owned()) }
}

impl<'a> Judge<'a> {
    pub(super) fn new(hub: &'a str, ours: &'a [&'a str]) -> Self {
        Self {
            grammar: Grammar::learned(),
            hub,
            ours,
            sent: Vec::new(),
            messages: BTreeMap::new(),
            history: BTreeMap::new(),
            partitions: BTreeMap::new(),
            untold: BTreeSet::new(),
        }
    }

    pub(super) fn judge(&mut self, seen: &Seen) -> Result<(), String> {
        match &seen.effect {
            Effect::Rows { table, ops, is_transaction } => match table.strip_prefix(self.hub) {
                Some("History") => self.history(ops, *is_transaction, seen.done),
                Some("Instances") => self.instance(&ops[0], seen.done),
                Some("Partitions") => ops.iter().try_for_each(|op| self.partition(op, seen)),
                _ => Ok(()),
            },
            Effect::Put { queue, id, text } if seen.done => self.put(queue, id, text),
            Effect::Received { hidden, .. } => ensure(*hidden <= HIDDEN_MAX, "a receive hides for too long"),
            Effect::Deleted { queue, id } if seen.done => self.deleted(queue, id),
            _ => Ok(()),
        }
    }

    fn put(&mut self, queue: &str, id: &str, text: &str) -> Result<(), String> {
        self.grammar.message(text)?;
        let message = Message::from_json(text).map_err(|e| e.to_string())?;
        self.sent.push(message.clone());
        self.messages.insert((queue.to_owned(), id.to_owned()), message);
        Ok(())
    }

    /// Rules 3 and 4: event rows only together with the sentinel, the sentinel only over the version that was read, and the
    /// messages of every decision before it.
    fn history(&mut self, ops: &[TableOp], is_transaction: bool, done: bool) -> Result<(), String> {
        let (sentinel, events) = ops.split_last().ok_or("an empty transaction")?;
        let (TableOp::Insert(sentinel) | TableOp::Merge(sentinel, Match::Etag(_))) = sentinel else {
            return Err("the sentinel is written over any version, or is not the last".to_owned());
        };
        ensure(sentinel.row_key == rows::SENTINEL, "history is written without the sentinel")?;
        if !is_transaction {
            return ensure(sentinel.properties.len() == 0, "the sentinel is changed without rows");
        }
        self.grammar.history_row(sentinel)?;
        for op in events {
            ensure(op.keys().0 == sentinel.partition_key, "rows of two instances in one transaction")?;
            match op {
                TableOp::UpsertReplace(row) => self.event(row, sentinel, events)?,
                // What an interrupted checkpoint left behind; the sentinel fences it.
                TableOp::Delete { row_key, .. } => ensure(row_key != rows::SENTINEL, "the sentinel is deleted")?,
                _ => return Err("an event row is neither replaced nor deleted".to_owned()),
            }
        }
        if done {
            self.remember(sentinel, events);
        }
        Ok(())
    }

    /// `beside`: all rows of the transaction.
    fn event(&self, row: &Entity, sentinel: &Entity, beside: &[TableOp]) -> Result<(), String> {
        self.grammar.history_row(row)?;
        ensure(row.text("ExecutionId") == sentinel.text("ExecutionId"), "a row of another execution than the sentinel's")?;
        ensure(row.row_key.len() == 16 && u64::from_str_radix(&row.row_key, 16).is_ok(), "a row key that is no ordinal")?;
        let event = rows::event_from_entity(row).map_err(|e| e.to_string())?.event;
        let id = event.event_id;
        let of = |message: &Message| {
            message.sender.instance_id == keys::unescape(&row.partition_key)
                || message.target.instance_id == keys::unescape(&row.partition_key)
        };
        let carries = |message: &Message| match (&event.kind, &message.event.kind) {
            (EventKind::TaskScheduled { .. }, EventKind::TaskScheduled { .. }) => message.event.event_id == id,
            (EventKind::TimerCreated { .. }, EventKind::TimerFired { timer_id, .. }) => *timer_id == id,
            (EventKind::SubOrchestrationCreated { instance_id, .. }, EventKind::ExecutionStarted(start)) => {
                start.instance.instance_id == *instance_id && start.parent.as_ref().is_some_and(|p| p.task_id == id)
            }
            (EventKind::EventSent { name: sent, .. }, EventKind::EventRaised { name, .. }) => sent == name,
            _ => false,
        };
        let is_decision = matches!(
            event.kind,
            EventKind::TaskScheduled { .. }
                | EventKind::TimerCreated { .. }
                | EventKind::SubOrchestrationCreated { .. }
                | EventKind::EventSent { .. }
        );
        // A local activity has answered before anything of it is stored.
        let is_answered = || {
            let is_answer = |op: &TableOp| match op {
                TableOp::UpsertReplace(row) => rows::event_from_entity(row).is_ok_and(|e| e.event.kind.completes() == Some(id)),
                _ => false,
            };
            matches!(event.kind, EventKind::TaskScheduled { .. }) && beside.iter().any(is_answer)
        };
        let is_sent = self.sent.iter().any(|m| of(m) && carries(m));
        ensure(!is_decision || is_sent || is_answered(), "a decision whose message has not been sent")
    }

    fn remember(&mut self, sentinel: &Entity, events: &[TableOp]) {
        let instance = self.history.entry(sentinel.partition_key.clone()).or_default();
        for op in events {
            let row_key = op.keys().1.to_owned();
            match op {
                TableOp::UpsertReplace(row) => drop(instance.insert(row_key, row.clone())),
                _ => drop(instance.remove(&row_key)),
            }
        }
        instance.insert(rows::SENTINEL.to_owned(), sentinel.clone());
        let ends = |row: &Entity| {
            row.text("EventType") == Some("ExecutionCompleted") && row.text("ExecutionId") == sentinel.text("ExecutionId")
        };
        if sentinel.bool("IsCheckpointComplete") == Some(true) && instance.values().any(ends) {
            self.untold.insert(sentinel.partition_key.clone());
        }
    }

    /// Rules 6 and 7: what every row has, and the start message in front of the row.
    fn instance(&mut self, op: &TableOp, done: bool) -> Result<(), String> {
        let (TableOp::Insert(row)
        | TableOp::UpsertMerge(row)
        | TableOp::Replace(row, Match::Etag(_))
        | TableOp::Merge(row, Match::Etag(_))) = op
        else {
            return Err("an instance row is written over any version".to_owned());
        };
        self.grammar.instance_row(row)?;
        ensure(row.properties.contains_key(instances::PARENT), "a row that may keep the parent of an earlier run")?;
        if row.text("RuntimeStatus") == Some(RuntimeStatus::Pending.name()) {
            let is_start = |message: &Message| match &message.event.kind {
                EventKind::ExecutionStarted(start) => {
                    start.instance.execution_id.as_deref() == row.text("ExecutionId") && start.generation == row.int("Generation")
                }
                _ => false,
            };
            ensure(row.int("Generation").is_some(), "a start without generation")?;
            return ensure(self.sent.iter().any(is_start), "a row whose start message has not been sent");
        }
        for column in ["ExecutionId", "CustomStatus", "TaskHubName", "LastUpdatedTime"] {
            ensure(row.properties.contains_key(column), &format!("a checkpoint without {column}"))?;
        }
        if done && row.text("RuntimeStatus").and_then(|s| s.parse().ok()).is_some_and(RuntimeStatus::is_terminal) {
            self.untold.remove(&row.partition_key);
        }
        Ok(())
    }

    /// Rule 2: whole rows over the version that was read, owners as the handshake has them, leases that a peer can rely on.
    fn partition(&mut self, op: &TableOp, seen: &Seen) -> Result<(), String> {
        let row = match op {
            TableOp::Insert(row) if row.properties.len() == 1 => row,
            TableOp::Replace(row, Match::Etag(_)) => {
                // What was refused was made for a version that is gone.
                if seen.done {
                    self.handshake(self.partitions.get(&row.row_key), row, seen.at)?;
                }
                row
            }
            _ => return Err("a partition row is not replaced over its version".to_owned()),
        };
        let stored = without_nulls(row);
        self.grammar.partition_row(&stored)?;
        if seen.done {
            self.partitions.insert(row.row_key.clone(), stored);
        }
        Ok(())
    }

    fn handshake(&self, before: Option<&Entity>, row: &Entity, now: Timestamp) -> Result<(), String> {
        let ours = |id: Option<&str>| id.is_some_and(|id| self.ours.contains(&id));
        let column = |of: Option<&Entity>, name: &str| of.and_then(|of| of.text(name)).map(str::to_owned);
        let (owner, next) = (row.text("CurrentOwner"), row.text("NextOwner"));
        let (owned_by, promised) = (column(before, "CurrentOwner"), column(before, "NextOwner"));
        let asks = next != promised.as_deref() && next.is_some();
        let withdraws = next.is_none() && ours(promised.as_deref()) && owner == owned_by.as_deref();
        ensure(owner != next || owner.is_none(), "an owner waits for itself")?;
        if owner.is_some() && !asks && !withdraws {
            ensure(ours(owner), "a row is written for somebody else")?;
            let (renewed, expires) = (row.time("LastRenewal"), row.time("ExpiresAt"));
            ensure(renewed == Some(now), "a renewal at another time than now")?;
            return ensure(expires.is_some_and(|at| at >= now.plus(LEASE_MIN)), "a lease shorter than a peer may judge by");
        }
        // A request, or a release: times are as the owner left them.
        let Some(before) = before else { return Err("a row that was not there".to_owned()) };
        for column in ["OwnedSince", "LastRenewal", "ExpiresAt"] {
            ensure(before.time(column) == row.time(column), "a time of somebody's lease is changed")?;
        }
        if asks {
            let same = owner == owned_by.as_deref() && before.bool("IsDraining") == row.bool("IsDraining");
            return ensure(ours(next) && same, "a request that is for another, or changes more than who waits");
        }
        if withdraws {
            return ensure(before.bool("IsDraining") == row.bool("IsDraining"), "a withdrawal that changes more than who waits");
        }
        ensure(ours(owned_by.as_deref()), "a row of somebody else is released")?;
        ensure(next == promised.as_deref() && row.bool("IsDraining") == Some(false), "a release that forgets who waits")
    }

    /// Rule 4, its end: nothing that history needs is deleted before history has it, and before the row tells of the end.
    fn deleted(&mut self, queue: &str, id: &str) -> Result<(), String> {
        let Some(message) = self.messages.remove(&(queue.to_owned(), id.to_owned())) else { return Ok(()) };
        let key = keys::escape(&message.target.instance_id);
        if let EventKind::TaskScheduled { .. } = message.event.kind {
            let task_id = message.event.event_id;
            let is_answer = |sent: &Message| sent.target == message.target && sent.event.kind.completes() == Some(task_id);
            if self.sent.iter().any(is_answer) {
                return Ok(());
            }
            // An answer that needs no message is an input as any other.
            let event = HistoryEvent::arriving(message.event.timestamp, EventKind::TaskCompleted { task_id, result: None });
            let answer = Message { event, ..message };
            ensure(!self.untold.contains(&key), "a work item is deleted before the row tells of the end")?;
            return ensure(self.is_settled(&key, &answer), "a work item is deleted before its answer is sent or in history");
        }
        ensure(!self.untold.contains(&key), "an input is deleted before the row tells of the end")?;
        ensure(self.is_settled(&key, &message), "an input is deleted before it is in history")
    }

    fn is_settled(&self, key: &str, message: &Message) -> bool {
        let Some(instance) = self.history.get(key) else { return false };
        let sentinel = &instance[rows::SENTINEL];
        let remembered = sentinel.text("Taskhub").unwrap_or_default();
        let current = instance.values().filter(|row| row.text("ExecutionId") == sentinel.text("ExecutionId"));
        let events: Vec<_> = current.filter_map(|row| rows::event_from_entity(row).ok()).collect();
        let ended = events.iter().any(|e| matches!(e.event.kind, EventKind::ExecutionCompleted { .. }));
        let other_execution = message.target.execution_id.as_deref().is_some_and(|id| Some(id) != sentinel.text("ExecutionId"));
        let id = message.activity_id;
        ended
            || other_execution
            || match message.event.kind.completes() {
                Some(task) => {
                    let decision = events.iter().find(|e| e.event.event_id == task);
                    // An answer to what was never committed is nobody's input.
                    let void = decision.is_none_or(|d| d.decision_id != message.decision_id);
                    void || events.iter().any(|e| e.event.kind.completes() == Some(task))
                }
                None if matches!(message.event.kind, EventKind::ExecutionStarted(_)) => !events.is_empty(),
                None => events.iter().any(|e| e.message_id == Some(id)) || remembered.contains(&id.simple().to_string()),
            }
    }
}

fn without_nulls(row: &Entity) -> Entity {
    let mut stored = row.clone();
    stored.properties.retain(|_, value| *value != crate::storage::table::Value::Null);
    stored
}

/// What a .NET worker needs to go on from here: formats, one sentinel, rows without gaps, whole instance rows.
pub(super) fn check_snapshot(memory: &Memory, at: &str) {
    let (dump, grammar) = (memory.dump(), Grammar::learned());
    let fail = |what: &str, why: &str| panic!("{at}: {what}: {why}");
    let mut histories: BTreeMap<&str, Vec<&Entity>> = BTreeMap::new();
    for row in &dump.tables["TestHistory"] {
        grammar.history_row(&row.entity).unwrap_or_else(|e| fail(&row.entity.row_key, &e));
        histories.entry(&row.entity.partition_key).or_default().push(&row.entity);
    }
    for (key, rows_of) in histories {
        let sentinels: Vec<_> = rows_of.iter().filter(|r| r.row_key == rows::SENTINEL).collect();
        assert_eq!(sentinels.len(), 1, "{at}: sentinels of {}", keys::unescape(key));
        let sentinel = rows::sentinel_from_entity(sentinels[0]).unwrap();
        let events = rows_of.iter().filter(|r| r.row_key != rows::SENTINEL);
        let current = events.filter(|r| r.text("ExecutionId") == Some(&sentinel.execution_id));
        let mut last = None;
        for (ordinal, row) in current.enumerate() {
            assert_eq!(row.row_key, rows::row_key(ordinal as u64), "{at}: rows are dense");
            last = Some(rows::event_from_entity(row).unwrap_or_else(|e| panic!("{at}: {e}")).event.kind);
        }
        let closed = matches!(last, Some(EventKind::OrchestratorCompleted));
        assert!(closed || !sentinel.is_complete, "{at}: a complete checkpoint ends with its turn");
    }
    for row in dump.tables.get("TestInstances").into_iter().flatten() {
        check_instance(row, grammar, at);
    }
    for row in &dump.tables["TestPartitions"] {
        grammar.partition_row(&row.entity).unwrap_or_else(|e| fail("partition row", &e));
    }
    for message in dump.queues.values().flatten() {
        grammar.message(&message.text).unwrap_or_else(|e| fail(&message.text, &e));
        Message::from_json(&message.text).unwrap_or_else(|e| panic!("{at}: {e}"));
    }
}

fn check_instance(stored: &Row, grammar: &Grammar, at: &str) {
    let row = &stored.entity;
    grammar.instance_row(row).unwrap_or_else(|e| panic!("{at}: instance row: {e}"));
    let parsed = instances::from_entity(row).unwrap_or_else(|e| panic!("{at}: {e}"));
    let pending = parsed.status == Some(RuntimeStatus::Pending);
    let needed = COLUMNS_OF_EVERY_ROW.iter().chain((!pending).then_some(&"CustomStatus"));
    for column in needed {
        assert!(row.properties.contains_key(column), "{at}: {} has no {column}: {row:?}", parsed.instance_id);
    }
    // A child has no generation, as in .NET.
    let is_child = parsed.instance_id != "i";
    assert!(is_child || parsed.generation.is_some(), "{at}: {} has no generation", parsed.instance_id);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::table::Value;

    /// The calls of a run, changed; whether the judge finds fault.
    fn finds(seen: &[Seen], change: impl Fn(&mut Seen)) -> bool {
        let mut judge = Judge::new("Test", &["killed", "next"]);
        let changed = seen.iter().cloned().map(|mut s| {
            change(&mut s);
            s
        });
        changed.map(|s| judge.judge(&s)).any(|judged| judged.is_err())
    }

    fn ops<'a>(seen: &'a mut Seen, table: &str) -> &'a mut [TableOp] {
        match &mut seen.effect {
            Effect::Rows { table: found, ops, .. } if found == table && seen.done => ops,
            _ => &mut [],
        }
    }

    fn row(op: &mut TableOp) -> &mut Entity {
        match op {
            TableOp::Insert(e)
            | TableOp::Merge(e, _)
            | TableOp::Replace(e, _)
            | TableOp::UpsertMerge(e)
            | TableOp::UpsertReplace(e) => e,
            TableOp::Delete { .. } => panic!("a delete has no row"),
        }
    }

    /// Sets a column wherever it stands, or removes it.
    fn set(seen: &mut Seen, table: &str, column: &str, value: Option<&Value>) {
        for op in ops(seen, table) {
            let properties = &mut row(op).properties;
            match value {
                Some(value) if properties.contains_key(column) => drop(properties.insert(column.to_owned(), value.clone())),
                Some(_) => {}
                None => drop(properties.remove(column)),
            }
        }
    }

    fn over_any_version(seen: &mut Seen, table: &str) {
        for op in ops(seen, table) {
            if let TableOp::Merge(_, condition) | TableOp::Replace(_, condition) = op {
                *condition = Match::Any;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bad_manners_are_found() {
        let seen = super::super::crash_points::an_undisturbed_run().await;
        assert!(!finds(&seen, |_| {}));
        let text = |text: &str| Value::string(text);
        assert!(finds(&seen, |s| over_any_version(s, "TestHistory")), "a sentinel over any version");
        assert!(finds(&seen, |s| over_any_version(s, "TestPartitions")), "a partition row over any version");
        assert!(finds(&seen, |s| set(s, "TestPartitions", "CurrentOwner", Some(&text("somebody")))), "a row written for another");
        assert!(finds(&seen, |s| set(s, "TestPartitions", "IsDraining", Some(&Value::I32(0)))), "a type");
        assert!(finds(&seen, |s| set(s, "TestPartitions", "ExpiresAt", Some(&Value::DateTime(s.at)))), "a short lease");
        let extended = |s: &mut Seen| {
            for op in ops(s, "TestPartitions") {
                row(op).set("Ours", Value::I32(1));
            }
        };
        assert!(finds(&seen, extended), "a column of ours on a partition row");
        let strayed = |s: &mut Seen| {
            if let Some(sentinel) = ops(s, "TestHistory").last_mut() {
                row(sentinel).set("ExecutionId", Value::string("another"));
            }
        };
        assert!(finds(&seen, strayed), "rows of another execution than the sentinel's");
        assert!(finds(&seen, |s| set(s, "TestHistory", "_Timestamp", None)), "a column is missing");
        assert!(finds(&seen, |s| set(s, "TestInstances", "CustomStatus", None)), "a row without custom status");
        assert!(finds(&seen, |s| set(s, "TestInstances", "Generation", None)), "a start without generation");
        assert!(finds(&seen, |s| set(s, "TestInstances", "RuntimeStatus", Some(&text("Running")))), "an end that is not told");
        let unsent = |s: &mut Seen| {
            s.done &= !matches!(&s.effect, Effect::Put { text, .. } if text.contains("TaskScheduledEvent"));
        };
        assert!(finds(&seen, unsent), "a decision without its message");
        let unfenced = |s: &mut Seen| {
            if let Effect::Rows { table, ops, .. } = &mut s.effect
                && table == "TestHistory"
            {
                ops.pop();
            }
        };
        assert!(finds(&seen, unfenced), "history without the sentinel");
    }

    #[tokio::test(start_paused = true)]
    async fn steps_out_of_order_are_found() {
        let seen = super::super::crash_points::an_undisturbed_run().await;
        let place = |of: &dyn Fn(&Seen) -> bool| seen.iter().position(of).unwrap();
        let table = |s: &Seen, name: &str| matches!(&s.effect, Effect::Rows { table, .. } if table == name);
        let deletes = |s: &Seen| matches!(&s.effect, Effect::Deleted { queue, .. } if queue.contains("control"));
        let (start, row) = (place(&|s| matches!(s.effect, Effect::Put { .. })), place(&|s| table(s, "TestInstances")));
        let (history, delete) = (place(&|s| table(s, "TestHistory")), place(&deletes));
        let last_row = seen.iter().rposition(|s| table(s, "TestInstances")).unwrap();
        let last_delete = seen.iter().rposition(deletes).unwrap();
        for (what, first, second) in [
            ("the row before the start message", start, row),
            ("the input deleted before history", history, delete),
            ("the last input deleted before the final status", last_row, last_delete),
        ] {
            let mut swapped = seen.clone();
            let moved = swapped.remove(first);
            swapped.insert(second, moved);
            assert!(finds(&swapped, |_| {}), "{what}");
        }
    }
}
