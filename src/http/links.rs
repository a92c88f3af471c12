//! The URLs of an instance that are handed out, each signed for what it does and for nothing else.

use std::time::Duration;

use serde::Serialize;

use super::access::{Grant, Keys, Right};
use super::path::encoded;
use super::route::Act;
use crate::model::Timestamp;

/// What URLs of instances are made of.
#[derive(Clone, Debug)]
pub(super) struct Links<'a> {
    /// Scheme, authority and prefix.
    pub(super) base: String,
    pub(super) hub: &'a str,
    pub(super) keys: &'a Keys,
    /// What who gets them was let in by.
    pub(super) right: Right,
    pub(super) until: Timestamp,
    /// What the URL of the status asks for besides.
    pub(super) fails_on_failure: bool,
}

/// The URLs by the names, and in the order, of Durable Functions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckStatus {
    pub(super) id: String,
    pub(super) status_query_get_uri: String,
    pub(super) send_event_post_uri: String,
    pub(super) terminate_post_uri: String,
    pub(super) purge_history_delete_uri: String,
    pub(super) restart_post_uri: String,
    pub(super) suspend_post_uri: String,
    pub(super) resume_post_uri: String,
}

/// What clients that follow a `Location` wait between two looks: after a start, and while an instance runs.
pub(super) const RETRY_AFTER_START: Duration = Duration::from_secs(10);
pub(super) const RETRY_AFTER_LOOK: Duration = Duration::from_secs(5);

impl Links<'_> {
    pub(super) fn check_status(&self, id: &str) -> CheckStatus {
        let status = if self.fails_on_failure { "&returnInternalServerErrorOnFailure=true" } else { "" };
        CheckStatus {
            status_query_get_uri: self.url(id, Act::Status, "", "") + status,
            send_event_post_uri: self.url(id, Act::Raise, "/raiseEvent/{eventName}", ""),
            terminate_post_uri: self.url(id, Act::Terminate, "/terminate", "reason={text}&"),
            purge_history_delete_uri: self.url(id, Act::PurgeOne, "", ""),
            restart_post_uri: self.url(id, Act::Restart, "/restart", ""),
            suspend_post_uri: self.url(id, Act::Suspend, "/suspend", "reason={text}&"),
            resume_post_uri: self.url(id, Act::Resume, "/resume", "reason={text}&"),
            id: id.to_owned(),
        }
    }

    fn url(&self, id: &str, act: Act, tail: &str, query: &str) -> String {
        let (base, hub) = (&self.base, encoded(self.hub));
        let code = match self.code(id, act, &[]) {
            Some(code) => format!("&code={}", encoded(&code)),
            None => String::new(),
        };
        format!("{base}/instances/{}{tail}?{query}taskHub={hub}{code}", encoded(id))
    }

    /// The signature for one act with these parameters, as far as who gets it may do that.
    pub(super) fn code(&self, id: &str, act: Act, flags: &[&'static str]) -> Option<String> {
        let grant = Grant { hub: self.hub, instance: id, act, flags };
        if self.right.allows(act) { self.keys.sign(grant, self.until) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Scope;

    fn links(keys: &Keys, scope: Scope) -> Links<'_> {
        Links {
            base: "http://127.0.0.1:7071/p".into(),
            hub: "Hub",
            keys,
            right: Right::Key(scope),
            until: Timestamp::UNIX_EPOCH.plus(Duration::from_secs(60)),
            fails_on_failure: false,
        }
    }

    #[test]
    fn without_keys_urls_are_those_of_durable_functions() {
        let urls = links(&Keys::default(), Scope::Admin).check_status("a b");
        let urls = serde_json::to_string_pretty(&urls).unwrap();
        let expected = r#"{
  "id": "a b",
  "statusQueryGetUri": "http://127.0.0.1:7071/p/instances/a%20b?taskHub=Hub",
  "sendEventPostUri": "http://127.0.0.1:7071/p/instances/a%20b/raiseEvent/{eventName}?taskHub=Hub",
  "terminatePostUri": "http://127.0.0.1:7071/p/instances/a%20b/terminate?reason={text}&taskHub=Hub",
  "purgeHistoryDeleteUri": "http://127.0.0.1:7071/p/instances/a%20b?taskHub=Hub",
  "restartPostUri": "http://127.0.0.1:7071/p/instances/a%20b/restart?taskHub=Hub",
  "suspendPostUri": "http://127.0.0.1:7071/p/instances/a%20b/suspend?reason={text}&taskHub=Hub",
  "resumePostUri": "http://127.0.0.1:7071/p/instances/a%20b/resume?reason={text}&taskHub=Hub"
}"#;
        assert_eq!(urls, expected);
    }

    #[test]
    fn urls_carry_signatures_for_what_their_holder_may_do_and_never_a_key() {
        let mut keys = Keys::default();
        keys.add(Scope::Admin, "the key of all keys");
        let signed = |scope| {
            let urls = links(&keys, scope).check_status("i");
            let all = [&urls.status_query_get_uri, &urls.send_event_post_uri, &urls.purge_history_delete_uri];
            all.map(|url| {
                assert!(!url.contains("key"), "{url}");
                url.contains("&code=u1.60.")
            })
        };
        assert_eq!(signed(Scope::Read), [true, false, false]);
        assert_eq!(signed(Scope::Operate), [true, true, false]);
        assert_eq!(signed(Scope::Admin), [true, true, true]);
    }
}
