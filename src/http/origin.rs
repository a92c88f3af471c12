//! Where a request came to: the beginning of the URLs that are handed out, and whether the host is one that may be meant.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};

use super::cors::Cors;
use super::refusal::Refusal;

/// How the beginning of URLs is found.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    /// What clients see, if that is told: `https://durable.example/path`, without a slash at its end.
    pub(super) public: Option<PublicUrl>,
    /// Whether a proxy that is trusted says it in `X-Forwarded-Host` and `X-Forwarded-Proto`.
    pub(super) trusts_forwarded: bool,
}

/// A URL under which clients find the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicUrl {
    text: String,
    host: String,
}

impl PublicUrl {
    /// `None` unless it is `http` or `https` with a host, and with neither query nor user.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let host = authority.host().to_ascii_lowercase();
        let is_plain = is_web && uri.query().is_none() && !text.contains('#') && !host.is_empty();
        is_plain.then(|| Self { text: text.trim_end_matches('/').to_owned(), host })
    }

    /// Whether pages at this URL have this origin: its scheme and authority.
    fn is_origin(&self, origin: &str) -> bool {
        let path = self.text.match_indices('/').nth(2).map_or(self.text.len(), |(at, _)| at);
        self.text.get(..path).is_some_and(|own| own.eq_ignore_ascii_case(origin))
    }
}

impl Origins {
    /// Scheme, authority, and what stands before the paths that this process sees.
    pub(super) fn of(&self, headers: &HeaderMap, uri: &Uri) -> Result<String, Refusal> {
        if let Some(public) = &self.public {
            return Ok(public.text.clone());
        }
        if self.trusts_forwarded
            && let (Some(host), Some(scheme)) = (text(headers, "x-forwarded-host")?, text(headers, "x-forwarded-proto")?)
        {
            let scheme = scheme.to_ascii_lowercase();
            if !matches!(scheme.as_str(), "http" | "https") {
                return Err(Refusal::bad(
                    "the header X-Forwarded-Proto is neither http nor https; one proxy sets it to one value",
                ));
            }
            return Ok(format!("{scheme}://{}", authority(host, "X-Forwarded-Host")?));
        }
        Ok(format!("http://{}", host(headers, uri)?))
    }

    /// Refuses a host that a page of somebody else can have had resolved to this machine, where nothing but the machine itself is trusted.
    pub(super) fn check_local(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
        let authority = host(headers, uri)?;
        let name = authority.host();
        let is_public = self.public.as_ref().is_some_and(|public| public.host.eq_ignore_ascii_case(name));
        if is_loopback(name) || is_public {
            return Ok(());
        }
        let words = "without a key the API answers on this machine only: the Host header names neither localhost, nor an address \
                     of the loopback interface, nor the public URL that is set; set a key, or ask by such a name";
        Err(Refusal::message(StatusCode::FORBIDDEN, words))
    }

    /// Refuses what a page of somebody else has a browser send, where nothing but the machine itself is trusted: the browser sends it from this
    /// machine, and the page need not read the answer to have done harm. Browsers tell the origin of every request but a plain `GET`, and of that,
    /// whether it is of another site.
    pub(super) fn check_page(&self, headers: &HeaderMap, cors: &Cors) -> Result<(), Refusal> {
        let origin = text(headers, header::ORIGIN.as_str())?;
        if cors.allowed(headers).is_some() {
            return Ok(());
        }
        let is_own =
            |origin: &str| is_of_this_machine(origin) || self.public.as_ref().is_some_and(|public| public.is_origin(origin));
        let is_cross_site = text(headers, "sec-fetch-site")?.is_some_and(|site| site.eq_ignore_ascii_case("cross-site"));
        if origin.is_none_or(is_own) && !is_cross_site {
            return Ok(());
        }
        let words = "without a key no page of another site may ask: the headers Origin and Sec-Fetch-Site tell that one does; set a key, or \
                     allow the origin of the page";
        Err(Refusal::message(StatusCode::FORBIDDEN, words))
    }
}

/// Whether it is the origin of a page, as browsers write it, that this machine serves.
fn is_of_this_machine(origin: &str) -> bool {
    let uri = origin.parse::<Uri>().ok();
    uri.is_some_and(|uri| uri.scheme().is_some() && uri.host().is_some_and(is_loopback))
}

/// Whether a host, in brackets if it is an address of IPv6, is this machine.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The host that the client has asked, as HTTP tells it.
fn host(headers: &HeaderMap, uri: &Uri) -> Result<Authority, Refusal> {
    match (uri.authority(), text(headers, header::HOST.as_str())?) {
        (Some(authority), _) => Ok(authority.clone()),
        (None, Some(host)) => authority(host, "Host"),
        (None, None) => Err(Refusal::bad("the request has no Host header; HTTP 1.1 asks for it")),
    }
}

fn authority(host: &str, header: &str) -> Result<Authority, Refusal> {
    let read = host.parse::<Authority>().ok().filter(|read| !read.host().is_empty() && !read.as_str().contains('@'));
    read.ok_or_else(|| Refusal::bad(format!("the header {header} is no host, with a port or without")))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Refusal> {
    let mut all = headers.get_all(name).iter();
    let first = all.next().map(|value| value.to_str().map(str::trim));
    match (first, all.next()) {
        (Some(Ok(text)), None) => Ok(Some(text).filter(|text| !text.is_empty())),
        (None, _) => Ok(None),
        _ => Err(Refusal::bad(format!("the header {name} is given more than once, or is no plain text"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn origin(origins: &Origins, all: &[(&'static str, &'static str)]) -> Option<String> {
        origins.of(&headers(all), &Uri::from_static("/x")).ok()
    }

    const FORWARDED: [(&str, &str); 3] =
        [("host", "10.0.0.1:80"), ("x-forwarded-host", "public.example:8443"), ("x-forwarded-proto", "https")];

    #[test]
    fn forwarded_headers_count_if_both_are_there_and_they_are_trusted() {
        let (plain, trusting) = (Origins::default(), Origins { trusts_forwarded: true, ..Origins::default() });
        assert_eq!(origin(&plain, &FORWARDED).as_deref(), Some("http://10.0.0.1:80"));
        assert_eq!(origin(&trusting, &FORWARDED).as_deref(), Some("https://public.example:8443"));
        assert_eq!(origin(&trusting, &FORWARDED[..2]).as_deref(), Some("http://10.0.0.1:80"));
        assert_eq!(origin(&trusting, &[FORWARDED[0], FORWARDED[1], ("x-forwarded-proto", "https, http")]), None);
        assert_eq!(origin(&trusting, &[FORWARDED[0], ("x-forwarded-host", "a, b"), FORWARDED[2]]), None);
        assert_eq!(origin(&plain, &[]), None);
    }

    #[test]
    fn a_public_url_stands_before_everything() {
        let public = PublicUrl::parse("https://Durable.example/base/");
        let origins = Origins { public, trusts_forwarded: true };
        assert_eq!(origin(&origins, &FORWARDED).as_deref(), Some("https://Durable.example/base"));
        for bad in ["", "durable.example", "ftp://x", "https://", "https://u@x", "https://x?q", "https://x/#f", "/x"] {
            assert_eq!(PublicUrl::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_names_of_this_machine_are_local() {
        let origins = Origins { public: PublicUrl::parse("https://durable.example:8443"), trusts_forwarded: true };
        let check = |host: &'static str| origins.check_local(&headers(&[("host", host)]), &Uri::from_static("/x")).is_ok();
        for local in ["localhost", "LocalHost:80", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:80", "durable.example"] {
            assert!(check(local), "{local}");
        }
        for other in
            ["evil.example", "localhost.evil.example", "10.0.0.1", "[::]:80", "127.0.0.1.evil.example", "0.0.0.0", "a b", ""]
        {
            assert!(!check(other), "{other}");
        }
    }
}
