//! Parts as the text of a column: JSON without `$type`, and the text `null` for none (wire-format 5.2).

use super::error::DecodeError;
use super::parts::Part;
use super::read::parse;
use super::write::JsonWriter;

/// A part that columns hold as JSON text.
pub(crate) trait JsonColumn: Sized {
    /// The text of the column.
    fn to_column(value: Option<&Self>) -> String;
    /// From the text of the column; `null` and the empty text are none.
    fn from_column(text: &str) -> Result<Option<Self>, DecodeError>;
}

impl<P: Part> JsonColumn for P {
    fn to_column(value: Option<&Self>) -> String {
        let mut w = JsonWriter::new(false);
        match value {
            Some(part) => part.write(&mut w),
            None => w.null(),
        }
        w.finish()
    }

    fn from_column(text: &str) -> Result<Option<Self>, DecodeError> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        let value = parse(text)?;
        if value.is_null() { Ok(None) } else { P::read(&value).map(Some) }
    }
}
