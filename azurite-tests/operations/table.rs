//! What every operation answers, and brings about, in every state of an instance: the table of docs/instances.md as data, and a check of
//! each of its cells on any hub.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use taskhub::{
    Activity, ActivityContext, Client, Error, ErrorKind, Event, Failure, OrchestrationContext, Orchestrator, RuntimeStatus,
    TaskHub, Worker, WorkerBuilder, internals,
};

/// The states, as the columns of the table are headed.
pub(crate) const STATES: [&str; 11] = [
    "none",
    "scheduled",
    "pending",
    "running",
    "suspended",
    "completed",
    "failed",
    "terminated",
    "continued as new",
    "parked",
    "not hosted",
];

/// Each operation, and what comes of it in each state: the status once a worker has seen it, or the refusal. `same` answers and changes
/// nothing; `timeout` is a wait without an end.
pub(crate) const TABLE: [(&str, [&str; 11]); 13] = [
    ("start", [RUNS, EXISTS, EXISTS, EXISTS, EXISTS, RUNS, RUNS, RUNS, EXISTS, RUNS, EXISTS]),
    ("start replacing nothing", [RUNS, EXISTS, EXISTS, EXISTS, EXISTS, EXISTS, EXISTS, EXISTS, EXISTS, EXISTS, EXISTS]),
    ("start replacing anything", [RUNS, RUNS, RUNS, RUNS, RUNS, RUNS, RUNS, RUNS, RUNS, RUNS, RUNS]),
    ("raise an event", [NONE, WAITS, DONE, DONE, PAUSED, ENDED, ENDED, ENDED, DONE, DONE, WAITS]),
    ("suspend", [NONE, WAITS, PAUSED, PAUSED, PAUSED, ENDED, ENDED, ENDED, PAUSED, FAILED, WAITS]),
    ("resume", [NONE, WAITS, RUNS, RUNS, RUNS, ENDED, ENDED, ENDED, RUNS, FAILED, WAITS]),
    ("terminate", [NONE, GONE, GONE, GONE, GONE, ENDED, ENDED, ENDED, GONE, GONE, GONE]),
    ("rewind", [NONE, OPEN, OPEN, OPEN, OPEN, ENDED, RUNS, ENDED, OPEN, OPEN, OPEN]),
    ("restart", [NONE, OPEN, OPEN, OPEN, OPEN, DONE, RUNS, RUNS, OPEN, OPEN, OPEN]),
    ("restart under another id", [NONE, SAME, SAME, SAME, SAME, SAME, SAME, SAME, SAME, SAME, SAME]),
    ("purge", [NONE, OPEN, OPEN, OPEN, OPEN, PURGED, PURGED, PURGED, OPEN, OPEN, OPEN]),
    ("wait for the end", [NONE, TIMEOUT, TIMEOUT, TIMEOUT, TIMEOUT, SAME, SAME, SAME, TIMEOUT, SAME, TIMEOUT]),
    ("status", [NONE, SAME, SAME, SAME, SAME, SAME, SAME, SAME, SAME, SAME, SAME]),
];

const RUNS: &str = "Running";
const DONE: &str = "Completed";
const WAITS: &str = "Pending";
const PAUSED: &str = "Suspended";
const FAILED: &str = "Failed";
const GONE: &str = "Terminated";
const PURGED: &str = "gone";
const SAME: &str = "same";
const NONE: &str = "not found";
const EXISTS: &str = "exists";
const OPEN: &str = "open";
const ENDED: &str = "ended";
const TIMEOUT: &str = "timeout";

/// Waits for an event.
const WAIT: Orchestrator<(), u32> = Orchestrator::new("Wait");
/// Ends at once.
const END: Orchestrator<(), u32> = Orchestrator::new("End");
/// Fails by its step, and waits for an event once that works.
const FAIL: Orchestrator<(), u32> = Orchestrator::new("Fail");
/// Waits for an event in its second generation.
const AGAIN: Orchestrator<u32, u32> = Orchestrator::new("Again");
/// Fails the first time for each instance.
const FLAKY: Activity<String, ()> = Activity::new("Flaky");
const GO: Event<u32> = Event::new("go");
const LIMIT: Duration = Duration::from_secs(120);

async fn wait(ctx: OrchestrationContext, (): ()) -> Result<u32, Failure> {
    ctx.set_custom_status("waits");
    Ok(ctx.wait_for_event(GO).await)
}

async fn again(ctx: OrchestrationContext, round: u32) -> Result<u32, Failure> {
    if round == 0 { ctx.continue_as_new(AGAIN, 1) } else { wait(ctx, ()).await }
}

type Seen = Arc<Mutex<Vec<String>>>;

fn worker(hub: &TaskHub, seen: &Seen) -> WorkerBuilder {
    let seen = Arc::clone(seen);
    let flaky = move |_: ActivityContext, id: String| {
        let mut seen = seen.lock().unwrap();
        let is_first = !seen.contains(&id);
        seen.push(id);
        std::future::ready(if is_first { Err(Failure::new("Flaky", "the first time")) } else { Ok(()) })
    };
    Worker::builder(hub)
        .max_poll_interval(Duration::from_millis(500))
        .fail_unhosted_alone_after(Duration::from_secs(3600))
        .activity(FLAKY, flaky)
        .orchestrator(WAIT, wait)
        .orchestrator(AGAIN, again)
        .orchestrator(END, async |_: OrchestrationContext, ()| Ok(1))
        .orchestrator(FAIL, async |ctx: OrchestrationContext, ()| {
            ctx.call(FLAKY, ctx.instance_id()).await?;
            wait(ctx, ()).await
        })
}

fn id(operation: &str, state: &str) -> String {
    format!("{operation} {state}").replace(' ', "-")
}

/// Every cell: operation, state, and what is expected.
fn cells() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    TABLE.into_iter().flat_map(|(operation, row)| STATES.into_iter().zip(row).map(move |(state, cell)| (operation, state, cell)))
}

/// What is shown of an instance; nothing if it is not there.
async fn shown(client: &Client, id: &str) -> Option<RuntimeStatus> {
    match client.instance(id).status().await {
        Ok(status) => Some(status.status),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("{id}: {error}"),
    }
}

/// The status of an instance of this state that nobody disturbs, once a worker has seen it.
fn undisturbed(state: &str) -> Option<RuntimeStatus> {
    Some(match state {
        "none" => return None,
        "scheduled" | "not hosted" => RuntimeStatus::Pending,
        "suspended" => RuntimeStatus::Suspended,
        "completed" => RuntimeStatus::Completed,
        "failed" | "parked" => RuntimeStatus::Failed,
        "terminated" => RuntimeStatus::Terminated,
        _ => RuntimeStatus::Running,
    })
}

/// What has to have begun before it is in its state.
async fn begin(client: &Client, id: &str, state: &str) -> Result<(), Error> {
    match state {
        "running" | "suspended" | "terminated" | "parked" => drop(client.start(WAIT, ()).instance_id(id).await?),
        "completed" => drop(client.start(END, ()).instance_id(id).await?),
        "failed" => drop(client.start(FAIL, ()).instance_id(id).await?),
        "continued as new" => drop(client.start(AGAIN, 0).instance_id(id).await?),
        _ => {}
    }
    match state {
        "suspended" => client.instance(id).suspend("for the table").await,
        "terminated" => client.instance(id).terminate("for the table").await,
        _ => Ok(()),
    }
}

/// What no worker has seen.
async fn prepare(hub: &TaskHub, client: &Client, id: &str, state: &str) -> Result<(), Error> {
    match state {
        "scheduled" => client.start(WAIT, ()).after(Duration::from_secs(86_400)).instance_id(id).await.map(drop),
        "pending" => client.start(WAIT, ()).instance_id(id).await.map(drop),
        "not hosted" => client.start_named("Nobody's", ()).instance_id(id).await.map(drop),
        "parked" => internals::show_as_parked(hub, id).await,
        _ => Ok(()),
    }
}

/// What an operation answers.
async fn act(client: &Client, operation: &str, id: &str) -> Result<(), Error> {
    let instance = client.instance(id);
    let start = client.start(WAIT, ()).instance_id(id);
    match operation {
        "start" => start.await.map(drop),
        "start replacing nothing" => start.replacing([]).await.map(drop),
        "start replacing anything" => start.replacing_any().await.map(drop),
        "raise an event" => instance.raise(GO, 7).await,
        "suspend" => instance.suspend("by the table").await,
        "resume" => instance.resume("by the table").await,
        "terminate" => instance.terminate("by the table").await,
        "rewind" => instance.rewind("by the table").await.map(drop),
        "restart" => instance.restart().await.map(drop),
        "restart under another id" => instance.restart().new_instance_id(format!("{id}-2")).await.map(drop),
        "purge" => instance.purge().await.map(drop),
        "wait for the end" => instance.wait().within(Duration::ZERO).await.map(drop),
        "status" => instance.status().await.map(drop),
        other => panic!("nobody knows how to {other}"),
    }
}

fn refusal(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => NONE,
        ErrorKind::AlreadyExists => EXISTS,
        ErrorKind::Open => OPEN,
        ErrorKind::Ended => ENDED,
        ErrorKind::Timeout => TIMEOUT,
        _ => panic!("{error}"),
    }
}

/// Waits until each of these is shown so.
async fn until_shown(client: &Client, expected: &BTreeMap<String, Option<RuntimeStatus>>) {
    let begun = tokio::time::Instant::now();
    loop {
        let all = expected.iter().map(|(id, status)| async move {
            let shown = shown(client, id).await;
            (shown != *status).then(|| format!("{id} is {shown:?}, and not {status:?}"))
        });
        let wrong: Vec<_> = join_all(all).await.into_iter().flatten().collect();
        if wrong.is_empty() {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "{wrong:#?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn beside<T>(worker: WorkerBuilder, acting: impl Future<Output = T>) -> T {
    let mut result = None;
    // What it does is large, and would stand on the stack once for each of the futures around it.
    let acting = Box::pin(acting);
    worker.run(async { result = Some(acting.await) }).await.unwrap();
    result.unwrap()
}

/// Checks every cell.
pub(crate) async fn check(hub: &TaskHub) {
    let (client, seen) = (Client::new(hub), Seen::default());
    // Without a worker nothing runs that is to be pending; but what is to end before it is replaced needs one.
    let needs_worker = |operation: &str| operation == "start replacing anything";
    beside(worker(hub, &seen), async {
        for (operation, state, _) in cells() {
            begin(&client, &id(operation, state), state).await.unwrap();
        }
        let begun = cells().filter(|(_, state, _)| !["none", "scheduled", "pending", "not hosted", "parked"].contains(state));
        let mut expected: BTreeMap<_, _> =
            begun.map(|(operation, state, _)| (id(operation, state), undisturbed(state))).collect();
        expected.extend(TABLE.iter().map(|(operation, _)| (id(operation, "parked"), Some(RuntimeStatus::Running))));
        until_shown(&client, &expected).await;
    })
    .await;
    for (operation, state, _) in cells() {
        prepare(hub, &client, &id(operation, state), state).await.unwrap();
    }
    let mut answers = BTreeMap::new();
    for (operation, state, _) in cells().filter(|(operation, ..)| !needs_worker(operation)) {
        let id = id(operation, state);
        answers.insert(id.clone(), act(&client, operation, &id).await);
    }
    beside(worker(hub, &seen), async {
        for (operation, state, _) in cells().filter(|(operation, ..)| needs_worker(operation)) {
            let id = id(operation, state);
            answers.insert(id.clone(), act(&client, operation, &id).await);
        }
        let mut expected = BTreeMap::new();
        for (operation, state, cell) in cells() {
            let id = id(operation, state);
            let answer = answers.remove(&id).unwrap();
            let status = cell.parse::<RuntimeStatus>().ok();
            let is_done = status.is_some() || [SAME, PURGED].contains(&cell);
            match &answer {
                Ok(()) => assert!(is_done, "{operation}, {state}: it was done, and not {cell}"),
                Err(error) => assert_eq!(refusal(error), cell, "{operation}, {state}: {error}"),
            }
            if operation == "restart under another id" && is_done {
                assert!(shown(&client, &format!("{id}-2")).await.is_some(), "{operation}, {state}");
            }
            let unchanged = || undisturbed(state).filter(|_| cell != PURGED);
            expected.insert(id, status.or_else(unchanged));
        }
        until_shown(&client, &expected).await;
        // And it stays so.
        tokio::time::sleep(Duration::from_secs(2)).await;
        until_shown(&client, &expected).await;
    })
    .await;
}
