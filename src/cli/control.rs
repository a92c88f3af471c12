//! `taskhub start`, `restart`, `rewind`, `raise`, `terminate`, `suspend`, `resume` and `wait`.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use taskhub::{Client, Error, ErrorKind, RawValue, RuntimeStatus, Timestamp};

use super::failure::{Failure, Kind, Outcome, of_instance};
use super::json::as_stored;
use super::output::Output;
use super::waits::Waits;
use super::{awaited, show, text, values, waits};

/// What to start.
#[derive(Args, Debug)]
pub(crate) struct Start {
    /// Name of the orchestrator to start, in any case
    #[arg(value_name = "ORCHESTRATOR")]
    name: String,
    /// Version of the orchestrator [default: none]
    #[arg(long)]
    version: Option<String>,
    /// Instance id; one that has ended may be used again [default: a generated one]
    #[arg(long)]
    id: Option<String>,
    /// A tag, as NAME=VALUE, which sub-orchestrations inherit; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::tag)]
    tag: Vec<(String, String)>,
    /// Starts not before this much time from now, such as 90s, 2h or 40d
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    after: Option<Duration>,
    /// Starts not before this UTC time, such as 2026-01-31T12:00:00Z; one that is over is now
    #[arg(long, value_name = "TIME", value_parser = values::time_to_come, conflicts_with = "after")]
    at: Option<Timestamp>,
    /// Replaces an instance of this id that has not ended: terminates it first, and waits for its end
    #[arg(long, requires = "id")]
    replace: bool,
    /// Input as JSON; @FILE reads it from a file, and - from standard input [default: null]
    #[arg(value_name = "INPUT", value_parser = values::payload, allow_negative_numbers = true)]
    input: Option<Box<RawValue>>,
    /// The same
    #[arg(long = "input", value_name = "INPUT", value_parser = values::payload, allow_negative_numbers = true, conflicts_with = "input")]
    input_option: Option<Box<RawValue>>,
}

/// What to restart.
#[derive(Args, Debug)]
pub(crate) struct Restart {
    /// Instance id
    id: String,
    /// Starts it under another id, this one or a generated one, and leaves the instance as it is [default: the same id, of an instance that
    /// has ended]
    #[arg(long, value_name = "NEW", num_args = 0..=1)]
    new_id: Option<Option<String>>,
}

/// What to rewind.
#[derive(Args, Debug)]
pub(crate) struct Rewind {
    /// Instance id
    id: String,
    /// Kept in the history
    #[arg(long, default_value = "by the taskhub command")]
    reason: String,
    /// Back to the first failure, though it was caught: what was decided since is decided again, and what has completed since runs again
    #[arg(long)]
    to_first_failure: bool,
}

/// What to raise.
#[derive(Args, Debug)]
pub(crate) struct Raise {
    /// Instance id
    id: String,
    /// Name of the event
    event: String,
    /// Payload as JSON; @FILE reads it from a file, and - from standard input [default: null]
    #[arg(value_name = "PAYLOAD", value_parser = values::payload, allow_negative_numbers = true)]
    payload: Option<Box<RawValue>>,
    /// The same
    #[arg(long, alias = "input", value_name = "PAYLOAD", value_parser = values::payload, allow_negative_numbers = true, conflicts_with = "payload")]
    data: Option<Box<RawValue>>,
}

/// An instance, and why.
#[derive(Args, Debug)]
pub(crate) struct WithReason {
    /// Instance id
    id: String,
    /// Kept in the history and shown as output
    #[arg(long, default_value = "by the taskhub command")]
    reason: String,
}

/// What to end, and how far.
#[derive(Args, Debug)]
pub(crate) struct Terminate {
    #[command(flatten)]
    why: WithReason,
    /// Ends its sub-orchestrations too, and theirs, but those that were left to themselves; of an instance that has ended, those that
    /// still run
    #[arg(long)]
    recursive: bool,
    /// Ends all of them, also those that were left to themselves
    #[arg(long)]
    with_detached: bool,
}

/// What to wait for.
#[derive(Args, Debug)]
pub(crate) struct Wait {
    /// Instance id
    id: String,
    /// Waits until the custom status is this, as JSON or as a text, and not for the end
    #[arg(long, value_name = "STATUS")]
    custom_status: Option<String>,
    /// Longest wait, such as 90s, 5m or 2h
    #[arg(long, default_value = "5m", value_parser = values::duration)]
    timeout: Duration,
    #[command(flatten)]
    how: show::How,
}

/// What a reason can be given for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Suspend,
    Resume,
}

impl Start {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        let mut start = client.start_named(&self.name, self.input.or(self.input_option));
        let version = self.version;
        if let Some(version) = &version {
            start = start.version(version);
        }
        let wanted = self.id;
        if let Some(id) = &wanted {
            start = start.instance_id(id);
        }
        for (name, value) in self.tag {
            start = start.tag(name, value);
        }
        if let Some(delay) = self.after {
            start = start.after(delay);
        }
        if let Some(time) = self.at {
            let now = client.now();
            if time < now {
                out.warn(&format!("the time of --at was {}; the instance starts at once", text::relative(time, now)));
            }
            start = start.at(time);
        }
        if self.replace {
            start = start.replacing_any();
        }
        let id = start.await.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Failure::new(
                Kind::Exists,
                format!("instance \"{}\" exists and has not ended; use another --id, or --replace", wanted.unwrap_or_default()),
            ),
            _ => error.into(),
        })?;
        // It is started, whether or not it can be seen what others wait for.
        let awaited = awaited::of_orchestrator(client, &self.name, version.as_deref()).await;
        if let Some(awaited) = &awaited {
            out.warn(&format!("the instance will wait for {}", awaited::with_remedy(awaited)));
        }
        // The id alone, for scripts.
        out.print(|| json!({ "instanceId": id.id(), "awaits": awaited.as_ref() }), || text::line(id.id()))
    }
}

impl Restart {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        let instance = client.instance(&self.id);
        let restart = match &self.new_id {
            None => instance.restart(),
            Some(None) => instance.restart().generated_instance_id(),
            Some(Some(new)) => instance.restart().new_instance_id(new),
        };
        let started = restart.await.map_err(|error| match (error.kind(), &self.new_id) {
            (ErrorKind::AlreadyExists, Some(Some(new))) => Failure::new(
                Kind::Exists,
                format!(
                    "instance \"{new}\" exists and has not ended; use another --new-id, or --new-id alone for a generated one, or \
                     terminate it first"
                ),
            ),
            // Of several at once one wins.
            (ErrorKind::Open | ErrorKind::AlreadyExists, _) => Failure::new(
                Kind::Exists,
                format!(
                    "instance \"{}\" has not ended; wait for its end, terminate it, or start it once more beside itself with --new-id",
                    self.id
                ),
            ),
            _ => of_instance(client, &self.id, error),
        })?;
        out.print(|| json!({ "instanceId": started.id(), "restarted": self.id }), || text::line(started.id()))
    }
}

impl Rewind {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        let instance = client.instance(&self.id);
        let rewind = instance.rewind(&self.reason);
        let rewound = if self.to_first_failure { rewind.to_first_failure().await } else { rewind.await };
        let instances = rewound.map_err(|error| of_instance(client, &self.id, error))?.instances;
        let below = match instances {
            0 | 1 => String::new(),
            2 => " with one sub-orchestration".to_owned(),
            more => format!(" with {} sub-orchestrations", more - 1),
        };
        out.print(
            || json!({ "instanceId": self.id, "rewoundInstanceCount": instances, "reason": self.reason }),
            || format!("Instance \"{}\" was rewound{below}, and goes on as soon as a worker sees it.", text::line(&self.id)),
        )
    }
}

impl Raise {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        let sent = client.instance(&self.id).raise_named(&self.event, self.payload.or(self.data)).await;
        sent.map_err(|error| of_instance(client, &self.id, error))?;
        out.print(
            || json!({ "instanceId": self.id, "sent": "EventRaised", "name": self.event }),
            || format!("Event \"{}\" was sent to instance \"{}\".", text::line(&self.event), text::line(&self.id)),
        )
    }
}

impl Terminate {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        let WithReason { id, reason } = &self.why;
        let instance = client.instance(id);
        let terminate = instance.terminate(reason).recursive(self.recursive || self.with_detached);
        let sent = if self.with_detached { terminate.with_detached().await } else { terminate.await };
        sent.map_err(|error| of_instance(client, id, error))?;
        let below = if self.recursive || self.with_detached { " and its sub-orchestrations" } else { "" };
        out.print(
            || json!({ "instanceId": id, "sent": "ExecutionTerminated", "reason": reason }),
            || format!("Instance \"{}\"{below} will be terminated as soon as a worker sees it.", text::line(id)),
        )
    }
}

impl WithReason {
    pub(crate) async fn run(self, change: Change, client: &Client, out: &Output) -> Outcome {
        let (id, reason) = (&self.id, &self.reason);
        let (instance, told) = (client.instance(id), |error| of_instance(client, id, error));
        let (sent, words) = match change {
            Change::Suspend => {
                instance.suspend(reason).await.map_err(told)?;
                ("ExecutionSuspended", "will be suspended")
            }
            Change::Resume => {
                // A suspension that no worker has seen yet does not show: the resumption that follows it has to be sent all the same.
                let is_suspended = instance.status().await.map_err(told)?.status == RuntimeStatus::Suspended;
                instance.resume(reason).await.map_err(told)?;
                let words = "is not shown as suspended; it will be resumed, if a suspension is under way,";
                ("ExecutionResumed", if is_suspended { "will be resumed" } else { words })
            }
        };
        out.print(
            || json!({ "instanceId": id, "sent": sent, "reason": reason }),
            || format!("Instance \"{}\" {words} as soon as a worker sees it.", text::line(id)),
        )
    }
}

impl Wait {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        self.tell_of_wait(client, out).await?;
        let instance = client.instance(&self.id);
        let waiting = match &self.custom_status {
            None => instance.wait(),
            Some(wanted) => {
                let wanted = wanted.clone();
                instance.wait_until(move |status| is_so(&wanted, status.custom_status.as_deref()))
            }
        };
        let status = match waiting.within(self.timeout).await {
            Err(error) if matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Ended) => {
                return Err(self.in_vain(client, error).await?);
            }
            waited => waited.map_err(|error| of_instance(client, &self.id, error))?,
        };
        show::print(client, &status, self.how, out).await?;
        match status.status {
            RuntimeStatus::Completed => Ok(()),
            _ if self.custom_status.is_some() => Ok(()),
            other => Err(Failure::new(Kind::Failed, format!("instance \"{}\" is {other}", self.id))),
        }
    }

    /// Says once, to people, what the instance waits for that they wait for.
    async fn tell_of_wait(&self, client: &Client, out: &Output) -> Outcome {
        if !out.is_for_people() {
            return Ok(());
        }
        let status = client.instance(&self.id).status().await.map_err(|error| of_instance(client, &self.id, error))?;
        let history = show::history_of(client, &status).await?;
        let (awaited, waits) = (awaited::of(client, &status).await?, history.and_then(|history| Waits::of(&status, &history)));
        let all = waits::in_words(awaited.as_ref(), waits.as_ref(), client.now());
        if !all.is_empty() {
            out.say(&format!("instance \"{}\" is {} and waits for {}", text::line(&self.id), status.status, all.join("; ")));
        }
        Ok(())
    }

    /// The end of the patience, or of the instance, with what it waits for and the custom status that it has.
    async fn in_vain(&self, client: &Client, error: Error) -> Result<Failure, Failure> {
        let status = client.instance(&self.id).status().await.map_err(|error| of_instance(client, &self.id, error))?;
        let has_ended = error.kind() == ErrorKind::Ended;
        let words = match &self.custom_status {
            None => error.to_string(),
            Some(wanted) => {
                let present = match status.custom_status.as_deref() {
                    Some(stored) => format!("its custom status is {}", as_stored(stored)),
                    None => "it has no custom status".to_owned(),
                };
                let so_far = if has_ended {
                    format!("instance \"{}\" has ended as {}", self.id, status.status)
                } else {
                    error.to_string()
                };
                format!("{so_far} without the custom status {wanted} that was waited for; {present}")
            }
        };
        let kind = if has_ended { Kind::Ended } else { Kind::Timeout };
        Ok(match awaited::of(client, &status).await? {
            Some(awaited) => Failure::for_want_of(awaited, kind, &words),
            None => Failure::new(kind, words),
        })
    }
}

/// Whether a custom status is what was asked for: the same JSON, or a JSON string with this text.
fn is_so(wanted: &str, status: Option<&str>) -> bool {
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    let Some(status) = status.and_then(json) else { return false };
    json(wanted).is_some_and(|wanted| wanted == status) || status.as_str() == Some(wanted)
}
