//! `taskhub history`: what happened in one instance.

use clap::Args;
use taskhub::{Client, ErrorKind};

use super::failure::{Outcome, of_instance};
use super::json::Json;
use super::output::{Output, shortened_table};
use super::show::awaits;
use super::{awaited, events, timeline};

/// One instance, and how much of what happened in it.
#[derive(Args, Debug)]
pub(crate) struct History {
    /// Its id
    id: String,
    /// With the inputs of calls, as far as they can be found: in history rows, in sub-orchestrations, and in calls that nobody has taken yet
    #[arg(long)]
    inputs: bool,
    /// With the whole of every text, however wide that is
    #[arg(long)]
    full: bool,
    /// Drawn as a timeline: when each task, timer and event began and ended
    #[arg(long, conflicts_with = "inputs")]
    timeline: bool,
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
                let width = if self.full { usize::MAX } else { out.width() };
                let shown = match status.as_ref().map(|s| s.status) {
                    Some(status) if history.is_empty() && status.is_terminal() => {
                        format!("The instance is {status} and has never run.")
                    }
                    Some(status) if history.is_empty() => format!("The instance is {status} and has not run yet."),
                    _ if self.timeline => timeline::draw(&history, client.now(), out.width()),
                    _ => shortened_table(&events::HEADER, &lines, width),
                };
                match &awaited {
                    Some(awaited) => format!("{shown}\n\nIt waits for {}.", awaited::with_remedy(awaited)),
                    None => shown,
                }
            },
        )
    }
}
