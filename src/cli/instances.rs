//! `taskhub list`, `show` and `history`.

use clap::Args;
use serde_json::Value;
use taskhub::{Awaited, Client, Clock, ErrorKind, FailureDetails, InstanceQuery, InstanceStatus, RuntimeStatus, Timestamp};

use super::failure::{Outcome, of_instance};
use super::json::{Json, as_stored, over_lines, payload};
use super::output::{Output, shortened_table, table};
use super::waits::Waits;
use super::{awaited, events, text, timeline, values, waits};

/// Rows of one request; the service gives no more.
const PAGE_ROWS: usize = 1000;

/// Which instances are meant, by what they are.
#[derive(Args, Debug)]
pub(super) struct Which {
    /// Only ids that begin with this
    #[arg(long)]
    pub(super) prefix: Option<String>,
    /// Only instances of this orchestrator, by its whole name
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Only instances of this version of their orchestrator; "" stands for those without one
    #[arg(long)]
    pub(super) version: Option<String>,
}

/// Which instances to list.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only instances of this status; may be given several times
    #[arg(long, value_parser = values::status)]
    status: Vec<RuntimeStatus>,
    #[command(flatten)]
    which: Which,
    /// Only sub-orchestrations of this instance
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// Only instances created at or after this UTC time, such as 2026-01-31T12:00:00Z, or as long ago as 2h
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    created_from: Option<Timestamp>,
    /// Only instances created at or before this UTC time
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    created_to: Option<Timestamp>,
    /// Only instances with this tag, as NAME=VALUE; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::tag)]
    tag: Vec<(String, String)>,
    /// Those that were created last come first; reads all that match
    #[arg(long)]
    newest: bool,
    /// Leave out entities
    #[arg(long)]
    exclude_entities: bool,
    /// Most instances to list
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    top: usize,
}

/// One instance.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// Its id
    id: String,
}

/// One instance, and how much of what happened in it.
#[derive(Args, Debug)]
pub(crate) struct History {
    /// Its id
    id: String,
    /// With the inputs of calls, as far as they can be found: in history rows, in sub-orchestrations, and in calls that nobody has taken yet
    #[arg(long)]
    inputs: bool,
    /// Drawn as a timeline: when each task, timer and event began and ended
    #[arg(long, conflicts_with = "inputs")]
    timeline: bool,
}

impl List {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        let (top, is_filtered) = (self.top, self.is_filtered());
        let mut query = InstanceQuery {
            id_prefix: self.which.prefix,
            name: self.which.name,
            parent: self.parent,
            version: self.which.version,
            statuses: self.status,
            created_from: self.created_from,
            created_to: self.created_to,
            tags: self.tag.into_iter().collect(),
            newest_first: self.newest,
            exclude_entities: self.exclude_entities,
            with_payloads: false,
            // One more than is shown tells whether there is more.
            page_size: top.saturating_add(1).min(PAGE_ROWS),
            ..InstanceQuery::default()
        };
        let mut found = Vec::new();
        loop {
            let page = client.list(&query).await?;
            found.extend(page.instances);
            query.continuation = page.continuation;
            if query.continuation.is_none() || found.len() > top {
                break;
            }
        }
        let more = found.len() > top;
        found.truncate(top);
        let mut awaited = client.awaited().await?;
        // A filter leaves out what is waited for elsewhere.
        awaited.retain(|awaited| !is_filtered || found.iter().any(|instance| client.waits_for(instance, awaited)));
        let lacks = |instance: &InstanceStatus| awaited.iter().find(|awaited| client.waits_for(instance, awaited));
        out.print(
            || {
                let one = |instance: &InstanceStatus| {
                    let mut members = members(instance, false);
                    members.push(awaits(lacks(instance)));
                    Json::Object(members)
                };
                let instances = Json::List(found.iter().map(one).collect());
                Json::Object(vec![
                    ("instances", instances),
                    ("more", more.into()),
                    ("awaited", Json::List(awaited.iter().map(|awaited| serde_json::json!(awaited).into()).collect())),
                ])
            },
            || {
                let listed = list_text(&found, more, |instance| lacks(instance).map_or("", awaited::label));
                match awaited::as_text(&awaited, Clock::system().now()) {
                    Some(awaited) => format!("{listed}\n\n{awaited}"),
                    None => listed,
                }
            },
        )
    }
}

impl List {
    fn is_filtered(&self) -> bool {
        let texts = [&self.which.prefix, &self.which.name, &self.which.version, &self.parent];
        let times = [self.created_from, self.created_to];
        !self.status.is_empty()
            || !self.tag.is_empty()
            || texts.into_iter().any(Option::is_some)
            || times.into_iter().any(|time| time.is_some())
    }
}

/// The line that people read, type and message, and the same of what is behind them.
fn failure_as_json(failure: &FailureDetails) -> serde_json::Value {
    serde_json::json!({
        "summary": failure.to_string(),
        "type": failure.error_type,
        "message": failure.error_message,
        "inner": failure.inner.as_deref().map(failure_as_json),
    })
}

/// The member that tells what an instance waits for.
fn awaits(awaited: Option<&Awaited>) -> (&'static str, Json) {
    ("awaits", serde_json::json!(awaited).into())
}

/// `lacks`: what is shown behind the status of an instance.
fn list_text(instances: &[InstanceStatus], more: bool, lacks: impl Fn(&InstanceStatus) -> &'static str) -> String {
    if instances.is_empty() {
        return if more { "There are instances; --top 0 shows none.".to_owned() } else { "No instances.".to_owned() };
    }
    let has_versions = instances.iter().any(|i| i.version.is_some());
    let has_parents = instances.iter().any(|i| i.parent_instance_id.is_some());
    let row = |i: &InstanceStatus| {
        let or_dash = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), text::line);
        let mut row = vec![text::line(&i.instance_id), text::line(&i.name)];
        row.extend(has_versions.then(|| or_dash(&i.version)));
        let parked = if i.is_parked { ", parked" } else { "" };
        let status = format!("{}{parked}{}", i.status, lacks(i));
        row.extend([status, text::time_or_dash(i.created), text::time_or_dash(i.last_updated)]);
        row.extend(has_parents.then(|| or_dash(&i.parent_instance_id)));
        row
    };
    let mut header = vec!["ID", "NAME"];
    header.extend(has_versions.then_some("VERSION"));
    header.extend(["STATUS", "CREATED (UTC)", "UPDATED (UTC)"]);
    header.extend(has_parents.then_some("PARENT"));
    let listed = table(&header, &instances.iter().map(row).collect::<Vec<_>>());
    if more { format!("{listed}\n\nThere are more: use filters, or --top with a higher number.") } else { listed }
}

impl One {
    pub(crate) async fn show(self, client: &Client, out: &Output) -> Outcome {
        let status = client.instance(&self.id).status().await.map_err(|error| of_instance(client, &self.id, error))?;
        print(client, &status, out).await
    }
}

impl History {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        let instance = client.instance(&self.id);
        let history = if self.inputs { instance.history().with_inputs().await? } else { instance.history().await? };
        let status = match instance.status().await {
            Err(error) if error.kind() == ErrorKind::NotFound && !history.is_empty() => None,
            status => Some(status.map_err(|error| of_instance(client, &self.id, error))?),
        };
        let awaited = match &status {
            Some(status) => awaited::of(client, status).await?,
            None => None,
        };
        let execution_id = status.as_ref().and_then(|s| s.execution_id.as_deref());
        let lines = events::lines(&history);
        out.print(
            || {
                let (id, execution_id, events) = (self.id.as_str().into(), execution_id.into(), events::as_json(&history));
                let members = [("instanceId", id), ("executionId", execution_id), ("events", events)];
                Json::Object(members.into_iter().chain([awaits(awaited.as_ref())]).collect())
            },
            || {
                let shown = match status.as_ref().map(|s| s.status) {
                    Some(status) if history.is_empty() => format!("The instance is {status} and has not run yet."),
                    _ if self.timeline => timeline::draw(&history, client.now(), Output::width()),
                    _ => shortened_table(&events::HEADER, &lines, Output::width()),
                };
                match &awaited {
                    Some(awaited) => format!("{shown}\n\nIt waits for {}.", awaited::with_remedy(awaited)),
                    None => shown,
                }
            },
        )
    }
}

/// Prints one instance with its payloads, and what it waits for or why it has failed.
pub(crate) async fn print(client: &Client, status: &InstanceStatus, out: &Output) -> Outcome {
    let (awaited, waits) = (awaited::of(client, status).await?, Waits::of(client, status).await?);
    let awaited = awaited.as_ref();
    let failure = match status.status {
        RuntimeStatus::Failed => client.instance(&status.instance_id).failure().await?,
        _ => None,
    };
    out.print(
        || {
            let failure = ("failure", failure.as_ref().map(failure_as_json).into());
            let tasks = ("openTasks", waits.as_ref().map_or(Json::Plain(Value::Null), Waits::tasks_as_json));
            let events = ("receivedEvents", waits.as_ref().map_or(Json::Plain(Value::Null), Waits::events_as_json));
            Json::Object(members(status, true).into_iter().chain([awaits(awaited), tasks, events, failure]).collect())
        },
        || as_text(status, &Reasons { awaited, waits: waits.as_ref(), failure: failure.as_ref() }, Clock::system().now()),
    )
}

/// Why an instance goes no further.
#[derive(Clone, Copy, Debug, Default)]
struct Reasons<'a> {
    awaited: Option<&'a Awaited>,
    waits: Option<&'a Waits>,
    failure: Option<&'a FailureDetails>,
}

fn as_text(status: &InstanceStatus, reasons: &Reasons<'_>, now: Timestamp) -> String {
    let Reasons { awaited, waits, failure } = *reasons;
    let mut lines = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("{name:<15}{value}"));
        }
    };
    let time = |at: Option<Timestamp>| at.map(|at| format!("{} UTC ({})", text::time(at), text::relative(at, now)));
    add("Instance", Some(text::line(&status.instance_id)));
    add("Name", Some(text::line(&status.name)));
    add("Version", status.version.as_deref().map(text::line));
    let parked = if status.is_parked { ": a message of it is parked, see `taskhub poison list`" } else { "" };
    add("Status", Some(format!("{}{parked}", status.status)));
    let waits_for = waits::in_words(awaited, waits, now);
    // Each under the one before.
    add("Waits for", Some(waits_for.join("\n               ")).filter(|waits| !waits.is_empty()));
    add("Received", waits.and_then(Waits::events_in_words));
    add("Custom status", status.custom_status.as_deref().map(|stored| text::line(&as_stored(stored))));
    add("Created", time(status.created));
    add("Scheduled for", time(status.scheduled_start));
    add("Updated", time(status.last_updated));
    add("Completed", time(status.completed));
    add("Execution", status.execution_id.as_deref().map(text::line));
    add("Parent", status.parent_instance_id.as_deref().map(text::line));
    let tags: Vec<_> = status.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    add("Tags", Some(text::line(&tags.join(", "))).filter(|tags| !tags.is_empty()));
    // The output of .NET begins with its exceptions; the failure begins with its cause.
    let failure = failure.map(ToString::to_string).filter(|failure| Some(failure) != status.output.as_ref());
    for (name, payload) in [("Input", &status.input), ("Failure", &failure), ("Output", &status.output)] {
        if let Some(payload) = payload {
            lines.push(format!("\n{name}\n{}", indented(&text::block(&over_lines(payload)))));
        }
    }
    lines.join("\n")
}

fn indented(block: &str) -> String {
    block.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// The members of the HTTP management API by their names there, and what it leaves out.
fn members(status: &InstanceStatus, with_payloads: bool) -> Vec<(&'static str, Json)> {
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).into();
    let mut all = vec![
        ("instanceId", status.instance_id.as_str().into()),
        ("name", status.name.as_str().into()),
        ("version", status.version.as_deref().into()),
        ("runtimeStatus", status.status.name().into()),
        ("isParked", status.is_parked.into()),
        ("customStatus", payload(status.custom_status.as_deref())),
    ];
    if with_payloads {
        all.extend([("input", payload(status.input.as_deref())), ("output", payload(status.output.as_deref()))]);
    }
    all.extend([
        ("createdTime", time(status.created)),
        ("lastUpdatedTime", time(status.last_updated)),
        ("completedTime", time(status.completed)),
        ("scheduledStartTime", time(status.scheduled_start)),
        ("executionId", status.execution_id.as_deref().into()),
        ("generation", status.generation.into()),
        ("parentInstanceId", status.parent_instance_id.as_deref().into()),
        ("tags", serde_json::json!(status.tags).into()),
    ]);
    all
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use taskhub::{Storage, TaskHub};

    use super::*;

    async fn instance() -> InstanceStatus {
        let hub = TaskHub::open(Storage::in_memory(), "MyHub").await.unwrap();
        let client = Client::new(&hub);
        let input = values::json("{\"cents\": 7}").unwrap();
        let order = client.start_named("Fulfil", input).instance_id("order-7").await.unwrap();
        let mut status = order.status().await.unwrap();
        status.created = Timestamp::parse("2026-01-01T12:00:00Z");
        status.last_updated = Timestamp::parse("2026-01-01T12:00:05.1234567Z");
        status.execution_id = Some("e".repeat(8));
        status
    }

    #[tokio::test]
    async fn one_instance_is_shown_with_its_payloads() {
        let mut status = instance().await;
        status.status = RuntimeStatus::Failed;
        status.output = Some("NoMoney: the account\u{1b}[31m is empty".to_owned());
        let now = Timestamp::parse("2026-01-01T12:05:00Z").unwrap();
        let expected = "\
Instance       order-7
Name           Fulfil
Status         Failed
Created        2026-01-01 12:00:00 UTC (5 min ago)
Updated        2026-01-01 12:00:05 UTC (4 min ago)
Execution      eeeeeeee

Input
  {
    \"cents\": 7
  }

Output
  NoMoney: the account [31m is empty";
        assert_eq!(as_text(&status, &Reasons::default(), now), expected);
        let mut failure = FailureDetails::default();
        (failure.error_type, failure.error_message) = ("NoMoney".to_owned(), "the account is empty".to_owned());
        let with_failure = as_text(&status, &Reasons { failure: Some(&failure), ..Reasons::default() }, now);
        assert!(with_failure.contains("\n\nFailure\n  NoMoney: the account is empty\n\nOutput\n"), "{with_failure}");
        status.output = Some(failure.to_string());
        assert!(
            !as_text(&status, &Reasons { failure: Some(&failure), ..Reasons::default() }, now).contains("Failure"),
            "once is enough"
        );
        status.output = Some("NoMoney: the account\u{1b}[31m is empty".to_owned());
        let json = |with_payloads| serde_json::to_value(Json::Object(members(&status, with_payloads))).unwrap();
        let (json, without) = (json(true), json(false));
        assert_eq!((&json["input"]["cents"], json["output"].as_str()), (&7.into(), status.output.as_deref()));
        assert_eq!(json["lastUpdatedTime"], "2026-01-01T12:00:05.1234567Z");
        assert!(without.get("output").is_none());
    }

    #[tokio::test]
    async fn instances_are_listed_whole() {
        let mut other = instance().await;
        other.instance_id = format!("{}\n", "long".repeat(5));
        other.last_updated = other.created.map(|at| at.plus(Duration::from_secs(3600)));
        other.status = RuntimeStatus::Terminated;
        let expected = "\
ID                     NAME    STATUS      CREATED (UTC)        UPDATED (UTC)
order-7                Fulfil  Pending     2026-01-01 12:00:00  2026-01-01 12:00:05
longlonglonglonglong   Fulfil  Terminated  2026-01-01 12:00:00  2026-01-01 13:00:00";
        let both = [instance().await, other];
        let nothing = |_: &InstanceStatus| "";
        assert_eq!(list_text(&both, false, nothing), expected);
        assert!(list_text(&both, true, nothing).ends_with("There are more: use filters, or --top with a higher number."));
        assert_eq!(list_text(&[], false, nothing), "No instances.");
        let marked = list_text(&both[..1], false, |_| ", not hosted");
        assert!(marked.contains("  Pending, not hosted  "), "{marked}");
        let mut parked = instance().await;
        (parked.status, parked.is_parked) = (RuntimeStatus::Failed, true);
        assert!(list_text(&[parked.clone()], false, nothing).contains("  Failed, parked  "));
        assert!(
            as_text(&parked, &Reasons::default(), Clock::system().now())
                .contains("\nStatus         Failed: a message of it is parked")
        );
        assert_eq!(serde_json::to_value(Json::Object(members(&parked, false))).unwrap()["isParked"], true);
        let mut second = instance().await;
        second.version = Some("2.0".to_owned());
        let expected = "\
ID       NAME    VERSION  STATUS   CREATED (UTC)        UPDATED (UTC)
order-7  Fulfil  -        Pending  2026-01-01 12:00:00  2026-01-01 12:00:05
order-7  Fulfil  2.0      Pending  2026-01-01 12:00:00  2026-01-01 12:00:05";
        assert_eq!(list_text(&[instance().await, second], false, nothing), expected);
        let mut child = instance().await;
        child.parent_instance_id = Some("order-7".to_owned());
        let expected = "\
ID       NAME    STATUS   CREATED (UTC)        UPDATED (UTC)        PARENT
order-7  Fulfil  Pending  2026-01-01 12:00:00  2026-01-01 12:00:05  -
order-7  Fulfil  Pending  2026-01-01 12:00:00  2026-01-01 12:00:05  order-7";
        assert_eq!(list_text(&[instance().await, child.clone()], false, nothing), expected);
        assert_eq!(serde_json::to_value(Json::Object(members(&child, false))).unwrap()["parentInstanceId"], "order-7");
        assert!(as_text(&child, &Reasons::default(), Clock::system().now()).contains("\nParent         order-7"));
    }
}
