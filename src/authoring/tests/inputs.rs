//! Histories that were written by .NET: inputs are compared where they are stored, by what they mean.

use super::play::{Play, done, start, stored};
use crate::authoring::{Activity, Event, OrchestrationContext, Orchestrator, Registry};
use crate::model::{EventKind, HistoryEvent};
use crate::replay::{Difference, Turn};

const MAIN: Orchestrator<(), ()> = Orchestrator::new("Main");
const CHILD: Orchestrator<Vec<u8>, ()> = Orchestrator::new("Child");
const ECHO: Activity<Vec<u8>, ()> = Activity::new("Echo");
const GO: Event<Vec<u8>> = Event::new("Go");

/// What differs when the code calls with `[1]` and history has `before`.
fn differences(before: &EventKind) -> Vec<Difference> {
    let kind = before.clone();
    let registry = Registry::builder().orchestrator(MAIN, move |ctx: OrchestrationContext, ()| {
        let kind = kind.clone();
        async move {
            match kind {
                EventKind::TaskScheduled { .. } => ctx.call(ECHO, vec![1]).await?,
                EventKind::SubOrchestrationCreated { .. } => ctx.call(CHILD, vec![1]).instance_id("c").await?,
                _ => ctx.send_event("to", GO, vec![1]),
            }
            Ok(())
        }
    });
    let play = Play::new(registry);
    let past = [
        HistoryEvent::arriving(play.now, EventKind::OrchestratorStarted),
        HistoryEvent::arriving(play.now, start("Main", None)),
        HistoryEvent::decision(0, play.now, before.clone()),
        HistoryEvent::arriving(play.now, EventKind::OrchestratorCompleted),
    ];
    let new =
        [HistoryEvent::arriving(play.now, EventKind::OrchestratorStarted), HistoryEvent::arriving(play.now, done(0, "null"))];
    play.registry.run_turn(&Turn { past: &stored(&past), new: &stored(&new), ..Turn::default() }).differences
}

fn echo(input: Option<&str>) -> EventKind {
    let (name, input) = ("ECHO".to_owned(), input.map(str::to_owned));
    EventKind::TaskScheduled { name, version: None, input, trace: None, tags: None }
}

fn child(instance_id: &str, input: Option<&str>) -> EventKind {
    let (name, instance_id, input) = ("Child".to_owned(), instance_id.to_owned(), input.map(str::to_owned));
    EventKind::SubOrchestrationCreated { name, version: None, instance_id, input, client_span_id: None, tags: None }
}

fn sent(instance_id: &str, input: Option<&str>) -> EventKind {
    EventKind::EventSent { instance_id: instance_id.to_owned(), name: "Go".to_owned(), input: input.map(str::to_owned) }
}

#[test]
fn what_is_not_stored_or_means_the_same_is_no_difference() {
    for before in [
        echo(None),
        echo(Some("[[1]]")),
        echo(Some(" [ [ 1.0 ] ] ")),
        echo(Some("[1]")),
        child("c", None),
        child("c", Some("[1.0]")),
        sent("to", None),
        sent("to", Some("[ 1 ]")),
    ] {
        assert_eq!(differences(&before), [], "{before:?}");
    }
}

#[test]
fn what_is_stored_and_means_something_else_is_a_difference() {
    for (before, part, history) in [
        (echo(Some("[[2]]")), "input", "[[2]]"),
        (echo(Some("[2]")), "input", "[2]"),
        (child("c", Some("[2]")), "input", "[2]"),
        (child("d", None), "instance id", "d"),
        (sent("to", Some("[2]")), "input", "[2]"),
        (sent("from", Some("[1]")), "instance id", "from"),
    ] {
        let found = differences(&before);
        let [difference] = &found[..] else { panic!("{before:?}: {found:?}") };
        assert_eq!((difference.id, difference.part, difference.history.as_deref()), (0, part, Some(history)), "{before:?}");
    }
}
