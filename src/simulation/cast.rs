//! The instances of a run and the clients that start them, talk to them and judge their ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::ends::{self, End};
use super::plan::{Class, Plan};
use super::program::{self, Author, Done, NEWS, PROGRAM, Program, SENTRY, Step};
use super::reference::{self, Sent};
use super::world::World;
use super::{peer, trace};
use crate::model::RuntimeStatus;
use crate::rng::Rng;
use crate::{Client, ErrorKind};

/// How long everything may take to come to its end once the faults are over.
const BOUND: Duration = Duration::from_secs(3600);

/// All instances of a run.
pub(super) struct Cast {
    parts: Vec<Part>,
    rng: Rng,
}

/// One instance that a client starts.
struct Part {
    id: String,
    program: Program,
    /// What clients raise to it.
    raised: Vec<String>,
    /// All that is sent to it.
    events: BTreeSet<String>,
    is_paused: bool,
    is_terminated: bool,
}

impl Cast {
    pub(super) fn of(plan: &Plan) -> Self {
        let rng = Rng::seeded(plan.seed ^ 0xca57);
        let mut parts: Vec<Part> = Vec::new();
        for number in 0..plan.instances {
            let id = format!("i{number}");
            let others = parts.iter().map(|part| part.id.clone()).collect();
            // Each has its own source, so that fewer instances are otherwise the same.
            let own = rng.fork();
            let mut author = Author { rng: &own, name: id.clone(), others, sent: Vec::new(), depth: 2 };
            let program = author.write(plan.steps);
            let sent = author.sent;
            let sends = !sent.is_empty();
            for (to, payload) in sent {
                for part in parts.iter_mut().filter(|part| part.id == to) {
                    part.events.insert(payload.clone());
                }
            }
            let padding = |own: &Rng| if own.chance(0.03) { "x".repeat(program::size(own)) } else { String::new() };
            let raised: Vec<_> = (0..own.below(6)).map(|n| format!("{id}.event{n}{}", padding(&own))).collect();
            let events = raised.iter().cloned().collect();
            let control = plan.has(Class::Control);
            let (is_paused, is_terminated) = (own.chance(0.4) && control, own.chance(0.15) && control);
            // Somebody waits for what it sends, and would wait for ever.
            let is_terminated = is_terminated && !sends;
            parts.push(Part { id, program, raised, events, is_paused, is_terminated });
        }
        crowd(plan, &mut parts);
        take_early(plan, &mut parts);
        for part in &mut parts {
            reference::add_wait(&mut part.program, part.events.len());
        }
        Self { parts, rng: rng.fork() }
    }

    /// Starts everything, disturbs it, and waits for its end without faults.
    pub(super) async fn play(&self, world: &World) {
        let (rng, peer) = (self.rng.fork(), self.rng.fork());
        let setting = async {
            let client = loop {
                let opened = world.process("client".to_owned(), &rng).await;
                if let Ok((hub, ..)) = opened {
                    // What it sends may come too late.
                    break Client::new(&hub).unchecked();
                }
            };
            let all = self.parts.iter().map(|part| self.direct(part, &client, rng.fork()));
            let ready = async {
                for part in &self.parts {
                    start(&client, part).await;
                    tokio::time::sleep(rng.between(Duration::ZERO, Duration::from_secs(4))).await;
                }
            };
            ready.await;
            join_all(all).await;
        };
        futures::join!(setting, world.torment(), peer::haunt(world, peer));
        world.calm_down();
        self.all_end(world).await;
        if world.plan.has(Class::Delay) {
            // Answers may still be on their way, and time out.
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        self.judge(world).await;
    }

    /// What a client does to one instance after its start.
    async fn direct(&self, part: &Part, client: &Client, rng: Rng) {
        let pause = Duration::from_millis(if part.raised.len() > 20 { 200 } else { 20_000 });
        for payload in &part.raised {
            tokio::time::sleep(rng.between(Duration::ZERO, pause)).await;
            // The same message until it is known to be sent: an event raised anew would be another one.
            let event = client.event(&part.id, NEWS, payload).expect("a text is JSON");
            until_done(&format!("raise {payload}"), || client.put(event.clone())).await;
        }
        if part.is_paused {
            tokio::time::sleep(rng.between(Duration::ZERO, Duration::from_secs(10))).await;
            until_done("suspend", || client.suspend(&part.id, "pause")).await;
            tokio::time::sleep(rng.between(Duration::ZERO, Duration::from_secs(30))).await;
            until_done("resume", || client.resume(&part.id, "pause over")).await;
        }
        if part.is_terminated {
            tokio::time::sleep(rng.between(Duration::ZERO, Duration::from_secs(60))).await;
            until_done("terminate", || client.terminate(&part.id, "enough")).await;
        }
    }

    /// Waits until every instance has ended and every queue is empty.
    async fn all_end(&self, world: &World) {
        let begun = Instant::now();
        let mut again = Duration::from_secs(60);
        while !ends::all_have_come(world) {
            if begun.elapsed() > BOUND {
                let open = ends::open_ends(world);
                ends::show_histories(world);
                self.parts.iter().for_each(|part| trace::line(&format_args!("{}: {:?}", part.id, part.program)));
                return trace::fail(&format_args!("these do not end: {open:?}"));
            }
            // Queues keep no order: a suspension may have come after the resumption that was sent later.
            if begun.elapsed() > again {
                again *= 2;
                self.resume_all(world).await;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn resume_all(&self, world: &World) {
        if let Ok((hub, ..)) = world.process("resumer".to_owned(), &self.rng.fork()).await {
            let client = Client::new(&hub).unchecked();
            for part in self.parts.iter().filter(|part| part.is_paused) {
                until_done("resume", || client.resume(&part.id, "go on")).await;
            }
        }
    }

    async fn judge(&self, world: &World) {
        let rng = self.rng.fork();
        let Ok((hub, ..)) = world.process("judge".to_owned(), &rng).await else {
            return trace::fail(&"the hub cannot be opened without faults");
        };
        let client = Client::new(&hub);
        for part in &self.parts {
            match self.judge_part(part, &client, world.plan.is_in_order()).await {
                Ok(end) => drop(world.ends.borrow_mut().insert(part.id.clone(), end)),
                Err(broken) => trace::fail(&format_args!("instance {}: {broken}", part.id)),
            }
        }
        match client.poison().await {
            // A put whose answer was lost is done again, and the copy may find its body gone with the first.
            Ok(parked) if parked.iter().all(|message| message.reason.contains("is missing")) => {}
            other => trace::fail(&format_args!("parked messages: {other:?}")),
        }
    }

    async fn judge_part(&self, part: &Part, client: &Client, is_in_order: bool) -> Result<End, String> {
        let status = client.status(&part.id).await.map_err(|e| e.to_string())?.ok_or("it is lost")?;
        let custom_status = status.custom_status.as_deref().map(|json| json.trim_matches('"').to_owned());
        if part.is_terminated && status.status == RuntimeStatus::Terminated {
            return Ok(End { done: None, custom_status });
        }
        let done: Done = status.output().map_err(|e| e.to_string())?;
        // Its sender may have been terminated before it sent.
        let exact = !self.parts.iter().any(|part| part.is_terminated);
        let sent = Sent { events: &part.events, exact, ordered: is_in_order.then_some(&*part.raised) };
        reference::judge(&part.program, &done, &sent)?;
        if custom_status.as_deref() != reference::last_status(&part.program) {
            return Err(format!("its custom status is {custom_status:?}: {:?}", part.program));
        }
        Ok(End { done: Some(done), custom_status })
    }

    /// Compares the ends of these instances with those that they have where nothing goes wrong.
    pub(super) fn compare(&self, ends: &BTreeMap<String, End>, ideal: &BTreeMap<String, End>) -> Result<(), String> {
        for part in &self.parts {
            let (Some(end), Some(ideal)) = (ends.get(&part.id), ideal.get(&part.id)) else {
                return Err(format!("instance {}: there are not two ends to compare", part.id));
            };
            let (Some(done), Some(ideal_done)) = (&end.done, &ideal.done) else { continue };
            reference::agree(&part.program, done, ideal_done).map_err(|broken| format!("instance {}: {broken}", part.id))?;
            if end.custom_status != ideal.custom_status {
                return Err(format!("instance {}: custom status {:?} and {:?}", part.id, end.custom_status, ideal.custom_status));
            }
        }
        Ok(())
    }
}

/// In a few runs more events wait than a transaction holds, or children clash with an instance that a client has started, or with each other.
fn crowd(plan: &Plan, parts: &mut Vec<Part>) {
    // A source of its own: all other runs are as they would be without.
    let rng = Rng::seeded(plan.seed ^ 0xc40d);
    if let Some(part) = parts.first_mut().filter(|_| rng.chance(0.03)) {
        part.raised.extend((0..95 + rng.below(40)).map(|n| format!("{}.crowd{n}", part.id)));
        part.events.extend(part.raised.iter().cloned());
        let pauses = (0..1 + rng.below(3)).flat_map(|_| [Step::Timer { seconds: 1 + rng.below(30) }, Step::Again]);
        part.program.steps.splice(0..0, pauses);
    }
    if rng.chance(0.06) {
        for part in &mut *parts {
            let at = usize::try_from(rng.below(part.program.steps.len() as u64 + 1)).unwrap_or(0);
            part.program.steps.insert(at, Step::Clash);
        }
        let sentry = Part {
            id: SENTRY.to_owned(),
            program: Program::sentry(),
            raised: Vec::new(),
            events: BTreeSet::new(),
            is_paused: false,
            is_terminated: false,
        };
        parts.insert(0, sentry);
    }
    if plan.shares_an_id() {
        for part in parts.iter_mut().filter(|part| part.id != SENTRY) {
            part.program.steps.insert(0, Step::Share);
        }
    }
}

/// In some programs a generation ends with events that it has taken, while others are still to come: what comes again is a twin then.
fn take_early(plan: &Plan, parts: &mut [Part]) {
    let rng = Rng::seeded(plan.seed ^ 0xea51);
    let below = |bound: usize| usize::try_from(rng.below(bound as u64)).unwrap_or(0);
    for part in parts.iter_mut().filter(|part| !part.events.is_empty() && rng.chance(0.4)) {
        let steps = &mut part.program.steps;
        // The identity of the next generation depends on the order of arrival, so nothing is sent behind.
        let settled = steps.iter().rposition(|step| matches!(step, Step::Send { .. })).map_or(0, |last| last + 1);
        let at = settled + below(steps.len() - settled + 1);
        let total = 1 + below(part.events.len());
        steps.splice(at..at, [Step::Collect { total }, Step::Again]);
    }
}

async fn start(client: &Client, part: &Part) {
    loop {
        let Err(error) = client.start(PROGRAM, &part.program).instance_id(&part.id).await else { return };
        trace::line(&format_args!("start of {} failed: {error}", part.id));
        if error.kind() == ErrorKind::AlreadyExists || matches!(client.status(&part.id).await, Ok(Some(_))) {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Acts until it succeeds. Whether it did at once.
async fn until_done<F>(what: &str, act: impl Fn() -> F)
where
    F: Future<Output = crate::error::Result<()>>,
{
    while let Err(error) = act().await {
        trace::line(&format_args!("{what} failed: {error}"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
