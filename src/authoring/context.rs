//! The context of an orchestrator: everything that its code may do.

use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::call::{Call, Detached, NamedActivity, NamedOrchestrator, add_tag, invalid_id};
use super::excess;
use super::failure::Failure;
use super::handle::{AsInput, Callable, Event, Orchestrator};
use super::payload;
use super::wait::{Timer, WaitForEvent};
use crate::bounds;
use crate::ids;
use crate::model::{FIRE_AND_FORGET, FailureDetails, ParentInstance, Tags, Timestamp};
use crate::replay::{ActionKind, Execution, Next, TaskWait};

/// The way of an orchestrator to the world.
///
/// An orchestrator runs again from its start after a crash, a hand-over and a restart, and its calls are then answered from history. So it
/// must do the same each time: everything that varies comes through the context, or from an activity. It awaits only what the
/// context gives it; a combination of that by `join_all`, `select` and the like is fine.
///
/// The context cannot leave the orchestrator: moving it to another task does not compile.
///
/// ```compile_fail
/// use taskhub::OrchestrationContext;
///
/// fn leave(ctx: OrchestrationContext) {
///     tokio::spawn(async move { ctx.now() });
/// }
/// ```
#[derive(Clone, Debug)]
pub struct OrchestrationContext {
    pub(super) execution: Rc<Execution>,
}

impl OrchestrationContext {
    pub(super) fn new(execution: Rc<Execution>) -> Self {
        Self { execution }
    }

    /// Calls an activity, or an orchestrator as a sub-orchestration. The task is scheduled now; await the answer for its
    /// result.
    ///
    /// ```
    /// use futures::future::try_join_all;
    /// use taskhub::{Activity, Failure, OrchestrationContext};
    ///
    /// const LIST: Activity<String, Vec<String>> = Activity::new("List");
    /// const COPY: Activity<String, u64> = Activity::new("Copy");
    ///
    /// async fn backup(ctx: OrchestrationContext, root: String) -> Result<u64, Failure> {
    ///     let files = ctx.call(LIST, root).await?;
    ///     let sizes = try_join_all(files.iter().map(|file| ctx.call(COPY, file))).await?;
    ///     Ok(sizes.iter().sum())
    /// }
    /// # let _ = backup;
    /// ```
    #[allow(clippy::needless_pass_by_value, reason = "a value and a reference both serve as input")]
    pub fn call<C: Callable>(&self, callee: C, input: impl AsInput<C::Input>) -> Call<C> {
        let name = callee.task_name();
        let json = input.with(serde_json::to_string);
        let wait = self.schedule(name, callee.is_orchestrator(), json.map(|json| callee.wire(json)));
        Call::new(wait)
    }

    /// Calls an activity by its name, where that is known at run time only. An input that is JSON text already is given as a
    /// [`RawValue`](crate::RawValue).
    #[allow(clippy::needless_pass_by_value, reason = "a value and a reference both serve as input")]
    pub fn call_named<O: DeserializeOwned>(&self, name: &str, input: impl Serialize) -> Call<NamedActivity<O>> {
        let json = serde_json::to_string(&input).map(|json| Some(payload::as_argument(json)));
        Call::new(self.schedule(name, false, json))
    }

    /// Calls an orchestrator by its name, [as](Self::call_named) an activity.
    #[allow(clippy::needless_pass_by_value, reason = "a value and a reference both serve as input")]
    pub fn call_sub_orchestration_named<O: DeserializeOwned>(
        &self,
        name: &str,
        input: impl Serialize,
    ) -> Call<NamedOrchestrator<O>> {
        Call::new(self.schedule(name, true, payload::encode(&input)))
    }

    fn schedule(&self, name: &str, is_orchestrator: bool, input: Result<Option<String>, serde_json::Error>) -> TaskWait {
        match input {
            Ok(input) => {
                let kind = decision(name, is_orchestrator, input);
                match self.excess_of(&kind) {
                    None => self.execution.call(kind),
                    Some(excess) => self.execution.refuse(name, excess),
                }
            }
            Err(error) => self.execution.refuse(name, payload::unencodable(&format!("The input of \"{name}\""), &error)),
        }
    }

    fn excess_of(&self, kind: &ActionKind) -> Option<FailureDetails> {
        excess::of_decision(kind, self.execution.started().tags.as_ref())
    }

    /// Starts an orchestration that nobody waits for: its end and its failure are its own.
    #[allow(clippy::must_use_candidate, reason = "the child is started either way")]
    #[allow(clippy::needless_pass_by_value, reason = "a value and a reference both serve as input")]
    pub fn start_orchestration<I: Serialize, O>(&self, callee: Orchestrator<I, O>, input: impl AsInput<I>) -> Detached {
        let name = callee.name();
        let json = input.with(payload::encode).unwrap_or_else(|error| {
            self.execution.fault(payload::unencodable(&format!("The input of \"{name}\""), &error));
            None
        });
        let mut kind = decision(name, true, json);
        add_tag(&mut kind, FIRE_AND_FORGET.to_owned(), String::new());
        let excess = self.excess_of(&kind);
        let id = self.execution.decide(kind);
        if let Some(excess) = excess {
            self.execution.withdraw(id, excess);
        }
        Detached { id, execution: Rc::clone(&self.execution) }
    }

    /// Waits for the next event of that name; [`WaitForEvent::within`] limits the wait.
    ///
    /// An event whose payload does not fit `T` fails the orchestrator. To decide in code what a wrong one means, take
    /// `Event<serde_json::Value>` or `Event<Box<RawValue>>`; see [`WaitForEvent`].
    pub fn wait_for_event<T: DeserializeOwned>(&self, event: Event<T>) -> WaitForEvent<T> {
        WaitForEvent::new(self.execution.wait_for_event(event.name()), event.name())
    }

    /// Sends an event to another orchestration. Nothing tells whether there is one that wants it; an id that no instance can have,
    /// empty or longer than a table key, fails the orchestrator, and so does a payload that could not be read back.
    #[allow(clippy::needless_pass_by_value, reason = "a value and a reference both serve as input")]
    pub fn send_event<T: Serialize>(&self, instance_id: impl Into<String>, event: Event<T>, payload: impl AsInput<T>) {
        let (instance_id, name) = (instance_id.into(), event.name().to_owned());
        if let Some(why) = ids::why_no_key(&instance_id) {
            return self.execution.fault(invalid_id(&instance_id, &why));
        }
        match payload.with(payload::encode) {
            Ok(input) => {
                let kind = ActionKind::SendEvent { instance_id, name, input };
                match self.excess_of(&kind) {
                    None => drop(self.execution.decide(kind)),
                    Some(excess) => self.execution.fault(excess),
                }
            }
            Err(error) => self.execution.fault(payload::unencodable(&format!("The payload of the event \"{name}\""), &error)),
        }
    }

    /// A durable timer of any length. It never fires early.
    pub fn timer(&self, duration: Duration) -> Timer {
        self.timer_until(self.now().plus(duration))
    }

    /// A durable timer that fires at a time; at once, if that is over.
    pub fn timer_until(&self, time: Timestamp) -> Timer {
        Timer(self.execution.timer(time))
    }

    /// The current time, which is the same in every replay. It stands still between two awaits.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.execution.now()
    }

    /// A unique id, which is the same in every replay.
    #[must_use]
    pub fn new_uuid(&self) -> Uuid {
        self.execution.new_uuid()
    }

    /// Whether the code is only catching up with history. Log lines of `tracing` are dropped then, without asking this.
    #[must_use]
    pub fn is_replaying(&self) -> bool {
        self.execution.is_replaying()
    }

    /// Whether this execution runs with a change of the orchestrator's code, so that executions from before the change go on as they began.
    ///
    /// True, unless the code came past this place in an earlier turn in which it did not ask: the change was not there then. The first
    /// answer to a name holds for the whole execution, until it ends or continues as new, and whatever worker goes on with it.
    /// True is recorded in the history, as an event that replay passes over, here and in .NET. So the question can be taken out of
    /// the code again when no execution is left that would be answered no, and code from before the change can replay what has not come
    /// past this place. docs/versioning.md shows a change from its beginning to its end.
    ///
    /// ```
    /// use taskhub::{Activity, Failure, OrchestrationContext};
    ///
    /// const CHARGE: Activity<u32, ()> = Activity::new("Charge");
    /// const CHECK_FRAUD: Activity<u32, bool> = Activity::new("CheckFraud");
    ///
    /// async fn pay(ctx: OrchestrationContext, cents: u32) -> Result<(), Failure> {
    ///     if ctx.patched("fraud check") && !ctx.call(CHECK_FRAUD, cents).await? {
    ///         return Err(Failure::new("Refused", "it looks like fraud"));
    ///     }
    ///     Ok(ctx.call(CHARGE, cents).await?)
    /// }
    /// # let _ = pay;
    /// ```
    ///
    /// A name that is empty, or has more than 2,048 UTF-16 units, fails the orchestrator. One orchestrator needs a name of its own for each
    /// change.
    #[must_use]
    pub fn patched(&self, change: &str) -> bool {
        match bounds::why_no_name("the name of a change of the code", change) {
            None => self.execution.is_patched(change),
            Some(why) => {
                self.execution.fault(Failure::new("InvalidPatch", why).into_details());
                false
            }
        }
    }

    /// Shows a value beside the status of the instance; null removes it.
    ///
    /// It is a row's column, so its JSON may have 8,192 UTF-16 units (16 KiB, as in Durable Functions). If a turn ends with a
    /// longer one, the instance fails, and shows the status before it. A value that has no JSON fails the orchestrator too.
    pub fn set_custom_status(&self, status: &(impl Serialize + ?Sized)) {
        match payload::encode(status) {
            Ok(json) => self.execution.set_custom_status(json),
            Err(error) => self.execution.fault(payload::unencodable("The custom status", &error)),
        }
    }

    /// Starts over with a new input and an empty history; to be returned from the orchestrator, whose handle types the input. Events
    /// that nobody has consumed are carried over.
    ///
    /// ```
    /// use std::time::Duration;
    /// use taskhub::{Activity, Failure, OrchestrationContext, Orchestrator};
    ///
    /// const POLL: Activity<String, bool> = Activity::new("Poll");
    /// const MONITOR: Orchestrator<String, ()> = Orchestrator::new("Monitor");
    ///
    /// async fn monitor(ctx: OrchestrationContext, job: String) -> Result<(), Failure> {
    ///     if ctx.call(POLL, &job).await? {
    ///         return Ok(());
    ///     }
    ///     ctx.timer(Duration::from_secs(60)).await;
    ///     ctx.continue_as_new(MONITOR, job)
    /// }
    /// # let _ = monitor;
    /// ```
    ///
    /// It cannot be caught: from this call on the orchestrator asks for nothing more, whatever its code makes of the error, and compensations of
    /// a [saga](Self::saga) do not run.
    ///
    /// # Errors
    ///
    /// Always, so that it can be returned from anywhere. The instance fails if the handle is that of another orchestrator, because an instance
    /// keeps its name, and if the input cannot be written as JSON or is too large.
    pub fn continue_as_new<I: Serialize, O>(&self, this: Orchestrator<I, O>, input: impl AsInput<I>) -> Result<O, Failure> {
        Err(self.begin_next(this, input, None))
    }

    /// [`continue_as_new`](Self::continue_as_new) with another version of the orchestrator.
    ///
    /// # Errors
    ///
    /// As [`continue_as_new`](Self::continue_as_new).
    pub fn continue_as_new_version<I: Serialize, O>(
        &self,
        this: Orchestrator<I, O>,
        input: impl AsInput<I>,
        version: impl Into<String>,
    ) -> Result<O, Failure> {
        Err(self.begin_next(this, input, Some(version.into())))
    }

    #[allow(clippy::needless_pass_by_value, reason = "a value and a reference both serve as input")]
    fn begin_next<I: Serialize, O>(&self, this: Orchestrator<I, O>, input: impl AsInput<I>, version: Option<String>) -> Failure {
        let what = "The input of the next generation";
        let next = input.with(payload::encode).map_err(|error| payload::unencodable(what, &error)).and_then(|input| {
            self.check_own(this.name())?;
            Ok((excess::checked(what, input)?, excess::checked_version(version)?))
        });
        match next {
            Ok((input, version)) => self.execution.continue_as_new(Next { input, version }),
            Err(failure) => self.execution.fault(failure),
        }
        Failure::new("ContinueAsNew", "the orchestrator continues as new; what it does with this error makes no difference")
    }

    /// An instance keeps the name that it was started with.
    fn check_own(&self, name: &str) -> Result<(), FailureDetails> {
        let own = self.name();
        if own.to_lowercase() == name.to_lowercase() {
            return Ok(());
        }
        let error_message = format!(
            "The orchestrator \"{own}\" cannot continue as new with the handle of \"{name}\": an instance keeps its name."
        );
        let error_type = "WrongOrchestrator".to_owned();
        Err(FailureDetails { error_type, error_message, is_non_retriable: true, ..FailureDetails::default() })
    }

    /// The name of this orchestrator.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.execution.started().name
    }

    /// The id of this instance.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.execution.started().instance.instance_id
    }

    /// The id of this execution: the instance between two continue-as-news.
    #[must_use]
    pub fn execution_id(&self) -> &str {
        self.execution.started().instance.execution_id.as_deref().unwrap_or_default()
    }

    /// The orchestration that waits for this one.
    #[must_use]
    pub fn parent(&self) -> Option<&ParentInstance> {
        self.execution.started().parent.as_ref()
    }

    /// The version that this instance was started with.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.execution.started().version.as_deref().filter(|version| !version.is_empty())
    }

    /// The tags of this instance.
    #[must_use]
    pub fn tags(&self) -> Tags {
        self.execution.started().tags.clone().unwrap_or_default()
    }
}

fn decision(name: &str, is_orchestrator: bool, input: Option<String>) -> ActionKind {
    let name = name.to_owned();
    if is_orchestrator {
        ActionKind::SubOrchestration { name, version: None, instance_id: None, input, tags: None }
    } else {
        ActionKind::Activity { name, version: None, input, tags: None, is_local: false }
    }
}
