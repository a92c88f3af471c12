//! Renewal of tokens, with a source that answers late, fails, or hangs.

use std::sync::atomic::{AtomicUsize, Ordering};

use azure_core_identity::credentials::{AccessToken as NewToken, TokenRequestOptions};
use azure_core_identity::time::{Duration as Span, OffsetDateTime};

use super::*;

/// Each token lives an hour and is named by its number; getting one takes a second. From the `fails_from`th on none is given.
#[derive(Debug)]
struct Source {
    clock: Clock,
    asked: AtomicUsize,
    fails_from: usize,
}

#[async_trait]
impl NewCredential for Source {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core_identity::Result<NewToken> {
        assert_eq!(scopes, ["scope"]);
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(1)).await;
        if number >= self.fails_from {
            return Err(azure_core_identity::Error::with_message(azure_core_identity::error::ErrorKind::Io, "no network"));
        }
        let now = i64::try_from(self.clock.now().since(Timestamp::UNIX_EPOCH).as_secs()).unwrap();
        let expires_on = OffsetDateTime::from_unix_timestamp(now).unwrap() + Span::hours(1);
        Ok(NewToken::new(format!("token {number}"), expires_on))
    }
}

fn renewing(fails_from: usize) -> (Arc<Source>, Renewing) {
    let clock = Clock::paused(Timestamp::UNIX_EPOCH.plus(Duration::from_secs(1_000_000)));
    let source = Arc::new(Source { clock: clock.clone(), asked: AtomicUsize::new(0), fails_from });
    (source.clone(), Renewing::new(source, clock))
}

async fn ask(credential: &Renewing) -> (String, Duration) {
    let before = Instant::now();
    let token = credential.token(&["scope"]).await.map(|token| token.token.secret().to_owned());
    (token.unwrap_or_else(|failure| format!("{:?}", failure.kind)), before.elapsed())
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_renewal() {
    let (source, credential) = renewing(usize::MAX);
    assert_eq!(ask(&credential).await, ("token 0".to_owned(), Duration::from_secs(1)));
    tokio::time::advance(Duration::from_secs(3000)).await;
    assert_eq!(ask(&credential).await, ("token 0".to_owned(), Duration::ZERO));
    assert_eq!(source.asked.load(Ordering::SeqCst), 1);
    tokio::time::advance(Duration::from_secs(400)).await;
    assert_eq!(ask(&credential).await, ("token 0".to_owned(), Duration::ZERO));
    assert_eq!(ask(&credential).await, ("token 0".to_owned(), Duration::ZERO));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(ask(&credential).await, ("token 1".to_owned(), Duration::ZERO));
    assert_eq!(source.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn the_old_token_serves_until_its_end_when_renewals_fail() {
    let (source, credential) = renewing(1);
    ask(&credential).await;
    tokio::time::advance(Duration::from_secs(3400)).await;
    for _ in 0..10 {
        assert_eq!(ask(&credential).await.0, "token 0");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(source.asked.load(Ordering::SeqCst), 2, "rests after a failure");
    tokio::time::advance(Duration::from_secs(200)).await;
    assert_eq!(ask(&credential).await.0, "Transient");
}
