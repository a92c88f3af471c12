//! `taskhub purge`: says what it would delete, asks, and deletes.

use clap::Args;
use serde_json::{Value, json};
use taskhub::{Client, InstanceQuery, PurgeReport, RuntimeStatus, Timestamp};

use super::failure::{Failure, Kind, Outcome, of_instance};
use super::instances::Which;
use super::output::{self, Output};
use super::progress::Progress;
use super::{text, values};

/// What to purge.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true).args(["id", "status", "prefix", "name", "version", "before", "after", "all"]))]
pub(crate) struct Purge {
    /// One instance, by its id; otherwise all that have ended and match the options
    #[arg(conflicts_with_all = ["status", "prefix", "name", "version", "before", "after", "all"])]
    id: Option<String>,
    /// Only instances of this status, which must be a final one; may be given several times [default: every final one]
    #[arg(long, value_parser = values::status)]
    status: Vec<RuntimeStatus>,
    #[command(flatten)]
    which: Which,
    /// Only instances created at or before this UTC time, such as 2026-01-31T12:00:00Z, or as long ago as 30d
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    before: Option<Timestamp>,
    /// Only instances created at or after this UTC time
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    after: Option<Timestamp>,
    /// All instances that have ended
    #[arg(long)]
    all: bool,
    /// Their sub-orchestrations too, as far as they have ended
    #[arg(long)]
    recursive: bool,
    /// Does not ask
    #[arg(long, short)]
    yes: bool,
}

impl Purge {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        match &self.id {
            Some(id) => self.one(id, client, out).await,
            None => self.many(client, out).await,
        }
    }

    async fn one(&self, id: &str, client: &Client, out: &Output) -> Outcome {
        let instance = client.instance(id);
        let told = |error| of_instance(client, id, error);
        // Who asks is told of an instance that is not there, or has not ended, by the purge itself.
        if instance.purge().count().await.map_err(told)? > 0 {
            self.confirm(&format!("Instance \"{}\"", text::line(id)), out)?;
        }
        let report = instance.purge().recursive(self.recursive).await.map_err(told)?;
        print(&report, out)
    }

    async fn many(&self, client: &Client, out: &Output) -> Outcome {
        let query = InstanceQuery {
            id_prefix: self.which.prefix.clone(),
            name: self.which.name.clone(),
            version: self.which.version.clone(),
            statuses: self.status.clone(),
            created_from: self.after,
            created_to: self.before,
            ..InstanceQuery::default()
        };
        let count = client.purge(query.clone()).count().await?;
        if count > 0 {
            self.confirm(&text::count(count, "instance"), out)?;
        }
        let progress = Progress::new(out, Some(count));
        let told = progress.clone();
        let purged = client.purge(query).recursive(self.recursive).progress(move |so_far| told.reach(so_far.instances)).await;
        progress.end();
        print(&purged?, out)
    }

    fn confirm(&self, what: &str, out: &Output) -> Outcome {
        let children = if self.recursive { ", with sub-orchestrations," } else { "" };
        output::confirm(&format!("{what}{children}"), self.yes, out)
    }
}

fn print(report: &PurgeReport, out: &Output) -> Outcome {
    out.print(|| as_json(report), || as_text(report))?;
    match report.damaged {
        0 => Ok(()),
        some => Err(Failure::new(Kind::Corrupt, format!("what cannot be read stays: {}", text::count(some, "instance")))),
    }
}

fn as_json(report: &PurgeReport) -> Value {
    json!({
        "deletedInstanceCount": report.instances,
        "deletedRowCount": report.rows,
        "deletedBlobCount": report.blobs,
        "openInstanceCount": report.open,
        "damagedInstanceCount": report.damaged,
        "isComplete": report.is_complete,
    })
}

fn as_text(report: &PurgeReport) -> String {
    let [instances, rows, blobs] =
        [(report.instances, "instance"), (report.rows, "row"), (report.blobs, "blob")].map(|(n, what)| text::count(n, what));
    let open = match report.open {
        0 => String::new(),
        some => format!("\nNot ended, and left: {}.", text::count(some, "instance")),
    };
    format!("Deleted {instances}: {rows} and {blobs}.{open}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_says_what_is_left() {
        let mut report = PurgeReport::default();
        (report.instances, report.rows, report.blobs) = (1, 12, 0);
        assert_eq!(as_text(&report), "Deleted 1 instance: 12 rows and 0 blobs.");
        report.open = 2;
        assert!(as_text(&report).ends_with("\nNot ended, and left: 2 instances."), "{}", as_text(&report));
    }
}
