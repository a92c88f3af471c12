//! The settings of an API, checked before it exists.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::access::{KEY_BYTES_MIN, Keys, Scope};
use super::api::{Api, ManagementApi};
use super::cors::Cors;
use super::origin::{Origins, PublicUrl};
use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};

/// How an API is to be. Made by [`ManagementApi::builder`].
#[derive(Debug)]
#[must_use = "nothing is served until it is built"]
pub struct ManagementApiBuilder {
    client: Client,
    prefixes: Vec<String>,
    keys: Keys,
    without_keys: bool,
    public_url: Option<String>,
    trusts_forwarded: bool,
    origins: Vec<String>,
    body_max: usize,
    requests_max: usize,
    timeout: Duration,
    lifetime: Duration,
    app_name: Option<String>,
    wrong: Option<String>,
}

/// Where clients of Durable Functions look for the API, and the root, where language SDKs do.
const PREFIXES: [&str; 2] = ["/runtime/webhooks/durabletask", "/"];
const BODY_MAX: usize = 10 * 1024 * 1024;
const REQUESTS_MAX: usize = 512;
const TIMEOUT: Duration = Duration::from_secs(230);
/// More is as good as for ever, and is not to be reckoned with.
const TIMEOUT_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);
const LIFETIME: Duration = Duration::from_secs(7 * 86_400);

impl ManagementApi {
    /// Prepares the API of the hub that this client uses. It needs a [key](ManagementApiBuilder::key), or to be told that it needs
    /// [none](ManagementApiBuilder::without_keys).
    pub fn builder(client: &Client) -> ManagementApiBuilder {
        ManagementApiBuilder {
            client: client.clone(),
            prefixes: PREFIXES.map(str::to_owned).to_vec(),
            keys: Keys::default(),
            without_keys: false,
            public_url: None,
            trusts_forwarded: false,
            origins: Vec::new(),
            body_max: BODY_MAX,
            requests_max: REQUESTS_MAX,
            timeout: TIMEOUT,
            lifetime: LIFETIME,
            app_name: None,
            wrong: None,
        }
    }
}

impl ManagementApiBuilder {
    /// Adds a key. There may be several of each scope: to change one, add the new one, give it to the clients, and leave the old one
    /// out from the next start on; then URLs that were signed with it stop working too. Of the keys that allow most, the first one signs.
    ///
    /// A key is any text of 16 bytes or more, best 32 random ones as text. Clients present it as `x-functions-key`, as
    /// `Authorization: Bearer`, or as `code` in the query.
    pub fn key(mut self, scope: Scope, key: impl AsRef<str>) -> Self {
        let key = key.as_ref();
        if key.len() < KEY_BYTES_MIN || key.trim() != key {
            let words = format!("a key for {scope:?} is shorter than {KEY_BYTES_MIN} bytes, or begins or ends with a blank");
            self.wrong.get_or_insert(words);
        }
        self.keys.add(scope, key);
        self
    }

    /// Answers whoever asks, with everything: for listeners on the loopback interface, and behind an app that lets nobody in whom it
    /// does not know. Requests whose `Host` is neither this machine nor the [public URL](Self::public_url) are refused, because a
    /// page in a browser can have its own name resolved to this machine; and so are those that a page of another site has a browser send, unless
    /// its [origin is allowed](Self::allow_origin).
    pub fn without_keys(mut self) -> Self {
        self.without_keys = true;
        self
    }

    /// Paths under which all routes are: `/runtime/webhooks/durabletask` and `/` unless set. In any case.
    pub fn prefixes<P: Into<String>>(mut self, prefixes: impl IntoIterator<Item = P>) -> Self {
        self.prefixes = prefixes.into_iter().map(Into::into).collect();
        self
    }

    /// How clients see the root of this process, for the URLs that are handed out: `https://durable.example`, or with a path that a
    /// proxy takes away. Without it URLs begin with `http://` and the `Host` of the request.
    pub fn public_url(mut self, url: impl Into<String>) -> Self {
        self.public_url = Some(url.into());
        self
    }

    /// Takes `X-Forwarded-Host` and `X-Forwarded-Proto`, if a request has both, for the URLs that are handed out. For processes that
    /// nobody reaches but through a proxy which sets them.
    pub fn trust_forwarded_headers(mut self) -> Self {
        self.trusts_forwarded = true;
        self
    }

    /// Lets pages of this origin read the answers (CORS): such as `https://shop.example`, or `*` for all, which needs a key. None unless set.
    /// [Without keys](Self::without_keys) these pages may do everything.
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// The longest body of a request in bytes: 10 MiB unless set.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_max = bytes;
        self
    }

    /// How many requests may be under way at once: 512 unless set, those included that wait for the end of an instance. One that comes above that is
    /// answered with 503 and `Retry-After`.
    pub fn concurrent_requests(mut self, most: usize) -> Self {
        self.requests_max = most;
        self
    }

    /// How long a request may take: 230 seconds unless set, a hundred years at most. Requests that wait for the end of an instance wait nine tenths of it at most.
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit.min(TIMEOUT_MAX);
        self
    }

    /// How long URLs that are handed out are good: seven days unless set. Who has a key can go on after that.
    pub fn url_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The app whose workers hold the app lease of the hub, as [`WorkerBuilder::app_lease`](crate::WorkerBuilder) has it: `makeprimary` tells it to take
    /// the lease over.
    pub fn app_name(mut self, name: impl Into<String>) -> Self {
        self.app_name = Some(name.into());
        self
    }

    /// Makes the API.
    ///
    /// # Errors
    /// `Invalid` if there are neither keys nor the word that none are needed, or both; for a key that is too short, a prefix that is no path, a
    /// public URL or an origin that is none, all origins without a key, or a limit of zero.
    pub fn build(self) -> Result<ManagementApi> {
        let mut wrong = self.wrong;
        if self.keys.is_empty() != self.without_keys && wrong.is_none() {
            wrong = Some(match self.without_keys {
                false => {
                    "the HTTP API has no key: add one, or say that it needs none, which lets whoever reaches it do everything"
                        .to_owned()
                }
                true => "the HTTP API has keys and was told to need none: leave one of them out".to_owned(),
            });
        }
        let prefixes: Vec<_> = self.prefixes.iter().map(|prefix| prefix.trim_end_matches('/').to_owned()).collect();
        let is_path = |prefix: &String| {
            prefix.is_empty()
                || prefix.starts_with('/') && prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~".contains(&b))
        };
        if let Some(prefix) = prefixes.iter().find(|prefix| !is_path(prefix)) {
            let words = format!(
                "\"{prefix}\" is no prefix of paths: it begins with a slash and has letters, digits and -._~ between slashes"
            );
            wrong.get_or_insert(words);
        }
        if prefixes.is_empty() {
            wrong.get_or_insert_with(|| "the HTTP API has no prefix, so that no path leads to it".to_owned());
        }
        let public = self.public_url.as_deref().map(|url| (url, PublicUrl::parse(url)));
        if let Some((url, None)) = &public {
            wrong.get_or_insert(format!(
                "\"{url}\" is no public URL: give http or https and a host, such as https://durable.example"
            ));
        }
        let mut cors = Cors::default();
        for origin in &self.origins {
            if cors.allow(origin).is_none() {
                wrong.get_or_insert(format!(
                    "\"{origin}\" is no origin of pages: give * or one such as https://shop.example, without a path"
                ));
            }
        }
        if self.without_keys && cors.is_for_all() {
            let words = "without a key pages of every origin would do everything: name the origins that may ask, or add a key";
            wrong.get_or_insert_with(|| words.to_owned());
        }
        if self.timeout.is_zero() || self.body_max == 0 || self.requests_max == 0 || self.lifetime.is_zero() {
            wrong.get_or_insert_with(|| {
                "the longest body, the number of requests, the time of one and the life of URLs are more than zero".to_owned()
            });
        }
        if let Some(words) = wrong {
            return Err(Error::new(ErrorKind::Invalid, words));
        }
        Ok(ManagementApi(Arc::new(Api {
            client: self.client,
            prefixes,
            keys: self.keys,
            origins: Origins { public: public.and_then(|(_, public)| public), trusts_forwarded: self.trusts_forwarded },
            cors,
            requests: Semaphore::new(self.requests_max.min(Semaphore::MAX_PERMITS)),
            body_max: self.body_max,
            timeout: self.timeout,
            lifetime: self.lifetime,
            app_name: self.app_name,
            stopping: CancellationToken::new(),
        })))
    }
}
