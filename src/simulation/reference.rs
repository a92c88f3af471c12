//! Which outputs a program may have: every outcome of a race, and what a run on an ideal store gives.

use std::collections::BTreeSet;

use super::cast::Cast;
use super::ends::Ends;
use super::plan::Plan;
use super::program::{Done, Program, Step, echo, failed, plain};

/// What was sent to an instance.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) events: &'a BTreeSet<String>,
    /// Everything was sent.
    pub(super) exact: bool,
    /// What one client has sent, in its order, if nothing on the way can change that.
    pub(super) ordered: Option<&'a [String]>,
}

/// Why an output is not one that the program can have.
pub(super) fn judge(program: &Program, done: &Done, sent: &Sent<'_>) -> Result<(), String> {
    let Sent { events, exact, ordered } = *sent;
    let waits = program.steps.iter().any(|step| matches!(step, Step::Collect { .. }));
    if done.results.len() != program.steps.len() {
        return Err(format!("{} steps gave {} results: {:?}", program.steps.len(), done.results.len(), done.results));
    }
    for (step, result) in program.steps.iter().zip(&done.results) {
        if !is_allowed(step, result)? {
            return Err(format!("the step {step:?} gave {result:?}"));
        }
    }
    let ballast =
        program.steps.iter().rev().find_map(|step| if let Step::Ballast { bytes } = step { Some(*bytes) } else { None });
    if done.ballast.len() != ballast.unwrap_or(0) {
        return Err(format!("its ballast is {} bytes, not {ballast:?}", done.ballast.len()));
    }
    let received: BTreeSet<_> = done.events.iter().cloned().collect();
    if ordered.is_some_and(|ordered| done.events.iter().filter(|event| ordered.contains(event)).ne(ordered)) && waits {
        return Err(format!("events were not received in the order in which they were sent: {:?}", done.events));
    }
    if received.len() != done.events.len() {
        return Err(format!("an event was received twice: {:?}", done.events));
    }
    if !received.is_subset(events) {
        return Err(format!("an event was received that nobody sent: {:?} of {events:?}", done.events));
    }
    if exact && waits && received != *events {
        return Err(format!("events are missing: received {:?} of {events:?}", done.events));
    }
    Ok(())
}

fn is_allowed(step: &Step, result: &str) -> Result<bool, String> {
    let result = plain(result);
    let result = result.as_str();
    Ok(match step {
        Step::Echo { tag } | Step::Slow { tag, .. } => result == echo(tag),
        Step::Fail { tag, .. } => result == failed(tag),
        Step::Flaky { tag } => result == echo(tag) || result == failed(tag),
        Step::Large { tag, bytes, .. } => result == format!("{tag} {bytes}"),
        Step::Ballast { .. } => result == "loaded",
        Step::Fan { tag, width } => result == fan(tag, *width),
        Step::Fork { tag, width, .. } => {
            result == format!("timer {}", echo(&format!("{tag}.late"))) || result == fan(tag, *width)
        }
        Step::Shout { .. } => result == "sent",
        Step::RaceTimer { tag, .. } => result == "timer" || result == echo(tag),
        Step::RaceEvent { .. } => result == "timer" || result == "event",
        Step::Timer { .. } => result == "in time",
        Step::Child { program, .. } => {
            let done: Done = serde_json::from_str(result).map_err(|e| format!("the child of {step:?} gave {result:?}: {e}"))?;
            judge(program, &done, &Sent { events: &BTreeSet::new(), exact: true, ordered: None })?;
            true
        }
        Step::Rerun { tag } => result == Program::events_of_rerun(tag).join(","),
        Step::Clash | Step::Share => {
            let expected: &[&str] = if *step == Step::Share { &["sent", "in time"] } else { &["in time"] };
            result == "refused" || serde_json::from_str::<Done>(result).is_ok_and(|done| done.results == expected)
        }
        Step::Send { .. } => result == "sent",
        Step::Status { .. } => result == "shown",
        Step::Again => result == "again",
        Step::Collect { .. } => result == "collected",
    })
}

fn fan(tag: &str, width: usize) -> String {
    let one = |n: usize| {
        let tag = format!("{tag}.{n}");
        if n % 5 == 4 { failed(&tag) } else { echo(&tag) }
    };
    (0..width).map(one).collect::<Vec<_>>().join(",")
}

/// Compares a run with the run of the same programs where nothing goes wrong.
pub(super) fn compare(plan: &Plan, ends: &Ends, ideal: &Ends) -> Result<(), String> {
    Cast::of(plan).compare(&ends.instances, &ideal.instances)
}

/// Whether an output agrees with the output of the reference run: the steps that leave no choice are equal.
pub(super) fn agree(program: &Program, done: &Done, ideal: &Done) -> Result<(), String> {
    for ((step, result), ideal) in program.steps.iter().zip(&done.results).zip(&ideal.results) {
        let agrees = match step {
            Step::Flaky { .. }
            | Step::RaceTimer { .. }
            | Step::RaceEvent { .. }
            | Step::Fork { .. }
            | Step::Clash
            | Step::Share => true,
            Step::Child { program, .. } => {
                let done = |json: &str| serde_json::from_str::<Done>(json).map_err(|e| e.to_string());
                agree(program, &done(result)?, &done(ideal)?)?;
                true
            }
            _ => plain(result) == plain(ideal),
        };
        if !agrees {
            return Err(format!("the step {step:?} gave {result:?}, and {ideal:?} where nothing goes wrong"));
        }
    }
    Ok(())
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
