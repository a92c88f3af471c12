//! Timers of many days that go from .NET to us and back: never early, and under the same ids.

use std::time::Duration;

use super::play::{Play, done, fired, start, stored};
use crate::authoring::{Activity, Failure, OrchestrationContext, Orchestrator, Registry};
use crate::hub::golden::history::history;
use crate::model::{EventKind, HistoryEvent, Timestamp};
use crate::replay::{ActionKind, Turn};

const DAY: Duration = Duration::from_secs(86_400);
const HELLO: Activity<String, String> = Activity::new("Hello");

/// Who has the instance, and how that one sets a timer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Ours,
    /// `DurableOrchestrationContext.CreateTimer` of the Functions extension.
    Functions,
    /// `TaskOrchestrationContextWrapper.CreateTimer` of the SDK for isolated workers.
    Isolated,
    /// `OrchestrationContext.CreateTimer` of the library alone.
    Library,
}

impl Side {
    async fn timer(self, ctx: &OrchestrationContext, until: Timestamp) {
        match self {
            Self::Functions if until.since(ctx.now()) > 6 * DAY => {
                let mut piece = ctx.now().plus(3 * DAY);
                while ctx.now() < until {
                    ctx.timer_until(piece).await;
                    piece = until.min(ctx.now().plus(3 * DAY));
                }
            }
            Self::Isolated => {
                while until.since(ctx.now()) > 3 * DAY {
                    ctx.timer(3 * DAY).await;
                }
                ctx.timer_until(until).await;
            }
            Self::Ours | Self::Functions | Self::Library => ctx.timer_until(until).await,
        }
    }

    /// Waits for some hours, twice, then does something that shows whether the ids are still the same.
    fn play(self) -> Play {
        let code = move |ctx: OrchestrationContext, hours: u32| async move {
            for _ in 0..2 {
                self.timer(&ctx, ctx.now().plus(DAY / 24 * hours)).await;
                ctx.call(HELLO, "x").await?;
            }
            Ok::<_, Failure>(String::new())
        };
        Play::new(Registry::builder().orchestrator(Orchestrator::new("Main"), code))
    }

    /// When a timer fires that is due then and was set at another time. .NET asks nothing when the message is there: it fires up to
    /// a second early, and after seven days at the latest, which is as long as a queue hides a message.
    fn fires(self, due: Timestamp, set: Timestamp) -> Timestamp {
        let early = due.plus_ticks(-5_000_000);
        if self == Self::Ours { due } else { early.min(set.plus(7 * DAY)).max(set.plus_ticks(2_000_000)) }
    }
}

/// Plays an instance whose turns the sides take as `who` says. Each time the activity is called, it was the right time, and at the
/// end all sides understand the whole history.
fn passes(hours: u32, sides: &[Side], who: impl Fn(usize) -> Side) {
    let mut play = Side::Ours.play();
    let mut arrived = start("Main", Some(&hours.to_string()));
    let mut wanted = play.now.plus(DAY / 24 * hours);
    for turn in 0.. {
        let side = who(turn);
        play.registry = side.play().registry;
        let (set, outcome) = (play.now, play.run([arrived]));
        let at = format!("{hours} hours, turn {turn} by {side:?}: {outcome:?}");
        let Some(action) = outcome.actions.last() else {
            assert!(matches!(outcome.completion, Some(crate::replay::Completion::Completed { .. })), "{at}");
            break;
        };
        assert_eq!(outcome.completion, None, "{at}");
        arrived = match action.kind {
            ActionKind::Timer { fire_at } => {
                play.now = who(turn + 1).fires(fire_at, set);
                fired(action.id)
            }
            _ => {
                let tolerance = if side == Side::Ours { 0 } else { 10_000_000 };
                assert!(set.plus_ticks(tolerance) >= wanted, "{at}: early");
                wanted = play.now.plus(DAY / 24 * hours);
                done(action.id, "\"\"")
            }
        };
        assert!(turn < 200, "{at}");
    }
    let end = play.history.iter().position(|event| matches!(event.kind, EventKind::ExecutionCompleted { .. })).unwrap();
    for side in sides {
        let outcome = side.play().registry.run_turn(&Turn { past: &stored(&play.history[..end]), ..Turn::default() });
        assert!(outcome.actions.is_empty(), "{hours} hours, replayed by {side:?}: {outcome:?}");
        assert!(matches!(outcome.completion, Some(crate::replay::Completion::Completed { .. })), "{side:?}: {outcome:?}");
    }
}

const HOURS: [u32; 12] = [0, 1, 71, 72, 73, 100, 144, 145, 167, 216, 240, 1000];

#[test]
fn long_timers_go_back_and_forth_between_functions_and_us() {
    let sides = [Side::Ours, Side::Functions];
    for hours in HOURS {
        for [first, second] in [sides, [Side::Functions, Side::Ours]] {
            for change in 0..9 {
                passes(hours, &sides, |turn| if turn >= change { second } else { first });
            }
            passes(hours, &sides, |turn| if turn % 2 == 1 { second } else { first });
            passes(hours, &sides, |turn| if turn % 3 == 1 { second } else { first });
        }
    }
}

#[test]
fn long_timers_of_isolated_workers_are_taken_over() {
    for hours in HOURS {
        for change in 0..9 {
            passes(hours, &[Side::Ours], |turn| if turn >= change { Side::Ours } else { Side::Isolated });
        }
    }
}

#[test]
fn timers_that_are_not_cut_are_taken_over() {
    // The library cannot set a timer of more than seven days.
    for hours in HOURS.into_iter().filter(|hours| *hours < 168) {
        for change in 0..9 {
            let sides = [Side::Ours, Side::Library];
            passes(hours, &sides, |turn| if turn >= change { Side::Ours } else { Side::Library });
            passes(hours, &sides, |turn| if turn >= change { Side::Library } else { Side::Ours });
        }
    }
}

#[test]
fn a_recorded_long_timer_of_functions_does_not_fire_after_its_first_piece() {
    let turns = history("long-timer", "LongTimer");
    let begun = turns[0][0].timestamp;
    let registry =
        Registry::builder().orchestrator(Orchestrator::new("LongTimer"), async |ctx: OrchestrationContext, days: u32| {
            ctx.timer(DAY * days).await;
            Ok("fired")
        });
    let registry = registry.build().unwrap();
    let mut past = turns[0].clone();
    let mut run = |day: u32, timer_id: i32| {
        let now = begun.plus(DAY * day);
        let new = [EventKind::OrchestratorStarted, fired(timer_id)].map(|kind| HistoryEvent::arriving(now, kind));
        let outcome = registry.run_turn(&Turn { past: &stored(&past), new: &stored(&new), ..Turn::default() });
        past.extend(new);
        let timers = outcome.actions.iter().map(|action| {
            let ActionKind::Timer { fire_at } = action.kind else { panic!("{action:?}") };
            past.push(HistoryEvent::decision(action.id, now, EventKind::TimerCreated { fire_at }));
            (action.id, fire_at)
        });
        (timers.collect::<Vec<_>>(), outcome.completion.is_some())
    };
    assert_eq!(run(3, 0), (vec![(1, begun.plus(7 * DAY))], false));
    assert_eq!(run(7, 1), (vec![], true));
}

#[test]
fn our_own_timers_are_one_however_long_and_whatever_follows() {
    let mut play =
        Play::new(Registry::builder().orchestrator(Orchestrator::new("Main"), async |ctx: OrchestrationContext, (): ()| {
            ctx.timer(30 * DAY).await;
            ctx.timer(3 * DAY).await;
            ctx.timer(30 * DAY).await;
            Ok("")
        }));
    let days = |days: u64| format!("timer {}s", days * 86_400);
    assert_eq!(play.start("Main", None), [format!("#0 {}", days(30))]);
    for (id, next) in [(0, format!("#1 {}", days(3))), (1, format!("#2 {}", days(30))), (2, "completed \"\"".to_owned())] {
        play.now = play.now.plus(30 * DAY);
        assert_eq!(play.turn([fired(id)]), [next]);
    }
}
