//! The sub-orchestrations of an instance, shown with it.

use std::collections::BTreeSet;

use taskhub::{Client, ErrorKind, EventKind, HistoryEvent, InstanceStatus};

use super::failure::Failure;
use super::json::Json;
use super::output::fitted_table;
use super::text;

/// So many are looked at; each is one call.
const SHOWN_MAX: usize = 20;

/// The sub-orchestrations that the current execution of an instance has started, in that order.
#[derive(Debug, Default)]
pub(crate) struct Children {
    shown: Vec<Child>,
    more: usize,
}

#[derive(Debug)]
struct Child {
    id: String,
    name: String,
    /// `None` if it has not begun, or is gone.
    status: Option<InstanceStatus>,
}

impl Children {
    /// Of an instance with this history.
    pub(crate) async fn of(client: &Client, instance_id: &str, history: &[HistoryEvent]) -> Result<Self, Failure> {
        let mut seen = BTreeSet::new();
        let called = history.iter().filter_map(|event| match &event.kind {
            EventKind::SubOrchestrationCreated { name, instance_id, .. } => Some((name, instance_id)),
            _ => None,
        });
        let called: Vec<_> = called.filter(|(_, id)| seen.insert(*id)).collect();
        let mut shown = Vec::new();
        for (name, id) in called.iter().take(SHOWN_MAX) {
            let status = match client.instance(id.as_str()).status().await {
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => None,
                status => Some(status?),
            };
            // An id that was in use has stayed another's.
            let is_its =
                |status: &InstanceStatus| status.parent_instance_id.as_deref().is_none_or(|parent| parent == instance_id);
            if status.as_ref().is_none_or(is_its) {
                shown.push(Child { id: (*id).clone(), name: (*name).clone(), status });
            }
        }
        Ok(Self { shown, more: called.len().saturating_sub(SHOWN_MAX) })
    }

    /// A table of at most this width, if there are any; `parent` is their parent.
    pub(crate) fn as_text(&self, parent: &str, width: usize) -> Option<String> {
        let row = |child: &Child| {
            let status =
                child.status.as_ref().map_or_else(|| "not begun, or purged".to_owned(), |status| status.status.to_string());
            let ended = child.status.as_ref().and_then(|status| status.completed.or(status.last_updated));
            vec![text::line(&child.id), text::line(&child.name), status, text::time_or_dash(ended)]
        };
        let header = ["ID", "NAME", "STATUS", "UPDATED (UTC)"];
        let listed = fitted_table(&header, &self.shown.iter().map(row).collect::<Vec<_>>(), &header[3..], width);
        let more = match self.more {
            0 => String::new(),
            more => format!("\nand {more} more: taskhub list --parent {}", text::shell_word(parent)),
        };
        (!self.shown.is_empty()).then(|| format!("{listed}{more}"))
    }

    pub(crate) fn as_json(&self) -> Json {
        let one = |child: &Child| {
            let status = child.status.as_ref().map(|status| status.status.name());
            serde_json::json!({ "instanceId": child.id, "name": child.name, "runtimeStatus": status }).into()
        };
        Json::List(self.shown.iter().map(one).collect())
    }
}
