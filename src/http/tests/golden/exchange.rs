//! Recorded exchanges, one JSON object a line (azurite-tests/golden/README.md).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(super) struct Exchange {
    /// Group and case.
    pub(super) name: String,
    pub(super) request: Request,
    pub(super) response: Response,
}

#[derive(Debug, Deserialize)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Option<String>,
}

/// The exchanges of the repository, or of the files that `TASKHUB_HTTP_GOLDEN` names, with the sign between them that paths have; and whether they are those
/// of the repository. An exchange of a later file takes the place of the one with its name: newer versions answer some otherwise.
pub(super) fn all() -> (Vec<Exchange>, bool) {
    let named = std::env::var_os("TASKHUB_HTTP_GOLDEN");
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("azurite-tests/golden/http/exchanges.jsonl");
    let paths = named.as_ref().map_or_else(|| vec![ours], |named| std::env::split_paths(named).collect());
    let mut all = Vec::<Exchange>::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let exchange: Exchange = serde_json::from_str(line).unwrap();
            match all.iter_mut().find(|other| other.name == exchange.name) {
                Some(older) => *older = exchange,
                None => all.push(exchange),
            }
        }
    }
    (all, named.is_none())
}

impl Exchange {
    pub(super) fn group(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    pub(super) fn body(&self) -> Option<Value> {
        serde_json::from_str(self.response.body.as_deref()?).ok()
    }

    /// The id or continuation token that the recorded host has made up.
    pub(super) fn generated(&self) -> Option<String> {
        if let Some(token) = self.response.headers.get("x-ms-continuation-token") {
            return Some(token.clone()).filter(|token| !token.is_empty());
        }
        let id = self.body()?["id"].as_str()?.to_owned();
        Some(id).filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
    }
}
