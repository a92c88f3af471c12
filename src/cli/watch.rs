//! `taskhub watch`: what changes in a hub, or in one instance, as it happens.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use taskhub::{Client, InstanceQuery, InstanceStatus, RuntimeStatus, Timestamp};

use super::failure::{Failure, Kind, Outcome, of_instance};
use super::instances::Which;
use super::json::{Json, payload};
use super::output::Output;
use super::{events, text, values};

/// So far back a first look goes.
const FIRST: Duration = Duration::from_secs(60);
/// Rows of one request.
const PAGE_ROWS: usize = 1000;
/// Instances that have ended are remembered while so many more are not.
const REMEMBERED: usize = 100_000;

/// What to watch.
#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// One instance: its events as they come, until it ends; otherwise each instance whose status changes
    id: Option<String>,
    #[command(flatten)]
    which: Which,
    /// Between two looks
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = values::duration)]
    every: Duration,
    /// Ends after this time [default: never]
    #[arg(long = "for", value_name = "TIME", value_parser = values::duration)]
    limit: Option<Duration>,
}

impl Watch {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        let watching = async {
            match &self.id {
                Some(id) => self.one(id, client, out).await,
                None => self.all(client, out).await,
            }
        };
        match self.limit {
            None => watching.await,
            Some(limit) => tokio::time::timeout(limit, watching).await.unwrap_or(Ok(())),
        }
    }

    fn every(&self) -> Duration {
        self.every.max(Duration::from_millis(200))
    }

    /// Each new event of an instance.
    async fn one(&self, id: &str, client: &Client, out: &Output) -> Outcome {
        let instance = client.instance(id);
        let (mut seen, mut execution) = (0, None);
        loop {
            let status = instance.status().await.map_err(|error| of_instance(client, id, error))?;
            if status.execution_id != execution {
                (seen, execution) = (0, status.execution_id.clone());
            }
            let history = instance.history().await?;
            for (line, members) in events::lines(&history).iter().zip(events::members(&history)).skip(seen) {
                let cells = || line.iter().skip(1).filter(|cell| !cell.is_empty()).cloned().collect::<Vec<_>>();
                let words = || text::shortened(&cells().join("  "), out.width());
                out.print_line(|| Json::Object([("instanceId", id.into())].into_iter().chain(members).collect()), words)?;
            }
            seen = history.len().max(seen);
            if status.status.is_terminal() {
                return match status.status {
                    RuntimeStatus::Completed => Ok(()),
                    other => Err(Failure::new(Kind::Failed, format!("instance \"{}\" ended as {other}", text::line(id)))),
                };
            }
            tokio::time::sleep(self.every()).await;
        }
    }

    /// Each instance whose row has changed.
    async fn all(&self, client: &Client, out: &Output) -> Outcome {
        let mut known: BTreeMap<String, (RuntimeStatus, Option<Timestamp>)> = BTreeMap::new();
        let begun = client.now();
        loop {
            for instance in self.look(client).await? {
                let now = (instance.status, instance.last_updated);
                let before = known.insert(instance.instance_id.clone(), now);
                let is_old = before.is_none() && instance.last_updated.is_none_or(|at| begun.since(at) > FIRST);
                if before != Some(now) && !is_old {
                    out.print_line(
                        || as_json(&instance, before.map(|(status, _)| status)),
                        || text::shortened(&as_text(&instance, before.map(|(status, _)| status)), out.width()),
                    )?;
                }
            }
            if known.len() > REMEMBERED {
                known.retain(|_, (status, _)| !status.is_terminal());
            }
            tokio::time::sleep(self.every()).await;
        }
    }

    async fn look(&self, client: &Client) -> Result<Vec<InstanceStatus>, Failure> {
        let query = InstanceQuery {
            id_prefix: self.which.prefix.clone(),
            name: self.which.name.clone(),
            version: self.which.version.clone(),
            with_payloads: false,
            page_size: PAGE_ROWS,
            ..InstanceQuery::default()
        };
        let mut all = client.pages(query).all().await?;
        all.sort_by_key(|instance| instance.last_updated);
        Ok(all)
    }
}

fn as_text(instance: &InstanceStatus, before: Option<RuntimeStatus>) -> String {
    let change = match before {
        Some(before) if before != instance.status => format!("{before} -> {}", instance.status),
        _ => instance.status.to_string(),
    };
    let (id, name) = (text::line(&instance.instance_id), text::line(&instance.name));
    let status = instance.custom_status.as_deref().map(|status| format!("  {}", text::line(status))).unwrap_or_default();
    format!("{}  {id}  {name}  {change}{status}", text::time_or_dash(instance.last_updated))
}

fn as_json(instance: &InstanceStatus, before: Option<RuntimeStatus>) -> Json {
    Json::Object(vec![
        ("instanceId", instance.instance_id.as_str().into()),
        ("name", instance.name.as_str().into()),
        ("runtimeStatus", instance.status.name().into()),
        ("before", before.map(RuntimeStatus::name).into()),
        ("customStatus", payload(instance.custom_status.as_deref())),
        ("lastUpdatedTime", instance.last_updated.map(|at| at.to_string()).into()),
    ])
}
