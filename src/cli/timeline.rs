//! A history drawn as a timeline: one line for each task, timer and event, by when it began and ended.

use std::collections::BTreeMap;
use std::time::Duration;

use taskhub::{EventKind, HistoryEvent, Timestamp};

use super::text;

/// The most columns of a label.
const LABEL_MAX: usize = 40;
/// The fewest and the most columns of a bar.
const BAR: (usize, usize) = (20, 100);
/// What stands behind a bar.
const END_COLUMNS: usize = 22;

/// Something that lasted, or happened.
#[derive(Debug)]
struct Line {
    label: String,
    from: Timestamp,
    /// `None` while it is under way.
    to: Option<Timestamp>,
    /// It happened, and did not last.
    is_point: bool,
    has_failed: bool,
    /// By a rewind.
    is_taken_back: bool,
}

/// The timeline of an execution as it is at `now`, for a terminal of so many columns.
pub(crate) fn draw(history: &[HistoryEvent], now: Timestamp, width: usize) -> String {
    let Some(begun) = history.iter().map(|event| event.timestamp).min() else { return "nothing has happened yet".to_owned() };
    let is_over = |event: &HistoryEvent| matches!(event.kind, EventKind::ExecutionCompleted { .. });
    let ended = history.iter().find(|event| is_over(event)).map(|event| event.timestamp);
    let end = ended.unwrap_or(now).max(begun);
    let lines = lines(history);
    let label = lines.iter().map(|line| line.label.chars().count()).max().unwrap_or(0).min(LABEL_MAX);
    let bar = width.saturating_sub(label + 2 + END_COLUMNS).clamp(BAR.0, BAR.1);
    let scale = Scale { begun, span: end.since(begun).max(Duration::from_millis(1)), columns: bar };
    let state = if ended.is_some() { "ended after" } else { "for" };
    let mut drawn = vec![format!("{:label$}  {} ({state} {})", "", text::time(begun), length(end.since(begun)))];
    drawn.extend(lines.iter().map(|line| {
        let name = text::shortened(&line.label, LABEL_MAX);
        format!("{name:label$}  {}", scale.draw(line, end, ended.is_some())).trim_end().to_owned()
    }));
    drawn.join("\n")
}

/// The lines of a history, in the order in which they begin.
fn lines(history: &[HistoryEvent]) -> Vec<Line> {
    let (mut lines, mut open) = (Vec::new(), BTreeMap::new());
    let line = |label: String, from, to: Option<Timestamp>, is_taken_back| Line {
        label,
        from,
        is_point: to.is_some(),
        to,
        has_failed: false,
        is_taken_back,
    };
    let point = |label: String, at| line(label, at, Some(at), false);
    for event in history {
        let (at, before) = (event.timestamp, event.before_rewind());
        let (event, is_taken_back) = (before.as_ref().unwrap_or(event), before.is_some());
        let begins = match &event.kind {
            EventKind::TaskScheduled { name, .. } => Some(text::line(name)),
            EventKind::SubOrchestrationCreated { name, .. } => Some(format!("{} (child)", text::line(name))),
            EventKind::TimerCreated { .. } => Some("timer".to_owned()),
            _ => None,
        };
        if let Some(name) = begins {
            open.insert((event.event_id, is_taken_back), lines.len());
            let label = format!("{name} #{}", event.event_id);
            lines.push(line(label, at, None, is_taken_back));
            continue;
        }
        match &event.kind {
            EventKind::EventRaised { name, .. } => lines.push(point(format!("event {}", text::line(name)), at)),
            EventKind::EventSent { name, .. } => lines.push(point(format!("sent {}", text::line(name)), at)),
            EventKind::ExecutionSuspended { .. } => lines.push(point("suspended".to_owned(), at)),
            EventKind::ExecutionResumed { .. } => lines.push(point("resumed".to_owned(), at)),
            EventKind::ExecutionTerminated { .. } => lines.push(point("terminated".to_owned(), at)),
            EventKind::ExecutionCompleted { .. } if is_taken_back => lines.push(point("failure, rewound".to_owned(), at)),
            kind => {
                let asked = kind.completes().and_then(|id| open.get(&(id, is_taken_back)));
                if let Some(line) = asked.and_then(|line| lines.get_mut(*line)) {
                    // The message of a timer is made when it begins.
                    line.to = Some(if let EventKind::TimerFired { fire_at, .. } = kind { at.max(*fire_at) } else { at });
                    line.has_failed = matches!(kind, EventKind::TaskFailed { .. } | EventKind::SubOrchestrationFailed { .. });
                }
            }
        }
    }
    lines
}

/// Columns of time.
struct Scale {
    begun: Timestamp,
    span: Duration,
    columns: usize,
}

impl Scale {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "it is a column of a terminal"
    )]
    fn column(&self, at: Timestamp) -> usize {
        let part = at.since(self.begun).as_secs_f64() / self.span.as_secs_f64();
        ((part * (self.columns - 1) as f64) as usize).min(self.columns - 1)
    }

    fn draw(&self, line: &Line, end: Timestamp, is_over: bool) -> String {
        let from = self.column(line.from);
        let before = " ".repeat(from);
        if line.is_point {
            return format!("{before}◆");
        }
        let open_until = if line.is_taken_back { line.from } else { end };
        let last = self.column(line.to.unwrap_or(open_until)).max(from);
        let fill = if line.to.is_none() && !line.is_taken_back {
            "░"
        } else if line.has_failed || line.is_taken_back {
            "▒"
        } else {
            "█"
        };
        let after = " ".repeat(self.columns - 1 - last);
        let took = match line.to {
            None if line.is_taken_back => "taken back".to_owned(),
            None if is_over => "not waited for".to_owned(),
            None => "under way".to_owned(),
            Some(to) if line.is_taken_back => format!("{} taken back", length(to.since(line.from))),
            Some(to) if line.has_failed => format!("{} failed", length(to.since(line.from))),
            Some(to) => length(to.since(line.from)),
        };
        format!("{before}{}{after}  {took}", fill.repeat(last - from + 1))
    }
}

/// A length of time, of short ones the milliseconds too.
fn length(span: Duration) -> String {
    if span < Duration::from_secs(10) { format!("{:.3} s", span.as_secs_f64()) } else { text::span(span) }
}

#[cfg(test)]
mod tests {
    use taskhub::RuntimeStatus;

    use super::*;

    #[test]
    fn a_history_is_drawn_by_when_things_began_and_ended() {
        let at = |millis: u64| Timestamp::parse("2026-01-01T12:00:00Z").unwrap().plus(Duration::from_millis(millis));
        let scheduled =
            |name: &str| EventKind::TaskScheduled { name: name.into(), version: None, input: None, trace: None, tags: None };
        let mut history = vec![
            HistoryEvent::arriving(at(0), EventKind::OrchestratorStarted),
            HistoryEvent::decision(0, at(0), scheduled("Charge")),
            HistoryEvent::decision(1, at(0), EventKind::TimerCreated { fire_at: at(9_000) }),
            HistoryEvent::arriving(at(4_000), EventKind::TaskFailed { task_id: 0, reason: None, details: None, failure: None }),
            HistoryEvent::decision(2, at(4_000), scheduled("Refund")),
            HistoryEvent::arriving(at(6_000), EventKind::EventRaised { name: "Paid\u{1b}[31m".into(), input: None, trace: None }),
            HistoryEvent::arriving(at(8_000), EventKind::TaskCompleted { task_id: 2, result: None }),
        ];
        let open = "                 2026-01-01 12:00:00 (for 8.000 s)
Charge #0        ▒▒▒▒▒▒▒▒▒▒            4.000 s failed
timer #1         ░░░░░░░░░░░░░░░░░░░░  under way
Refund #2                 ███████████  4.000 s
event Paid [31m                ◆";
        assert_eq!(draw(&history, at(8_000), 10), open);
        let end = EventKind::ExecutionCompleted { status: RuntimeStatus::Completed, result: None, failure: None };
        history.push(HistoryEvent::decision(3, at(16_000), end));
        let ended = "                 2026-01-01 12:00:00 (ended after 16 s)
Charge #0        ▒▒▒▒▒                 4.000 s failed
timer #1         ░░░░░░░░░░░░░░░░░░░░  not waited for
Refund #2            ██████            4.000 s
event Paid [31m         ◆";
        assert_eq!(draw(&history, at(60_000), 10), ended);
        assert_eq!(draw(&[], at(0), 80), "nothing has happened yet");
    }

    #[test]
    fn what_a_rewind_has_taken_back_is_drawn_as_such() {
        let at = |seconds: u64| Timestamp::parse("2026-01-01T12:00:00Z").unwrap().plus(Duration::from_secs(seconds));
        let gone = |kind: EventKind| EventKind::Generic { data: None, was: Some(Box::new(kind)) };
        let scheduled =
            || EventKind::TaskScheduled { name: "Charge".into(), version: None, input: None, trace: None, tags: None };
        let failed = EventKind::TaskFailed { task_id: 0, reason: None, details: None, failure: None };
        let end = EventKind::ExecutionCompleted { status: RuntimeStatus::Failed, result: None, failure: None };
        let history = [
            HistoryEvent::decision(0, at(0), gone(scheduled())),
            HistoryEvent::decision(1, at(0), gone(EventKind::TimerCreated { fire_at: at(99) })),
            HistoryEvent::arriving(at(2), gone(failed)),
            HistoryEvent::decision(2, at(2), gone(end)),
            HistoryEvent::decision(0, at(4), scheduled()),
            HistoryEvent::arriving(at(8), EventKind::TaskCompleted { task_id: 0, result: None }),
        ];
        let expected = "                  2026-01-01 12:00:00 (for 8.000 s)
Charge #0         ▒▒▒▒▒                 2.000 s taken back
timer #1          ▒                     taken back
failure, rewound      ◆
Charge #0                  ███████████  4.000 s";
        assert_eq!(draw(&history, at(8), 10), expected);
    }
}
