//! What a span says, before anything exports it.

use super::SpanContext;
use crate::model::Timestamp;

/// A span that has ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) context: SpanContext,
    /// The span that it is a part of; zero for none.
    pub(crate) parent: u64,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) begun: Timestamp,
    pub(crate) ended: Timestamp,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    pub(crate) status: Status,
}

/// Which side of a call a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Internal,
    Client,
    Server,
    Producer,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Unset,
    Ok,
    Error(String),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Span {
    /// The name of what runs, with its version, as .NET forms it.
    pub(crate) fn named(what: &str, name: &str, version: Option<&str>) -> String {
        match version.filter(|version| !version.is_empty()) {
            Some(version) => format!("{what}:{name}@({version})"),
            None => format!("{what}:{name}"),
        }
    }

    /// Attributes of something of this type that has a name, and perhaps a version.
    pub(crate) fn attributes(kind: &str, name: &str, version: Option<&str>, instance_id: &str) -> Vec<(&'static str, Value)> {
        let version = version.filter(|version| !version.is_empty()).map(|version| ("durabletask.task.version", version.into()));
        let named = [
            ("durabletask.type", kind.into()),
            ("durabletask.task.name", name.into()),
            ("durabletask.task.instance_id", instance_id.into()),
        ];
        named.into_iter().chain(version).collect()
    }
}
