//! Who may do what: keys of three scopes, and signatures of URLs that are handed out.

use std::fmt;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use super::route::Act;
use crate::model::Timestamp;

type HmacSha256 = Hmac<Sha256>;

/// What a key allows. Each allows what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scope {
    /// Looks: status, lists, histories, the hub.
    Read,
    /// Starts instances, sends to them, and restarts them.
    Operate,
    /// Deletes instances, and moves the app lease.
    Admin,
}

impl Scope {
    /// All of them, each behind those that allow less.
    pub(super) const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Admin];

    /// Its name in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// The shortest key: shorter ones are guessed.
pub(super) const KEY_BYTES_MIN: usize = 16;

/// The keys of an API. Nothing of them is shown by `Debug`.
#[derive(Clone, Default)]
pub(super) struct Keys(Vec<Key>);

#[derive(Clone)]
struct Key {
    scope: Scope,
    /// Makes and checks signatures.
    signs: HmacSha256,
    /// The signature of nothing: who presents the key can make the same.
    own: Vec<u8>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| key.scope)).finish()
    }
}

/// What lets a request in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Right {
    /// A key of this scope.
    Key(Scope),
    /// The signature of a URL: for this act alone, until then.
    Url { act: Act, until: Timestamp },
}

impl Right {
    /// Whether it allows an act.
    pub(super) fn allows(self, act: Act) -> bool {
        match self {
            Self::Key(scope) => scope >= act.needs(),
            Self::Url { act: allowed, .. } => allowed == act,
        }
    }
}

/// What a URL allows that was handed out: one act on one instance of one hub, until a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant<'a> {
    pub(super) hub: &'a str,
    pub(super) instance: &'a str,
    pub(super) act: Act,
    /// The parameters by which it does or shows other than the URL without any; see [`Query::other_than_plain`](super::query::Query).
    pub(super) flags: &'a [&'static str],
}

/// How a signature of a URL begins; another form gets another beginning.
const URL_MARK: &str = "u1";
/// What signatures are made for, so that none serves for anything else.
const FOR_URLS: &str = "taskhub.url.1";
const FOR_PAGES: &str = "taskhub.page.1";

impl Keys {
    pub(super) fn add(&mut self, scope: Scope, text: &str) {
        let signs = keyed(text);
        let own = signs.clone().finalize().into_bytes().to_vec();
        self.0.push(Key { scope, signs, own });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a key allows; in a time that tells nothing of it.
    pub(super) fn scope_of(&self, presented: &str) -> Option<Scope> {
        // The signatures are compared in constant time, and all of them are.
        let own = keyed(presented);
        let fits = self.0.iter().filter(|key| own.clone().verify_slice(&key.own).is_ok());
        fits.fold(None, |best, key| best.max(Some(key.scope)))
    }

    /// The key that signs: of those that allow most the first. Who knows a lesser one can sign nothing greater than it.
    fn signing(&self) -> Option<&Key> {
        let most = self.0.iter().map(|key| key.scope).max()?;
        self.0.iter().find(|key| key.scope == most)
    }

    /// The `code` of a URL that allows an act on an instance until then; none if no key would allow it, or there are no keys.
    pub(super) fn sign(&self, grant: Grant<'_>, until: Timestamp) -> Option<String> {
        let key = self.signing().filter(|key| key.scope >= grant.act.needs())?;
        let until = seconds(until);
        let signature = grant.signature(&key.signs, until).finalize().into_bytes();
        Some(format!("{URL_MARK}.{until}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Until when this is the `code` of a URL that allows it; none if it is not, or that time is over.
    pub(super) fn granted_until(&self, code: &str, grant: Grant<'_>, now: Timestamp) -> Option<Timestamp> {
        let (until, signature) = read(code)?;
        let keys = self.0.iter().filter(|key| key.scope >= grant.act.needs());
        let fits = keys.filter(|key| grant.signature(&key.signs, until).verify_slice(&signature).is_ok()).count();
        (fits > 0 && until >= seconds(now)).then(|| Timestamp::UNIX_EPOCH.plus(Duration::from_secs(until)))
    }

    /// A text with the signature of its query, to be given back with the same query only. Without keys it is a checksum.
    pub(super) fn seal(&self, text: &str, query: &str) -> String {
        let signs = self.signing().map_or_else(|| keyed(""), |key| key.signs.clone());
        let signature = chained(&signs, &[FOR_PAGES, query, text]).finalize().into_bytes();
        format!("{}.{}", URL_SAFE_NO_PAD.encode(text), URL_SAFE_NO_PAD.encode(signature))
    }

    /// The text that was sealed with this query.
    pub(super) fn unseal(&self, sealed: &str, query: &str) -> Option<String> {
        let (text, signature) = sealed.trim().split_once('.')?;
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let fits = |signs: &HmacSha256| chained(signs, &[FOR_PAGES, query, &text]).verify_slice(&signature).is_ok();
        let is_sound = if self.is_empty() { fits(&keyed("")) } else { self.0.iter().any(|key| fits(&key.signs)) };
        is_sound.then_some(text)
    }
}

impl Grant<'_> {
    fn signature(self, signs: &HmacSha256, until: u64) -> HmacSha256 {
        // Names of hubs are the same in any case.
        let hub = self.hub.to_ascii_lowercase();
        let (act, until) = (self.act.name(), until.to_string());
        let plain = [FOR_URLS, &hub, self.instance, &act, &until];
        chained(signs, &[&plain, self.flags].concat())
    }
}

/// The hash of the text is the key: HMAC takes a short key for the same as one with zeros behind it.
fn keyed(text: &str) -> HmacSha256 {
    HmacSha256::new_from_slice(&Sha256::digest(text)).expect("HMAC takes keys of any length")
}

/// Texts one after the other, each with its length, so that no border can be moved.
fn chained(signs: &HmacSha256, texts: &[&str]) -> HmacSha256 {
    let mut signs = signs.clone();
    for text in texts {
        signs.update(&(text.len() as u64).to_be_bytes());
        signs.update(text.as_bytes());
    }
    signs
}

fn read(code: &str) -> Option<(u64, Vec<u8>)> {
    let (until, signature) = code.strip_prefix(URL_MARK)?.strip_prefix('.')?.split_once('.')?;
    Some((until.parse().ok()?, URL_SAFE_NO_PAD.decode(signature).ok()?))
}

/// Whole seconds since 1970.
fn seconds(time: Timestamp) -> u64 {
    time.since(Timestamp::UNIX_EPOCH).as_secs()
}

/// Whether this looks like the `code` of a URL that was handed out, valid or not.
pub(super) fn is_signature(code: &str) -> bool {
    read(code).is_some()
}

/// The keys that the headers of a request present.
pub(super) fn in_headers(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let functions = headers.get("x-functions-key").and_then(|value| value.to_str().ok());
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    functions.into_iter().chain(bearer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(all: &[(Scope, &str)]) -> Keys {
        let mut keys = Keys::default();
        all.iter().for_each(|(scope, text)| keys.add(*scope, text));
        keys
    }

    const STATUS: Grant<'static> = Grant { hub: "Hub", instance: "i", act: Act::Status, flags: &[] };
    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn a_key_has_its_scope_and_nothing_else_has_one() {
        let keys = keys(&[(Scope::Read, "reader"), (Scope::Admin, "old"), (Scope::Admin, "new"), (Scope::Operate, "reader")]);
        assert_eq!(keys.scope_of("old"), Some(Scope::Admin));
        assert_eq!(keys.scope_of("new"), Some(Scope::Admin));
        assert_eq!(keys.scope_of("reader"), Some(Scope::Operate), "the better of two");
        for other in ["", "Old", "ol", "oldd", "old\0"] {
            assert_eq!(keys.scope_of(other), None, "{other:?}");
        }
        assert!(!format!("{keys:?}").contains("old"));
    }

    #[test]
    fn a_signature_serves_for_one_act_on_one_instance_of_one_hub_until_its_time() {
        let keys = keys(&[(Scope::Admin, "key")]);
        let until = NOW.plus(Duration::from_secs(60));
        let code = keys.sign(STATUS, until).unwrap();
        assert_eq!(keys.granted_until(&code, STATUS, NOW), Some(until));
        assert!(keys.granted_until(&code, Grant { hub: "hUB", ..STATUS }, until).is_some());
        assert!(keys.granted_until(&code, STATUS, until.plus(Duration::from_secs(1))).is_none());
        for other in [
            Grant { hub: "Other", ..STATUS },
            Grant { instance: "j", ..STATUS },
            Grant { act: Act::Terminate, ..STATUS },
            Grant { flags: &["showHistory"], ..STATUS },
        ] {
            assert!(keys.granted_until(&code, other, NOW).is_none(), "{other:?}");
        }
        let (mark, rest) = code.split_once('.').unwrap();
        let (time, signature) = rest.split_once('.').unwrap();
        for forged in [
            format!("{mark}.{}.{signature}", time.to_owned() + "0"),
            format!("{mark}.{time}."),
            format!("{code}A"),
            String::new(),
        ] {
            assert!(keys.granted_until(&forged, STATUS, NOW).is_none(), "{forged}");
        }
        assert_eq!(keys.scope_of(&code), None, "it is no key");
    }

    #[test]
    fn a_lesser_key_signs_nothing_greater_than_itself_and_a_key_that_is_gone_nothing_at_all() {
        let reader = keys(&[(Scope::Read, "reader")]);
        let both = keys(&[(Scope::Read, "reader"), (Scope::Admin, "admin")]);
        let until = NOW.plus(Duration::from_secs(60));
        let raise = Grant { act: Act::Raise, ..STATUS };
        assert_eq!(reader.sign(raise, until), None);
        let forged = {
            let signs = keyed("reader");
            let signature = raise.signature(&signs, seconds(until)).finalize().into_bytes();
            format!("{URL_MARK}.{}.{}", seconds(until), URL_SAFE_NO_PAD.encode(signature))
        };
        assert!(both.granted_until(&forged, raise, NOW).is_none(), "signed by who has a key for reading");
        assert!(both.granted_until(&reader.sign(STATUS, until).unwrap(), STATUS, NOW).is_some());
        assert!(
            reader.granted_until(&both.sign(STATUS, until).unwrap(), STATUS, NOW).is_none(),
            "the key that signed it is not there"
        );
        assert_eq!(Keys::default().sign(STATUS, until), None);
    }

    #[test]
    fn a_sealed_text_comes_back_with_its_query_only() {
        for keys in [Keys::default(), keys(&[(Scope::Read, "r"), (Scope::Admin, "a")])] {
            let sealed = keys.seal("a b", "q");
            assert_eq!(keys.unseal(&sealed, "q").as_deref(), Some("a b"));
            assert_eq!(keys.unseal(&sealed, "p"), None);
            for other in ["", ".", "abc", "null", &sealed[1..], &format!("{sealed}A")] {
                assert_eq!(keys.unseal(other, "q"), None, "{other}");
            }
        }
    }
}
