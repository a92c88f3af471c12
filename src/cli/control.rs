//! `taskhub start`, `raise`, `terminate`, `suspend`, `resume` and `wait`.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use taskhub::{Client, Error, ErrorKind, RuntimeStatus};

use super::failure::{Failure, Kind, Outcome, of_instance};
use super::output::Output;
use super::{awaited, instances};
use super::{text, values};

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
    /// Input as JSON [default: null]
    #[arg(long, value_name = "JSON", value_parser = values::json)]
    input: Option<String>,
}

/// What to raise.
#[derive(Args, Debug)]
pub(crate) struct Raise {
    /// Instance id
    id: String,
    /// Name of the event
    event: String,
    /// Payload as JSON [default: null]
    #[arg(long, value_name = "JSON", value_parser = values::json)]
    data: Option<String>,
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

/// What to wait for.
#[derive(Args, Debug)]
pub(crate) struct Wait {
    /// Instance id
    id: String,
    /// Longest wait, such as 90s, 5m or 2h
    #[arg(long, default_value = "5m", value_parser = values::duration)]
    timeout: Duration,
}

/// What a reason can be given for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Terminate,
    Suspend,
    Resume,
}

impl Start {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        let mut start = client.start_json(self.name, self.input.filter(|json| json.trim() != "null"));
        if let Some(version) = self.version {
            start = start.version(version);
        }
        let wanted = self.id;
        if let Some(id) = &wanted {
            start = start.instance_id(id);
        }
        let id = start.await.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Failure::new(
                Kind::Exists,
                format!(
                    "instance \"{}\" exists and has not ended; use another --id, or `taskhub terminate` it first",
                    wanted.unwrap_or_default()
                ),
            ),
            _ => error.into(),
        })?;
        // The id alone, for scripts.
        out.print(|| json!({ "instanceId": id }), || text::line(&id))
    }
}

impl Raise {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        let sent = client.raise_json(&self.id, &self.event, self.data.filter(|json| json.trim() != "null")).await;
        sent.map_err(|error| of_instance(client, &self.id, error))?;
        out.print(
            || json!({ "instanceId": self.id, "sent": "EventRaised", "name": self.event }),
            || format!("Event \"{}\" was sent to instance \"{}\".", text::line(&self.event), text::line(&self.id)),
        )
    }
}

impl WithReason {
    pub(crate) async fn run(self, change: Change, client: &Client, out: &Output) -> Outcome {
        let (id, reason) = (&self.id, &self.reason);
        let told = |error| of_instance(client, id, error);
        let (sent, words) = match change {
            Change::Terminate => {
                client.terminate(id, reason).await.map_err(told)?;
                ("ExecutionTerminated", "will be terminated")
            }
            Change::Suspend => {
                client.suspend(id, reason).await.map_err(told)?;
                ("ExecutionSuspended", "will be suspended")
            }
            Change::Resume => {
                // A suspension that no worker has seen yet does not show: the resumption that follows it has to be sent all the same.
                let is_suspended = client.status(id).await?.is_some_and(|shown| shown.status == RuntimeStatus::Suspended);
                client.resume(id, reason).await.map_err(told)?;
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
        let status = match client.wait(&self.id, self.timeout).await {
            Err(error) if error.kind() == ErrorKind::Timeout => return Err(self.timed_out(client, error).await?),
            waited => waited.map_err(|error| of_instance(client, &self.id, error))?,
        };
        instances::print(&status, None, out)?;
        match status.status {
            RuntimeStatus::Completed => Ok(()),
            other => Err(Failure::new(Kind::Failed, format!("instance \"{}\" is {other}", self.id))),
        }
    }

    /// The end of the patience, with what the instance waits for.
    async fn timed_out(&self, client: &Client, error: Error) -> Result<Failure, Failure> {
        let Some(status) = client.status(&self.id).await? else { return Ok(error.into()) };
        Ok(match awaited::of(client, &status).await? {
            Some(awaited) => Failure::for_want_of(awaited, Kind::Timeout, &error.to_string()),
            None => error.into(),
        })
    }
}
