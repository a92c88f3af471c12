//! The files of the page, which are part of the program, and the headers with which they are served.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// A file of the page.
#[derive(Debug)]
pub(super) struct Asset {
    pub(super) name: &'static str,
    pub(super) content_type: &'static str,
    pub(super) text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! assets {
    ($($name:literal $content_type:ident,)*) => {
        &[$(Asset { name: $name, content_type: $content_type, text: include_str!(concat!("assets/", $name)) }),*]
    };
}

/// The page itself.
pub(super) const PAGE: &str = "index.html";

/// All of them.
pub(super) static ASSETS: &[Asset] = assets! {
    "index.html" HTML,
    "icon.svg" SVG,
    "style.css" CSS,
    "controls.css" CSS,
    "views.css" CSS,
    "chart.css" CSS,
    "actions.mjs" SCRIPT,
    "api.mjs" SCRIPT,
    "badge.mjs" SCRIPT,
    "dialog.mjs" SCRIPT,
    "dom.mjs" SCRIPT,
    "gantt.mjs" SCRIPT,
    "history.mjs" SCRIPT,
    "hub.mjs" SCRIPT,
    "instance.mjs" SCRIPT,
    "json.mjs" SCRIPT,
    "list.mjs" SCRIPT,
    "live.mjs" SCRIPT,
    "main.mjs" SCRIPT,
    "parked.mjs" SCRIPT,
    "payload.mjs" SCRIPT,
    "route.mjs" SCRIPT,
    "session.mjs" SCRIPT,
    "start.mjs" SCRIPT,
    "table.mjs" SCRIPT,
    "text.mjs" SCRIPT,
    "timeline.mjs" SCRIPT,
    "tree.mjs" SCRIPT,
    "windowed.mjs" SCRIPT,
    "workers.mjs" SCRIPT,
};

/// The same for every file: no script or style but those that are served beside the page, no request elsewhere, no text taken for markup, no page around
/// it, and nothing of its URL told to others.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // A browser asks whether a file is still the same, so that an update of the program is one of the page.
    (header::CACHE_CONTROL, "no-cache"),
];

/// The hash of each file, in their order, as a strong validator.
static TAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let tag = |asset: &Asset| {
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(asset.text));
        HeaderValue::from_str(&format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"\""))
    };
    ASSETS.iter().map(tag).collect()
});

/// A file by its name, unless the browser has it.
pub(super) fn answer(name: &str, headers: &HeaderMap) -> Response {
    let found = ASSETS.iter().zip(TAGS.iter()).find(|(asset, _)| asset.name == name);
    let Some((asset, tag)) = found else {
        return secured((StatusCode::NOT_FOUND, "The dashboard has no such file.\n").into_response());
    };
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known =
        known.flat_map(|tags| tags.split(',')).any(|known| known.trim().trim_start_matches("W/").as_bytes() == tag.as_bytes());
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, asset.content_type)], asset.text).into_response()
    };
    response.headers_mut().insert(header::ETAG, tag.clone());
    secured(response)
}

fn secured(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
