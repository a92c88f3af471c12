//! `taskhub hub`: who owns the partitions, and how much waits where.

use clap::Subcommand;
use serde_json::{Value, json};
use taskhub::{Client, HubStatus, PartitionStatus, QueueStatus, Timestamp};

use super::failure::Outcome;
use super::output::{Output, table};
use super::text;

/// The hub as a whole.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Partitions and their owners, queues, and how many messages are parked
    Status,
}

impl Command {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        match self {
            Self::Status => {
                let status = client.hub_status().await?;
                out.print(|| as_json(&status), || as_text(&status))
            }
        }
    }
}

fn as_text(status: &HubStatus) -> String {
    let now = status.read_at;
    let rows: Vec<_> = status.partitions.iter().map(|partition| partition_row(partition, now)).collect();
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
        String::new(),
        table(&header, &rows),
    ];
    let unowned = status.partitions.iter().filter(|p| !p.is_owned(now)).count();
    if unowned == status.partitions.len() {
        lines.push("\nNo worker is running: nothing moves until one starts.".to_owned());
    } else if unowned > 0 {
        let words = text::count(unowned as u64, "partition");
        lines.push(format!("\n{words} without an owner: a running worker claims them within seconds."));
    }
    lines.join("\n")
}

fn partition_row(partition: &PartitionStatus, now: Timestamp) -> Vec<String> {
    let queue = &partition.queue;
    let lease = match (partition.expires_at, partition.owner.is_some()) {
        (Some(at), true) if at > now => format!("ends {}", text::relative(at, now)),
        (Some(at), true) => format!("expired {}", text::relative(at, now)),
        _ => "-".to_owned(),
    };
    let draining = if partition.is_draining { ", draining" } else { "" };
    let who = |owner: &Option<String>| owner.as_deref().map_or_else(|| "-".to_owned(), text::line);
    vec![
        queue.name.rsplit('-').next().unwrap_or_default().to_owned(),
        queue.messages.to_string(),
        queue.oldest_visible.map_or_else(|| "-".to_owned(), |at| text::span(now.since(at))),
        who(&partition.owner),
        who(&partition.next_owner),
        format!("{lease}{draining}"),
    ]
}

fn as_json(status: &HubStatus) -> Value {
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let queue = |queue: &QueueStatus| json!({ "name": queue.name, "messages": queue.messages, "oldestVisible": time(queue.oldest_visible) });
    let partition = |p: &PartitionStatus| {
        json!({
            "queue": queue(&p.queue),
            "owner": p.owner,
            "nextOwner": p.next_owner,
            "isDraining": p.is_draining,
            "isOwned": p.is_owned(status.read_at),
            "ownedSince": time(p.owned_since),
            "lastRenewal": time(p.last_renewal),
            "expiresAt": time(p.expires_at),
        })
    };
    json!({
        "name": status.name,
        "readAt": status.read_at.to_string(),
        "partitions": status.partitions.iter().map(partition).collect::<Vec<_>>(),
        "workItems": queue(&status.work_items),
        "parked": status.parked,
    })
}
