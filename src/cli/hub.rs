//! `taskhub hub`: who owns the partitions, and how much waits where.

use std::collections::BTreeSet;

use clap::Subcommand;
use serde_json::json;
use taskhub::{Client, ErrorKind, HubStatus, PartitionStatus, Storage, TaskHub, Timestamp};

use super::failure::{Failure, Kind, Outcome};
use super::output::{self, Output, fitted_table};
use super::{Target, awaited, drain, open, patiently, text};

/// The hub as a whole.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Partitions and their owners, queues, and how many messages are parked
    Status,
    /// The hubs of the storage account
    List,
    /// Creates the hub; one that is there stays as it is
    Create {
        /// How many partitions it has, 1 to 16, for its whole life [default: 4]
        #[arg(long, value_name = "COUNT")]
        partitions: Option<u32>,
    },
    /// Deletes the hub with all its instances, messages and payloads, for good
    Delete {
        /// Does not ask
        #[arg(long, short)]
        yes: bool,
        /// Although workers run, or hold the app lease still: those that run find nothing any more, and those that are started again make the hub anew
        #[arg(long)]
        force: bool,
    },
}

impl Command {
    pub(crate) async fn run(self, target: &Target, out: &Output) -> Outcome {
        let profile = target.profile()?;
        self.in_account(target.account(&profile)?, || target.hub_name(&profile), out).await
    }

    /// Does it in this account; `name` gives the hub that is meant.
    pub(crate) async fn in_account(
        self,
        account: Storage,
        name: impl FnOnce() -> Result<String, Failure>,
        out: &Output,
    ) -> Outcome {
        match self {
            Self::Status => status(&open(TaskHub::builder(account, name()?), out).await?, out).await,
            Self::List => list(&account, out).await,
            Self::Create { partitions } => create(account, name()?, partitions, out).await,
            Self::Delete { yes, force } => delete(account, name()?, yes, force, out).await,
        }
    }
}

async fn list(account: &Storage, out: &Output) -> Outcome {
    let names = patiently(TaskHub::list(account), out).await?;
    let words = || if names.is_empty() { "No task hub is in this storage account.".to_owned() } else { names.join("\n") };
    out.print(|| json!({ "hubs": names }), words)
}

pub(crate) async fn status(client: &Client, out: &Output) -> Outcome {
    let status = client.hub_status().await?;
    out.print(|| json!(status), || as_text(&status, out.width()))
}

async fn create(account: Storage, name: String, partitions: Option<u32>, out: &Output) -> Outcome {
    let mut builder = TaskHub::builder(account, name);
    if let Some(count) = partitions {
        builder = builder.partitions(count);
    }
    let hub = builder.open().await?;
    let (name, count) = (hub.name(), hub.partitions());
    out.print(
        || json!({ "hub": name, "partitionCount": count }),
        || format!("Task hub {} is there, with {}.", text::line(name), text::count(count.into(), "partition")),
    )
}

async fn delete(account: Storage, name: String, yes: bool, force: bool, out: &Output) -> Outcome {
    let hub = TaskHub::builder(account, &name).must_exist().open().await?;
    let status = Client::new(&hub).hub_status().await?;
    let owners: BTreeSet<_> =
        status.partitions.iter().filter(|p| p.is_owned(status.read_at)).filter_map(|p| p.owner.as_deref()).collect();
    if !owners.is_empty() && !force {
        let owners = owners.into_iter().map(text::line).collect::<Vec<_>>().join(", ");
        return Err(Failure::new(
            Kind::Exists,
            format!(
                "workers of the hub run, or were killed less than half a minute ago ({owners}): stop them first, or pass --force"
            ),
        ));
    }
    output::confirm(&format!("The task hub {} with all that is in it", text::line(&name)), yes, out)?;
    if force {
        hub.delete_although_in_use().await?;
    } else {
        hub.delete().await.map_err(|error| match error.kind() {
            ErrorKind::Mismatch => Failure::new(Kind::Exists, format!("{error}, or pass --force, which takes the lease away")),
            _ => error.into(),
        })?;
    }
    out.print(|| json!({ "deleted": name }), || format!("Task hub {} was deleted.", text::line(&name)))
}

fn as_text(status: &HubStatus, width: usize) -> String {
    let now = status.read_at;
    let owner_width = if width < WIDE { OWNER_CHARS } else { usize::MAX };
    let rows: Vec<_> = status.partitions.iter().map(|partition| partition_row(partition, now, owner_width)).collect();
    let header = ["PARTITION", "MESSAGES", "OLDEST WAITING", "OWNER", "NEXT OWNER", "LEASE"];
    let items = &status.work_items;
    let waiting = match items.oldest_visible {
        Some(at) => format!(", the oldest waits for {}", text::span(now.since(at))),
        None => String::new(),
    };
    let parked = match status.parked {
        0 => "none".to_owned(),
        some => format!("{}; see `taskhub poison list`", text::count(some as u64, "message")),
    };
    let mut lines = vec![
        format!("Task hub    {}", status.name),
        format!("Work items  {}{waiting}", text::count(items.messages, "message")),
        format!("Parked      {parked}"),
        format!("App lease   {}", app_lease(status)),
        String::new(),
        fitted_table(&header, &rows, &["NEXT OWNER", "OLDEST WAITING"], width),
    ];
    if let Some(awaited) = awaited::as_text(&status.awaited, now, width) {
        lines.push(format!("\n{awaited}"));
    }
    if let Some(draining) = drain::as_text(&status.draining, now) {
        lines.push(format!("\n{draining}"));
    }
    let unowned = status.partitions.iter().filter(|p| !p.is_owned(now)).count();
    if status.is_run_with_blob_leases {
        lines.push("\nOwners are not shown: the .NET workers of this hub manage its partitions by leases of blobs.".to_owned());
    } else if unowned == status.partitions.len() {
        lines.push("\nNo worker is running: nothing moves until one starts.".to_owned());
    } else if unowned > 0 {
        let words = text::count(unowned as u64, "partition");
        lines.push(format!("\n{words} without an owner: running workers claim what is free within seconds."));
    }
    lines.join("\n")
}

/// The lease may have ended since: the blob tells who took it last.
fn app_lease(status: &HubStatus) -> String {
    match status.app_lease_owner.as_deref() {
        None => "never taken".to_owned(),
        Some(NO_APP_NAME) => format!("last taken by apps without a name ({NO_APP_NAME})"),
        Some(id) => format!("last taken by the app whose name has the hash {}", text::line(id)),
    }
}

/// Columns of a terminal in which a worker is named to the end.
const WIDE: usize = 120;
/// Characters that tell a worker from others on a narrower one.
const OWNER_CHARS: usize = 26;

/// The hash of an empty name.
const NO_APP_NAME: &str = "811c9dc5-0000-0000-0000-000000000000";

fn partition_row(partition: &PartitionStatus, now: Timestamp, owner_width: usize) -> Vec<String> {
    let queue = &partition.queue;
    let lease = match (partition.expires_at, partition.owner.is_some()) {
        (Some(at), true) if at > now => format!("ends {}", text::relative(at, now)),
        (Some(at), true) => format!("expired {}", text::relative(at, now)),
        _ => "-".to_owned(),
    };
    let draining = if partition.is_draining { ", draining" } else { "" };
    let who = |owner: &Option<String>| {
        owner.as_deref().map_or_else(|| "-".to_owned(), |id| text::shortened(&text::line(id), owner_width))
    };
    vec![
        queue.name.rsplit('-').next().unwrap_or_default().to_owned(),
        queue.messages.to_string(),
        queue.oldest_visible.map_or_else(|| "-".to_owned(), |at| text::span(now.since(at))),
        who(&partition.owner),
        who(&partition.next_owner),
        format!("{lease}{draining}"),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn partitions_and_queues_are_a_table() {
        let hub = TaskHub::builder(Storage::in_memory(), "MyHub").partitions(3).open().await.unwrap();
        let mut status = Client::new(&hub).hub_status().await.unwrap();
        let now = Timestamp::parse("2026-01-01T12:00:00Z").unwrap();
        let before = |seconds: i64| Some(now.plus_ticks(-10_000_000 * seconds));
        status.read_at = now;
        let text = as_text(&status, usize::MAX);
        assert!(text.ends_with("No worker is running: nothing moves until one starts."), "{text}");
        assert!(text.contains("\nApp lease   never taken\n"), "{text}");

        status.app_lease_owner = Some("1312a8a6-0000-0000-0000-000000000000".into());
        status.parked = 1;
        status.work_items.messages = 12;
        status.work_items.oldest_visible = before(5);
        let partitions = &mut status.partitions;
        partitions[0].owner = Some("worker-1".into());
        partitions[0].expires_at = Some(now.plus(Duration::from_secs(25)));
        partitions[0].queue.messages = 7;
        partitions[0].queue.oldest_visible = before(600);
        partitions[1].owner = Some("worker-2".into());
        partitions[1].next_owner = Some("worker-1".into());
        partitions[1].is_draining = true;
        partitions[1].expires_at = Some(now.plus(Duration::from_secs(9)));
        partitions[2].owner = Some("worker-3\u{1b}".into());
        partitions[2].expires_at = before(7200);
        let expected = "\
Task hub    MyHub
Work items  12 messages, the oldest waits for 5 s
Parked      1 message; see `taskhub poison list`
App lease   last taken by the app whose name has the hash 1312a8a6-0000-0000-0000-000000000000

PARTITION  MESSAGES  OLDEST WAITING  OWNER      NEXT OWNER  LEASE
00         7         10 min          worker-1   -           ends in 25 s
01         0         -               worker-2   worker-1    ends in 9 s, draining
02         0         -               worker-3   -           expired 2 h ago

1 partition without an owner: running workers claim what is free within seconds.";
        assert_eq!(as_text(&status, usize::MAX), expected);
        status.partitions[0].owner = Some("taskhub-15354-833aca7ca9b54762b838e661d2a56b27".into());
        let narrow = as_text(&status, 80);
        assert!(narrow.contains("\n00         7         taskhub-15354-833aca7ca9b…  ends in 25 s\n"), "{narrow}");
        assert!(narrow.contains("\n(the terminal is too narrow for NEXT OWNER, OLDEST WAITING)\n"), "{narrow}");
        let json = json!(status);
        assert_eq!(json["partitions"][1]["isDraining"], true);
        assert_eq!(json["partitions"][2]["isOwned"], false);
        assert_eq!(
            json["workItems"].to_string(),
            r#"{"name":"myhub-workitems","messages":12,"oldestVisible":"2026-01-01T11:59:55Z"}"#
        );
    }
}
