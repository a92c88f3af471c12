//! Storage of which a test says what becomes of its calls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::storage::error::{Error, ErrorKind, Result};
use crate::storage::layer::{Call, Layer, Reply};

/// What becomes of calls.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    Takes(Duration),
    /// It is not done before something else is to become of it.
    Hangs,
    Fails,
    /// It is done, and the answer is lost.
    Lost,
}

/// Operations and targets that begin so, how many calls of them it is yet, and what becomes of those.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule(pub(super) &'static str, pub(super) &'static str, pub(super) usize, pub(super) Trouble);

#[derive(Clone, Default)]
pub(super) struct Troubled(pub(super) Arc<Mutex<Vec<Rule>>>);

impl Troubled {
    pub(super) fn set(&self, rules: &[Rule]) {
        *self.0.lock().unwrap() = rules.to_vec();
    }

    fn of(&self, call: &Call<'_>) -> Option<Trouble> {
        let target = call.target.to_string();
        let mut rules = self.0.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| rule.2 > 0 && call.op.starts_with(rule.0) && target.starts_with(rule.1))?;
        rule.2 -= 1;
        Some(rule.3)
    }
}

impl Layer for Troubled {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let mut trouble = self.of(call);
        while let Some(Trouble::Hangs) = trouble {
            tokio::time::sleep(Duration::from_millis(100)).await;
            trouble = self.of(call);
        }
        match trouble {
            Some(Trouble::Takes(time)) => tokio::time::sleep(time).await,
            Some(Trouble::Fails) => return Err(Error::new(ErrorKind::Transient, call.op, call.target.to_string())),
            Some(Trouble::Lost) => {
                drop(attempt().await?);
                return Err(Error::new(ErrorKind::Unknown, call.op, call.target.to_string()));
            }
            Some(Trouble::Hangs) | None => {}
        }
        attempt().await
    }
}

pub(super) const ALWAYS: usize = usize::MAX;
