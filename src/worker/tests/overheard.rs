//! The log of a test: every event of the crate at info and above, as a line with its fields and those of the spans around it.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// Lines in the order in which they were logged: level, message, and fields as `name=value`.
#[derive(Clone, Debug, Default)]
pub(in crate::worker) struct Overheard(Arc<Mutex<Vec<String>>>);

/// Listens for as long as it lives.
pub(in crate::worker) struct Hears {
    _listening: tracing::subscriber::DefaultGuard,
    _second: Dispatch,
}

impl Overheard {
    /// Listens on this thread.
    pub(in crate::worker) fn listen(&self) -> Hears {
        // With one dispatcher alone, places that were first reached on a thread without one would stay silent for ever.
        let second = Dispatch::new(tracing_subscriber::registry());
        let listener = tracing_subscriber::registry().with(self.clone());
        Hears { _listening: tracing::subscriber::set_default(listener), _second: second }
    }

    pub(in crate::worker) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// The lines that have these words.
    pub(in crate::worker) fn with(&self, words: &str) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.contains(words)).collect()
    }

    /// The lines about instances and their tasks, not those about the worker.
    pub(in crate::worker) fn about_instances(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.contains(" instance=")).collect()
    }
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for Overheard {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut line = Line::default();
        attributes.record(&mut line);
        context.span(id).unwrap().extensions_mut().insert(line);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() <= Level::INFO && metadata.target().starts_with("taskhub") {
            let mut around = String::new();
            for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
                around.push_str(&span.extensions().get::<Line>().unwrap().fields);
            }
            let mut line = Line::default();
            event.record(&mut line);
            self.0.lock().unwrap().push(format!("{} {}{around}{}", metadata.level(), line.message, line.fields));
        }
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            write!(self.fields, " {}={value:?}", field.name()).unwrap();
        }
    }
}
