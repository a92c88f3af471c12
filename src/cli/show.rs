//! `taskhub show`: one instance with its payloads, why it goes no further, and what it has started.

use clap::Args;
use serde_json::Value;
use taskhub::{Awaited, Client, ErrorKind, EventKind, FailureDetails, HistoryEvent, InstanceStatus, RuntimeStatus, Timestamp};

use super::children::Children;
use super::failure::{Failure, Outcome, of_instance};
use super::json::{Json, as_stored, over_lines, payload};
use super::output::Output;
use super::waits::Waits;
use super::{awaited, failed, text, waits};

/// Most lines, and most characters, of a text that is not shown in full.
const CUT: (usize, usize) = (40, 4000);
/// The columns of the names in front of the values.
const INDENT: usize = 15;

/// One instance.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// Its id
    id: String,
    #[command(flatten)]
    how: How,
}

/// How much of it is shown.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct How {
    /// Long texts to their end, and with failures where they happened
    #[arg(long)]
    pub(crate) full: bool,
}

impl One {
    pub(crate) async fn show(self, client: &Client, out: &Output) -> Outcome {
        let status = client.instance(&self.id).status().await.map_err(|error| of_instance(client, &self.id, error))?;
        print(client, &status, self.how, out).await
    }
}

/// The events of an instance that has begun; `None` if they cannot be read. What there is of one that has not is of an instance that had the id before.
pub(crate) async fn history_of(client: &Client, instance: &InstanceStatus) -> Result<Option<Vec<HistoryEvent>>, Failure> {
    if instance.status == RuntimeStatus::Pending {
        return Ok(Some(Vec::new()));
    }
    match client.instance(&instance.instance_id).history().await {
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
        history => Ok(Some(history?)),
    }
}

/// Prints one instance with its payloads, and what it waits for or why it has failed.
pub(crate) async fn print(client: &Client, status: &InstanceStatus, how: How, out: &Output) -> Outcome {
    let history = history_of(client, status).await?;
    let about = About {
        awaited: awaited::of(client, status).await?,
        waits: history.as_deref().and_then(|history| Waits::of(status, history)),
        failure: why_failed(status, history.as_deref().unwrap_or_default()),
        children: Children::of(client, &status.instance_id, history.as_deref().unwrap_or_default()).await?,
    };
    out.print(|| as_json(status, &about), || as_text(status, &about, how, client.now(), out.width()))
}

/// The whole chain, as the history has it, or what the row shows if there is no more.
fn why_failed(status: &InstanceStatus, history: &[HistoryEvent]) -> Option<FailureDetails> {
    let shown = status.failure()?;
    let recorded = history.iter().rev().find_map(|event| match &event.kind {
        EventKind::ExecutionCompleted { failure, .. } => failure.clone(),
        _ => None,
    });
    Some(recorded.filter(|_| !status.is_parked).unwrap_or(shown))
}

/// What is shown of an instance beside its row.
#[derive(Debug, Default)]
struct About {
    awaited: Option<Awaited>,
    waits: Option<Waits>,
    failure: Option<FailureDetails>,
    children: Children,
}

fn as_json(status: &InstanceStatus, about: &About) -> Json {
    let waits = about.waits.as_ref();
    let null = || Json::Plain(Value::Null);
    let beside = [
        awaits(about.awaited.as_ref()),
        ("openTasks", waits.map_or_else(null, Waits::tasks_as_json)),
        ("receivedEvents", waits.map_or_else(null, Waits::events_as_json)),
        ("children", about.children.as_json()),
        ("failure", about.failure.as_ref().map(failed::as_json).into()),
    ];
    Json::Object(members(status, true).into_iter().chain(beside).collect())
}

fn as_text(status: &InstanceStatus, about: &About, how: How, now: Timestamp, width: usize) -> String {
    let mut lines = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("{name:<INDENT$}{value}"));
        }
    };
    let time = |at: Option<Timestamp>| at.map(|at| format!("{} UTC ({})", text::time(at), text::relative(at, now)));
    add("Instance", Some(text::line(&status.instance_id)));
    add("Name", Some(text::line(&status.name)));
    add("Version", status.version.as_deref().map(text::line));
    let parked = if status.is_parked { ": a message of it is parked, see `taskhub poison list`" } else { "" };
    add("Status", Some(format!("{}{parked}", status.status)));
    let reason = reason(status);
    if let Some((what, reason)) = reason {
        add(what, Some(text::line(&cut(reason, how))));
    }
    let waits_for = waits::in_words(about.awaited.as_ref(), about.waits.as_ref(), now);
    // Each under the one before.
    add("Waits for", Some(waits_for.join(&format!("\n{:INDENT$}", ""))).filter(|waits| !waits.is_empty()));
    add("Received", about.waits.as_ref().and_then(Waits::events_in_words));
    add("Custom status", status.custom_status.as_deref().map(|stored| text::line(&cut(&as_stored(stored), how))));
    add("Created", time(status.created));
    add("Scheduled for", time(status.scheduled_start));
    add("Updated", time(status.last_updated));
    add("Completed", time(status.completed));
    add("Execution", status.execution_id.as_deref().map(text::line));
    add("Parent", status.parent_instance_id.as_deref().map(text::line));
    let tags: Vec<_> = status.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    add("Tags", Some(text::line(&tags.join(", "))).filter(|tags| !tags.is_empty()));
    let payload = |text: &Option<String>| text.as_deref().map(|text| over_lines(text).into_owned());
    let output = status.output.clone().filter(|_| reason.is_none() && about.failure.is_none());
    let failure = about.failure.as_ref().map(|failure| failed::in_words(failure, how.full));
    let parts = [
        ("Input", payload(&status.input)),
        ("Failure", failure),
        ("Output", payload(&output)),
        ("Children", about.children.as_text(&status.instance_id, width.saturating_sub(2))),
    ];
    for (name, part) in parts {
        if let Some(part) = part {
            lines.push(format!("\n{name}\n{}", indented(&text::block(&cut(&part, how)))));
        }
    }
    lines.join("\n")
}

/// What the output column tells in the place of an output, and its name.
fn reason(status: &InstanceStatus) -> Option<(&'static str, &str)> {
    let what = match status.status {
        RuntimeStatus::Suspended | RuntimeStatus::Terminated | RuntimeStatus::Canceled => "Reason",
        RuntimeStatus::Running => "Resumed",
        _ => return None,
    };
    Some((what, status.output.as_deref()?))
}

/// The beginning of a long text, and how much more there is, unless it is to be shown in full.
fn cut(text: &str, how: How) -> String {
    let (lines_max, chars_max) = CUT;
    let end_of_lines = text.match_indices('\n').nth(lines_max - 1).map(|(at, _)| at);
    let end_of_chars = text.char_indices().nth(chars_max).map(|(at, _)| at);
    let Some(end) = end_of_lines.into_iter().chain(end_of_chars).min().filter(|_| !how.full) else { return text.to_owned() };
    let left = text[end..].chars().count();
    format!("{}… {} more; --full shows all", &text[..end], text::count(left as u64, "character"))
}

fn indented(block: &str) -> String {
    block.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// The member that tells what an instance waits for.
pub(crate) fn awaits(awaited: Option<&Awaited>) -> (&'static str, Json) {
    ("awaits", serde_json::json!(awaited).into())
}

/// The members of the HTTP management API by their names there, and what it leaves out.
pub(crate) fn members(status: &InstanceStatus, with_payloads: bool) -> Vec<(&'static str, Json)> {
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
pub(super) mod tests {
    use taskhub::{Storage, TaskHub};

    use super::super::values;
    use super::*;

    /// One that has just been started.
    pub(in crate::cli) async fn instance() -> InstanceStatus {
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

    fn shown(status: &InstanceStatus, about: &About) -> String {
        as_text(status, about, How::default(), Timestamp::parse("2026-01-01T12:05:00Z").unwrap(), usize::MAX)
    }

    #[tokio::test]
    async fn one_instance_is_shown_with_its_payloads() {
        let mut status = instance().await;
        status.status = RuntimeStatus::Completed;
        status.output = Some("\"the\u{1b}[31m end\"".to_owned());
        let expected = "\
Instance       order-7
Name           Fulfil
Status         Completed
Created        2026-01-01 12:00:00 UTC (5 min ago)
Updated        2026-01-01 12:00:05 UTC (4 min ago)
Execution      eeeeeeee

Input
  {
    \"cents\": 7
  }

Output
  \"the [31m end\"";
        assert_eq!(shown(&status, &About::default()), expected);
        let json = |with_payloads| serde_json::to_value(Json::Object(members(&status, with_payloads))).unwrap();
        let (json, without) = (json(true), json(false));
        assert_eq!((&json["input"]["cents"], json["output"].as_str()), (&7.into(), status.output.as_deref()));
        assert_eq!(json["lastUpdatedTime"], "2026-01-01T12:00:05.1234567Z");
        assert!(without.get("output").is_none());
    }

    #[tokio::test]
    async fn what_stands_in_the_place_of_an_output_is_named_as_what_it_is() {
        let mut status = instance().await;
        status.output = Some("lunch".to_owned());
        for (of, line) in [
            (RuntimeStatus::Suspended, "\nStatus         Suspended\nReason         lunch\n"),
            (RuntimeStatus::Terminated, "\nStatus         Terminated\nReason         lunch\n"),
            (RuntimeStatus::Running, "\nStatus         Running\nResumed        lunch\n"),
        ] {
            status.status = of;
            let shown = shown(&status, &About::default());
            assert!(shown.contains(line) && !shown.contains("Output"), "{shown}");
        }
        status.status = RuntimeStatus::Failed;
        status.output = Some("NoMoney: the account is empty".to_owned());
        let about = About { failure: why_failed(&status, &[]), ..About::default() };
        let failed = shown(&status, &about);
        assert!(failed.ends_with("\n\nFailure\n  NoMoney: the account is empty"), "{failed}");
        status.is_parked = true;
        assert!(shown(&status, &about).contains("\nStatus         Failed: a message of it is parked"));
        (status.status, status.parent_instance_id) = (RuntimeStatus::Pending, Some("order-6".to_owned()));
        assert!(shown(&status, &About::default()).contains("\nParent         order-6\n"));
    }

    #[test]
    fn long_texts_are_cut_unless_they_are_to_be_shown_in_full() {
        let (lines, line) = ("é\n".repeat(50), "é".repeat(5000));
        let (short, full) = (How::default(), How { full: true });
        assert_eq!(cut(&lines, short), format!("{}é… 21 characters more; --full shows all", "é\n".repeat(39)));
        assert_eq!(cut(&line, short), format!("{}… 1000 characters more; --full shows all", "é".repeat(4000)));
        assert_eq!([cut(&lines, full), cut("short", short)], [lines, "short".to_owned()]);
    }
}
