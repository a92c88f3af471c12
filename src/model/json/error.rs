//! What was wrong with stored or received data, and where; never the data itself.

use std::fmt;

/// Longest piece of foreign text that an error repeats.
const QUOTE_MAX: usize = 80;

/// Data that cannot be understood: the path to the place, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", Place(path))]
pub(crate) struct DecodeError {
    path: String,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("not JSON: {0}")]
    NotJson(String),
    #[error("nested deeper than anybody reads")]
    TooDeep,
    #[error("more than {0} bytes, which no row holds")]
    TooLarge(usize),
    #[error("missing")]
    Missing,
    #[error("{found} where {expected} belongs")]
    WrongType { expected: &'static str, found: &'static str },
    #[error("\"{0}\" is not {1}")]
    NotA(String, &'static str),
    #[error("\"{0}\" is no event that this version knows")]
    UnknownEvent(String),
}

struct Place<'a>(&'a str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

impl DecodeError {
    pub(crate) fn not_json(error: &serde_json::Error) -> Self {
        Self::here(Problem::NotJson(error.to_string()))
    }

    pub(crate) fn too_deep() -> Self {
        Self::here(Problem::TooDeep)
    }

    pub(crate) fn too_large(max: usize) -> Self {
        Self::here(Problem::TooLarge(max))
    }

    pub(crate) fn missing() -> Self {
        Self::here(Problem::Missing)
    }

    pub(crate) fn wrong_type(expected: &'static str, found: &'static str) -> Self {
        Self::here(Problem::WrongType { expected, found })
    }

    /// `text` should have been `what`.
    pub(crate) fn not_a(text: &str, what: &'static str) -> Self {
        Self::here(Problem::NotA(quote(text), what))
    }

    pub(crate) fn unknown_event(name: &str) -> Self {
        Self::here(Problem::UnknownEvent(quote(name)))
    }

    /// The kind of event, if that it is not known is all that is wrong.
    pub(crate) fn unknown_kind(&self) -> Option<&str> {
        match &self.problem {
            Problem::UnknownEvent(name) => Some(name),
            _ => None,
        }
    }

    /// The same error seen from one level further out.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.path = if self.path.is_empty() { outer.to_owned() } else { format!("{outer}.{}", self.path) };
        self
    }

    /// Where the error is: member names joined by dots.
    #[cfg(test)]
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    fn here(problem: Problem) -> Self {
        Self { path: String::new(), problem }
    }
}

fn quote(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTE_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
