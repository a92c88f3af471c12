//! Code that answers calls by a script.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use sealed::Scripts;

use super::Answer;
use crate::authoring::{Activity, ActivityContext, Callable, Code, Failure, OrchestrationContext, Orchestrator, TaskFailed};

/// What [`TestHostBuilder::on`](super::TestHostBuilder::on) can script: an [`Activity`] or an [`Orchestrator`] whose input can be read
/// and whose output can be written.
pub trait Scriptable: Callable + sealed::Scripted {}

impl<I, O> Scriptable for Activity<I, O> where Self: Callable<Input = I, Output = O> + sealed::Scripted {}
impl<I, O> Scriptable for Orchestrator<I, O> where Self: Callable<Input = I, Output = O> + sealed::Scripted {}

pub(super) mod sealed {
    //! How scripts are registered; nobody else implements it.

    use super::*;

    /// Code that answers.
    pub struct Scripts(pub(in crate::testing) Vec<Code>);

    impl fmt::Debug for Scripts {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Scripts").finish_non_exhaustive()
        }
    }

    /// What can be scripted.
    pub trait Scripted: Callable {
        /// The code that answers so.
        #[doc(hidden)]
        fn scripted<A: Into<Answer<Self::Output>>>(self, answer: impl FnMut(u32, Self::Input) -> A + Send + 'static) -> Scripts;
    }
}

impl<I, O> sealed::Scripted for Activity<I, O>
where
    I: Serialize + DeserializeOwned + Send + 'static,
    O: Serialize + DeserializeOwned + Send + 'static,
{
    fn scripted<A: Into<Answer<O>>>(self, answer: impl FnMut(u32, I) -> A + Send + 'static) -> Scripts {
        let script = Mutex::new((0, answer));
        let code = Code::activity(self, move |_: ActivityContext, input: I| {
            let answer = {
                let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
                let (count, answer) = &mut *script;
                *count += 1;
                answer(*count, input).into()
            };
            answer.come()
        });
        Scripts(vec![code])
    }
}

impl<I, O> sealed::Scripted for Orchestrator<I, O>
where
    I: Serialize + DeserializeOwned + Send + 'static,
    O: Serialize + DeserializeOwned + Send + 'static,
{
    /// A child is answered by an activity of its own, because its code runs again and again.
    fn scripted<A: Into<Answer<O>>>(self, answer: impl FnMut(u32, I) -> A + Send + 'static) -> Scripts {
        let name: &'static str = Box::leak(format!("{}{SCRIPT}", self.name()).into_boxed_str());
        let script = Activity::<I, O>::new(name);
        let child = move |ctx: OrchestrationContext, input: I| async move {
            ctx.call(script, input).await.map_err(|failed: TaskFailed| Failure::from(failed.details().clone()))
        };
        let mut scripts = script.scripted(answer);
        scripts.0.push(Code::orchestrator(self, child));
        scripts
    }
}

/// Ends the name of the activity that answers for a child.
pub(super) const SCRIPT: &str = " (script)";
