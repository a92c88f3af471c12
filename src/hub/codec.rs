//! Queue texts: plain JSON or Base64, and wrappers of messages whose bodies are in blobs
//! (docs/storage-layout.md, Queue messages).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::limits;
use crate::model::DecodeError;
pub(crate) use crate::model::{Incoming, wrapper_json};

/// How messages are written; both forms are always read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// The JSON itself, the default since 2.x of the .NET provider.
    #[default]
    Plain,
    /// As 1.x of the .NET provider writes.
    Base64,
}

/// A queue text that holds no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadMessage {
    #[error("the text is neither JSON nor Base64 of UTF-8")]
    NotBase64,
    #[error("message: {0}")]
    Json(#[from] DecodeError),
}

/// The queue text of a message or wrapper.
pub(crate) fn encode(json: String, encoding: Encoding) -> String {
    match encoding {
        Encoding::Plain => json,
        Encoding::Base64 => STANDARD.encode(json),
    }
}

/// What a queue text says.
pub(crate) fn decode(text: &str) -> Result<Incoming, BadMessage> {
    if text.starts_with('{') {
        return Ok(Incoming::from_json(text)?);
    }
    let bytes = STANDARD.decode(text.trim()).map_err(|_| BadMessage::NotBase64)?;
    let json = String::from_utf8(bytes).map_err(|_| BadMessage::NotBase64)?;
    Ok(Incoming::from_json(json.trim_start_matches('\u{feff}'))?)
}

/// Whether the message must go to a blob: by the rule of .NET, or because the queue has no room for its JSON as the text of XML.
pub(crate) fn is_large(json: &str) -> bool {
    let may_be_in_xml = json.len() * XML_ESCAPE_BYTES_MAX > limits::QUEUE_TEXT_BYTES_MAX;
    json.len() > limits::MESSAGE_BYTES_MAX || may_be_in_xml && xml_bytes(json) > limits::QUEUE_TEXT_BYTES_MAX
}

/// The longest escape of a character in the text of XML: `&amp;`.
const XML_ESCAPE_BYTES_MAX: usize = 5;

/// The size of a text in XML, at most.
fn xml_bytes(text: &str) -> usize {
    text.bytes().map(|byte| if matches!(byte, b'&' | b'<' | b'>') { XML_ESCAPE_BYTES_MAX } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINIMAL: &str = r#"{"TaskMessage":{"Event":{"$type":"DurableTask.Core.History.TimerFiredEvent"},"OrchestrationInstance":{"InstanceId":"i"}}}"#;

    #[test]
    fn both_encodings_are_read_whatever_is_written() {
        let plain = decode(&encode(MINIMAL.to_owned(), Encoding::Plain)).unwrap();
        assert_eq!(decode(&encode(MINIMAL.to_owned(), Encoding::Base64)), Ok(plain.clone()));
        assert!(matches!(plain, Incoming::Message(m) if m.target.instance_id == "i"));
        assert_eq!(decode("hello there"), Err(BadMessage::NotBase64));
        assert_eq!(decode("gA=="), Err(BadMessage::NotBase64));
    }

    #[test]
    fn wrappers_are_the_bytes_of_dotnet_and_name_the_blob() {
        let wrapper = wrapper_json("abc/message-03d109048a304bc596593c2c46b9435c-ExecutionStarted.json.gz");
        assert_eq!(
            wrapper,
            r#"{"$type":"DurableTask.AzureStorage.MessageData","ActivityId":"00000000-0000-0000-0000-000000000000","TaskMessage":null,"CompressedBlobName":"abc/message-03d109048a304bc596593c2c46b9435c-ExecutionStarted.json.gz","SequenceNumber":0,"Sender":null,"SerializableTraceContext":null}"#
        );
        let Ok(Incoming::InBlob(name)) = decode(&wrapper) else { panic!("not a wrapper") };
        assert_eq!(name, "abc/message-03d109048a304bc596593c2c46b9435c-ExecutionStarted.json.gz");
    }

    #[test]
    fn large_is_more_than_45_kib() {
        assert!(!is_large(&"x".repeat(46_080)));
        assert!(is_large(&"x".repeat(46_081)));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_decoder_panic(text in ".*", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&text);
            let _ = decode(&format!("{{{text}"));
            let _ = decode(&STANDARD.encode(bytes));
        }
    }
}
