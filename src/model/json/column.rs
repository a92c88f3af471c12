//! Parts as the text of a column: JSON without `$type`, and the text `null` for none (docs/storage-layout.md, Columns).

use super::error::DecodeError;
use super::parts::{Part, read_tags, write_tags};
use super::read::{parse, raw};
use super::write::JsonWriter;
use crate::model::Tags;

/// A part that columns hold as JSON text.
pub(crate) trait JsonColumn: Sized {
    /// The text of the column.
    fn to_column(value: Option<&Self>) -> String;
    /// From the text of the column; `null` and the empty text are none.
    fn from_column(text: &str) -> Result<Option<Self>, DecodeError>;
}

impl<P: Part> JsonColumn for P {
    fn to_column(value: Option<&Self>) -> String {
        column(value, Part::write)
    }

    fn from_column(text: &str) -> Result<Option<Self>, DecodeError> {
        if text.trim().is_empty() || raw(text)? == "null" {
            return Ok(None);
        }
        P::read(&parse(text)?).map(Some)
    }
}

impl JsonColumn for Tags {
    fn to_column(value: Option<&Self>) -> String {
        column(value, write_tags)
    }

    fn from_column(text: &str) -> Result<Option<Self>, DecodeError> {
        if text.trim().is_empty() { Ok(None) } else { read_tags(raw(text)?) }
    }
}

fn column<T>(value: Option<&T>, write: impl FnOnce(&T, &mut JsonWriter)) -> String {
    let mut w = JsonWriter::new(false);
    match value {
        Some(value) => write(value, &mut w),
        None => w.null(),
    }
    w.finish()
}
