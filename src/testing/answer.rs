//! What a script answers to a call.

use std::time::Duration;

use crate::authoring::Failure;

/// How a scripted call ends: with a result at once, later, or not at all. A `Result` is one that comes at once.
///
/// ```
/// use std::time::Duration;
/// use taskhub::Failure;
/// use taskhub::testing::Answer;
///
/// let at_once: Answer<u32> = Ok(7).into();
/// let tomorrow = Answer::after(Duration::from_secs(86_400), Ok(7));
/// let declined = Answer::<u32>::after(Duration::from_secs(2), Err(Failure::new("CardDeclined", "no money")));
/// let silence = Answer::<u32>::never();
/// # drop((at_once, tomorrow, declined, silence));
/// ```
#[derive(Debug)]
pub struct Answer<O>(When<O>);

#[derive(Debug)]
enum When<O> {
    After(Duration, Result<O, Failure>),
    Never,
}

impl<O> Answer<O> {
    /// The result, after this much virtual time.
    #[must_use]
    pub fn after(time: Duration, result: Result<O, Failure>) -> Self {
        Self(When::After(time, result))
    }

    /// No result, as of an activity that hangs, or a child that waits for ever.
    #[must_use]
    pub fn never() -> Self {
        Self(When::Never)
    }

    /// Waits for it.
    pub(super) async fn come(self) -> Result<O, Failure> {
        match self.0 {
            When::After(time, result) => {
                tokio::time::sleep(time).await;
                result
            }
            When::Never => std::future::pending().await,
        }
    }
}

impl<O> From<Result<O, Failure>> for Answer<O> {
    fn from(result: Result<O, Failure>) -> Self {
        Self::after(Duration::ZERO, result)
    }
}
