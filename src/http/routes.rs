//! The table of all routes: the router finds them here, and the description of the API is made of it.

use axum::http::Method;

use super::route::{Act, Answer, Body, Kind, Param, Reach, Route, Shape};

const TIMEOUT: Param =
    Param::new("timeout", Kind::Seconds, "Waits so long for the end; only together with pollingInterval.").with(Reach::Widens);
const INTERVAL: Param =
    Param::new("pollingInterval", Kind::Seconds, "Seconds; not above timeout. The wait itself finds its own pace.")
        .with(Reach::Widens);
const VERSION: Param = Param::text("version", "The version of the orchestrator; empty for none.");
const REASON: Param = Param::text("reason", "Why, for the history and the output of the instance.");
const RECURSIVE: Param =
    Param::flag("recursive", "Whether sub-orchestrations are meant too, and theirs. Default: false.").with(Reach::Widens);
const TO_FIRST: Param =
    Param::flag("toFirstFailure", "Whether it goes back to its first failure, though that was caught. Default: false.")
        .with(Reach::Widens);
const SHOW_INPUT: Param = Param::flag("showInput", "Whether the input is shown. Default: true.").with(Reach::Narrows);
const SHOW_HISTORY: Param = Param::flag("showHistory", "Whether the history is shown. Default: false.").with(Reach::Widens);
const SHOW_OUTPUT: Param =
    Param::flag("showHistoryOutput", "Whether results stand in the history. Default: false.").with(Reach::Widens);
const FAIL: Param = Param::flag(
    "returnInternalServerErrorOnFailure",
    "Whether a failed instance is answered with the status 500. Default: false.",
);
const PREFIX: Param = Param::text("instanceIdPrefix", "Only ids that begin with this.");
const FROM: Param = Param::new("createdTimeFrom", Kind::Time, "Only instances created at or after this time.");
const TO: Param = Param::new("createdTimeTo", Kind::Time, "Only instances created at or before this time.");
const STATUSES: Param = Param::new("runtimeStatus", Kind::Statuses, "Only these statuses, with commas between them.");
const TOP: Param = Param::new("top", Kind::Count, "The longest page; 100 without, and never more than 1000.");
const NO_ENTITIES: Param = Param::flag("excludeEntities", "Whether entities are left out. Default: false.");
const SHOW_PAYLOADS: Param = Param::flag("showPayloads", "Whether inputs and outputs are read and shown. Default: true.");
const NEWEST: Param =
    Param::flag("newestFirst", "Whether the newest come first, for which each page reads all that match. Default: false.");
const NAME: Param = Param::text("name", "Only instances of this orchestrator.");
const PARENT: Param = Param::text("parent", "Only instances that this one started.");
const OF_VERSION: Param = Param::text("version", "Only instances of this version.");
const CONTINUATION: Param = Param::text("continuation", "Where to go on: what the page before ends with.");
const NEW_ID: Param = Param::text("newInstanceId", "The id of the new instance.");

const START_AT: Param = Param::new("startAt", Kind::Time, "Starts not before this time.");
const WITH_NEW_ID: Param =
    Param::flag("restartWithNewInstanceId", "Whether the new instance gets an id of its own. Default: true.");

const START: [Param; 8] = [TIMEOUT, INTERVAL, SHOW_INPUT, SHOW_HISTORY, SHOW_OUTPUT, FAIL, VERSION, START_AT];
const RESTART: [Param; 7] = [TIMEOUT, INTERVAL, SHOW_INPUT, SHOW_HISTORY, SHOW_OUTPUT, FAIL, WITH_NEW_ID];
const WITH_OPTIONS: [Param; 8] = [TIMEOUT, INTERVAL, SHOW_INPUT, SHOW_HISTORY, SHOW_OUTPUT, FAIL, NEW_ID, VERSION];
const STATUS: [Param; 4] = [SHOW_INPUT, SHOW_HISTORY, SHOW_OUTPUT, FAIL];
const LIST: [Param; 7] = [PREFIX, FROM, TO, STATUSES, SHOW_INPUT, TOP, NO_ENTITIES];
const PURGE: [Param; 3] = [FROM, TO, STATUSES];
const SEARCH: [Param; 12] =
    [SHOW_PAYLOADS, PREFIX, NAME, PARENT, OF_VERSION, STATUSES, FROM, TO, NO_ENTITIES, NEWEST, TOP, CONTINUATION];
const PURGE_FOUND: [Param; 8] = [PREFIX, NAME, PARENT, OF_VERSION, STATUSES, FROM, TO, RECURSIVE];

const ACCEPTED: Answer = Answer::new(202, "Accepted; the body has the URLs of the instance.", Shape::CheckStatus);
const FAILED: Answer =
    Answer::new(500, "The instance has failed, and returnInternalServerErrorOnFailure was asked for.", Shape::Instance);
const SENT: &[Answer] = &[Answer::new(202, "Sent.", Shape::Nothing)];
const STARTED: &[Answer] =
    &[Answer::new(200, "The output, if the end was waited for and came; or how else it ended.", Shape::Any), ACCEPTED, FAILED];
const SHOWN: &[Answer] = &[
    Answer::new(200, "The instance has ended.", Shape::Instance),
    Answer::new(202, "The instance has not ended; ask again.", Shape::Instance),
    FAILED,
];
const PURGED: &[Answer] = &[Answer::new(200, "How many instances are gone.", Shape::Purged)];
const NO_ENTITY: &[Answer] = &[Answer::new(501, "This version has no entities.", Shape::Refused)];

const fn route(
    method: Method,
    path: &'static str,
    act: Act,
    summary: &'static str,
    body: Body,
    query: &'static [Param],
    answers: &'static [Answer],
) -> Route {
    Route { method, path, act, summary, query, body, answers }
}

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

/// Every route, behind each prefix.
pub(super) static ROUTES: [Route; 40] = [
    route(
        POST,
        "/orchestrators/{functionName}",
        Act::Start,
        "Starts an orchestration under a generated id.",
        Body::Json,
        &START,
        STARTED,
    ),
    route(
        POST,
        "/orchestrators/{functionName}/{instanceId}",
        Act::Start,
        "Starts an orchestration under this id.",
        Body::Json,
        &START,
        STARTED,
    ),
    route(
        GET,
        "/instances",
        Act::List,
        "Lists instances; the header x-ms-continuation-token leads from page to page.",
        Body::None,
        &LIST,
        &[Answer::new(200, "One page.", Shape::Instances)],
    ),
    route(
        DELETE,
        "/instances",
        Act::PurgeMany,
        "Deletes all instances that were created in this time and have ended.",
        Body::None,
        &PURGE,
        PURGED,
    ),
    route(GET, "/instances/{instanceId}", Act::Status, "Shows an instance.", Body::None, &STATUS, SHOWN),
    route(
        DELETE,
        "/instances/{instanceId}",
        Act::PurgeOne,
        "Deletes an instance that has ended, with its history.",
        Body::None,
        &[RECURSIVE],
        PURGED,
    ),
    route(
        POST,
        "/instances/{instanceId}/raiseEvent/{eventName}",
        Act::Raise,
        "Raises an event to an instance.",
        Body::Json,
        &[],
        SENT,
    ),
    route(POST, "/instances/{instanceId}/terminate", Act::Terminate, "Ends an instance.", Body::None, &[REASON, RECURSIVE], SENT),
    route(POST, "/instances/{instanceId}/suspend", Act::Suspend, "Pauses an instance.", Body::None, &[REASON], SENT),
    route(POST, "/instances/{instanceId}/resume", Act::Resume, "Lets a suspended instance go on.", Body::None, &[REASON], SENT),
    route(
        POST,
        "/instances/{instanceId}/rewind",
        Act::Rewind,
        "Lets a failed instance try again what failed.",
        Body::None,
        &[REASON, TO_FIRST],
        SENT,
    ),
    route(
        POST,
        "/instances/{instanceId}/restart",
        Act::Restart,
        "Starts again what an instance ran, with the same input.",
        Body::None,
        &RESTART,
        STARTED,
    ),
    route(
        POST,
        "/instances/{instanceId}/restartWithOptions",
        Act::RestartWithOptions,
        "Starts again what an instance ran, under a given id and version.",
        Body::None,
        &WITH_OPTIONS,
        STARTED,
    ),
    route(
        POST,
        "/makeprimary",
        Act::MakePrimary,
        "Tells this app to take the app lease over.",
        Body::None,
        &[],
        &[Answer::new(200, "It takes the lease with its next attempt.", Shape::Nothing)],
    ),
    route(GET, "/entities", Act::Entity, "Lists entities.", Body::None, &[], NO_ENTITY),
    route(GET, "/entities/{entityName}", Act::Entity, "Lists the entities of a name.", Body::None, &[], NO_ENTITY),
    route(POST, "/entities/{entityName}", Act::Entity, "Signals the entity of an empty key.", Body::None, &[], NO_ENTITY),
    route(DELETE, "/entities/{entityName}", Act::Entity, "Deletes the entity of an empty key.", Body::None, &[], NO_ENTITY),
    route(GET, "/entities/{entityName}/{entityKey}", Act::Entity, "Shows the state of an entity.", Body::None, &[], NO_ENTITY),
    route(POST, "/entities/{entityName}/{entityKey}", Act::Entity, "Signals an entity.", Body::None, &[], NO_ENTITY),
    route(DELETE, "/entities/{entityName}/{entityKey}", Act::Entity, "Deletes an entity.", Body::None, &[], NO_ENTITY),
    route(
        GET,
        "/api/v1/openapi.json",
        Act::OpenApi,
        "This description.",
        Body::None,
        &[],
        &[Answer::new(200, "An OpenAPI document.", Shape::Any)],
    ),
    route(
        GET,
        "/api/v1/hub",
        Act::Hub,
        "Shows partitions, queues, parked messages, and code that is waited for.",
        Body::None,
        &[],
        &[Answer::new(200, "The task hub.", Shape::Hub)],
    ),
    route(
        GET,
        "/api/v1/access",
        Act::Access,
        "Tells which hub is served, and what the key of the request allows; costs no storage call.",
        Body::None,
        &[],
        &[Answer::new(200, "What may be done.", Shape::Access)],
    ),
    route(
        GET,
        "/api/v1/usage",
        Act::Usage,
        "The storage calls of the workers since each has started, and what they cost at list prices.",
        Body::None,
        &[],
        &[Answer::new(200, "The workers, those first that have told last.", Shape::Usage)],
    ),
    route(
        GET,
        "/api/v1/parked",
        Act::Parked,
        "Lists the messages that are parked because they cannot be read or keep failing.",
        Body::None,
        &[],
        &[Answer::new(200, "All parked messages.", Shape::Parked)],
    ),
    route(
        POST,
        "/api/v1/parked/{messageId}/retry",
        Act::RetryParked,
        "Puts a parked message back into its queue, once its cause is repaired.",
        Body::None,
        &[],
        SENT,
    ),
    route(
        DELETE,
        "/api/v1/parked/{messageId}",
        Act::DropParked,
        "Drops a parked message for good.",
        Body::None,
        &[],
        &[Answer::new(204, "It is gone.", Shape::Nothing)],
    ),
    route(
        GET,
        "/api/v1/instances",
        Act::Search,
        "Lists instances by all filters there are.",
        Body::None,
        &SEARCH,
        &[Answer::new(200, "One page.", Shape::Page)],
    ),
    route(POST, "/api/v1/instances", Act::StartByBody, "Starts an orchestration.", Body::Start, &[], &[ACCEPTED]),
    route(
        DELETE,
        "/api/v1/instances",
        Act::PurgeFound,
        "Deletes all instances that match and have ended; one filter at least is needed.",
        Body::None,
        &PURGE_FOUND,
        PURGED,
    ),
    route(
        GET,
        "/api/v1/instances/{instanceId}",
        Act::Show,
        "Shows an instance with all that is known of it.",
        Body::None,
        &[SHOW_INPUT],
        &[Answer::new(200, "The instance.", Shape::Whole)],
    ),
    route(
        DELETE,
        "/api/v1/instances/{instanceId}",
        Act::PurgeOne,
        "Deletes an instance that has ended, with its history.",
        Body::None,
        &[RECURSIVE],
        PURGED,
    ),
    route(
        GET,
        "/api/v1/instances/{instanceId}/history",
        Act::History,
        "The recorded events of the current execution.",
        Body::None,
        &[],
        &[Answer::new(200, "The events, in order.", Shape::Events)],
    ),
    route(
        POST,
        "/api/v1/instances/{instanceId}/events/{eventName}",
        Act::Raise,
        "Raises an event to an instance.",
        Body::Json,
        &[],
        SENT,
    ),
    route(
        POST,
        "/api/v1/instances/{instanceId}/terminate",
        Act::Terminate,
        "Ends an instance.",
        Body::None,
        &[REASON, RECURSIVE],
        SENT,
    ),
    route(POST, "/api/v1/instances/{instanceId}/suspend", Act::Suspend, "Pauses an instance.", Body::None, &[REASON], SENT),
    route(
        POST,
        "/api/v1/instances/{instanceId}/resume",
        Act::Resume,
        "Lets a suspended instance go on.",
        Body::None,
        &[REASON],
        SENT,
    ),
    route(
        POST,
        "/api/v1/instances/{instanceId}/rewind",
        Act::Rewind,
        "Lets a failed instance try again what failed.",
        Body::None,
        &[REASON, TO_FIRST],
        SENT,
    ),
    route(
        POST,
        "/api/v1/instances/{instanceId}/restart",
        Act::RestartAgain,
        "Starts again what an instance ran, under the same id or a new one.",
        Body::None,
        &[NEW_ID],
        &[ACCEPTED],
    ),
];
