//! Why a request is refused, in the two forms of the two surfaces: that of Durable Functions, and problem details (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::answer;
use super::route::Surface;
use crate::error::{Error, ErrorKind};
use crate::storage::ErrorKind as StorageErrorKind;

/// A refusal: a status, words, and the form that clients of Durable Functions know for it.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    words: String,
    form: Form,
    header: Option<(header::HeaderName, HeaderValue)>,
}

/// How Durable Functions says it.
#[derive(Debug)]
enum Form {
    /// No body.
    Empty,
    /// `{"Message": words}`.
    Message,
    /// The words as a JSON text.
    Text,
    /// An exception, whose own message the words are.
    Exception { message: String, of_type: &'static str },
}

impl Refusal {
    fn new(status: StatusCode, words: impl Into<String>, form: Form) -> Self {
        Self { status, words: words.into(), form, header: None }
    }

    /// What is asked for makes no sense; nothing was done.
    pub(super) fn bad(words: impl Into<String>) -> Self {
        Self::message(StatusCode::BAD_REQUEST, words)
    }

    /// With a `Message` for clients of Durable Functions.
    pub(super) fn message(status: StatusCode, words: impl Into<String>) -> Self {
        Self::new(status, words, Form::Message)
    }

    /// With a JSON text as the whole body for clients of Durable Functions.
    pub(super) fn text(status: StatusCode, words: impl Into<String>) -> Self {
        Self::new(status, words, Form::Text)
    }

    /// With a body for the newer surface only.
    pub(super) fn silent(status: StatusCode, words: impl Into<String>) -> Self {
        Self::new(status, words, Form::Empty)
    }

    /// With the members of an exception, whose type is that of .NET where clients know it.
    pub(super) fn exception(
        status: StatusCode,
        message: impl Into<String>,
        of_type: &'static str,
        words: impl Into<String>,
    ) -> Self {
        Self::new(status, words, Form::Exception { message: message.into(), of_type })
    }

    pub(super) fn with(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    pub(super) fn words(&self) -> &str {
        &self.words
    }

    pub(super) fn response(self, surface: Surface) -> Response {
        let status = self.status;
        let body = match (surface, &self.form) {
            (Surface::V1, _) => answer::problem(status, &self.words),
            (Surface::Functions, Form::Empty) => status.into_response(),
            (Surface::Functions, Form::Message) => answer::json(status, &json!({ "Message": self.words })),
            (Surface::Functions, Form::Text) => answer::json(status, &self.words),
            (Surface::Functions, Form::Exception { message, of_type }) => {
                let (words, none) = (&self.words, None::<()>);
                let body = json!({ "Message": message, "ExceptionMessage": words, "ExceptionType": of_type, "StackTrace": none });
                answer::json(status, &body)
            }
        };
        let mut response = body;
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// What an error of the client means where the route says nothing else.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let words = error.to_string();
        let storage = error.storage().map(|storage| storage.kind);
        match error.kind() {
            ErrorKind::NotFound if storage.is_none() => Self::silent(StatusCode::NOT_FOUND, words),
            ErrorKind::Ended => Self::silent(StatusCode::GONE, words),
            ErrorKind::AlreadyExists | ErrorKind::Open => Self::message(StatusCode::CONFLICT, words),
            ErrorKind::Invalid => Self::bad(words),
            // The hub was deleted. Nobody who asks for an instance may take this for "there is no such instance".
            ErrorKind::NotFound => Self::broken(StatusCode::SERVICE_UNAVAILABLE, words),
            _ if matches!(storage, Some(StorageErrorKind::Throttled | StorageErrorKind::Transient)) => {
                Self::broken(StatusCode::SERVICE_UNAVAILABLE, words).with(header::RETRY_AFTER, HeaderValue::from_static("5"))
            }
            _ => Self::broken(StatusCode::INTERNAL_SERVER_ERROR, words),
        }
    }
}

impl Refusal {
    /// Something that is no fault of who asked.
    pub(super) fn broken(status: StatusCode, words: impl Into<String>) -> Self {
        Self::exception(status, "Something went wrong while processing your request", "taskhub.Error", words)
    }
}
