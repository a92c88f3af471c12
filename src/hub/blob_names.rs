//! Names of large-payload blobs, and their URLs in instance rows (docs/storage-layout.md, Large payloads).

use std::borrow::Cow;
use std::collections::BTreeSet;

use uuid::Uuid;

use super::keys;
use crate::storage::blob::name_kept;

/// Ends the name of a blob that holds a start message rather than a text.
const START_MESSAGE_SUFFIX: &str = "ExecutionStarted.json.gz";

/// Behind the number of a message whose folder is the escaped instance id. No name of .NET has it there.
const KEYED: &str = "-keyed";

/// The blob of a large message. The folder is the raw instance id, as in .NET, unless a URL or the service would change it: then
/// it is the escaped one. Readers of both sides find the blob by the name that the queue holds.
pub(crate) fn message_blob(instance_id: &str, activity_id: Uuid, event_type: &str) -> String {
    let (folder, mark) = if is_folder(instance_id) {
        (Cow::Borrowed(instance_id), "")
    } else {
        (Cow::Owned(folder_of_key(&keys::escape(instance_id)).into_owned()), KEYED)
    };
    format!("{folder}/message-{}{mark}-{event_type}.json.gz", activity_id.simple())
}

/// How the names of an instance's message blobs begin, ours and those of .NET. Blobs of others may begin so too.
pub(crate) fn message_blobs(instance_id: &str) -> BTreeSet<String> {
    let folders = [instance_id, &folder_of_key(&keys::escape(instance_id))].map(|folder| format!("{folder}/message-"));
    folders.into_iter().filter(|prefix| name_kept(prefix).as_ref() == Ok(prefix)).collect()
}

/// The instance and the kind of event of a large message's blob, `None` if it is another blob.
pub(crate) fn parse_message_blob(blob_name: &str) -> Option<(String, &str)> {
    let (folder, message) = blob_name.rsplit_once("/message-")?;
    let (number, event_type) = message.strip_suffix(".json.gz")?.rsplit_once('-')?;
    let instance_id = if number.ends_with(KEYED) { keys::unescape(folder) } else { folder.to_owned() };
    Some((instance_id, event_type))
}

/// Whether a text is kept as it is as the first parts of a blob's name.
fn is_folder(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.ends_with('.');
    text.split('/').all(is_part) && !text.chars().any(|c| c == '\\' || c.is_control())
}

/// The folder of a partition key. A dot at its end, which a URL or the service may drop, is escaped as control characters are.
pub(crate) fn folder_of_key(partition_key: &str) -> Cow<'_, str> {
    match partition_key.strip_suffix('.') {
        Some(rest) => Cow::Owned(format!("{rest}^\u{ee}")),
        None => Cow::Borrowed(partition_key),
    }
}

/// The blob of a large column of a history row; the folder is the escaped instance id. Only 31 bits of `random` are used.
pub(crate) fn history_blob(partition_key: &str, row_key: &str, event_type: &str, random: u32, column: &str) -> String {
    format!("{}{row_key}-{event_type}-{:08X}-{column}.json.gz", column_blobs(partition_key), random & 0x7FFF_FFFF)
}

/// How the blobs of all large columns of an instance begin.
pub(crate) fn column_blobs(partition_key: &str) -> String {
    format!("{}/history-", folder_of_key(partition_key))
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
    use crate::storage::blob::name_sent;
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
        assert_eq!(parse_message_blob(&message_blob("a/b", id, "TaskFailed")), Some(("a/b".into(), "TaskFailed")));
        assert_eq!(parse_message_blob("a/history-0-TaskFailed-1-Result.json.gz"), None);
        assert!(is_start_message(&message_blob("i", id, "ExecutionStarted")));
        assert!(!is_start_message(&history_blob("i", "0", "ExecutionStarted", 1, "Input")));
    }

    #[test]
    fn ids_that_are_no_folders_have_another_that_is() {
        let id = Uuid::from_u128(1);
        for (instance, folder) in [
            ("CONTOSO\\jdoe", "CONTOSO^1jdoe"),
            ("a//b", "a^0^0b"),
            ("/lead", "^0lead"),
            ("trail/", "trail^0"),
            (".", "^î"),
            ("..", ".^î"),
            ("a/../b", "a^0..^0b"),
            ("a./b", "a.^0b"),
            ("tab\t", "tab^É"),
        ] {
            let blob = message_blob(instance, id, "ExecutionStarted");
            assert_eq!(blob, format!("{folder}/message-{}-keyed-ExecutionStarted.json.gz", id.simple()));
            assert!(is_start_message(&blob));
        }
        assert_eq!(history_blob("..", "0", "T", 1, "Result"), ".^î/history-0-T-00000001-Result.json.gz");
        // What .NET wrote is of the instance that it says.
        let parsed =
            |folder: &str| parse_message_blob(&format!("{folder}/message-{}-E.json.gz", id.simple())).map(|parsed| parsed.0);
        for folder in ["a\\b", "/a//b/", "a^1b", "a/message-1-keyed", "."] {
            assert_eq!(parsed(folder).as_deref(), Some(folder));
        }
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
        fn every_id_has_blobs_of_its_own_that_are_kept_as_they_are_named(
            id in "[\\\\/.^#?%+ a😀\\x00-\\xff]{1,12}", other in "[\\\\/.^1]{1,3}",
        ) {
            let names = |id: &str| {
                let key = keys::escape(id);
                [message_blob(id, Uuid::nil(), "E"), history_blob(&key, "0", "E", 1, "Input"), instance_blob(&key, 1, "Input")]
            };
            for name in names(&id) {
                prop_assert_eq!(name_sent(&name), Ok(name.clone()));
                prop_assert!(!name.contains('\\'));
                prop_assert_eq!(from_url(CONTAINER, &to_url(CONTAINER, &name)), Some(name));
            }
            let [message, ..] = names(&id);
            prop_assert_eq!(parse_message_blob(&message), Some((id.clone(), "E")));
            if id != other {
                prop_assert!(names(&id).iter().all(|name| !names(&other).contains(name)));
            }
        }

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
