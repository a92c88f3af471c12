//! What messages wait for, as part of `taskhub list` and `taskhub hub status`, and what one instance waits for.

use taskhub::{Awaited, AwaitedKind, Client, InstanceStatus, Timestamp};

use super::failure::Failure;
use super::output::fitted_table;
use super::text;

/// A table of at most this width, with its heading; nothing if nothing is waited for.
pub(crate) fn as_text(all: &[Awaited], now: Timestamp, width: usize) -> Option<String> {
    let row = |awaited: &Awaited| {
        vec![
            awaited.kind.name().to_owned(),
            text::line(&awaited.name),
            awaited.version.as_deref().map_or_else(|| "-".to_owned(), text::line),
            text::line(&awaited.queue),
            text::span(now.since(awaited.since)),
            format!("{} ago", text::span(now.since(awaited.last_seen))),
            awaited.instances.map_or_else(|| "-".to_owned(), |count| count.to_string()),
            text::line(&awaited.instance_id),
        ]
    };
    let header = ["KIND", "NAME", "VERSION", "QUEUE", "FOR", "LAST SEEN", "INSTANCES", "SUCH AS"];
    let of = |wanted: fn(AwaitedKind) -> bool| all.iter().filter(|awaited| wanted(awaited.kind)).map(row).collect::<Vec<_>>();
    let part = |heading: &str, rows: &[Vec<String>]| {
        (!rows.is_empty()).then(|| format!("{heading}:\n{}", fitted_table(&header, rows, &["QUEUE", "LAST SEEN"], width)))
    };
    // What is drained is listed by itself.
    let missing = of(|kind| !matches!(kind, AwaitedKind::Drain | AwaitedKind::Limit));
    let parts = [
        part("Waiting for code that the workers which were asked do not have", &missing),
        part("Waiting for a place under a limit that workers set", &of(|kind| kind == AwaitedKind::Limit)),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

/// What this instance waits for, if it waits for code. Nothing is asked for one that has ended.
pub(crate) async fn of(client: &Client, instance: &InstanceStatus) -> Result<Option<Awaited>, Failure> {
    if instance.status.is_terminal() {
        return Ok(None);
    }
    Ok(client.awaited().await?.into_iter().find(|awaited| client.waits_for(instance, awaited)))
}

/// The orchestrator of a new instance, if others wait for it already. Nothing if that cannot be seen.
pub(crate) async fn of_orchestrator(client: &Client, name: &str, version: Option<&str>) -> Option<Awaited> {
    let is_it = |awaited: &Awaited| {
        let is_named = awaited.name.to_lowercase() == name.to_lowercase();
        awaited.kind == AwaitedKind::Orchestrator && is_named && awaited.version.as_deref() == version.filter(|v| !v.is_empty())
    };
    client.awaited().await.unwrap_or_default().into_iter().find(is_it)
}

/// What it is, and what to do about it.
pub(crate) fn with_remedy(awaited: &Awaited) -> String {
    let name = text::line(&awaited.name);
    let version = awaited.version.as_deref().map(|version| format!(" version \"{}\"", text::line(version)));
    let or_fallback = if version.is_some() { ", this version or a fallback" } else { "" };
    let version = version.unwrap_or_default();
    match awaited.kind {
        AwaitedKind::Entity => {
            format!("entity \"{name}\", which the workers that were asked do not have; start a worker of .NET that has it")
        }
        AwaitedKind::Event => {
            format!("a worker that knows events of the kind \"{name}\"; start one of a newer version of taskhub, or of .NET")
        }
        AwaitedKind::Drain => {
            format!(
                "the end of a drain of the orchestrator \"{name}\"{version}; `taskhub drain` lists what is drained, and lifts it"
            )
        }
        AwaitedKind::Limit => format!("a place under the limit that workers set for \"{name}\"{version}"),
        kind => {
            let meant = |name: &String| format!(". Did you mean \"{}\"?", text::line(name));
            format!(
                "{} \"{name}\"{version}, which the workers that were asked do not have; start a worker that registers it{or_fallback}{}",
                kind.name(),
                awaited.suggestion.as_ref().map(meant).unwrap_or_default()
            )
        }
    }
}

/// What an instance lacks, behind its status.
pub(crate) fn label(awaited: &Awaited) -> &'static str {
    match awaited.kind {
        AwaitedKind::Activity => ", activity not hosted",
        AwaitedKind::Event => ", event not known",
        AwaitedKind::Drain => ", drained",
        AwaitedKind::Limit => ", limited",
        _ => ", not hosted",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use taskhub::{Client, OrchestrationContext, Orchestrator, Storage, TaskHub, Worker};

    use super::*;

    #[tokio::test]
    async fn what_is_waited_for_is_a_table_and_marks_its_instances() {
        let hub = TaskHub::builder(Storage::in_memory(), "MyHub").partitions(1).open().await.unwrap();
        let client = Client::new(&hub);
        let order = client.start_named("Nobody", ()).version("2.0").instance_id("order-7").await.unwrap();
        let worker = Worker::builder(&hub).worker_id("w").fail_unhosted_after(Duration::from_secs(600));
        let worker = worker.orchestrator(Orchestrator::<(), ()>::new("Nobodys"), async |_: OrchestrationContext, ()| Ok(()));
        let looking = async {
            loop {
                let awaited = client.awaited().await.unwrap();
                if !awaited.is_empty() {
                    return awaited;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let awaited = tokio::select! {
            biased;
            ran = worker.run(std::future::pending()) => panic!("{ran:?}"),
            awaited = looking => awaited,
        };
        assert_eq!(as_text(&[], awaited[0].last_seen, 120), None);
        let expected = "\
Waiting for code that the workers which were asked do not have:
KIND          NAME    VERSION  QUEUE             FOR  LAST SEEN  INSTANCES  SUCH AS
orchestrator  Nobody  2.0      myhub-control-00  0 s  0 s ago    1          order-7";
        assert_eq!(as_text(&awaited, awaited[0].since, 120).unwrap(), expected);
        let json = json!(awaited[0]);
        assert_eq!((&json["kind"], &json["worker"], &json["instances"]), (&json!("orchestrator"), &json!("w"), &json!(1)));
        let instance = order.status().await.unwrap();
        assert!(client.waits_for(&instance, &awaited[0]));
        assert_eq!(label(&awaited[0]), ", not hosted");
        assert_eq!(of(&client, &instance).await.unwrap().as_ref(), Some(&awaited[0]));
        assert_eq!(
            with_remedy(&awaited[0]),
            "orchestrator \"Nobody\" version \"2.0\", which the workers that were asked do not have; start a worker that registers it, this version \
             or a fallback. Did you mean \"Nobodys\"?"
        );
        assert_eq!(of_orchestrator(&client, "nobody", Some("2.0")).await.as_ref(), Some(&awaited[0]));
        assert_eq!(of_orchestrator(&client, "Nobody", None).await, None, "another version");
        let other = client.start_named("Other", ()).await.unwrap().status().await.unwrap();
        assert_eq!(of(&client, &other).await.unwrap(), None);
    }
}
