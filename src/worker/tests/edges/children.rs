//! Sub-orchestrations whose starts and events come again or out of order.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_child_start_that_dotnet_sends_again_under_another_execution_restarts_nothing() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let parent = ParentInstance { name: Some("P".into()), instance: InstanceRef::new("parent", "p1"), task_id: 4, version: None };
    acting(&hub, async {
        put(&hub, start_message(&hub, "child", "x1", "Collect", "1", Some(parent.clone()))).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        put(&hub, start_message(&hub, "child", "x2", "Collect", "1", Some(parent.clone()))).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(client.status("child").await.unwrap().unwrap().execution_id.as_deref(), Some("x1"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_has_ended_answers_a_start_that_its_parent_sends_again() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let parent = ParentInstance { name: Some("P".into()), instance: InstanceRef::new("p", "p1"), task_id: 0, version: None };
    acting(&hub, async {
        // The parent's turn died between its messages and its history: it waits for nothing yet, and the answer is dropped.
        put(&hub, start_message(&hub, "quick", "x1", "Collect", "0", Some(parent.clone()))).await;
        quiet(&hub).await;
        assert_eq!(status(&client, "quick").await, RuntimeStatus::Completed);
        // Then it runs again, and sends the start again.
        put(&hub, start_message(&hub, "quick", "x1", "Collect", "0", Some(parent.clone()))).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let queue = hub.0.queues.name(hub.0.queues.of_instance("p"));
        assert_eq!(hub.0.storage.queues.count(queue).await.unwrap(), 1, "an answer is on its way");
        // Another parent's start of an execution that was replaced since gets no answer of this one.
        let other = ParentInstance { instance: InstanceRef::new("q", "q1"), ..parent };
        quiet(&hub).await;
        put(&hub, start_message(&hub, "quick", "x1", "Collect", "0", Some(other))).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let queue = hub.0.queues.name(hub.0.queues.of_instance("q"));
        assert_eq!(hub.0.storage.queues.count(queue).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_overtakes_the_start_of_a_child_waits_for_it() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let parent = ParentInstance { name: Some("P".into()), instance: InstanceRef::new("p", "p1"), task_id: 0, version: None };
    acting(&hub, async {
        let sender = Sender { instance_id: "p".into(), execution_id: Some("p1".into()) };
        put(&hub, Message { sender, ..message(&hub, InstanceRef::current("kid"), raised("item", 4)) }).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        put(&hub, start_message(&hub, "kid", "x1", "Collect", "1", Some(parent))).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(ended(&client, "kid").await.output::<Vec<u32>>().unwrap(), [4]);
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_event_for_a_child_whose_start_waits_for_a_slow_commit_is_not_lost_on_the_child_that_had_its_id_before() {
    for seed in 0..20 {
        let slow = Odds { delay_before: 1.0, ..Odds::default() };
        let faults = Faults { once: slow, repeatable: slow, delay_max: Duration::from_secs(3), ..Faults::default() };
        let hub = faulty_hub(&Faulty::new(faults, Rng::seeded(seed))).await;
        let client = Client::new(&hub);
        acting(&hub, async {
            client.start(RERUN, 3).instance_id("p").await.unwrap();
            assert_eq!(ended(&client, "p").await.output::<Vec<u32>>().unwrap(), [0, 1, 2], "seed {seed}");
            quiet(&hub).await;
        })
        .await;
    }
}

/// Runs a worker that dies when it has committed its next turn, until what it held has surfaced.
async fn die_behind_a_commit(hub: &TaskHub, faulty: &Faulty) {
    let died = faulty.dies_behind(1, |call| call.op == "table.transact" && call.target.0 == "TestHistory");
    tokio::select! {
        biased;
        () = died.notified() => {}
        () = acting(hub, std::future::pending()) => {}
    }
    faulty.set_enabled(false);
    tokio::time::sleep(Duration::from_secs(60)).await;
}

/// Takes the start of the child, and what is with it, for long.
async fn take_away_messages_to_kid(hub: &TaskHub) {
    let (queues, queue) = (&hub.0.storage.queues, hub.0.queues.name(hub.0.queues.of_instance("kid")));
    let taken = queues.receive(queue, 32, Duration::from_secs(400)).await.unwrap();
    assert!(taken.iter().any(|message| message.text.contains("ExecutionStarted")), "{taken:?}");
}

/// Sends an event from an orchestration to a child.
async fn send_from(hub: &TaskHub, parent: &str, execution_id: &str) {
    put(hub, event_from(hub, parent, execution_id, 4)).await;
}

fn event_from(hub: &TaskHub, parent: &str, execution_id: &str, value: u32) -> Message {
    let sender = Sender { instance_id: parent.into(), execution_id: Some(execution_id.into()) };
    Message { sender, ..message(hub, InstanceRef::current("kid"), raised("item", value)) }
}

#[tokio::test(start_paused = true)]
async fn an_event_waits_for_the_start_of_a_child_for_as_long_as_its_parent_does() {
    let faulty = Faulty::new(Faults::default(), Rng::seeded(1));
    let hub = faulty_hub(&faulty).await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(ASK, 0).instance_id("before").await.unwrap();
        ended(&client, "before").await;
    })
    .await;
    client.start(ASK, 1).instance_id("p").await.unwrap();
    die_behind_a_commit(&hub, &faulty).await;
    take_away_messages_to_kid(&hub).await;
    acting(&hub, async {
        let parent = client.status("p").await.unwrap().unwrap();
        send_from(&hub, "p", &parent.execution_id.unwrap()).await;
        assert_eq!(client.wait("p", Duration::from_secs(1200)).await.unwrap().output::<Vec<u32>>().unwrap(), [4]);
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_event_is_taken_by_the_child_of_the_call_behind_which_it_was_sent() {
    let faulty = Faulty::new(Faults::default(), Rng::seeded(1));
    let hub = faulty_hub(&faulty).await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(ASK_TWICE, 2).instance_id("p").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    })
    .await;
    // The first child has answered, but its last turn was never committed; its parent calls the second.
    let (parent, child) = (client.status("p").await.unwrap().unwrap(), kid(&client).await);
    let execution_id = parent.execution_id.unwrap();
    let answer = EventKind::SubOrchestrationCompleted { task_id: 0, result: Some("[10]".into()) };
    let sender = Sender { instance_id: "kid".into(), execution_id: child };
    put(&hub, Message { sender, ..message(&hub, InstanceRef::new("p", &execution_id), answer) }).await;
    die_behind_a_commit(&hub, &faulty).await;
    take_away_messages_to_kid(&hub).await;
    acting(&hub, async {
        let behind = |task_id, value| {
            let call = Some(ChildCall { execution_id: execution_id.clone(), task_id });
            Message { call, ..event_from(&hub, "p", &execution_id, value) }
        };
        put(&hub, behind(1, 20)).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        // A copy of what was for the first child comes when the second runs.
        put(&hub, behind(0, 11)).await;
        put(&hub, behind(1, 21)).await;
        assert_eq!(client.wait("p", Duration::from_secs(1200)).await.unwrap().output::<Vec<u32>>().unwrap(), [10, 20, 21]);
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_event_of_an_orchestration_that_asks_for_no_child_goes_with_the_instance_that_has_ended() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(ASK, 0).instance_id("p").await.unwrap();
        let execution_id = ended(&client, "p").await.execution_id.unwrap();
        let begun = hub.0.now();
        send_from(&hub, "p", &execution_id).await;
        quiet(&hub).await;
        assert!(hub.0.now().since(begun) < Duration::from_secs(5), "what nobody awaits goes at once");
        // Of a turn that nobody has committed it is not known for a while what it asks for.
        for _ in 0..40 {
            send_from(&hub, "p", "never").await;
        }
        quiet(&hub).await;
        let waited = hub.0.now().since(begun);
        assert!((Duration::from_secs(30)..Duration::from_secs(60)).contains(&waited), "{waited:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_event_of_an_orchestration_whose_history_is_damaged_goes_after_a_while() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(ASK, 0).instance_id("p").await.unwrap();
        let execution_id = ended(&client, "p").await.execution_id.unwrap();
        let spoilt = Entity::new("p", rows::SENTINEL).with("IsCheckpointComplete", Value::string("nonsense"));
        hub.0.storage.tables.write(&hub.0.names.history, &TableOp::Merge(spoilt, Match::Any)).await.unwrap();
        send_from(&hub, "p", &execution_id).await;
        quiet(&hub).await;
        assert_eq!(client.poison().await.unwrap(), []);
        assert_eq!(status(&client, "kid").await, RuntimeStatus::Completed);
    })
    .await;
}

fn by(parent: &str, execution_id: &str) -> ParentInstance {
    ParentInstance { name: Some("Ask".into()), instance: InstanceRef::new(parent, execution_id), task_id: 0, version: None }
}

/// The execution of the child that has an id of its own.
async fn kid(client: &Client) -> Option<String> {
    client.status("kid").await.unwrap().and_then(|status| status.execution_id)
}

#[tokio::test(start_paused = true)]
async fn a_running_child_does_not_give_way_to_a_start_that_was_never_committed() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(ASK, 1).instance_id("p").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let asked_for = kid(&client).await;
        // Another turn of the parent, which was not committed, had continued as new before it asked.
        put(&hub, start_message(&hub, "kid", "x9", "Collect", "0", Some(by("p", "never")))).await;
        quiet(&hub).await;
        assert!(asked_for.is_some());
        assert_eq!(kid(&client).await, asked_for);
        client.raise("kid", ITEM, &7).await.unwrap();
        assert_eq!(ended(&client, "p").await.output::<Vec<u32>>().unwrap(), [7]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_nobody_waits_for_gives_way_to_one_that_is_asked_for() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        put(&hub, start_message(&hub, "kid", "x9", "Collect", "2", Some(by("p", "never")))).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(kid(&client).await.as_deref(), Some("x9"));
        client.start(ASK, 1).instance_id("p").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        client.raise("kid", ITEM, &7).await.unwrap();
        assert_eq!(ended(&client, "p").await.output::<Vec<u32>>().unwrap(), [7]);
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_nobody_waits_for_is_refused_a_running_child() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(ROUNDS, 0).instance_id("root").await.unwrap();
        client.start(ASK, 1).instance_id("p").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let asked_for = kid(&client).await;
        // Started by a turn of the root that was not committed.
        put(&hub, start_message(&hub, "orphan", "o1", "Ask", "1", Some(by("root", "never")))).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let refused = ended(&client, "orphan").await;
        assert_eq!(refused.status, RuntimeStatus::Failed);
        assert!(refused.output.as_deref().unwrap_or_default().contains("runs for another parent"), "{:?}", refused.output);
        assert_eq!(kid(&client).await, asked_for);
        client.raise("kid", ITEM, &7).await.unwrap();
        assert_eq!(ended(&client, "p").await.output::<Vec<u32>>().unwrap(), [7]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_id_whose_child_has_ended_is_used_again_without_a_wait() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        let begun = hub.0.now();
        for parent in ["p", "q", "r"] {
            client.start(ASK, 0).instance_id(parent).await.unwrap();
            assert_eq!(ended(&client, parent).await.status, RuntimeStatus::Completed);
        }
        assert!(hub.0.now().since(begun) < Duration::from_secs(3), "{:?}", hub.0.now().since(begun));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_left_to_itself_runs_again_though_its_parent_has_continued_as_new() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(LEAVE, 0).instance_id("p").await.unwrap();
        let mut runs = std::collections::BTreeSet::new();
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            runs.extend(kid(&client).await);
        }
        assert_eq!(ended(&client, "p").await.status, RuntimeStatus::Completed);
        quiet(&hub).await;
        // The last start of a generation and the first of the next come at once; either may be the later one.
        assert!((3..=4).contains(&runs.len()), "{runs:?}");
    })
    .await;
}
