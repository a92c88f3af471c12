//! Random orchestrators as data, and the one interpreter that runs them through the public authoring API.

use std::time::Duration;

use futures::future::{Either, join_all, select};
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::rng::Rng;
use crate::{
    Activity, ActivityContext, AsInput, Call, Event, Failure, OrchestrationContext, Orchestrator, RetryPolicy, TaskFailed,
    WorkerBuilder,
};

pub(super) const PROGRAM: Orchestrator<Program, Done> = Orchestrator::new("Program");
pub(super) const NEWS: Event<String> = Event::new("News");
const ECHO: Activity<String, String> = Activity::new("Echo");
const FAIL: Activity<String, String> = Activity::new("Fail");
const FLAKY: Activity<String, String> = Activity::new("Flaky");
const SLOW: Activity<(String, u64), String> = Activity::new("Slow");
const LARGE: Activity<(String, usize), String> = Activity::new("Large");
const MEASURE: Activity<(String, String), String> = Activity::new("Measure");

/// One step of an orchestrator. Tags are unique, so that a result given to the wrong task shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Step {
    Echo {
        tag: String,
    },
    /// An activity that fails each time, tried again.
    Fail {
        tag: String,
        attempts: u32,
    },
    /// An activity whose first attempts may fail, tried again.
    Flaky {
        tag: String,
    },
    /// An activity that runs for longer than a message is held.
    Slow {
        tag: String,
        seconds: u64,
    },
    /// A payload about as large as a message or a column may be: into the activity, or out of it.
    Large {
        tag: String,
        bytes: usize,
        is_input: bool,
    },
    /// The orchestrator carries so much from here on, into its next generation and into its output.
    Ballast {
        bytes: usize,
    },
    /// Activities at once; every fifth fails.
    Fan {
        tag: String,
        width: usize,
    },
    RaceTimer {
        tag: String,
        slow: u64,
        limit: u64,
    },
    /// The next event, if it comes in time.
    RaceEvent {
        limit: u64,
    },
    /// What is decided next, and how much, depends on what comes first: an event or the time.
    Fork {
        tag: String,
        limit: u64,
        width: usize,
    },
    /// Events to nobody: rows, but no answers.
    Shout {
        count: usize,
    },
    Timer {
        seconds: u64,
    },
    Child {
        id: Option<String>,
        program: Program,
    },
    /// A child that takes an event, and then another one under the same id; each event is sent in the turn that asks for the child.
    Rerun {
        tag: String,
    },
    /// Asks for a child with the id of an instance that a client has started.
    Clash,
    /// Asks for a child with an id that others ask for too.
    Share,
    Send {
        to: String,
        payload: String,
    },
    Status {
        text: String,
    },
    Again,
    /// Waits until this many events have been received altogether.
    Collect {
        total: usize,
    },
}

/// An orchestrator, and how far it has come before it continued as new.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Program {
    pub(super) steps: Vec<Step>,
    pub(super) at: usize,
    pub(super) done: Done,
}

/// The instance whose id others ask for.
pub(super) const SENTRY: &str = "sentry";
/// The id under which several ask for a child.
pub(super) const SHARED: &str = "shared";

impl Program {
    /// What the instance does whose id others ask for: it is there for as long as they are, most often.
    pub(super) fn sentry() -> Self {
        Self { steps: vec![Step::Timer { seconds: 300 }], ..Self::default() }
    }

    /// What a child does whose id others ask for too: its first turn sends something, and it is there for as long as they are, most often.
    fn shared() -> Self {
        Self { steps: vec![Step::Shout { count: 1 }, Step::Timer { seconds: 60 }], ..Self::default() }
    }

    /// Takes one event.
    fn taker() -> Self {
        Self { steps: vec![Step::Collect { total: 1 }], ..Self::default() }
    }

    /// What the children of a rerun are sent.
    pub(super) fn events_of_rerun(tag: &str) -> [String; 2] {
        [format!("{tag}.first"), format!("{tag}.second")]
    }
}

/// What an orchestrator gives back: a result for each step, and the events in the order in which it received them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) results: Vec<String>,
    pub(super) events: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) ballast: String,
}

/// Which build of the code a worker runs: another one gives activities other inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Build {
    First,
    Second,
    /// No orchestrator, and few of the activities.
    Bare,
}

impl Build {
    fn input(self, tag: &str) -> String {
        if self == Self::Second { format!("{tag}+") } else { tag.to_owned() }
    }

    /// Calls an activity; about half of them locally, and in another build others.
    fn call<I: Serialize>(
        self,
        ctx: &OrchestrationContext,
        activity: Activity<I, String>,
        tag: &str,
        input: impl AsInput<I>,
    ) -> Call<Activity<I, String>> {
        let call = ctx.call(activity, input);
        let is_local = tag.bytes().fold(self as u32, |sum, byte| sum.wrapping_mul(31) ^ u32::from(byte)) % 2 == 0;
        if is_local { call.local() } else { call }
    }
}

/// A result without the marks of the build that asked for it.
pub(super) fn plain(result: &str) -> String {
    result.replace('+', "")
}

/// Registers the interpreter and the activities.
pub(super) fn register(worker: WorkerBuilder, build: Build) -> WorkerBuilder {
    let worker = worker
        .activity(ECHO, async |_: ActivityContext, tag: String| Ok(echo(&tag)))
        .activity(FAIL, async |_: ActivityContext, tag: String| Err(Failure::new("ByDesign", tag)));
    if build == Build::Bare {
        return worker;
    }
    worker
        .orchestrator(PROGRAM, move |ctx, program| run(ctx, program, build))
        .activity(FLAKY, async |ctx: ActivityContext, tag: String| {
            let fails = (ctx.task_id() / 2) % 2 == 0;
            if fails { Err(Failure::new("ByDesign", tag)) } else { Ok(echo(&tag)) }
        })
        .activity(SLOW, async |_: ActivityContext, (tag, seconds): (String, u64)| {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok(echo(&tag))
        })
        .activity(LARGE, async |_: ActivityContext, (tag, bytes): (String, usize)| Ok(format!("{tag}{}", "x".repeat(bytes))))
        .activity(MEASURE, async |_: ActivityContext, (tag, text): (String, String)| Ok(format!("{tag} {}", text.len())))
}

pub(super) fn echo(tag: &str) -> String {
    format!("echo {tag}")
}

/// The input that an activity gave this result to, both in JSON; `None` where the result does not tell.
pub(super) fn question(activity: &str, result: &str) -> Option<String> {
    let result: String = (activity == "Echo").then(|| serde_json::from_str(result).ok())??;
    serde_json::to_string(&[result.strip_prefix("echo ")?]).ok()
}

pub(super) fn failed(tag: &str) -> String {
    format!("failed {tag}")
}

async fn run(ctx: OrchestrationContext, mut program: Program, build: Build) -> Result<Done, Failure> {
    while let Some(step) = program.steps.get(program.at).cloned() {
        program.at += 1;
        if step == Step::Again {
            program.done.results.push("again".to_owned());
            return ctx.continue_as_new(PROGRAM, program);
        }
        if let Step::Ballast { bytes } = step {
            program.done.ballast = "x".repeat(bytes);
        }
        let result = perform(&ctx, step, &mut program.done.events, build).await?;
        program.done.results.push(result);
    }
    Ok(program.done)
}

async fn perform(ctx: &OrchestrationContext, step: Step, events: &mut Vec<String>, build: Build) -> Result<String, Failure> {
    let secs = Duration::from_secs;
    Ok(match step {
        Step::Echo { tag } => told(build.call(ctx, ECHO, &tag, build.input(&tag)).await),
        Step::Fail { tag, attempts } => {
            told(build.call(ctx, FAIL, &tag, &tag).retry(RetryPolicy::fixed(attempts, secs(1))).await)
        }
        Step::Flaky { tag } => told(build.call(ctx, FLAKY, &tag, &tag).retry(RetryPolicy::exponential(4, secs(1))).await),
        Step::Slow { tag, seconds } => told(build.call(ctx, SLOW, &tag, (tag.clone(), seconds)).await),
        Step::Large { tag, bytes, is_input: true } => {
            told(build.call(ctx, MEASURE, &tag, (tag.clone(), "x".repeat(bytes))).await)
        }
        Step::Large { tag, bytes, .. } => {
            let all = told(build.call(ctx, LARGE, &tag, (tag.clone(), bytes)).await);
            format!("{} {}", all.trim_end_matches('x'), all.len() - tag.len())
        }
        Step::Ballast { .. } => "loaded".to_owned(),
        Step::Fan { tag, width } => fan(ctx, &tag, width, build).await,
        Step::Fork { tag, limit, width } => match ctx.wait_for_event(NEWS).within(secs(limit)).await {
            Ok(news) => {
                events.push(news);
                fan(ctx, &tag, width, build).await
            }
            Err(_) => {
                let late = told(ctx.call(ECHO, build.input(&format!("{tag}.late"))).await);
                ctx.timer(secs(60)).await;
                format!("timer {late}")
            }
        },
        // All but a few of the messages that runs drop because there is no such instance.
        Step::Shout { count } => {
            (0..count).for_each(|_| ctx.send_event("nobody", NEWS, String::new()));
            "sent".to_owned()
        }
        Step::RaceTimer { tag, slow, limit } => race(ctx, &tag, slow, limit, build).await,
        Step::RaceEvent { limit } => race_event(ctx, events, limit).await,
        Step::Timer { seconds } => {
            let due = ctx.now().plus(secs(seconds));
            ctx.timer(secs(seconds)).await;
            if ctx.now() >= due { "in time" } else { "early" }.to_owned()
        }
        Step::Child { id, program } => {
            let mut call = ctx.call(PROGRAM, &program);
            if let Some(id) = id {
                call = call.instance_id(id);
            }
            let done = call.await?;
            serde_json::to_string(&done)?
        }
        Step::Rerun { tag } => rerun(ctx, &tag).await?,
        Step::Clash => clash(ctx, SENTRY, Program::sentry()).await?,
        Step::Share => clash(ctx, SHARED, Program::shared()).await?,
        Step::Send { to, payload } => {
            ctx.send_event(to, NEWS, payload);
            "sent".to_owned()
        }
        Step::Status { text } => {
            ctx.set_custom_status(&text);
            "shown".to_owned()
        }
        Step::Again => unreachable!("handled by the caller"),
        Step::Collect { total } => collect(ctx, events, total).await,
    })
}

async fn race(ctx: &OrchestrationContext, tag: &str, slow: u64, limit: u64, build: Build) -> String {
    let slow = build.call(ctx, SLOW, tag, (tag.to_owned(), slow));
    match select(slow, ctx.timer(Duration::from_secs(limit))).await {
        Either::Left((result, _)) => told(result),
        Either::Right(_) => "timer".to_owned(),
    }
}

async fn race_event(ctx: &OrchestrationContext, events: &mut Vec<String>, limit: u64) -> String {
    let news = ctx.wait_for_event(NEWS).within(Duration::from_secs(limit)).await;
    let first = if news.is_ok() { "event" } else { "timer" };
    events.extend(news.ok());
    first.to_owned()
}

async fn rerun(ctx: &OrchestrationContext, tag: &str) -> Result<String, Failure> {
    let mut all = Vec::new();
    for payload in Program::events_of_rerun(tag) {
        let child = ctx.call(PROGRAM, Program::taker()).instance_id(tag);
        ctx.send_event(tag, NEWS, payload);
        all.extend(child.await?.events);
    }
    Ok(all.join(","))
}

async fn collect(ctx: &OrchestrationContext, events: &mut Vec<String>, total: usize) -> String {
    while events.len() < total {
        events.push(ctx.wait_for_event(NEWS).await);
    }
    "collected".to_owned()
}

async fn clash(ctx: &OrchestrationContext, id: &str, program: Program) -> Result<String, Failure> {
    match ctx.call(PROGRAM, program).instance_id(id).await {
        Ok(done) => Ok(serde_json::to_string(&done)?),
        Err(refused) if refused.details().error_type == "InstanceIdInUse" => Ok("refused".to_owned()),
        Err(failed) => Ok(told(Err(failed))),
    }
}

async fn fan(ctx: &OrchestrationContext, tag: &str, width: usize, build: Build) -> String {
    let calls = (0..width).map(|n| {
        let tag = format!("{tag}.{n}");
        if n % 5 == 4 { build.call(ctx, FAIL, &tag, &tag) } else { build.call(ctx, ECHO, &tag, build.input(&tag)) }
    });
    join_all(calls).await.into_iter().map(told).collect::<Vec<_>>().join(",")
}

fn told(result: Result<String, TaskFailed>) -> String {
    result.unwrap_or_else(|failure| failed(&failure.details().error_message))
}

/// A length about which something changes: a text with its quotes fits a column, a message with all around it a queue.
pub(super) fn size(rng: &Rng) -> usize {
    let (least, choices) = match rng.below(3) {
        0 => (limits::COLUMN_UNITS_MAX - 5, 6),
        1 => (limits::MESSAGE_BYTES_MAX - 1200, 1200),
        _ => (limits::MESSAGE_BYTES_MAX, 30_000),
    };
    least + usize::try_from(rng.below(choices)).unwrap_or(0)
}

/// What a program may contain.
pub(super) struct Author<'a> {
    pub(super) rng: &'a Rng,
    /// The instance; begins every tag of the program.
    pub(super) name: String,
    /// Instances that exist before this one, to which it may send.
    pub(super) others: Vec<String>,
    /// What it sends: instance and payload.
    pub(super) sent: Vec<(String, String)>,
    pub(super) depth: u32,
}

impl Author<'_> {
    /// A program without the wait for its events, which are not known yet.
    pub(super) fn write(&mut self, steps_max: u64) -> Program {
        let count = 1 + self.rng.below(steps_max);
        // An event that a turn has sent is out, even if the turn is never committed and the next one decides otherwise. So
        // nothing is sent by an execution whose identity depends on a race or on the order of arrival.
        let mut settled = true;
        let mut steps = Vec::new();
        for number in 0..count {
            let tag = format!("{}.{number}", self.name);
            let step = self.step(tag, settled);
            let races = matches!(step, Step::RaceTimer { .. } | Step::RaceEvent { .. } | Step::Fork { .. } | Step::Child { .. });
            settled &= !races;
            steps.push(step);
        }
        Program { steps, ..Program::default() }
    }

    fn step(&mut self, tag: String, settled: bool) -> Step {
        let rng = self.rng;
        let upto = |bound| usize::try_from(rng.below(bound)).unwrap_or(0);
        match rng.below(20) {
            0 => Step::Fail { tag, attempts: 1 + u32::try_from(rng.below(3)).unwrap_or(0) },
            1 => Step::Flaky { tag },
            2 => Step::Slow { tag, seconds: rng.below(45) },
            3 if rng.chance(0.15) => Step::Large { tag, bytes: size(rng), is_input: rng.chance(0.5) },
            3 if rng.chance(0.1) => Step::Ballast { bytes: size(rng) },
            4 | 5 => Step::Fan { tag, width: 2 + upto(6) },
            // About as many rows as one transaction takes.
            6 if rng.chance(0.03) => Step::Fan { tag, width: 90 + upto(14) },
            6 if rng.chance(0.5) => Step::Shout { count: 90 + upto(14) },
            7 | 8 => Step::RaceTimer { tag, slow: rng.below(12), limit: 1 + rng.below(12) },
            9 if rng.chance(0.5) => Step::Fork { tag, limit: 1 + rng.below(20), width: 1 + upto(5) },
            9 => Step::RaceEvent { limit: 1 + rng.below(20) },
            10 | 11 => Step::Timer { seconds: 1 + rng.below(40) },
            12 if self.may_send(settled) && rng.chance(0.3) => Step::Rerun { tag },
            12..=14 if self.depth > 0 => self.child(tag),
            15 if self.may_send(settled) => {
                let to = self.others[usize::try_from(rng.below(self.others.len() as u64)).unwrap_or(0)].clone();
                self.sent.push((to.clone(), tag.clone()));
                Step::Send { to, payload: tag }
            }
            16 if rng.chance(0.1) => {
                Step::Status { text: format!("{tag:s<width$}", width = limits::CUSTOM_STATUS_UNITS_MAX - 2) }
            }
            16 => Step::Status { text: tag },
            17..=19 => Step::Again,
            _ => Step::Echo { tag },
        }
    }

    /// A child may be asked for by a turn that is never committed: it has nobody to send to.
    fn may_send(&self, settled: bool) -> bool {
        settled && !self.others.is_empty()
    }

    fn child(&self, tag: String) -> Step {
        let own_id = self.rng.chance(0.5);
        let (others, sent) = (Vec::new(), Vec::new());
        let mut author = Author { rng: self.rng, name: tag.clone(), others, sent, depth: self.depth - 1 };
        Step::Child { id: own_id.then_some(tag), program: author.write(3) }
    }
}
