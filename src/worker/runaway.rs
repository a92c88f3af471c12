//! What runs away: generations without a pause, children without a bottom. Nothing is stopped, but who watches the log is told.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::checkpoint::Commit;
use super::log;
use super::turn::Record;
use crate::model::EventKind;

/// Generations that an instance begins within a minute without being told of.
const GENERATIONS_MAX: u32 = 1000;
const WINDOW: Duration = Duration::from_secs(60);
/// Parents above an instance without being told of.
const LEVELS_MAX: i32 = 100;
/// How soon the same is told again.
const AGAIN: Duration = Duration::from_secs(600);
/// How many of each a partition remembers at most.
const ENTRIES_MAX: usize = 4096;

/// What a partition has counted, and what it has told.
#[derive(Debug, Default)]
pub(crate) struct Runaways(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// Since when, and how many generations, by instance.
    generations: BTreeMap<String, (Instant, u32)>,
    /// When it was told, by the instance or the orchestrator that runs away.
    told: BTreeMap<String, Instant>,
}

impl Runaways {
    /// Counts generations that an instance has begun. Answers how many within a minute, if that is to be told.
    fn begun(&self, instance: &str, generations: u32) -> Option<u32> {
        let now = Instant::now();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut seen.generations, |(since, _)| now.duration_since(*since) < WINDOW);
        let (since, count) = seen.generations.entry(instance.to_owned()).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(generations);
        let count = *count;
        (count > GENERATIONS_MAX && seen.is_to_be_told(instance, now)).then_some(count)
    }

    /// Whether it is to be told that an orchestrator has a child at this level.
    fn is_too_deep(&self, orchestrator: &str, level: i32) -> bool {
        let seen = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        level > LEVELS_MAX && seen().is_to_be_told(orchestrator, Instant::now())
    }
}

impl Seen {
    fn is_to_be_told(&mut self, who: &str, now: Instant) -> bool {
        make_room(&mut self.told, |at| now.duration_since(*at) < AGAIN);
        let is_new = self.told.get(who).is_none_or(|at| now.duration_since(*at) >= AGAIN);
        if is_new {
            self.told.insert(who.to_owned(), now);
        }
        is_new
    }
}

/// Forgets what counts no longer, and if that is not enough, everything.
fn make_room<T>(all: &mut BTreeMap<String, T>, counts: impl Fn(&T) -> bool) {
    if all.len() >= ENTRIES_MAX {
        all.retain(|_, entry| counts(entry));
    }
    if all.len() >= ENTRIES_MAX {
        all.clear();
    }
}

impl Commit<'_> {
    /// Tells of an instance that continues as new too fast, and of children that are nested too deeply.
    pub(super) fn log_runaways(&self, record: &Record) {
        let (hub, partition, instance) = (self.hub.names_hub(), self.partition.id, self.instance_id);
        let name = || log::orchestrator(self.history.events.iter().chain(&record.events)).unwrap_or_default();
        if record.generations > 0
            && let Some(generations) = self.partition.runaways.begun(instance, record.generations)
        {
            tracing::warn!(
                hub,
                partition,
                instance,
                name = name(),
                generations,
                "the instance continues as new more than 1000 times a minute"
            );
        }
        let level = |event: &EventKind| if let EventKind::ExecutionStarted(start) = event { start.level } else { None };
        let deepest = record.outbound.iter().filter_map(|sent| level(&sent.message.event.kind)).max();
        if let Some(level) = deepest.filter(|level| self.partition.runaways.is_too_deep(name(), *level)) {
            tracing::warn!(
                hub,
                partition,
                instance,
                name = name(),
                level,
                "the instance starts a sub-orchestration more than 100 levels deep"
            );
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
        let runaways = Runaways::default();
        assert_eq!(runaways.begun("i", GENERATIONS_MAX), None);
        tokio::time::sleep(WINDOW).await;
        assert_eq!(runaways.begun("i", GENERATIONS_MAX), None, "another minute");
        assert_eq!(runaways.begun("i", 1), Some(GENERATIONS_MAX + 1));
        assert_eq!(runaways.begun("i", 1), None);
        for instance in 0..2 * ENTRIES_MAX {
            runaways.begun(&instance.to_string(), 1);
        }
        assert!(runaways.0.lock().unwrap().generations.len() <= ENTRIES_MAX);
        tokio::time::sleep(AGAIN).await;
        assert_eq!(runaways.begun("i", GENERATIONS_MAX + 1), Some(GENERATIONS_MAX + 1));
    }
}
