//! `taskhub poison`: parked messages.

use clap::Subcommand;
use serde_json::json;
use taskhub::{Client, PoisonMessage};

use super::failure::Outcome;
use super::output::{Output, confirm, shortened_table};
use super::text;

/// Parked messages.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the parked messages
    List,
    /// Puts a parked message back into its queue, once its cause is repaired
    Retry {
        /// Id of the message
        id: String,
    },
    /// Drops a parked message for good
    Drop {
        /// Id of the message
        id: String,
        /// Do not ask before it is dropped
        #[arg(long, short)]
        yes: bool,
    },
}

impl Command {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        match self {
            Self::List => {
                let all = client.poison().await?;
                out.print(|| json!({ "messages": all }), || as_text(&all, out.width()))
            }
            Self::Retry { id } => {
                client.retry_poison(&id).await?;
                out.print(|| json!({ "id": id, "done": "retried" }), || format!("Message {id} is back in its queue."))
            }
            Self::Drop { id, yes } => {
                confirm(&format!("Message {}", text::line(&id)), yes, out)?;
                client.drop_poison(&id).await?;
                out.print(|| json!({ "id": id, "done": "dropped" }), || format!("Message {id} is dropped."))
            }
        }
    }
}

fn as_text(all: &[PoisonMessage], width: usize) -> String {
    if all.is_empty() {
        return "No parked messages.".to_owned();
    }
    let or_dash = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), text::line);
    let row = |message: &PoisonMessage| {
        vec![
            text::line(&message.id),
            text::time(message.parked_at),
            text::line(&message.queue),
            or_dash(&message.instance_id),
            or_dash(&message.event),
            message.dequeue_count.to_string(),
            text::line(&message.reason),
        ]
    };
    let header = ["ID", "PARKED (UTC)", "QUEUE", "INSTANCE", "EVENT", "RECEIVES", "REASON"];
    shortened_table(&header, &all.iter().map(row).collect::<Vec<_>>(), width)
}

#[cfg(test)]
mod tests {
    use taskhub::Timestamp;

    use super::*;

    #[test]
    fn parked_messages_are_a_table_with_the_reason_at_the_end() {
        let parked = |id: &str, instance_id: Option<&str>| PoisonMessage {
            id: id.to_owned(),
            queue: "myhub-control-00".to_owned(),
            instance_id: instance_id.map(str::to_owned),
            event: instance_id.map(|_| "TaskCompleted".to_owned()),
            reason: "blob \"i/x\" of a large payload is missing".to_owned(),
            dequeue_count: 8,
            parked_at: Timestamp::parse("2026-01-01T12:00:00Z").unwrap(),
        };
        let all = [parked("a", Some("order-7")), parked("b", None)];
        let expected = "\
ID  PARKED (UTC)         QUEUE             INSTANCE  EVENT          RECEIVES  REASON
a   2026-01-01 12:00:00  myhub-control-00  order-7   TaskCompleted  8         blob \"i/x\" of a large…
b   2026-01-01 12:00:00  myhub-control-00  -         -              8         blob \"i/x\" of a large…";
        assert_eq!(as_text(&all, 100), expected);
        assert_eq!(as_text(&[], 80), "No parked messages.");
    }
}
