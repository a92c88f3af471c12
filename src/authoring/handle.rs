//! Typed handles: the stored name of an activity, orchestrator or event, and the types that go with it.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::payload;
#[cfg(feature = "testing")]
use crate::model::FailureDetails;

/// An activity: the name under which it is stored, its input type and its output type.
///
/// The handle types both the registration and every call. The name is what other workers and history know; the Rust function
/// behind it can be renamed at will. Names are compared without regard to case, and none is empty.
///
/// ```
/// use taskhub::Activity;
///
/// const GREET: Activity<String, String> = Activity::new("Greet");
/// assert_eq!(GREET.name(), "Greet");
/// ```
pub struct Activity<I, O> {
    name: &'static str,
    raw: bool,
    types: PhantomData<fn(I) -> O>,
}

/// An orchestrator: the name under which it is stored, its input type and its output type. Names are compared without regard to
/// case; they have 1 to 2,048 UTF-16 units.
///
/// ```
/// use taskhub::{Activity, Failure, OrchestrationContext, Orchestrator};
///
/// const GREET: Activity<String, String> = Activity::new("Greet");
/// const HELLO: Orchestrator<Vec<String>, Vec<String>> = Orchestrator::new("Hello");
///
/// async fn hello(ctx: OrchestrationContext, cities: Vec<String>) -> Result<Vec<String>, Failure> {
///     let mut greetings = Vec::new();
///     for city in &cities {
///         greetings.push(ctx.call(GREET, city).await?);
///     }
///     Ok(greetings)
/// }
/// # let _ = (HELLO, hello);
/// ```
pub struct Orchestrator<I, O> {
    name: &'static str,
    types: PhantomData<fn(I) -> O>,
}

/// An external event: its name, which is compared without regard to case and not empty, and the type of its payload.
///
/// ```
/// use taskhub::Event;
///
/// const APPROVAL: Event<bool> = Event::new("Approval");
/// # let _ = APPROVAL;
/// ```
pub struct Event<T> {
    name: &'static str,
    types: PhantomData<fn() -> T>,
}

impl<I, O> Activity<I, O> {
    /// A handle of the activity that is stored under this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, raw: false, types: PhantomData }
    }

    /// The stored name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn is_raw(&self) -> bool {
        self.raw
    }
}

impl<O> Activity<String, O> {
    /// A handle of an activity that takes its input as it is on the wire: a JSON text, in which .NET puts an array of the
    /// arguments. Callers give that text.
    ///
    /// ```
    /// use taskhub::Activity;
    ///
    /// const AUDIT: Activity<String, ()> = Activity::raw("Audit");
    /// # let _ = AUDIT;
    /// ```
    #[must_use]
    pub const fn raw(name: &'static str) -> Self {
        Self { name, raw: true, types: PhantomData }
    }
}

impl<I, O> Orchestrator<I, O> {
    /// A handle of the orchestrator that is stored under this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, types: PhantomData }
    }

    /// The stored name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> Event<T> {
    /// A handle of the event of this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, types: PhantomData }
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// What [`OrchestrationContext::call`](crate::OrchestrationContext::call) can call: an [`Activity`] or, as a
/// sub-orchestration, an [`Orchestrator`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be called",
    label = "expected a handle, `Activity` or `Orchestrator`",
    note = "`call_named` calls an activity by its name, and `call_sub_orchestration_named` an orchestrator"
)]
pub trait Callable: sealed::Request {
    /// What it takes.
    type Input: Serialize;
    /// What it gives back.
    type Output: DeserializeOwned;
}

impl<I: Serialize, O: DeserializeOwned> Callable for Activity<I, O> {
    type Input = I;
    type Output = O;
}

impl<I: Serialize, O: DeserializeOwned> Callable for Orchestrator<I, O> {
    type Input = I;
    type Output = O;
}

/// A value or reference that serves as an input of type `I`; a `&str` serves as a `String`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an input of type `{I}`",
    label = "expected `{I}` or `&{I}`",
    note = "a handle types the input of its activity or orchestrator, and the payload of its event"
)]
pub trait AsInput<I> {
    /// Calls `f` with the input.
    #[doc(hidden)]
    fn with<R>(&self, f: impl FnOnce(&I) -> R) -> R;
}

impl<I> AsInput<I> for I {
    fn with<R>(&self, f: impl FnOnce(&I) -> R) -> R {
        f(self)
    }
}

impl<I> AsInput<I> for &I {
    fn with<R>(&self, f: impl FnOnce(&I) -> R) -> R {
        f(self)
    }
}

impl AsInput<String> for &str {
    fn with<R>(&self, f: impl FnOnce(&String) -> R) -> R {
        f(&(*self).to_owned())
    }
}

pub(super) mod sealed {
    //! What a handle knows about the wire; nobody else implements it.

    /// Makes decisions of calls.
    pub trait Request {
        /// The stored name.
        fn task_name(&self) -> &'static str;
        /// Whether it is called as a sub-orchestration.
        fn is_orchestrator(&self) -> bool;
        /// The wire text of an input that is serialised already.
        fn wire(&self, json: String) -> Option<String>;
        /// The input of such a wire text.
        #[cfg(feature = "testing")]
        fn read<T: serde::de::DeserializeOwned>(&self, wire: Option<&str>) -> Result<T, crate::model::FailureDetails>;
    }
}

impl<I, O> sealed::Request for Activity<I, O> {
    fn task_name(&self) -> &'static str {
        self.name
    }

    fn is_orchestrator(&self) -> bool {
        false
    }

    fn wire(&self, json: String) -> Option<String> {
        // The input of a raw handle is a text, so its JSON is that text in quotes.
        let raw = if self.raw { serde_json::from_str(&json).ok() } else { None };
        Some(raw.unwrap_or_else(|| payload::as_argument(json)))
    }

    #[cfg(feature = "testing")]
    fn read<T: DeserializeOwned>(&self, wire: Option<&str>) -> Result<T, FailureDetails> {
        super::registry::input(self.name, self.raw, wire)
    }
}

impl<I, O> sealed::Request for Orchestrator<I, O> {
    fn task_name(&self) -> &'static str {
        self.name
    }

    fn is_orchestrator(&self) -> bool {
        true
    }

    fn wire(&self, json: String) -> Option<String> {
        payload::unless_null(json)
    }

    #[cfg(feature = "testing")]
    fn read<T: DeserializeOwned>(&self, wire: Option<&str>) -> Result<T, FailureDetails> {
        payload::decode(wire, &format!("The input of \"{}\"", self.name))
    }
}

impl<I, O> Clone for Activity<I, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I, O> Copy for Activity<I, O> {}

impl<I, O> fmt::Debug for Activity<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Activity").field(&self.name).finish()
    }
}

impl<I, O> Clone for Orchestrator<I, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I, O> Copy for Orchestrator<I, O> {}

impl<I, O> fmt::Debug for Orchestrator<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Orchestrator").field(&self.name).finish()
    }
}

impl<T> Clone for Event<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Event<T> {}

impl<T> fmt::Debug for Event<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Event").field(&self.name).finish()
    }
}
