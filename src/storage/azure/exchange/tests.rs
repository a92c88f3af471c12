//! The exchange against a server of one canned answer: what proxies cut, what services say, what breaks in the middle.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::storage::Storage;
use crate::storage::azure::config::account;
use crate::storage::blob::PutCondition;
use crate::storage::error::Error;
use crate::storage::table::{Entity, Etag, TableOp};

#[test]
fn only_this_machine_is_loopback() {
    let check = |url: &str, expected| assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
    check("http://127.0.0.1:10000/devstoreaccount1", true);
    check("http://localhost:1/x", true);
    check("http://a.blob.localhost:1", true);
    check("http://[::1]:1/x", true);
    check("https://a.blob.core.windows.net", false);
    check("https://127.example.com", false);
}

#[test]
fn time_grows_with_the_payload_up_to_a_limit() {
    let exchange = Exchange::new(true, TimeLimits::default()).unwrap();
    assert_eq!(exchange.total(1000), Duration::from_secs(30));
    assert_eq!(exchange.total(10 << 20), Duration::from_secs(40));
    assert_eq!(exchange.total(usize::MAX), TOTAL_MAX);
}

/// Gives `answer` to the one call that `call` makes, then closes; the outcome and the request that was sent.
async fn answered<T, F>(answer: &str, call: impl FnOnce(Storage) -> F) -> (Result<T, Error>, String)
where
    F: Future<Output = Result<T, Error>>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let endpoints = ["Blob", "Queue", "Table"].map(|service| format!("{service}Endpoint=http://{address}/me;")).concat();
    let storage =
        account(&format!("AccountName=me;AccountKey=c2VjcmV0;{endpoints}")).unwrap().open(TimeLimits::default()).unwrap();
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 16 * 1024];
        let length = socket.read(&mut request).await.unwrap();
        socket.write_all(answer.as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    };
    tokio::join!(call(storage), serve)
}

fn insert() -> TableOp {
    TableOp::Insert(Entity::new("p", "r"))
}

#[tokio::test]
async fn a_success_without_the_usual_headers_is_a_success() {
    let answer = "HTTP/1.1 204 No Content\r\nETag: W/\"1\"\r\n\r\n";
    let (version, request) = answered(answer, |storage| async move { storage.tables.write("t", &insert()).await }).await;
    assert_eq!(version.unwrap(), Some(Etag("W/\"1\"".to_owned())));
    let request = request.to_ascii_lowercase();
    assert!(request.starts_with("post /me/t http/1.1\r\n") && request.contains("\r\nauthorization: sharedkey me:"), "{request}");
    assert!(request.contains("\r\nprefer: return-no-content\r\n") && !request.contains("accept-encoding"), "{request}");
    let answer = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nETag: \"1\"\r\n\r\n";
    let put = |storage: Storage| async move { storage.blobs.put("c", "b", Bytes::new(), PutCondition::Always).await };
    assert_eq!(answered(answer, put).await.0.unwrap(), Etag("\"1\"".to_owned()));
}

#[tokio::test]
async fn a_message_is_put_for_ever_and_hidden_without_a_body() {
    let answer = "HTTP/1.1 204 No Content\r\nx-ms-popreceipt: new\r\n\r\n";
    let update =
        |storage: Storage| async move { storage.queues.update("q", "i", "a/b+c=", Duration::from_millis(1001), None).await };
    let (receipt, request) = answered(answer, update).await;
    assert_eq!(receipt.unwrap(), "new");
    assert!(request.starts_with("PUT /me/q/messages/i?popreceipt=a%2Fb%2Bc%3D&visibilitytimeout=2 "), "{request}");
    assert!(request.contains("content-length: 0\r\n") && request.ends_with("\r\n\r\n"), "{request}");
    let put = |storage: Storage| async move { storage.queues.put("q", "x", Duration::ZERO).await };
    let (outcome, request) = answered("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", put).await;
    assert!(request.starts_with("POST /me/q/messages?messagettl=-1&visibilitytimeout=0 "), "{request}");
    assert_eq!(outcome.unwrap_err().kind, ErrorKind::Unknown, "it was put, but the answer is no message");
}

#[tokio::test]
async fn a_broken_answer_leaves_a_write_unknown_and_a_read_transient() {
    for answer in ["", "HTTP/1.1 20", "HTTP/1.1 204 No Content\r\nETag"] {
        let (outcome, _) = answered(answer, |storage| async move { storage.tables.write("t", &insert()).await }).await;
        assert_eq!(outcome.unwrap_err().kind, ErrorKind::Unknown, "{answer}");
    }
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nETag: \"1\"\r\n\r\nhalf";
    let (outcome, _) = answered(cut, |storage| async move { storage.blobs.get("c", "b", 1000).await }).await;
    assert_eq!(outcome.unwrap_err().kind, ErrorKind::Transient);
    let (outcome, _) = answered(cut, |storage| async move { storage.blobs.get("c", "b", 99).await }).await;
    assert_eq!(outcome.unwrap_err().kind, ErrorKind::Invalid);
}

#[tokio::test]
async fn a_busy_service_says_how_long_to_wait() {
    let answer = "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nx-ms-error-code: ServerBusy\r\nContent-Length: 0\r\n\r\n";
    let (outcome, _) = answered(answer, |storage| async move { storage.tables.write("t", &insert()).await }).await;
    let error = outcome.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Throttled, Some(Duration::from_secs(7))));
    assert_eq!((error.operation, error.target.as_str(), error.code.as_deref()), ("table.insert", "t/p/r", Some("ServerBusy")));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_refused_transaction_is_an_error() {
    let moved = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let (outcome, _) = answered(moved, |storage| async move { storage.blobs.get("c", "b", 10).await }).await;
    assert_eq!(outcome.unwrap_err().status, Some(302));
    let json = r#"{"odata.error":{"code":"EntityAlreadyExists","message":{"lang":"en-US","value":"1:There."}}}"#;
    let body = format!(
        "--b\r\n\r\n--c\r\n\r\nHTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\n\r\n{json}\r\n--c--\r\n--b--\r\n"
    );
    let answer = format!("HTTP/1.1 202 Accepted\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let ops = [insert(), TableOp::Insert(Entity::new("p", "s"))];
    let (outcome, request) = answered(&answer, |storage| async move { storage.tables.transact("t", &ops).await }).await;
    let error = outcome.unwrap_err();
    assert_eq!((error.kind, error.index, error.message.as_str()), (ErrorKind::AlreadyExists, Some(1), "There."));
    assert_eq!(request.matches("Prefer: return-no-content\n").count(), 2, "{request}");
}

/// Everything that is logged, at every level.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_of_any_level_holds_key_or_signature() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    // With one dispatcher only, whichever test first meets a log line decides whether anybody hears it.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let guard = tracing::subscriber::set_default(subscriber);
    let (_, request) =
        answered("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", |s| async move { s.queues.count("q").await }).await;
    drop(guard);
    let signature = request.split("SharedKey me:").nth(1).and_then(|rest| rest.lines().next()).unwrap().to_owned();
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("AuthorizationPolicy"), "the crates were heard: {logged}");
    assert!(!logged.contains(&signature) && !logged.contains("c2VjcmV0"), "{logged}");
}
