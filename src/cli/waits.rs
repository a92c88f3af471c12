//! What a running instance waits for, as far as its history tells, and the events that it has received.

use std::collections::BTreeMap;

use serde_json::json;
use taskhub::{Awaited, EventKind, HistoryEvent, InstanceStatus, RuntimeStatus, Timestamp, Unanswered, UnansweredTask};

use super::json::Json;
use super::{awaited, text};

/// So many of one kind are named.
const NAMED_MAX: usize = 3;

/// What an instance that has not ended waits for.
#[derive(Debug)]
pub(crate) struct Waits {
    status: RuntimeStatus,
    scheduled: Option<Timestamp>,
    tasks: Vec<Unanswered>,
    /// The names of the events of its execution, with their counts.
    received: BTreeMap<String, usize>,
}

impl Waits {
    /// Of an instance with this history, unless it has ended.
    pub(crate) fn of(instance: &InstanceStatus, history: &[HistoryEvent]) -> Option<Self> {
        let status = instance.status;
        if status.is_terminal() {
            return None;
        }
        let mut received = BTreeMap::new();
        for event in history {
            if let EventKind::EventRaised { name, .. } = &event.kind {
                *received.entry(name.clone()).or_default() += 1;
            }
        }
        Some(Self { status, scheduled: instance.scheduled_start, tasks: Unanswered::in_history(history), received })
    }

    /// What it waits for, in words. Waits for events leave no trace, so that there may always be one.
    fn in_words(&self, now: Timestamp) -> Vec<String> {
        let at = |time: Timestamp| format!("{} UTC ({})", text::time(time), text::relative(time, now));
        if self.status == RuntimeStatus::Pending {
            let start = |time| format!("its start, scheduled for {}", at(time));
            return vec![self.scheduled.map_or_else(|| "a worker to begin it".to_owned(), start)];
        }
        let (mut activities, mut children, mut timers) =
            (BTreeMap::<&str, Vec<_>>::new(), BTreeMap::<&str, Vec<_>>::new(), Vec::new());
        for Unanswered { since, task, .. } in &self.tasks {
            match task {
                UnansweredTask::Activity { name } => activities.entry(name).or_default().push(*since),
                UnansweredTask::SubOrchestration { name, instance_id } => {
                    children.entry(name).or_default().push(instance_id.as_str())
                }
                UnansweredTask::Timer { fire_at } => timers.push(*fire_at),
                // What a later version of the library may know.
                _ => {}
            }
        }
        let mut all = Vec::new();
        if self.status == RuntimeStatus::Suspended {
            all.push("its resumption".to_owned());
        }
        for (name, since) in activities {
            let (what, first) = (counted(since.len(), "activity", "activities"), since.into_iter().min().unwrap_or(now));
            all.push(format!("{what} \"{}\", since {}", text::line(name), at(first)));
        }
        for (name, ids) in children {
            let named: Vec<_> = ids.iter().take(NAMED_MAX).map(|id| format!("\"{}\"", text::line(id))).collect();
            let what = counted(ids.len(), "sub-orchestration", "sub-orchestrations");
            let (named, more) = (named.join(", "), more(ids.len()));
            all.push(format!("{what} \"{}\", by id {named}{more}", text::line(name)));
        }
        timers.sort();
        if !timers.is_empty() {
            let due: Vec<_> = timers.iter().take(NAMED_MAX).map(|time| at(*time)).collect();
            all.push(format!("{} due {}{}", counted(timers.len(), "timer", "timers"), due.join(", "), more(timers.len())));
        }
        all.push(if all.is_empty() { "an external event".to_owned() } else { "or an external event".to_owned() });
        all
    }

    /// The events that it has received. Whether its code has taken them is nowhere recorded.
    pub(crate) fn events_in_words(&self) -> Option<String> {
        let one = |(name, count): (&String, &usize)| {
            let name = text::line(name);
            if *count == 1 { format!("\"{name}\"") } else { format!("\"{name}\" ×{count}") }
        };
        let all: Vec<_> = self.received.iter().map(one).collect();
        (!all.is_empty()).then(|| format!("{} (events, whether or not its code has taken them)", all.join(", ")))
    }

    pub(crate) fn tasks_as_json(&self) -> Json {
        let one = |Unanswered { id, since, task, .. }: &Unanswered| {
            let mut one = match task {
                UnansweredTask::Activity { name } => json!({ "kind": "activity", "name": name }),
                UnansweredTask::SubOrchestration { name, instance_id } => {
                    json!({ "kind": "subOrchestration", "name": name, "childInstanceId": instance_id })
                }
                UnansweredTask::Timer { fire_at } => json!({ "kind": "timer", "fireAt": fire_at.to_string() }),
                _ => json!({ "kind": "unknown" }),
            };
            one["taskId"] = (*id).into();
            one["since"] = since.to_string().into();
            one.into()
        };
        Json::List(self.tasks.iter().map(one).collect())
    }

    pub(crate) fn events_as_json(&self) -> Json {
        let one = |(name, count): (&String, &usize)| json!({ "name": name, "count": count }).into();
        Json::List(self.received.iter().map(one).collect())
    }
}

/// What an instance lacks, and what else it waits for; one that has not begun waits for nothing else.
pub(crate) fn in_words(awaited: Option<&Awaited>, waits: Option<&Waits>, now: Timestamp) -> Vec<String> {
    let waits = waits.filter(|waits| awaited.is_none() || waits.status != RuntimeStatus::Pending);
    awaited.map(awaited::with_remedy).into_iter().chain(waits.map(|waits| waits.in_words(now)).unwrap_or_default()).collect()
}

fn counted(count: usize, one: &str, many: &str) -> String {
    if count == 1 { one.to_owned() } else { format!("{count} {many}") }
}

fn more(count: usize) -> String {
    if count > NAMED_MAX { format!(" and {} more", count - NAMED_MAX) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use taskhub::{
        Activity, ActivityContext, Client, Event, Failure as Failed, OrchestrationContext, Orchestrator, Storage, TaskHub, Worker,
    };

    use super::super::show;
    use super::*;

    const WAITER: Orchestrator<(), ()> = Orchestrator::new("Waiter");
    const CHILD: Orchestrator<(), bool> = Orchestrator::new("Child");
    const SLOW: Activity<u32, ()> = Activity::new("Slow");
    const GO: Event<bool> = Event::new("go");

    /// Waits for two activities, a child, a timer of an hour, and an event.
    async fn waiter(ctx: OrchestrationContext, (): ()) -> Result<(), Failed> {
        let (first, second) = (ctx.call(SLOW, 1), ctx.call(SLOW, 2));
        let child = ctx.call(CHILD, ()).instance_id("the-child");
        let timer = ctx.timer(Duration::from_secs(3600));
        ctx.wait_for_event(GO).await;
        first.await?;
        second.await?;
        child.await?;
        timer.await;
        Ok(())
    }

    /// What an instance waits for, once a worker has gone as far as it can. A child is there a while after its parent has asked for it.
    async fn waits(client: &Client, id: &str, fits: impl Fn(&Waits) -> bool) -> Waits {
        loop {
            if let Ok(status) = client.instance(id).status().await {
                let history = show::history_of(client, &status).await.unwrap().unwrap();
                if let Some(waits) = Waits::of(&status, &history).filter(&fits) {
                    return waits;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn an_instance_waits_for_what_its_history_has_no_answer_to() {
        let hub = TaskHub::builder(Storage::in_memory(), "MyHub").partitions(1).open().await.unwrap();
        let client = Client::new(&hub);
        let worker = Worker::builder(&hub)
            .orchestrator(WAITER, waiter)
            .orchestrator(CHILD, async |ctx: OrchestrationContext, ()| Ok(ctx.wait_for_event(GO).await))
            .activity(SLOW, async |_: ActivityContext, _| std::future::pending().await);
        client.start(WAITER, ()).instance_id("the-parent").await.unwrap();
        let using = async {
            let parent = waits(&client, "the-parent", |waits| !waits.tasks.is_empty()).await;
            let child = waits(&client, "the-child", |waits| waits.status == RuntimeStatus::Running).await;
            client.instance("the-parent").raise_named("goo", 1).await.unwrap();
            client.instance("the-parent").raise_named("goo", 2).await.unwrap();
            let told = waits(&client, "the-parent", |waits| waits.received.get("goo") == Some(&2)).await;
            client.instance("the-child").suspend("lunch").await.unwrap();
            let paused = waits(&client, "the-child", |waits| waits.status == RuntimeStatus::Suspended).await;
            (parent, child, told, paused)
        };
        let (parent, child, told, paused) = tokio::select! {
            biased;
            ran = worker.run(std::future::pending()) => panic!("{ran:?}"),
            seen = using => seen,
        };
        let UnansweredTask::Timer { fire_at } = parent.tasks[3].task else { panic!("{parent:?}") };
        let begun = fire_at.plus_ticks(-3600 * 10_000_000);
        let time = |at: Timestamp| format!("{} UTC", text::time(at));
        let since = parent.tasks[0].since;
        assert_eq!(
            parent.in_words(begun),
            [
                format!("2 activities \"Slow\", since {} ({})", time(since), text::relative(since, begun)),
                "sub-orchestration \"Child\", by id \"the-child\"".to_owned(),
                format!("timer due {} (in 60 min)", time(fire_at)),
                "or an external event".to_owned(),
            ]
        );
        assert_eq!(parent.events_in_words(), None);
        let tasks = serde_json::to_value(parent.tasks_as_json()).unwrap();
        assert_eq!((&tasks[0]["kind"], &tasks[0]["name"], &tasks[0]["taskId"]), (&json!("activity"), &json!("Slow"), &json!(0)));
        assert_eq!((&tasks[2]["childInstanceId"], &tasks[3]["fireAt"]), (&json!("the-child"), &json!(fire_at.to_string())));
        assert_eq!(child.in_words(begun), ["an external event"]);
        assert_eq!(paused.in_words(begun), ["its resumption", "or an external event"]);
        assert_eq!(told.events_in_words().unwrap(), "\"goo\" ×2 (events, whether or not its code has taken them)");
        assert_eq!(serde_json::to_value(told.events_as_json()).unwrap(), json!([{ "name": "goo", "count": 2 }]));
    }

    #[tokio::test]
    async fn one_that_has_not_begun_waits_for_a_worker_and_one_of_many_tasks_names_a_few() {
        let hub = TaskHub::open(Storage::in_memory(), "MyHub").await.unwrap();
        let client = Client::new(&hub);
        client.start(CHILD, ()).instance_id("new").await.unwrap();
        let mut waits = waits(&client, "new", |_| true).await;
        let now = Timestamp::parse("2026-01-01T12:00:00Z").unwrap();
        assert_eq!(waits.in_words(now), ["a worker to begin it"]);
        waits.scheduled = Some(now.plus(Duration::from_secs(90)));
        assert_eq!(waits.in_words(now), ["its start, scheduled for 2026-01-01 12:01:30 UTC (in 90 s)"]);
        let child = |id: i32| {
            let (name, instance_id) = ("Ship".to_owned(), format!("c{id}"));
            let (version, input, client_span_id, tags) = (None, None, None, None);
            let kind = EventKind::SubOrchestrationCreated { name, version, instance_id, input, client_span_id, tags };
            HistoryEvent::decision(id, now, kind)
        };
        let history: Vec<_> = (0..5).map(child).collect();
        (waits.status, waits.tasks) = (RuntimeStatus::Running, Unanswered::in_history(&history));
        let expected = "5 sub-orchestrations \"Ship\", by id \"c0\", \"c1\", \"c2\" and 2 more";
        assert_eq!(waits.in_words(now), [expected, "or an external event"]);
    }
}
