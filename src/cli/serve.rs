//! `taskhub serve`: the HTTP management API of the hub, and its dashboard, as a process of their own.

use std::env::VarError;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use taskhub::http::{ManagementApi, ManagementApiBuilder, Scope};
use taskhub::metrics::Metrics;
use taskhub::{Client, dashboard, shutdown_signal};
use tokio::net::TcpListener;

use super::Target;
use super::failure::{Failure, Kind, Outcome};
use super::output::Output;
use super::values;

/// Serves the HTTP API of the hub, and its dashboard for browsers, until it is told to stop.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Address to listen on; every other than that of this machine alone needs a key
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    address: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 7071, value_name = "PORT")]
    port: u16,
    /// File with the keys [env: TASKHUB_HTTP_KEYS holds the keys themselves]
    ///
    /// One key a line: read, operate or admin, a space, and the key, which has
    /// 16 bytes or more. Lines that begin with # are left out. The environment
    /// variable has the same, with semicolons or line breaks between the keys.
    #[arg(long, verbatim_doc_comment, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Serves a public URL without a key: the proxy before it must let in nobody whom it does not know, since whoever comes through may do everything
    #[arg(long)]
    without_keys: bool,
    /// Path under which all routes are; may be given several times [default: /runtime/webhooks/durabletask and /]
    #[arg(long, value_name = "PATH")]
    prefix: Vec<String>,
    /// How clients see this server, for the URLs that it hands out, such as https://durable.example; needs a key, or --without-keys
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Takes X-Forwarded-Host and X-Forwarded-Proto for these URLs: behind a proxy that sets them
    #[arg(long)]
    trust_forwarded_headers: bool,
    /// Origin of pages that may read the answers, such as https://shop.example, or * with a key; may be given several times
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Longest body of a request, in bytes [default: 10 MiB]
    #[arg(long, value_name = "BYTES")]
    body_limit: Option<usize>,
    /// How many requests may be under way at once [default: 512]
    #[arg(long, value_name = "COUNT")]
    concurrent_requests: Option<usize>,
    /// How long a request may take, such as 60s [default: 230s]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    request_timeout: Option<Duration>,
    /// How long URLs that are handed out are good, such as 12h [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    url_lifetime: Option<Duration>,
    /// Address and port under which metrics are served for Prometheus, such as 127.0.0.1:9464; whoever reaches it may read them
    #[arg(long, value_name = "IP:PORT")]
    metrics: Option<SocketAddr>,
    /// App whose workers hold the app lease; makeprimary tells it to take the lease over
    #[arg(long, value_name = "NAME")]
    app_name: Option<String>,
}

/// Between two looks at the queues.
const LOOKS_APART: Duration = Duration::from_secs(30);

/// Where the keys are if no file has them.
const KEYS: &str = "TASKHUB_HTTP_KEYS";

impl Serve {
    pub(super) async fn run(self, target: &Target, out: &Output) -> Outcome {
        // Before anybody can know that it is there, and stop it.
        let stop = shutdown_signal();
        let Some(address) = self.metrics else {
            let (api, listener) = self.listen(&target.open(out).await?, None, out).await?;
            return Ok(dashboard::serve(&api, listener, stop).await?);
        };
        let metrics = Metrics::prometheus();
        let client = target.open_measured(&metrics, out).await?;
        let page = bind(address).await?;
        let (api, listener) = self.listen(&client, Some(page.local_addr()?), out).await?;
        tokio::select! {
            biased;
            served = dashboard::serve(&api, listener, stop) => Ok(served?),
            served = metrics.serve(page, std::future::pending()) => Ok(served?),
            () = keep_measuring(&client) => Ok(()),
        }
    }

    /// Listens, and says where; `metrics`: where they are served already.
    pub(super) async fn listen(
        &self,
        client: &Client,
        metrics: Option<SocketAddr>,
        out: &Output,
    ) -> Result<(ManagementApi, TcpListener), Failure> {
        let address = SocketAddr::new(self.address, self.port);
        let api = self.api(client)?;
        let listener = bind(address).await?;
        let address = listener.local_addr()?;
        let (hub, url) = (client.hub_name(), format!("http://{address}/"));
        // Nothing else tells whoever started it that it is there.
        let metrics = metrics.map(|address| format!("http://{address}/metrics"));
        let told = || match &metrics {
            Some(metrics) => json!({ "hub": hub, "url": url, "metrics": metrics }),
            None => json!({ "hub": hub, "url": url }),
        };
        let beside = metrics.as_ref().map(|metrics| format!(", and its metrics on {metrics}")).unwrap_or_default();
        out.print(told, || format!("Serving task hub {hub} on {url}{beside}"))?;
        Ok((api, listener))
    }

    fn api(&self, client: &Client) -> Result<ManagementApi, Failure> {
        let mut api = ManagementApi::builder(client);
        let keys = self.read_keys()?;
        if keys.is_empty() && !self.address.is_loopback() {
            let words = format!(
                "without a key nothing is served on {}, which other machines reach: set {KEYS}, pass --keys, or listen on 127.0.0.1",
                self.address
            );
            return Err(Failure::new(Kind::Invalid, words));
        }
        if let Some(url) = self.public_url.as_ref().filter(|_| keys.is_empty() && !self.without_keys) {
            let words = format!(
                "without a key whoever reaches {url} may do everything: set {KEYS}, pass --keys, or pass --without-keys if a proxy \
                 before it lets in nobody whom it does not know"
            );
            return Err(Failure::new(Kind::Invalid, words));
        }
        if keys.is_empty() || self.without_keys {
            api = api.without_keys();
        }
        for (scope, key) in keys {
            api = api.key(scope, key);
        }
        Ok(self.with_limits(self.with_urls(api)).build()?)
    }

    fn with_urls(&self, mut api: ManagementApiBuilder) -> ManagementApiBuilder {
        if !self.prefix.is_empty() {
            api = api.prefixes(self.prefix.clone());
        }
        if let Some(url) = &self.public_url {
            api = api.public_url(url);
        }
        if self.trust_forwarded_headers {
            api = api.trust_forwarded_headers();
        }
        self.allow_origin.iter().fold(api, |api, origin| api.allow_origin(origin))
    }

    fn with_limits(&self, mut api: ManagementApiBuilder) -> ManagementApiBuilder {
        if let Some(bytes) = self.body_limit {
            api = api.body_limit(bytes);
        }
        if let Some(most) = self.concurrent_requests {
            api = api.concurrent_requests(most);
        }
        if let Some(limit) = self.request_timeout {
            api = api.request_timeout(limit);
        }
        if let Some(lifetime) = self.url_lifetime {
            api = api.url_lifetime(lifetime);
        }
        if let Some(name) = &self.app_name {
            api = api.app_name(name);
        }
        api
    }

    /// The keys of the file, or of the environment.
    fn read_keys(&self) -> Result<Vec<(Scope, String)>, Failure> {
        let invalid = |words: String| Failure::new(Kind::Invalid, words);
        match &self.keys {
            Some(path) => {
                let refused = |error| invalid(format!("the keys in {} cannot be read: {error}", path.display()));
                let text = std::fs::read_to_string(path).map_err(refused)?;
                some_keys(&text).map_err(|why| invalid(format!("{}: {why}", path.display())))
            }
            None => keys_of_variable(std::env::var(KEYS)).map_err(invalid),
        }
    }
}

pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let failed = |error| Failure::new(Kind::Error, format!("nothing can listen on {address}: {error}"));
    TcpListener::bind(address).await.map_err(failed)
}

/// Looks at the queues of the hub now and then, for ever.
async fn keep_measuring(client: &Client) {
    let mut failures = 0_u64;
    loop {
        match client.measure_queues().await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                // After half a minute, one, two, four: an outage is no news for long.
                if failures.is_power_of_two() {
                    tracing::warn!(failures, %error, "the queues could not be measured");
                }
            }
        }
        tokio::time::sleep(LOOKS_APART).await;
    }
}

/// The keys of the environment; none only if the variable is not set at all. Whoever has set it wants keys, and not an open door.
fn keys_of_variable(text: Result<String, VarError>) -> Result<Vec<(Scope, String)>, String> {
    match text {
        Err(VarError::NotPresent) => Ok(Vec::new()),
        Err(VarError::NotUnicode(_)) => Err(format!("{KEYS} is not UTF-8")),
        Ok(text) => some_keys(&text).map_err(|why| format!("{KEYS}: {why}")),
    }
}

/// Reads keys, of which there is one at least.
fn some_keys(text: &str) -> Result<Vec<(Scope, String)>, String> {
    let read = keys(text)?;
    if read.is_empty() {
        return Err("there is no key in it; give one a line, such as admin and a space and the key, or leave it out to serve this machine alone".into());
    }
    Ok(read)
}

/// Reads keys; no error repeats any of the text.
fn keys(text: &str) -> Result<Vec<(Scope, String)>, String> {
    let lines = text.split(['\n', ';']).map(str::trim).enumerate();
    let key = |(number, line): (usize, &str)| {
        let (scope, key) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let scope = match scope.to_ascii_lowercase().as_str() {
            "read" => Scope::Read,
            "operate" => Scope::Operate,
            "admin" => Scope::Admin,
            _ => return Err(format!("key {} does not begin with read, operate or admin and a space", number + 1)),
        };
        Ok((scope, key.trim().to_owned()))
    };
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_line_by_line_and_never_repeated_in_an_error() {
        let read = keys("# of the shop\nread  abc\n\n Admin def ; operate g h").unwrap();
        let expected = [(Scope::Read, "abc"), (Scope::Admin, "def"), (Scope::Operate, "g h")];
        assert_eq!(read, expected.map(|(scope, key)| (scope, key.to_owned())));
        let error = keys("read abc\nhush-hush").unwrap_err();
        assert_eq!(error, "key 2 does not begin with read, operate or admin and a space");
    }

    #[test]
    fn a_variable_that_is_set_and_holds_no_key_is_refused_and_none_at_all_is_no_key() {
        for empty in ["", " \n", ";", "# admin key\n  # read other", "#"] {
            let error = keys_of_variable(Ok(empty.to_owned())).unwrap_err();
            assert!(error.starts_with("TASKHUB_HTTP_KEYS: there is no key in it"), "{empty:?}: {error}");
        }
        assert_eq!(keys_of_variable(Err(VarError::NotPresent)), Ok(Vec::new()));
        assert_eq!(keys_of_variable(Err(VarError::NotUnicode("x".into()))).unwrap_err(), "TASKHUB_HTTP_KEYS is not UTF-8");
        assert_eq!(keys_of_variable(Ok("#\nread abc".to_owned())), Ok(vec![(Scope::Read, "abc".to_owned())]));
    }
}
