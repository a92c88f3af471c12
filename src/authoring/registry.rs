//! What a worker can run: orchestrators and activities by name and version.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::activity::{ActivityContext, Ends};
use super::bare_runtime::{BareRuntime, is_lack};
use super::context::OrchestrationContext;
use super::excess;
use super::failure::Failure;
use super::handle::{Activity, Orchestrator};
use super::names::{Names, Serves};
use super::payload;
use super::rigour::Rigour;
use super::versioning::Versioning;
use crate::bounds;
use crate::model::{ExecutionStarted, FailureDetails, InstanceRef, Tags, TraceContext};
use crate::replay::{self, ActionKind, Completion, Execution, Live, Outcome, Program, Turn, not_durable, panicked};

type Start = Box<dyn Fn(&Rc<Execution>) -> Result<Program, FailureDetails> + Send + Sync>;
type Work = Box<dyn Fn(ActivityTask) -> BoxFuture<'static, Result<Option<String>, FailureDetails>> + Send + Sync>;

/// Everything that a worker can run.
#[derive(Clone)]
pub(crate) struct Registry(Arc<Tables>);

#[derive(Default)]
struct Tables {
    orchestrators: Names<Start>,
    activities: Names<Work>,
    rigour: Rigour,
    versioning: Versioning,
}

/// A call of an activity.
#[derive(Clone, Debug)]
pub(crate) struct ActivityTask {
    pub(crate) instance: InstanceRef,
    pub(crate) task_id: i32,
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) input: Option<String>,
    pub(crate) tags: Tags,
    /// Which attempt of its retry policy it is, from 1.
    pub(crate) attempt: u32,
    /// The span of the call.
    pub(crate) trace: Option<TraceContext>,
    pub(crate) ends: Ends,
}

impl Registry {
    pub(crate) fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// Runs one turn, and judges what it does again.
    pub(crate) fn run_turn(&self, turn: &Turn<'_>) -> Outcome {
        let outcome = self.replay(turn);
        self.0.rigour.judge(turn, outcome, |turn| self.replay(turn))
    }

    /// Runs one turn from the beginning of its history. Panics of user code are failures, and so is what it does with the runtime.
    pub(crate) fn replay(&self, turn: &Turn<'_>) -> Outcome {
        self.watched(turn.orchestrator(), |start| replay::run(turn, start))
    }

    /// Runs one turn over an execution that is live, which is begun if there is none. It is live afterwards if it can go on in another turn.
    pub(crate) fn go_on(&self, live: &mut Option<Live>, turn: &Turn<'_>) -> Outcome {
        let mut execution = match live.take().map_or_else(|| Live::begin(turn), Ok) {
            Ok(execution) => execution,
            Err(outcome) => return outcome,
        };
        let name = execution.started().name.clone();
        let outcome = self.watched(&name, |start| execution.go_on(turn, start));
        let outcome = self.0.rigour.judge(turn, outcome, |turn| self.replay(turn));
        *live = Some(execution).filter(|execution| execution.may_go_on() && outcome.completion.is_none());
        outcome
    }

    /// Whether executions may be live.
    pub(crate) fn takes_live(&self) -> bool {
        self.0.rigour.takes_live()
    }

    /// Runs code in a runtime that has nothing, and judges what it did with that.
    fn watched(&self, orchestrator: &str, run: impl FnOnce(replay::Start<'_>) -> Outcome) -> Outcome {
        let start = |execution: &Rc<Execution>| {
            let started = execution.started();
            let version = started.version.as_deref();
            let start = self.0.orchestrator(&started.name, version);
            start.ok_or_else(|| self.no_orchestrator(&started.name, version))?(execution)
        };
        let runtime = BareRuntime::new();
        let outcome = runtime.within(|| run(&start));
        let has_tasks = runtime.has_tasks();
        let outcome = self.0.with_own_version(outcome);
        let what = match &outcome.completion {
            Some(Completion::Terminated { .. }) => return outcome,
            Some(Completion::Failed { failure }) if is_lack(failure) => "used a timer or socket of the runtime",
            _ if has_tasks => "spawned a task",
            _ => return outcome,
        };
        outcome.broken_off(not_durable(orchestrator, what))
    }

    /// Runs an activity. Panics of user code are failures.
    pub(crate) async fn run_activity(&self, task: ActivityTask) -> Result<Option<String>, FailureDetails> {
        let Some(work) = self.0.activity(&task.name, task.version.as_deref()) else {
            return Err(self.no_activity(&task.name, task.version.as_deref()));
        };
        let name = task.name.clone();
        let result = AssertUnwindSafe(async { work(task).await }).catch_unwind().await;
        result.unwrap_or_else(|panic| Err(panicked("The activity", &name, &*panic)))
    }
}

impl Registry {
    /// Whether what is started so can run here.
    pub(crate) fn hosts(&self, started: &ExecutionStarted) -> bool {
        self.0.orchestrator(&started.name, started.version.as_deref()).is_some()
    }

    /// Whether this version of the activity can run here.
    pub(crate) fn hosts_activity(&self, name: &str, version: Option<&str>) -> bool {
        self.0.activity(name, version).is_some()
    }

    /// The names of all orchestrators, as they were registered.
    pub(crate) fn orchestrator_names(&self) -> Vec<String> {
        self.0.orchestrators.names()
    }

    /// The names of all activities, as they were registered.
    pub(crate) fn activity_names(&self) -> Vec<String> {
        self.0.activities.names()
    }

    /// Whether an orchestrator of this name is here, of whatever version.
    pub(crate) fn knows_orchestrator(&self, name: &str) -> bool {
        self.0.orchestrators.has(name)
    }

    /// Whether an activity of this name is here, of whatever version.
    pub(crate) fn knows_activity(&self, name: &str) -> bool {
        self.0.activities.has(name)
    }

    /// The orchestrator of which this name may be a slip.
    pub(crate) fn orchestrator_close_to(&self, name: &str) -> Option<&str> {
        self.0.orchestrators.close_to(name)
    }

    /// The activity of which this name may be a slip.
    pub(crate) fn activity_close_to(&self, name: &str) -> Option<&str> {
        self.0.activities.close_to(name)
    }

    /// The failure of an instance whose orchestrator is not registered.
    pub(crate) fn no_orchestrator(&self, name: &str, version: Option<&str>) -> FailureDetails {
        if self.0.is_mismatch(name) {
            return self.0.versioning.mismatch(name, version.unwrap_or_default());
        }
        self.with_remedy(self.0.orchestrators.missing("orchestrator", "OrchestratorTaskNotFound", name, version))
    }

    /// Whether instances of this orchestrator fail at once, of a version that the worker does not take.
    pub(crate) fn fails_mismatch(&self, name: &str) -> bool {
        self.0.versioning.fails_others && self.0.is_mismatch(name)
    }

    /// The failure of a call whose activity is not registered.
    pub(crate) fn no_activity(&self, name: &str, version: Option<&str>) -> FailureDetails {
        self.with_remedy(self.0.activities.missing("activity", "ActivityTaskNotFound", name, version))
    }

    /// In a test host a script will do.
    fn with_remedy(&self, mut missing: FailureDetails) -> FailureDetails {
        if self.0.rigour.is_rehearsal() {
            missing.error_message.push_str(" Script it in this test, `.on(HANDLE, |call, input| ..)`, or register it.");
        }
        missing
    }
}

impl Tables {
    fn orchestrator(&self, name: &str, version: Option<&str>) -> Option<&Start> {
        self.orchestrators.find(name, version, |version| self.versioning.takes(version))
    }

    fn activity(&self, name: &str, version: Option<&str>) -> Option<&Work> {
        self.activities.find(name, version, str::is_empty)
    }

    /// Whether an orchestrator that is missing is so because of its version, by which this worker judges.
    fn is_mismatch(&self, name: &str) -> bool {
        !self.versioning.own.is_empty() && self.orchestrators.has_without_version(name)
    }

    /// Children that the code gave no version have that of the worker.
    fn with_own_version(&self, mut outcome: Outcome) -> Outcome {
        if self.versioning.own.is_empty() {
            return outcome;
        }
        for action in &mut outcome.actions {
            if let ActionKind::SubOrchestration { version: version @ None, .. } = &mut action.kind {
                *version = Some(self.versioning.own.clone());
            }
        }
        outcome
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("orchestrators", &self.0.orchestrators.known())
            .field("activities", &self.0.activities.known())
            .finish()
    }
}

/// What is registered: code, and the name of its handle.
pub(crate) struct Code {
    name: &'static str,
    run: Run,
}

enum Run {
    Orchestrator(Start),
    Activity(Work),
}

/// Collects what a worker can run.
#[derive(Default)]
pub(crate) struct RegistryBuilder {
    tables: Tables,
    problems: Vec<String>,
}

/// Why nothing can run what was registered.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub(crate) struct BadRegistration(Vec<String>);

impl Code {
    pub(crate) fn orchestrator<I, O, F, R>(handle: Orchestrator<I, O>, run: F) -> Self
    where
        I: DeserializeOwned + 'static,
        O: Serialize + 'static,
        F: Fn(OrchestrationContext, I) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, Failure>> + 'static,
    {
        let name = handle.name();
        let start: Start = Box::new(move |execution| {
            let what = format!("The input of the orchestrator \"{name}\"");
            let input = payload::decode(execution.started().input.as_deref(), &what)?;
            let running = run(OrchestrationContext::new(Rc::clone(execution)), input);
            Ok(running.map(move |result| output("orchestrator", name, result)).boxed_local())
        });
        Self { name, run: Run::Orchestrator(start) }
    }

    pub(crate) fn activity<I, O, F, R>(handle: Activity<I, O>, run: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + 'static,
        F: Fn(ActivityContext, I) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        let name = handle.name();
        let work: Work = Box::new(move |task| {
            let input = match input(name, handle.is_raw(), task.input.as_deref()) {
                Ok(input) => input,
                Err(failure) => return std::future::ready(Err(failure)).boxed(),
            };
            run(context(task), input).map(move |result| output("activity", name, result)).boxed()
        });
        Self { name, run: Run::Activity(work) }
    }
}

impl RegistryBuilder {
    /// Registers code for these versions. What cannot be registered is told when the registry is built.
    pub(crate) fn host(mut self, code: Code, serves: Serves<'_>) -> Self {
        let Code { name, run } = code;
        // The name of an activity may have any length.
        let (what, why) = match &run {
            Run::Orchestrator(_) => ("orchestrator", bounds::why_no_name("the name of an orchestrator", name)),
            Run::Activity(_) => ("activity", bounds::why_empty("the name of an activity", name)),
        };
        let version = if let Serves::Version(version) = serves { version } else { "" };
        let why = why.or_else(|| bounds::why_no_version(&format!("the version of {what} \"{name}\""), version));
        if let Some(why) = why {
            self.problems.push(why);
            return self;
        }
        let is_first = match run {
            Run::Orchestrator(start) => self.tables.orchestrators.insert(name, serves, start),
            Run::Activity(work) => self.tables.activities.insert(name, serves, work),
        };
        if !is_first {
            self.problems.push(format!("{what} \"{name}\" ({serves}) is registered more than once"));
        }
        self
    }

    /// The version of the worker, and what it makes of others.
    pub(crate) fn versioning(mut self, revise: impl FnOnce(&mut Versioning)) -> Self {
        revise(&mut self.tables.versioning);
        self
    }

    /// What becomes of calls that are not what their history has.
    pub(crate) fn rigour(mut self, rigour: Rigour) -> Self {
        self.tables.rigour = rigour;
        self
    }

    /// Code in the place of whatever serves its name, if anything does. A name that is registered only with a slip of the pen is a problem:
    /// what was meant would go on to answer.
    #[cfg(feature = "testing")]
    pub(crate) fn replace(mut self, all: Vec<Code>) -> Self {
        self.problems.extend(all.iter().filter_map(|code| self.tables.slip(code)));
        for code in all {
            match code.run {
                Run::Orchestrator(start) => self.tables.orchestrators.replace(code.name, start),
                Run::Activity(work) => self.tables.activities.replace(code.name, work),
            }
        }
        self
    }

    /// The registry, unless something could not be registered.
    pub(crate) fn build(mut self) -> Result<Registry, BadRegistration> {
        self.problems.extend(bounds::why_no_version("the version of the worker", &self.tables.versioning.own));
        if self.problems.is_empty() { Ok(Registry(Arc::new(self.tables))) } else { Err(BadRegistration(self.problems)) }
    }
}

#[cfg(feature = "testing")]
impl Tables {
    /// What is wrong with the name of a script, if it is like one that is registered.
    fn slip(&self, code: &Code) -> Option<String> {
        let (name, what) = (code.name, if matches!(code.run, Run::Orchestrator(_)) { "orchestrator" } else { "activity" });
        let (known, meant) = match &code.run {
            Run::Orchestrator(_) => (self.orchestrators.known(), self.orchestrators.close_to(name)?),
            Run::Activity(_) => (self.activities.known(), self.activities.close_to(name)?),
        };
        let known = known.join(", ");
        Some(format!(
            "a script answers for the {what} \"{name}\", which is not registered; registered are: {known}. Did you mean \"{meant}\"? \
             If both are called, register both"
        ))
    }
}

impl fmt::Debug for RegistryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryBuilder").finish_non_exhaustive()
    }
}

/// Reads the input of an activity.
pub(super) fn input<I: DeserializeOwned>(name: &str, is_raw: bool, wire: Option<&str>) -> Result<I, FailureDetails> {
    let what = format!("The input of the activity \"{}\"", name);
    if is_raw {
        // The input type of a raw handle is a text: the wire text in quotes.
        let quoted = payload::encode(wire.unwrap_or("null")).map_err(|error| payload::unencodable(&what, &error))?;
        return serde_json::from_str(&quoted.unwrap_or_default()).map_err(|error| payload::unencodable(&what, &error));
    }
    payload::decode_argument(wire, &what)
}

fn context(task: ActivityTask) -> ActivityContext {
    ActivityContext {
        instance_id: task.instance.instance_id,
        execution_id: task.instance.execution_id.unwrap_or_default(),
        task_id: task.task_id,
        name: task.name,
        tags: task.tags,
        attempt: task.attempt,
        ends: task.ends,
    }
}

fn output<O: Serialize>(what: &str, name: &str, result: Result<O, Failure>) -> Result<Option<String>, FailureDetails> {
    let value = result.map_err(|failure| excess::checked_failure(&format!("the {what} \"{name}\""), failure.into_details()))?;
    let output = format!("The output of the {what} \"{name}\"");
    let json = payload::encode(&value).map_err(|error| payload::unencodable(&output, &error))?;
    excess::checked(&output, json)
}
