//! How far something long is, beside its result: a line that changes on a terminal, a line now and then elsewhere, nothing beside JSON.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::output::Output;
use super::text;

/// Between two lines where nothing can be drawn.
const LINE_EVERY: u64 = 1000;
/// Between two turns of what shows that work goes on.
const TICK: Duration = Duration::from_millis(200);

/// What is told of something that counts instances. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    show: Show,
    out: Output,
    /// In thousands, what a line has told.
    told: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
enum Show {
    Nothing,
    Lines,
    Bar(ProgressBar),
}

impl Progress {
    /// `total` is how many instances there are, if that is known.
    pub(crate) fn new(out: &Output, total: Option<u64>) -> Self {
        let show = match (out.is_for_people(), io::stderr().is_terminal()) {
            (false, _) => Show::Nothing,
            (true, false) => Show::Lines,
            (true, true) => Show::Bar(bar(total)),
        };
        Self { show, out: out.clone(), told: Arc::default() }
    }

    /// So many instances are done.
    pub(crate) fn reach(&self, count: u64) {
        match &self.show {
            Show::Nothing => {}
            Show::Bar(bar) if bar.length().is_none() => bar.set_message(so_far(count)),
            Show::Bar(bar) => {
                // Sub-orchestrations come on top of what was counted.
                bar.set_length(count.max(bar.length().unwrap_or(0)));
                bar.set_position(count);
            }
            Show::Lines => {
                let reached = count / LINE_EVERY;
                if self.told.fetch_max(reached, Relaxed) < reached {
                    self.out.say(&so_far(count));
                }
            }
        }
    }

    /// How it stands, in words.
    pub(crate) fn say(&self, words: &str) {
        match &self.show {
            Show::Nothing => {}
            Show::Bar(bar) => bar.set_message(words.to_owned()),
            Show::Lines => self.out.say(words),
        }
    }

    /// Leaves the terminal to what follows.
    pub(crate) fn end(&self) {
        if let Show::Bar(bar) = &self.show {
            bar.finish_and_clear();
        }
    }
}

fn so_far(count: u64) -> String {
    format!("{} so far", text::count(count, "instance"))
}

fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:40} {pos} of {len} instances{left}"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
    };
    bar.enable_steady_tick(TICK);
    // A template that cannot be read would leave the usual form.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.with_key("left", left)),
        Err(_) => bar,
    }
}

/// How much longer it may take, once something is done by which that can be told.
fn left(state: &ProgressState, words: &mut dyn fmt::Write) {
    if state.pos() > 0 {
        // It goes on without.
        let _ = write!(words, ", about {} left", text::span(state.eta()));
    }
}
