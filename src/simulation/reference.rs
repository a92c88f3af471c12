//! Which outputs a program may have: what an ideal engine on an ideal store gives, every outcome of a race included.

use std::collections::BTreeSet;

use super::program::{Done, LARGE_BYTES, Program, Step, echo, failed};

/// Why an output is not one that the program can have. `events`: all that was sent to the instance.
pub(super) fn judge(program: &Program, done: &Done, events: &BTreeSet<String>, exact: bool) -> Result<(), String> {
    if done.results.len() != program.steps.len() {
        return Err(format!("{} steps gave {} results: {:?}", program.steps.len(), done.results.len(), done.results));
    }
    for (step, result) in program.steps.iter().zip(&done.results) {
        if !is_allowed(step, result)? {
            return Err(format!("the step {step:?} gave {result:?}"));
        }
    }
    let received: BTreeSet<_> = done.events.iter().cloned().collect();
    if exact && received.len() != done.events.len() {
        return Err(format!("an event was received twice: {:?}", done.events));
    }
    if !received.is_subset(events) {
        return Err(format!("an event was received that nobody sent: {:?} of {events:?}", done.events));
    }
    let waits = program.steps.iter().any(|step| matches!(step, Step::Collect { .. }));
    if exact && waits && received != *events {
        return Err(format!("events are missing: received {:?} of {events:?}", done.events));
    }
    Ok(())
}

fn is_allowed(step: &Step, result: &str) -> Result<bool, String> {
    Ok(match step {
        Step::Echo { tag } | Step::Slow { tag, .. } => result == echo(tag),
        Step::Fail { tag, .. } => result == failed(tag),
        Step::Flaky { tag } => result == echo(tag) || result == failed(tag),
        Step::Large { tag } => result == format!("{tag} {LARGE_BYTES}"),
        Step::Fan { tag, width } => {
            let one = |n: usize| {
                let tag = format!("{tag}.{n}");
                if n % 5 == 4 { failed(&tag) } else { echo(&tag) }
            };
            result == (0..*width).map(one).collect::<Vec<_>>().join(",")
        }
        Step::RaceTimer { tag, .. } => result == "timer" || result == echo(tag),
        Step::RaceEvent { .. } => result == "timer" || result == "event",
        Step::Timer { .. } => result == "in time",
        Step::Child { program, .. } => {
            let done: Done = serde_json::from_str(result).map_err(|e| format!("the child of {step:?} gave {result:?}: {e}"))?;
            judge(program, &done, &BTreeSet::new(), true)?;
            true
        }
        Step::Send { .. } => result == "sent",
        Step::Status { .. } => result == "shown",
        Step::Again => result == "again",
        Step::Collect { .. } => result == "collected",
    })
}

/// The custom status that the instance ends with.
pub(super) fn last_status(program: &Program) -> Option<&str> {
    program.steps.iter().rev().find_map(|step| match step {
        Step::Status { text } => Some(text.as_str()),
        _ => None,
    })
}

/// How many events a program waits for at its end.
pub(super) fn add_wait(program: &mut Program, total: usize) {
    if total > 0 {
        program.steps.push(Step::Collect { total });
    }
}
