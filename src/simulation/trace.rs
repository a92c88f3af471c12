//! What happened in a run: a line for every storage call, log event and act of the world; the first broken rule; counts.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// Lines that a failure shows.
const LAST_LINES: usize = 50;
/// No run takes so many; one that does goes in circles.
const CALLS_MAX: u64 = 200_000;

/// The trace of the run of this thread.
#[derive(Debug, Default)]
pub(super) struct Trace {
    begun: Option<Instant>,
    count: u64,
    last: VecDeque<String>,
    /// Every line, if the whole trace is wanted.
    all: Option<Vec<String>>,
    failure: Option<String>,
    /// How often each log message, and each thing that the checks noticed, occurred.
    pub(super) marks: BTreeMap<String, u64>,
    /// What workers have said of committed turns.
    told: BTreeSet<String>,
    /// Identities of messages, to see which are sent again.
    sent: BTreeSet<String>,
}

thread_local! {
    static TRACE: RefCell<Trace> = RefCell::default();
}

/// Begins a new trace.
pub(super) fn begin(whole: bool) {
    let trace = Trace { all: whole.then(Vec::new), ..Trace::default() };
    TRACE.with(|t| *t.borrow_mut() = trace);
}

/// From now on there is time, which lines show.
pub(super) fn start_clock() {
    TRACE.with(|t| t.borrow_mut().begun = Some(Instant::now()));
}

/// Ends the trace: the first broken rule, the counts, and every line if they were kept.
pub(super) fn end() -> (Option<String>, BTreeMap<String, u64>, Vec<String>) {
    let trace = TRACE.with(RefCell::take);
    (trace.failure, trace.marks, trace.all.unwrap_or_default())
}

/// Adds a line.
pub(super) fn line(text: &dyn fmt::Display) {
    TRACE.with(|t| {
        let mut trace = t.borrow_mut();
        let Some(begun) = trace.begun else { return };
        let line = format!("{:>9.3} {text}", begun.elapsed().as_secs_f64());
        if let Some(all) = &mut trace.all {
            all.push(line.clone());
        }
        if trace.last.len() == LAST_LINES {
            trace.last.pop_front();
        }
        trace.last.push_back(line);
    });
}

/// Counts a call; a run with too many goes in circles.
pub(super) fn call() {
    TRACE.with(|t| {
        let mut trace = t.borrow_mut();
        trace.count += 1;
        if trace.count == CALLS_MAX && trace.failure.is_none() {
            let lines: Vec<_> = trace.last.iter().cloned().collect();
            trace.failure = Some(format!("{CALLS_MAX} calls and no end\n{}", lines.join("\n")));
        }
    });
}

/// Counts something that a range of seeds must meet.
pub(super) fn mark(name: &str) {
    marks(name, 1);
}

/// The same, met so many times.
pub(super) fn marks(name: &str, times: u64) {
    TRACE.with(|t| {
        let marks = &mut t.borrow_mut().marks;
        match marks.get_mut(name) {
            Some(count) => *count += times,
            None => drop(marks.insert(name.to_owned(), times)),
        }
    });
}

fn sent(id: String) {
    let is_repeat = TRACE.with(|t| !t.borrow_mut().sent.insert(id));
    if is_repeat {
        mark("a message was sent again");
    }
}

/// What can be said once, whatever crashes: an execution begins and ends once, and a failed task is tried again once.
const SAID_ONCE: [&str; 5] =
    ["instance started", "instance completed", "instance failed", "instance terminated", "a failed task will be tried again"];

fn told(message: &str, fields: &str) {
    let line = format!("{message} {fields}");
    if !TRACE.with(|t| t.borrow_mut().told.insert(line.clone())) {
        fail(&format_args!("a worker says again what was committed once: {line}"));
    }
}

/// A rule is broken. The first is kept, with the lines before it.
pub(super) fn fail(what: &dyn fmt::Display) {
    line(&format_args!("BROKEN {what}"));
    TRACE.with(|t| {
        let mut trace = t.borrow_mut();
        if trace.failure.is_none() {
            let lines: Vec<_> = trace.last.iter().cloned().collect();
            trace.failure = Some(format!("{what}\n{}", lines.join("\n")));
        }
    });
}

/// Whether a rule is broken.
pub(super) fn has_failed() -> bool {
    TRACE.with(|t| t.borrow().failure.is_some())
}

/// Turns the log of the crate into lines and counts.
pub(super) struct Log;

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_sending = *metadata.level() == Level::TRACE && metadata.target() == "taskhub::hub::sent";
        metadata.is_event() && (*metadata.level() <= Level::DEBUG || is_sending) && metadata.target().starts_with("taskhub")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        if *event.metadata().level() == Level::TRACE {
            return sent(text.fields);
        }
        // The calls themselves are lines already.
        if text.message.starts_with("storage call") {
            return;
        }
        if SAID_ONCE.contains(&text.message.as_str()) {
            told(&text.message, &text.fields);
        }
        mark(&text.message);
        line(&format_args!("log {} {}", text.message, text.fields));
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.fields.push_str(&format!("{}={value:?} ", field.name()));
        }
    }
}
