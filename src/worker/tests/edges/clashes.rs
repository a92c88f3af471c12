//! Every kind of start beside every state of the instance that has its id: what must give way, and what must stay.

use futures::future::{Either, select};

use super::*;
use crate::hub::histories::Append;
use crate::worker::FastPath;

const HOLD: Orchestrator<String, String> = Orchestrator::new("Hold");
const ASKING: Orchestrator<String, String> = Orchestrator::new("Asking");
const NOTE: Event<String> = Event::new("note");

/// Ends at once, or when it is told to.
async fn hold(ctx: OrchestrationContext, how: String) -> Result<String, Failure> {
    match how.as_str() {
        "again" => ctx.continue_as_new(HOLD, "wait"),
        "wait" => Ok(ctx.wait_for_event(NOTE).await),
        "fail" => Err(Failure::new("ByDesign", "it fails")),
        _ => Ok(how),
    }
}

/// Asks for a child named x, or for its own parent, and tells what came of it.
async fn asking(ctx: OrchestrationContext, how: String) -> Result<String, Failure> {
    let call = |input: &str| ctx.call(HOLD, input).instance_id("x");
    let answer = match how.as_str() {
        "leave" => {
            ctx.start_orchestration(HOLD, "new").instance_id("x");
            return Ok("left".to_owned());
        }
        "through another" => return Ok(ctx.call(ASKING, "call").await?),
        "twice" => match select(call("wait"), ctx.timer(Duration::from_secs(10))).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => call("new").await,
        },
        "at once" => {
            let (first, second) = futures::join!(call("wait"), call("new"));
            return Ok(format!("{} {}", first.unwrap_or_else(|e| e.details().error_type.clone()), second?));
        }
        "wait" => call("wait").await,
        _ => call("new").await,
    };
    Ok(answer.unwrap_or_else(|failed| failed.details().error_type.clone()))
}

async fn acting<T>(hub: &TaskHub, client: impl Future<Output = T>) -> T {
    acting_with(hub, FastPath::default(), client).await
}

async fn acting_with<T>(hub: &TaskHub, fast_path: FastPath, client: impl Future<Output = T>) -> T {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = worker(hub).orchestrator(HOLD, hold).orchestrator(ASKING, asking).max_poll_interval(Duration::from_secs(1));
    let running = running.fast_path(fast_path);
    let acting = async {
        let result = client.await;
        drop(stop);
        result
    };
    let (ran, result) = tokio::join!(running.run(async { drop(stopped.await) }), acting);
    ran.unwrap();
    result
}

/// How a start comes to ask for an id.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Client,
    Call,
    /// A call of a child, whose parent is not the one to be told.
    CallOfChild,
    /// A child that nobody waits for.
    Detached,
    /// A child that a .NET worker starts.
    Foreign,
}

/// The instance that has the id.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Nothing,
    Scheduled,
    /// Its start is in the hands of a worker that hangs.
    Pending,
    /// Another start of an id whose instance has ended.
    PendingAgain,
    Running,
    Suspended,
    ContinuedAsNew,
    Child,
    /// A child that was left to itself by a parent that is gone.
    Forgotten,
    Completed,
    Failed,
    Terminated,
    EndedChild,
}

const KINDS: [Kind; 5] = [Kind::Client, Kind::Call, Kind::CallOfChild, Kind::Detached, Kind::Foreign];
const STATES: [State; 13] = [
    State::Nothing,
    State::Scheduled,
    State::Pending,
    State::PendingAgain,
    State::Running,
    State::Suspended,
    State::ContinuedAsNew,
    State::Child,
    State::Forgotten,
    State::Completed,
    State::Failed,
    State::Terminated,
    State::EndedChild,
];

/// Whether a start begins: the instance is nobody's or has ended.
fn begins(state: State) -> bool {
    matches!(state, State::Nothing | State::Completed | State::Failed | State::Terminated | State::EndedChild)
}

/// Brings the instance x into a state.
async fn prepare(hub: &TaskHub, client: &Client, state: State) {
    let start = |how: &'static str| client.start(HOLD, how).instance_id("x");
    let later = hub.0.now().plus(Duration::from_secs(120));
    match state {
        State::Nothing | State::Pending => return,
        State::Scheduled => drop(start("wait").at(later).await.unwrap()),
        State::Running => drop(start("wait").await.unwrap()),
        State::PendingAgain => {
            start("done").await.unwrap();
            ended(client, "x").await;
            start("wait").at(later).await.unwrap();
        }
        State::Suspended => {
            start("wait").await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
            client.suspend("x", "for now").await.unwrap();
        }
        State::ContinuedAsNew => drop(start("again").await.unwrap()),
        State::Child => drop(client.start(ASKING, "wait").instance_id("q").await.unwrap()),
        State::Forgotten => {
            let parent =
                ParentInstance { name: Some("Q".into()), instance: InstanceRef::new("gone", "g1"), task_id: 3, version: None };
            put(hub, start_message(hub, "x", "x1", "Hold", "\"wait\"", Some(parent))).await;
        }
        State::Completed => drop(start("done").await.unwrap()),
        State::Failed => drop(start("fail").await.unwrap()),
        State::EndedChild => drop(client.start(ASKING, "call").instance_id("q").await.unwrap()),
        State::Terminated => {
            start("wait").await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
            client.terminate("x", "enough").await.unwrap();
        }
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
}

/// Asks for the id, and tells what came of it: the output of what began, or the type of the failure.
async fn ask_for(hub: &TaskHub, client: &Client, kind: Kind) -> String {
    let how = match kind {
        Kind::Client => {
            return match client.start(HOLD, "new").instance_id("x").await {
                Ok(_) => ended(client, "x").await.output::<String>().unwrap(),
                Err(error) => format!("{:?}", error.kind()),
            };
        }
        Kind::Call => "call",
        Kind::CallOfChild => "through another",
        Kind::Detached => "leave",
        Kind::Foreign => return foreign(hub, client).await,
    };
    let parent = client.start(ASKING, how).instance_id("p").await.unwrap();
    let told = ended(client, parent.id()).await.output::<String>().unwrap();
    if kind == Kind::Detached {
        tokio::time::sleep(Duration::from_secs(30)).await;
        let x = client.status("x").await.unwrap().unwrap();
        assert_eq!(told, "left");
        return if x.output.as_deref() == Some("\"new\"") { "new".to_owned() } else { "nothing".to_owned() };
    }
    told
}

/// A parent as a .NET worker leaves it: nothing in its history and in its start tells of a decision of ours.
async fn foreign(hub: &TaskHub, client: &Client) -> String {
    let parent = InstanceRef::new("p", "p1");
    let start = ExecutionStarted {
        instance: parent.clone(),
        name: "Asking".into(),
        version: Some(String::new()),
        input: Some("\"call\"".into()),
        ..ExecutionStarted::default()
    };
    let created = EventKind::SubOrchestrationCreated {
        name: "Hold".into(),
        version: Some(String::new()),
        instance_id: "x".into(),
        input: None,
        client_span_id: None,
        tags: None,
    };
    let now = hub.0.now();
    let arriving = |kind| HistoryEvent::arriving(now, kind).into();
    let events = [
        arriving(EventKind::OrchestratorStarted),
        arriving(EventKind::ExecutionStarted(Box::new(start))),
        HistoryEvent::decision(0, now, created).into(),
        arriving(EventKind::OrchestratorCompleted),
    ];
    let append = Append {
        instance_id: "p",
        execution_id: "p1",
        etag: None,
        first: 0,
        events: &events,
        surplus: 0..0,
        carried_to: 0,
        remainder: None,
        applied: Vec::new(),
        superseded: Vec::new(),
        custom_status: None,
        ends_with: None,
    };
    hub.0.histories.append(append).await.unwrap();
    let parent = ParentInstance { name: Some("Asking".into()), instance: parent, task_id: 0, version: None };
    put(hub, start_message(hub, "x", "n1", "Hold", "\"new\"", Some(parent))).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    ended(client, "p").await.output::<String>().unwrap()
}

async fn check(kind: Kind, state: State) -> Result<(), String> {
    let hub = hub().await;
    let client = Client::new(&hub);
    if state == State::Pending {
        client.start(HOLD, "wait").instance_id("x").await.unwrap();
        let held = hub.0.queues.receive(hub.0.queues.of_instance("x"), 1, Duration::from_secs(60)).await.unwrap();
        assert_eq!(held.len(), 1);
    }
    acting(&hub, async {
        prepare(&hub, &client, state).await;
        let before = client.status("x").await.unwrap();
        let told = ask_for(&hub, &client, kind).await;
        let after = client.status("x").await.unwrap();
        let fail = |why: &str| Err(format!("{kind:?} over {state:?}: {why}: told {told}, {before:?}, then {after:?}"));
        if begins(state) {
            let ran = after.as_ref().and_then(|x| x.output.clone());
            return if told == "new" && ran.as_deref() == Some("\"new\"") { Ok(()) } else { fail("it did not begin") };
        }
        let expected = match kind {
            Kind::Client => "AlreadyExists",
            Kind::Detached => "nothing",
            Kind::Call | Kind::CallOfChild | Kind::Foreign => "InstanceIdInUse",
        };
        let execution = |x: &Option<crate::InstanceStatus>| x.as_ref().and_then(|x| x.execution_id.clone());
        if told != expected || execution(&before) != execution(&after) {
            return fail("the instance did not stay as it was");
        }
        // It goes on to its own end.
        if state == State::Suspended {
            client.resume("x", "go on").await.unwrap();
        }
        client.raise("x", NOTE, &"kept".to_owned()).await.unwrap();
        let output = ended(&client, "x").await.output::<String>().unwrap();
        quiet(&hub).await;
        if output == "kept" { Ok(()) } else { fail(&format!("it ended with {output}")) }
    })
    .await
}

/// Runs an orchestrator that asks for a child of its own twice.
async fn ask_twice(how: &'static str) -> (String, String) {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        let parent = client.start(ASKING, how).await.unwrap();
        let told = ended(&client, parent.id()).await.output::<String>().unwrap();
        let ran = ended(&client, "x").await.output::<String>().unwrap();
        quiet(&hub).await;
        (told, ran)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_child_gives_way_to_a_later_call_of_its_own_parent_alone() {
    assert_eq!(ask_twice("twice").await, ("new".to_owned(), "new".to_owned()));
    // Whichever of the two is received first.
    assert_eq!(ask_twice("at once").await, ("InstanceIdInUse new".to_owned(), "new".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_earlier_call_that_is_received_late_does_not_replace_the_child_of_a_later_one() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let first = client.start(ASKING, "twice").instance_id("p");
    acting(&hub, async {
        first.await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let history = hub.0.histories.load("x").await.unwrap();
        let start = history.events.iter().find_map(|stored| match &stored.event.kind {
            EventKind::ExecutionStarted(start) => Some((start.clone(), stored.decision_id.clone())),
            _ => None,
        });
        let (start, decision_id) = start.unwrap();
        assert_eq!(ended(&client, "p").await.output::<String>().unwrap(), "new");
        // The first start once more, when the second has run.
        let again = message(&hub, start.instance.clone(), EventKind::ExecutionStarted(start));
        put(&hub, Message { decision_id, ..again }).await;
        quiet(&hub).await;
        assert_eq!(ended(&client, "x").await.output::<String>().unwrap(), "new");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_becomes_a_child_of_itself_or_of_its_own_child() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let child_of = |parent: &str, execution: &str, task_id| ParentInstance {
        name: Some("Asking".into()),
        instance: InstanceRef::new(parent, execution),
        task_id,
        version: None,
    };
    acting(&hub, async {
        client.start(ASKING, "wait").instance_id("p").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let parent = client.status("p").await.unwrap().unwrap().execution_id.unwrap();
        let child = client.status("x").await.unwrap().unwrap().execution_id.unwrap();
        put(&hub, start_message(&hub, "p", "n1", "Hold", "\"new\"", Some(child_of("p", &parent, 0)))).await;
        put(&hub, start_message(&hub, "p", "n2", "Hold", "\"new\"", Some(child_of("x", &child, 0)))).await;
        // One that has never begun cannot be its own parent either.
        put(&hub, start_message(&hub, "new", "n3", "Hold", "\"new\"", Some(child_of("new", "n3", 0)))).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(client.status("p").await.unwrap().unwrap().execution_id, Some(parent));
        client.raise("x", NOTE, &"kept".to_owned()).await.unwrap();
        assert_eq!(ended(&client, "p").await.output::<String>().unwrap(), "kept");
        quiet(&hub).await;
        assert!(client.status("new").await.unwrap().is_none());
    })
    .await;
}

/// What the turn of a child decides goes out before the commit that would find its history.
#[tokio::test(start_paused = true)]
async fn no_code_of_a_child_runs_whose_id_has_a_history_and_no_row() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(ASKING, "wait").instance_id("q").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    // As if the worker had ended between the history of the child and its row.
    let delete = TableOp::Delete { partition_key: "x".to_owned(), row_key: String::new(), condition: Match::Any };
    hub.0.storage.tables.write(&hub.0.names.instances, &delete).await.unwrap();
    // Whatever is sent is there for everybody at once.
    let visible = FastPath { holds_own_messages: false, ..FastPath::default() };
    acting_with(&hub, visible, async {
        client.start(ASKING, "call").instance_id("p").await.unwrap();
        assert_eq!(ended(&client, "p").await.output::<String>().unwrap(), "InstanceIdInUse");
        client.raise("x", NOTE, &"kept".to_owned()).await.unwrap();
        assert_eq!(ended(&client, "q").await.output::<String>().unwrap(), "kept");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_orphan_gives_way_and_a_parent_whose_child_a_client_replaces_is_told() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        // The parent has made another decision since: this start was never committed.
        client.start(ASKING, "twice").instance_id("q").await.unwrap();
        let called = ended(&client, "q").await.execution_id.unwrap();
        let never = ParentInstance { name: None, instance: InstanceRef::new("q", called), task_id: 1, version: None };
        put(&hub, start_message(&hub, "x", "o1", "Hold", "\"wait\"", Some(ParentInstance { task_id: 0, ..never.clone() }))).await;
        put(&hub, start_message(&hub, "orphan", "o1", "Hold", "\"wait\"", Some(never))).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        client.start(ASKING, "wait").instance_id("p").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(status(&client, "p").await, RuntimeStatus::Running);
        client.start(HOLD, "new").instance_id("x").replacing([RuntimeStatus::Running]).await.unwrap();
        assert_eq!(ended(&client, "p").await.output::<String>().unwrap(), "InstanceIdInUse");
        assert_eq!(ended(&client, "x").await.output::<String>().unwrap(), "new");
        client.terminate("orphan", "enough").await.unwrap();
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_start_begins_only_where_nothing_is_under_way() {
    let mut wrong = Vec::new();
    for kind in KINDS {
        for state in STATES {
            wrong.extend(check(kind, state).await.err());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
