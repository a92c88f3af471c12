//! Entity group transactions on the wire: the request without echo, and the refusal that hides behind a status of success.

use azure_core::headers::{HeaderName, HeaderValue, Headers};
use bytes::Bytes;

use super::failure::{Effect, Failure};

/// Largest transaction that the service takes, in bytes of its body.
pub(super) const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Asks for no echo of inserted rows, and closes the last boundary, which the crate leaves open.
///
/// Bodies are JSON in ASCII on one line that begins with `{`, so only request lines begin with `POST ` and end with the protocol.
pub(super) fn without_echo(body: &str) -> Bytes {
    let mut out = String::with_capacity(body.len() + body.len() / 16 + 64);
    for line in body.lines() {
        out.push_str(line);
        out.push('\n');
        if line.starts_with("POST ") && line.ends_with(" HTTP/1.1") {
            out.push_str("Prefer: return-no-content\n");
        }
    }
    if body.lines().next_back().is_some_and(|last| last.starts_with("--batch_") && !last.ends_with("--")) {
        out.truncate(out.trim_end().len());
        out.push_str("--\n");
    }
    out.into()
}

/// The first refused operation of a multipart answer; `None` if all succeeded.
pub(super) fn refusal(body: &[u8]) -> Option<Failure> {
    let text = String::from_utf8_lossy(body);
    let mut lines = text.lines();
    let status = loop {
        let status = lines.next()?.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
        if let Some(status) = status.filter(|status| *status >= 300) {
            break status;
        }
    };
    let mut headers = Headers::new();
    for (name, value) in lines.by_ref().take_while(|line| !line.trim().is_empty()).filter_map(|line| line.split_once(':')) {
        headers.insert(HeaderName::from(name.trim().to_owned()), HeaderValue::from(value.trim().to_owned()));
    }
    let body: String = lines.take_while(|line| !line.starts_with("--")).collect();
    let mut failure = Failure::answered(Effect::Writes, status, &headers, body.as_bytes());
    // Azure writes no number before the words about the first operation; Azurite writes `0:`.
    let (number, words) = failure.message.split_once(':').unwrap_or(("", &failure.message));
    let (index, words) = number.parse().map_or((0, failure.message.clone()), |index| (index, words.to_owned()));
    failure.index = Some(index);
    failure.message = words;
    Some(failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::ErrorKind;

    #[test]
    fn inserts_ask_for_no_echo_and_the_last_boundary_is_closed() {
        let body = "--batch_1\nContent-Type: multipart/mixed; boundary=changeset_2\n\n--changeset_2\n\nPOST http://h/t HTTP/1.1\n\
                    accept: x\n\n{\"a\":\"POST b HTTP/1.1\"}\n--changeset_2\n\nPUT http://h/t HTTP/1.1\n\n{}\n--changeset_2--\n--batch_1\n";
        let sent = String::from_utf8(without_echo(body).to_vec()).unwrap();
        let expected = body.replace("t HTTP/1.1\naccept", "t HTTP/1.1\nPrefer: return-no-content\naccept");
        assert_eq!(sent, expected.replace("--batch_1\n", "--batch_1--\n").replacen("--batch_1--\n", "--batch_1\n", 1));
    }

    fn answer(parts: &[&str]) -> String {
        let parts: String = parts.iter().map(|part| format!("--changesetresponse_1\r\n\r\n{part}\r\n")).collect();
        format!("--batchresponse_1\r\n\r\n{parts}--changesetresponse_1--\r\n--batchresponse_1--\r\n")
    }

    #[test]
    fn a_hidden_refusal_is_found_with_code_and_index() {
        let check = |status: &str, code: &str, message: &str, kind, index| {
            let json =
                format!(r#"{{"odata.error":{{"code":"{code}","message":{{"lang":"en-US","value":"{message}\nTime:2"}}}}}}"#);
            let body = answer(&[&format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n\r\n{json}")]);
            let failure = refusal(body.as_bytes()).unwrap();
            assert_eq!((failure.kind, failure.index, failure.code.as_deref()), (kind, Some(index), Some(code)));
            assert_eq!(failure.message, "words: more");
        };
        check("409", "EntityAlreadyExists", "2:words: more", ErrorKind::AlreadyExists, 2);
        check("412", "UpdateConditionNotSatisfied", "0:words: more", ErrorKind::Precondition, 0);
        check("404", "ResourceNotFound", "words: more", ErrorKind::NotFound, 0);
        check("500", "InternalError", "99:words: more", ErrorKind::Unknown, 99);
    }

    #[test]
    fn a_transaction_that_succeeded_is_no_refusal() {
        assert!(
            refusal(answer(&["HTTP/1.1 204 No Content\r\nETag: W/\"1\"\r\n", "HTTP/1.1 201 Created\r\n"]).as_bytes()).is_none()
        );
    }
}
