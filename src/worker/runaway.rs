//! What runs away: generations without a pause, children without a bottom. Who watches the log is told, long before an instance is stopped.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::checkpoint::Commit;
use super::log;
use super::recorder::Record;
use crate::model::EventKind;

/// Generations that an instance begins within a minute without being told of.
const GENERATIONS_MAX: u32 = 1000;
const WINDOW: Duration = Duration::from_secs(60);
/// Parents above an instance without being told of.
const LEVELS_MAX: i32 = 100;
/// How soon the same is told again.
const AGAIN: Duration = Duration::from_secs(600);
/// How many of those that it has told of a partition remembers at most.
const TOLD_MAX: usize = 4096;

/// How fast an instance continues as new.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Instant,
    generations: u32,
}

/// When a partition has told of an instance or an orchestrator that runs away.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<BTreeMap<String, Instant>>);

impl Default for Pace {
    fn default() -> Self {
        Self { since: Instant::now(), generations: 0 }
    }
}

impl Pace {
    /// Generations within the minute.
    pub(super) fn generations(&self) -> u32 {
        if self.since.elapsed() < WINDOW { self.generations } else { 0 }
    }

    /// Counts generations that have begun. Answers how many within a minute, if they are too many.
    pub(super) fn begun(&mut self, generations: u32) -> Option<u32> {
        if self.since.elapsed() >= WINDOW {
            *self = Self::default();
        }
        self.generations = self.generations.saturating_add(generations);
        (self.generations > GENERATIONS_MAX).then_some(self.generations)
    }
}

impl Told {
    /// Whether it is to be told of this one, which then counts as told.
    fn is_due(&self, who: &str) -> bool {
        let now = Instant::now();
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD_MAX {
            told.retain(|_, at| now.duration_since(*at) < AGAIN);
        }
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        let is_due = told.get(who).is_none_or(|at| now.duration_since(*at) >= AGAIN);
        if is_due {
            told.insert(who.to_owned(), now);
        }
        is_due
    }
}

impl Commit<'_> {
    /// Tells of an instance that continues as new too fast, and of children that are nested too deeply.
    pub(super) fn log_runaways(&self, record: &Record) {
        let name = || log::orchestrator(self.history.events.iter().chain(&record.events)).unwrap_or_default();
        if record.generations > 0
            && let Some(generations) = self.partition.continued(self.instance_id, record.generations)
            && self.partition.told.is_due(self.instance_id)
        {
            tracing::warn!(name = name(), generations, "the instance continues as new more than 1000 times a minute");
        }
        let level = |event: &EventKind| if let EventKind::ExecutionStarted(start) = event { start.level } else { None };
        let deepest = record.outbound.iter().filter_map(|sent| level(&sent.message.event.kind)).max();
        if let Some(level) = deepest.filter(|level| *level > LEVELS_MAX && self.partition.told.is_due(name())) {
            tracing::warn!(name = name(), level, "the instance starts a sub-orchestration more than 100 levels deep");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authoring::{OrchestrationContext, Orchestrator};
    use crate::worker::tests::harness::hub;
    use crate::worker::tests::overheard::Overheard;
    use crate::{Client, Worker};

    const SPIN: Orchestrator<(u32, u64), u32> = Orchestrator::new("Spin");
    const NEST: Orchestrator<u32, u32> = Orchestrator::new("Nest");

    /// What is warned of while an instance runs to its end.
    async fn warnings<I: serde::Serialize>(orchestrator: Orchestrator<I, u32>, input: I) -> Vec<String> {
        let hub = hub().await;
        let client = Client::new(&hub);
        let overheard = Overheard::default();
        let _hears = overheard.listen();
        let worker = Worker::builder(&hub)
            .orchestrator(SPIN, async |ctx: OrchestrationContext, (left, pause): (u32, u64)| {
                if pause > 0 {
                    ctx.timer(Duration::from_millis(pause)).await;
                }
                if left == 0 { Ok(0) } else { ctx.continue_as_new(SPIN, (left - 1, pause)) }
            })
            .orchestrator(NEST, async |ctx: OrchestrationContext, left: u32| {
                // A generation in between loses nothing.
                if left % 2 == 1 {
                    return ctx.continue_as_new(NEST, left - 1);
                }
                if left == 0 { Ok(0) } else { Ok(ctx.call(NEST, left - 1).await?) }
            });
        let waiting = async {
            client.start(orchestrator, input).instance_id("root").await.unwrap();
            client.wait("root", Duration::from_secs(36_000)).await.unwrap().output::<u32>().unwrap();
        };
        worker.run(waiting).await.unwrap();
        overheard.lines().into_iter().filter(|line| line.starts_with("WARN")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn generations_without_a_pause_are_warned_of_once_in_a_while() {
        assert_eq!(warnings(SPIN, (900, 0)).await, Vec::<String>::new());
        let fast = warnings(SPIN, (2500, 0)).await;
        assert_eq!(fast.len(), 1, "{fast:?}");
        let expected = ["instance=root", "name=Spin", "generations=1020", "1000 times a minute"];
        assert!(expected.iter().all(|part| fast[0].contains(part)), "{fast:?}");
        assert_eq!(warnings(SPIN, (300, 1000)).await, Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn children_without_a_bottom_are_warned_of_once() {
        assert_eq!(warnings(NEST, 200).await, Vec::<String>::new());
        let deep = warnings(NEST, 220).await;
        let expected = ["name=Nest", "level=101", "100 levels deep"];
        assert!(!deep.is_empty() && expected.iter().all(|part| deep[0].contains(part)), "{deep:?}");
        // One for each partition.
        assert!(deep.len() <= 4, "{deep:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_told_is_told_again_after_a_while_and_what_is_old_is_forgotten() {
        let (mut pace, told) = (Pace::default(), Told::default());
        assert_eq!(pace.begun(GENERATIONS_MAX), None);
        tokio::time::sleep(WINDOW).await;
        assert_eq!(pace.begun(GENERATIONS_MAX), None, "another minute");
        assert_eq!(pace.begun(1), Some(GENERATIONS_MAX + 1));
        assert!(told.is_due("i"));
        assert!(!told.is_due("i"));
        for instance in 0..2 * TOLD_MAX {
            told.is_due(&instance.to_string());
        }
        assert!(told.0.lock().unwrap().len() <= TOLD_MAX);
        tokio::time::sleep(AGAIN).await;
        assert!(told.is_due("i"));
    }
}
