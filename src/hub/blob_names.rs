//! Names of large-payload blobs, and their URLs in instance rows (wire-format 4).

use uuid::Uuid;

/// Ends the name of a blob that holds a start message rather than a text.
const START_MESSAGE_SUFFIX: &str = "ExecutionStarted.json.gz";

/// The blob of a large message; the folder is the raw instance id.
pub(crate) fn message_blob(instance_id: &str, activity_id: Uuid, event_type: &str) -> String {
    format!("{instance_id}/message-{}-{event_type}.json.gz", activity_id.simple())
}

/// The instance and the kind of event of a large message's blob, `None` if it is another blob.
pub(crate) fn parse_message_blob(blob_name: &str) -> Option<(&str, &str)> {
    let (instance_id, message) = blob_name.rsplit_once("/message-")?;
    let (_, event_type) = message.strip_suffix(".json.gz")?.rsplit_once('-')?;
    Some((instance_id, event_type))
}

/// The blob of a large column of a history row; the folder is the escaped instance id. Only 31 bits of `random` are used.
pub(crate) fn history_blob(partition_key: &str, row_key: &str, event_type: &str, random: u32, column: &str) -> String {
    format!("{partition_key}/history-{row_key}-{event_type}-{:08X}-{column}.json.gz", random & 0x7FFF_FFFF)
}

/// The blob of a large column of an instance row.
pub(crate) fn instance_blob(partition_key: &str, random: u32, column: &str) -> String {
    history_blob(partition_key, "", column, random, column)
}

/// Whether a blob named by an instance row holds a start message, whose input is meant.
pub(crate) fn is_start_message(blob_name: &str) -> bool {
    blob_name.ends_with(START_MESSAGE_SUFFIX)
}

/// The text by which an instance row refers to a blob.
pub(crate) fn to_url(container_url: &str, blob_name: &str) -> String {
    let mut url = container_url.trim_end_matches('/').to_owned();
    for segment in blob_name.split('/') {
        url.push('/');
        for byte in segment.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => url.push(char::from(byte)),
                _ => url.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    url
}

/// The blob that an Input or Output column refers to, `None` if the column is a plain text.
///
/// Lenient: older .NET providers escaped less or not at all, and the writer may reach the account under another host than we do,
/// as processes inside and outside of a container or a private network do.
pub(crate) fn from_url(container_url: &str, column: &str) -> Option<String> {
    let path = path_of(column)?.strip_prefix(path_of(container_url)?.trim_end_matches('/'))?.strip_prefix('/')?;
    if path.is_empty() { None } else { Some(percent_decoded(path)) }
}

/// The path of an absolute URL, from its first slash.
fn path_of(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let is_scheme = matches!(scheme, "http" | "https");
    rest.find('/').filter(|_| is_scheme).map(|slash| &rest[slash..])
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(h, l)| h << 4 | l),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONTAINER: &str = "http://127.0.0.1:10000/devstoreaccount1/h-largemessages";

    #[test]
    fn names_are_those_of_dotnet() {
        let id = Uuid::from_u128(0x03d1_0904_8a30_4bc5_9659_3c2c_46b9_435c);
        assert_eq!(
            message_blob("a/b", id, "ExecutionStarted"),
            "a/b/message-03d109048a304bc596593c2c46b9435c-ExecutionStarted.json.gz"
        );
        assert_eq!(
            history_blob("a^0b", "000000000000000A", "TaskCompleted", 0x3039, "Result"),
            "a^0b/history-000000000000000A-TaskCompleted-00003039-Result.json.gz"
        );
        assert_eq!(instance_blob("abc", 0x9A2B_3C4D, "Input"), "abc/history--Input-1A2B3C4D-Input.json.gz");
        assert_eq!(parse_message_blob(&message_blob("a/b", id, "TaskFailed")), Some(("a/b", "TaskFailed")));
        assert_eq!(parse_message_blob("a/history-0-TaskFailed-1-Result.json.gz"), None);
        assert!(is_start_message(&message_blob("i", id, "ExecutionStarted")));
        assert!(!is_start_message(&history_blob("i", "0", "ExecutionStarted", 1, "Input")));
    }

    #[test]
    fn urls_are_escaped_as_dotnet_does() {
        for (name, path) in [
            ("abc", "abc"),
            ("a/b#c?", "a/b%23c%3F"),
            ("日本語", "%E6%97%A5%E6%9C%AC%E8%AA%9E"),
            ("@counter@k 1", "%40counter%40k%201"),
            ("x^y!*'()~-_.", "x%5Ey%21%2A%27%28%29~-_."),
        ] {
            assert_eq!(to_url(CONTAINER, name), format!("{CONTAINER}/{path}"));
            assert_eq!(from_url(CONTAINER, &to_url(CONTAINER, name)).as_deref(), Some(name));
        }
    }

    #[test]
    fn only_our_container_is_a_reference() {
        for text in
            ["https://example.com/x", "urn:x:y", "\"text\"", CONTAINER, &format!("{CONTAINER}/"), &format!("{CONTAINER}2/x")]
        {
            assert_eq!(from_url(CONTAINER, text), None, "{text}");
        }
        // Unescaped, as written by providers before 2.2.
        assert_eq!(from_url(CONTAINER, &format!("{CONTAINER}/a b/100%/%4")).as_deref(), Some("a b/100%/%4"));
    }

    #[test]
    fn the_writer_may_reach_the_account_under_another_host() {
        let check = |text, blob| assert_eq!(from_url(CONTAINER, text).as_deref(), blob, "{text}");
        check("http://azurite:10000/devstoreaccount1/h-largemessages/i/a.json.gz", Some("i/a.json.gz"));
        check("https://[::1]/devstoreaccount1/h-largemessages/i", Some("i"));
        check("http://azurite:10000/other/h-largemessages/i", None);
        check("http://azurite/x/devstoreaccount1/h-largemessages/i", None);
        check("ftp://azurite/devstoreaccount1/h-largemessages/i", None);
        check("\"http://azurite/devstoreaccount1/h-largemessages/i\"", None);
    }

    proptest! {
        #[test]
        fn every_name_survives(name in ".+") {
            prop_assert_eq!(from_url(CONTAINER, &to_url(CONTAINER, &name)), Some(name));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[%0-9a-fA-F\\PC]*") {
            let _ = from_url(CONTAINER, &format!("{CONTAINER}/{text}"));
        }
    }
}
