//! Lists of instances, page by page.

use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::answer;
use super::asked::Asked;
use super::refusal::Refusal;
use super::shown::{Shown, Whole};
use crate::client::{InstancePage, InstanceQuery};
use crate::model::Timestamp;

/// The header that leads from page to page.
const CONTINUATION: &str = "x-ms-continuation-token";

pub(super) async fn list(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let with_inputs = asked.query.flag("showInput", true)?;
    let given = asked.headers.get(CONTINUATION).map(|value| value.to_str().unwrap_or("?"));
    let (page, next) = page(asked, filters(asked)?, given).await?;
    let shown = page.instances.iter().map(Shown::new);
    let shown: Vec<_> = if with_inputs { shown.collect() } else { shown.map(Shown::without_input).collect() };
    let mut response = answer::json(StatusCode::OK, &shown);
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
        response.headers_mut().insert(CONTINUATION, next);
    }
    Ok(response)
}

pub(super) async fn search(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let given = asked.query.text("continuation");
    let (newest_first, with_payloads) = (asked.query.flag("newestFirst", false)?, asked.query.flag("showPayloads", true)?);
    let query = InstanceQuery { newest_first, with_payloads, ..all_filters(asked)? };
    let (page, continuation) = page(asked, query, given.as_deref()).await?;
    let instances = page.instances.iter().map(|status| Whole::new(status, true)).collect();
    Ok(answer::json(StatusCode::OK, &Found { instances, continuation }))
}

#[derive(Serialize)]
struct Found<'a> {
    instances: Vec<Whole<'a>>,
    continuation: Option<String>,
}

/// The filters of Durable Functions. The first instant of the year 1 is no bound.
fn filters(asked: &Asked<'_>) -> Result<InstanceQuery, Refusal> {
    let query = &asked.query;
    let bound = |name| Ok::<_, Refusal>(query.time(name)?.filter(|time| *time != Timestamp::MIN));
    Ok(InstanceQuery {
        id_prefix: query.text("instanceIdPrefix").filter(|prefix| !prefix.is_empty()),
        created_from: bound("createdTimeFrom")?,
        created_to: bound("createdTimeTo")?,
        statuses: query.statuses("runtimeStatus")?,
        ..InstanceQuery::default()
    })
}

/// All filters of the client, of which none may be empty.
pub(super) fn all_filters(asked: &Asked<'_>) -> Result<InstanceQuery, Refusal> {
    let text = |name| asked.query.filter(name);
    Ok(InstanceQuery {
        id_prefix: text("instanceIdPrefix")?,
        name: text("name")?,
        parent: text("parent")?,
        version: text("version")?,
        ..filters(asked)?
    })
}

/// A page, and the continuation of the next one, which serves for the same filters only.
async fn page(asked: &Asked<'_>, query: InstanceQuery, given: Option<&str>) -> Result<(InstancePage, Option<String>), Refusal> {
    let query = InstanceQuery { exclude_entities: asked.query.flag("excludeEntities", false)?, ..query };
    let keys = &asked.api.keys;
    // All that decides which rows there are, and not how many of them are on a page.
    let filters = format!("{} {query:?}", asked.client().hub_name().to_ascii_lowercase());
    let continuation = match given.map(str::trim).filter(|given| !given.is_empty()) {
        None => None,
        Some(given) => Some(keys.unseal(given, &filters).ok_or_else(|| {
            Refusal::bad(
                "the continuation is none of this list: give back what the page before ended with, with the same filters",
            )
        })?),
    };
    let page_size = asked.query.count("top")?.unwrap_or(query.page_size);
    let page = asked.client().list(&InstanceQuery { page_size, continuation, ..query }).await?;
    let next = page.continuation.as_deref().map(|next| keys.seal(next, &filters));
    Ok((page, next))
}
