//! Layers around a storage account: one decorator implements the three ports, a [`Layer`] says what happens around each call.

pub(crate) mod billed;
#[cfg(test)]
pub(crate) mod faulty;
mod layered;
pub(crate) mod limited;
#[cfg(test)]
pub(crate) mod lost;
#[cfg(feature = "metrics")]
pub(crate) mod measured;
#[cfg(test)]
pub(crate) mod metered;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod modelled;
#[cfg(test)]
mod modelled_tests;
pub(crate) mod retrying;
#[cfg(test)]
pub(crate) mod tapped;
#[cfg(test)]
mod tests;
pub(crate) mod timed;
pub(crate) mod traced;

use std::fmt;

use super::Storage;
use super::blob::{Blob, BlobPage};
use super::error::{ErrorKind, Result};
use super::queue::QueueMessage;
use super::table::{Etag, Page, Row};

/// What happens around each call of a port.
pub(crate) trait Layer: Send + Sync + 'static {
    /// Runs the call by running `attempt` as often as the layer sees fit.
    fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> impl Future<Output = Result<T>> + Send
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send;
}

/// A call, as the layers see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    /// The operation, such as `table.transact`: the same text as in errors.
    pub(crate) op: &'static str,
    pub(crate) target: Target<'a>,
    pub(crate) class: Class,
    /// The failure which says, after an attempt of unknown outcome, that the attempt took effect.
    pub(crate) settled_by: Option<ErrorKind>,
    /// How many rows it writes, or how many bytes of a blob; one for all other calls.
    pub(crate) carries: usize,
}

/// What it means to do a call twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Changes nothing.
    Read,
    /// A write that may be done again when nobody knows whether it was done.
    Repeatable,
    /// A write whose second attempt could fail because of the first: only the caller can find out what happened.
    Once,
}

/// The table, queue or container of a call, with what it acts on. No secrets: no pop receipts, no lease ids, no payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a>(pub(crate) &'a str, pub(crate) Option<&'a str>, pub(crate) Option<&'a str>);

/// What a call answers.
pub(crate) trait Reply: Send + Sized {
    /// The answer of a call that is known to be done although no answer came.
    fn done() -> Option<Self> {
        None
    }

    /// Whether the call was a receive that brought nothing: a poll, which is counted apart.
    fn is_empty_receive(&self) -> bool {
        false
    }

    /// How many rows or messages it brings, or how many bytes of a blob.
    fn brings(&self) -> usize {
        0
    }
}

impl Storage {
    /// This account behind a layer. The layer given last is the outermost.
    pub(crate) fn layered(self, layer: impl Layer) -> Self {
        layered::wrap(self, layer)
    }
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        [self.1, self.2].into_iter().flatten().try_for_each(|part| write!(f, "/{part}"))
    }
}

impl Reply for () {
    fn done() -> Option<Self> {
        Some(())
    }
}

/// Only a delete is ever known to be done without an answer, and it has no version.
impl Reply for Option<Etag> {
    fn done() -> Option<Self> {
        Some(None)
    }
}

impl Reply for Row {}
impl Reply for Page {
    fn brings(&self) -> usize {
        self.rows.len()
    }
}

impl Reply for Vec<Option<Etag>> {}
impl Reply for Vec<String> {}
impl Reply for QueueMessage {}
impl Reply for Vec<QueueMessage> {
    fn is_empty_receive(&self) -> bool {
        self.is_empty()
    }

    fn brings(&self) -> usize {
        self.len()
    }
}

impl Reply for String {}
impl Reply for u64 {}
impl Reply for Etag {}
impl Reply for Blob {
    fn brings(&self) -> usize {
        self.bytes.len()
    }
}

impl Reply for BlobPage {}
