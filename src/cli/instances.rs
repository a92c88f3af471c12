//! `taskhub list`, and which instances a command is about.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use taskhub::{Client, InstanceQuery, InstanceStatus, RuntimeStatus, Timestamp};

use super::failure::Outcome;
use super::json::Json;
use super::output::{Output, fitted_table};
use super::show::{awaits, members};
use super::{awaited, text, values};

/// Rows of one request; the service gives no more.
const PAGE_ROWS: usize = 1000;

/// Which instances are meant, by what they are.
#[derive(Args, Debug)]
pub(super) struct Which {
    /// Only ids that begin with this
    #[arg(long)]
    pub(super) prefix: Option<String>,
    /// Only instances of this orchestrator, by its whole name
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Only instances of this version of their orchestrator; "" stands for those without one
    #[arg(long)]
    pub(super) version: Option<String>,
}

/// Which instances to list.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only instances of this status; may be given several times
    #[arg(long, value_parser = values::status)]
    status: Vec<RuntimeStatus>,
    #[command(flatten)]
    which: Which,
    /// Only sub-orchestrations of this instance
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// Only instances created at or after this UTC time, such as 2026-01-31T12:00:00Z, or as long ago as 2h
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    created_from: Option<Timestamp>,
    /// Only instances created at or before this UTC time
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    created_to: Option<Timestamp>,
    /// Only instances with this tag, as NAME=VALUE; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::tag)]
    tag: Vec<(String, String)>,
    /// Those that were created last come first; reads all that match
    #[arg(long)]
    newest: bool,
    /// Leave out entities
    #[arg(long)]
    exclude_entities: bool,
    /// Sub-orchestrations below the instance that started them, as far as that is listed too
    #[arg(long)]
    tree: bool,
    /// Most instances to list
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    top: usize,
}

impl List {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        let (top, is_filtered, is_tree) = (self.top, self.is_filtered(), self.tree);
        let query = InstanceQuery {
            id_prefix: self.which.prefix,
            name: self.which.name,
            parent: self.parent,
            version: self.which.version,
            statuses: self.status,
            created_from: self.created_from,
            created_to: self.created_to,
            tags: self.tag.into_iter().collect(),
            newest_first: self.newest,
            exclude_entities: self.exclude_entities,
            with_payloads: false,
            // One more than is shown tells whether there is more.
            page_size: top.saturating_add(1).min(PAGE_ROWS),
            ..InstanceQuery::default()
        };
        let (mut pages, mut found) = (client.pages(query), Vec::new());
        while found.len() <= top
            && let Some(page) = pages.next().await?
        {
            found.extend(page);
        }
        let more = found.len() > top;
        found.truncate(top);
        let shown = if is_tree { tree(&found) } else { found.iter().map(|instance| (0, instance)).collect() };
        let mut awaited = client.awaited().await?;
        // A filter leaves out what is waited for elsewhere.
        awaited.retain(|awaited| !is_filtered || found.iter().any(|instance| client.waits_for(instance, awaited)));
        let lacks = |instance: &InstanceStatus| awaited.iter().find(|awaited| client.waits_for(instance, awaited));
        out.print(
            || {
                let one = |instance: &InstanceStatus| {
                    let mut members = members(instance, false);
                    members.push(awaits(lacks(instance)));
                    Json::Object(members)
                };
                let instances = Json::List(shown.iter().map(|(_, instance)| one(instance)).collect());
                Json::Object(vec![
                    ("instances", instances),
                    ("more", more.into()),
                    ("awaited", Json::List(awaited.iter().map(|awaited| serde_json::json!(awaited).into()).collect())),
                ])
            },
            || {
                let listed = list_text(&shown, more, out.width(), |instance| lacks(instance).map_or("", awaited::label));
                match awaited::as_text(&awaited, client.now(), out.width()) {
                    Some(awaited) => format!("{listed}\n\n{awaited}"),
                    None => listed,
                }
            },
        )
    }
}

impl List {
    fn is_filtered(&self) -> bool {
        let texts = [&self.which.prefix, &self.which.name, &self.which.version, &self.parent];
        let times = [self.created_from, self.created_to];
        !self.status.is_empty()
            || !self.tag.is_empty()
            || texts.into_iter().any(Option::is_some)
            || times.into_iter().any(|time| time.is_some())
    }
}

/// Each instance with how deep it is below others: children behind their parents, if these are among them.
fn tree(all: &[InstanceStatus]) -> Vec<(usize, &InstanceStatus)> {
    let ids: BTreeSet<&str> = all.iter().map(|instance| instance.instance_id.as_str()).collect();
    let parent =
        |instance: &'_ InstanceStatus| instance.parent_instance_id.clone().filter(|parent| ids.contains(parent.as_str()));
    let mut children = BTreeMap::<String, Vec<&InstanceStatus>>::new();
    for child in all {
        if let Some(parent) = parent(child) {
            children.entry(parent).or_default().push(child);
        }
    }
    // Behind those without a parent come all others once more: ids that were used again may be each other's parents.
    let roots = all.iter().filter(|instance| parent(instance).is_none()).chain(all);
    let (mut shown, mut seen) = (Vec::new(), BTreeSet::new());
    for root in roots {
        let mut next = vec![(0, root)];
        while let Some((depth, instance)) = next.pop() {
            if seen.insert(instance.instance_id.as_str()) {
                shown.push((depth, instance));
                let below = children.get(&instance.instance_id).into_iter().flatten().rev();
                next.extend(below.map(|child| (depth + 1, *child)));
            }
        }
    }
    shown
}

/// What is left out of a list on a narrow terminal.
const SPARE: [&str; 4] = ["UPDATED (UTC)", "PARENT", "CREATED (UTC)", "VERSION"];

/// `instances` with how deep each is below others; `lacks`: what is shown behind the status of an instance.
fn list_text(
    instances: &[(usize, &InstanceStatus)],
    more: bool,
    width: usize,
    lacks: impl Fn(&InstanceStatus) -> &'static str,
) -> String {
    if instances.is_empty() {
        return if more { "There are instances; --top 0 shows none.".to_owned() } else { "No instances.".to_owned() };
    }
    let has_versions = instances.iter().any(|(_, i)| i.version.is_some());
    // Where children stand below their parents, that tells them.
    let has_parents =
        instances.iter().all(|(depth, _)| *depth == 0) && instances.iter().any(|(_, i)| i.parent_instance_id.is_some());
    let row = |(depth, i): &(usize, &InstanceStatus)| {
        let or_dash = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), text::line);
        let mut row = vec![format!("{:1$}{2}", "", 2 * depth, text::line(&i.instance_id)), text::line(&i.name)];
        row.extend(has_versions.then(|| or_dash(&i.version)));
        let parked = if i.is_parked { ", parked" } else { "" };
        let status = format!("{}{parked}{}", i.status, lacks(i));
        row.extend([status, text::time_or_dash(i.created), text::time_or_dash(i.last_updated)]);
        row.extend(has_parents.then(|| or_dash(&i.parent_instance_id)));
        row
    };
    let mut header = vec!["ID", "NAME"];
    header.extend(has_versions.then_some("VERSION"));
    header.extend(["STATUS", "CREATED (UTC)", "UPDATED (UTC)"]);
    header.extend(has_parents.then_some("PARENT"));
    let listed = fitted_table(&header, &instances.iter().map(row).collect::<Vec<_>>(), &SPARE, width);
    if more { format!("{listed}\n\nThere are more: use filters, or --top with a higher number.") } else { listed }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::show::tests::instance;
    use super::*;

    #[tokio::test]
    async fn instances_are_listed_whole() {
        let mut other = instance().await;
        other.instance_id = format!("{}\n", "long".repeat(5));
        other.last_updated = other.created.map(|at| at.plus(Duration::from_secs(3600)));
        other.status = RuntimeStatus::Terminated;
        let expected = "\
ID                     NAME    STATUS      CREATED (UTC)        UPDATED (UTC)
order-7                Fulfil  Pending     2026-01-01 12:00:00  2026-01-01 12:00:05
longlonglonglonglong   Fulfil  Terminated  2026-01-01 12:00:00  2026-01-01 13:00:00";
        let both = [instance().await, other];
        let flat = |all: &[InstanceStatus], more, lacks: fn(&InstanceStatus) -> &'static str| {
            list_text(&all.iter().map(|instance| (0, instance)).collect::<Vec<_>>(), more, usize::MAX, lacks)
        };
        let nothing: fn(&InstanceStatus) -> &'static str = |_| "";
        assert_eq!(flat(&both, false, nothing), expected);
        assert!(flat(&both, true, nothing).ends_with("There are more: use filters, or --top with a higher number."));
        assert_eq!(flat(&[], false, nothing), "No instances.");
        let marked = flat(&both[..1], false, |_| ", not hosted");
        assert!(marked.contains("  Pending, not hosted  "), "{marked}");
        let mut parked = instance().await;
        (parked.status, parked.is_parked) = (RuntimeStatus::Failed, true);
        assert!(flat(&[parked.clone()], false, nothing).contains("  Failed, parked  "));
        assert_eq!(serde_json::to_value(Json::Object(members(&parked, false))).unwrap()["isParked"], true);
        let mut second = instance().await;
        second.version = Some("2.0".to_owned());
        let expected = "\
ID       NAME    VERSION  STATUS   CREATED (UTC)        UPDATED (UTC)
order-7  Fulfil  -        Pending  2026-01-01 12:00:00  2026-01-01 12:00:05
order-7  Fulfil  2.0      Pending  2026-01-01 12:00:00  2026-01-01 12:00:05";
        assert_eq!(flat(&[instance().await, second], false, nothing), expected);
        let mut child = instance().await;
        child.parent_instance_id = Some("order-7".to_owned());
        let expected = "\
ID       NAME    STATUS   CREATED (UTC)        UPDATED (UTC)        PARENT
order-7  Fulfil  Pending  2026-01-01 12:00:00  2026-01-01 12:00:05  -
order-7  Fulfil  Pending  2026-01-01 12:00:00  2026-01-01 12:00:05  order-7";
        assert_eq!(flat(&[instance().await, child.clone()], false, nothing), expected);
        assert_eq!(serde_json::to_value(Json::Object(members(&child, false))).unwrap()["parentInstanceId"], "order-7");

        let of = |id: &str, parent: &str| {
            let mut instance = child.clone();
            (instance.instance_id, instance.parent_instance_id) =
                (id.to_owned(), Some(parent.to_owned()).filter(|id| !id.is_empty()));
            instance
        };
        let all = [of("a1", "a"), of("a11", "a1"), of("b", "elsewhere"), of("a", ""), of("x", "y"), of("y", "x"), of("a2", "a")];
        let expected = "\
ID       NAME    STATUS   CREATED (UTC)        UPDATED (UTC)
b        Fulfil  Pending  2026-01-01 12:00:00  2026-01-01 12:00:05
a        Fulfil  Pending  2026-01-01 12:00:00  2026-01-01 12:00:05
  a1     Fulfil  Pending  2026-01-01 12:00:00  2026-01-01 12:00:05
    a11  Fulfil  Pending  2026-01-01 12:00:00  2026-01-01 12:00:05
  a2     Fulfil  Pending  2026-01-01 12:00:00  2026-01-01 12:00:05
x        Fulfil  Pending  2026-01-01 12:00:00  2026-01-01 12:00:05
  y      Fulfil  Pending  2026-01-01 12:00:00  2026-01-01 12:00:05";
        assert_eq!(list_text(&tree(&all), false, usize::MAX, nothing), expected);
    }
}
