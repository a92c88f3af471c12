//! Messages to instances that wait, are suspended, have ended, were replaced, or never were.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_sent_to_nobody_is_dropped_and_stalls_nobody() {
    let hub = hub().await;
    let client = Client::new(&hub).unchecked();
    client.terminate("nobody", "why").await.unwrap();
    client.raise("nobody", ITEM, &1).await.unwrap();
    client.suspend("nobody", "why").await.unwrap();
    acting(&hub, async {
        client.start(COLLECT, 0).instance_id("somebody").await.unwrap();
        assert_eq!(ended(&client, "somebody").await.status, RuntimeStatus::Completed);
        quiet(&hub).await;
        assert!(client.status("nobody").await.unwrap().is_none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn events_to_a_suspended_instance_are_kept_and_those_to_a_finished_one_dropped() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(COLLECT, 1).instance_id("paused").await.unwrap();
        client.suspend("paused", "lunch").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(status(&client, "paused").await, RuntimeStatus::Suspended);
        client.raise("paused", ITEM, &7).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(status(&client, "paused").await, RuntimeStatus::Suspended);
        client.resume("paused", "back").await.unwrap();
        assert_eq!(ended(&client, "paused").await.output::<Vec<u32>>().unwrap(), [7]);
        client.unchecked().raise("paused", ITEM, &8).await.unwrap();
        quiet(&hub).await;
        assert_eq!(status(&client, "paused").await, RuntimeStatus::Completed);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_resumption_that_is_sent_before_anybody_saw_the_suspension_is_not_lost() {
    for (begun, first) in [(false, "suspend"), (true, "suspend"), (true, "resume")] {
        let hub = hub().await;
        let client = Client::new(&hub);
        let control = async || {
            if first == "resume" {
                client.resume("paused", "nothing to resume").await.unwrap();
            }
            client.suspend("paused", "lunch").await.unwrap();
            client.resume("paused", "back").await.unwrap();
            client.raise("paused", ITEM, &7).await.unwrap();
        };
        client.start(COLLECT, 1).instance_id("paused").await.unwrap();
        if !begun {
            control().await;
        }
        acting(&hub, async {
            if begun {
                tokio::time::sleep(Duration::from_secs(2)).await;
                control().await;
            }
            assert_eq!(ended(&client, "paused").await.output::<Vec<u32>>().unwrap(), [7], "{begun} {first}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_delivered_twice_is_applied_once_also_across_generations() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(ROUNDS, 0).instance_id("rounds").await.unwrap();
        let event = message(&hub, InstanceRef::current("rounds"), raised("item", 1));
        for _ in 0..3 {
            put(&hub, event.clone()).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let input = client.status("rounds").await.unwrap().unwrap().input;
        assert_eq!(input.as_deref(), Some("1"), "one event is one round");
        put(&hub, message(&hub, InstanceRef::current("rounds"), raised("item", 2))).await;
        quiet(&hub).await;
        assert_eq!(client.status("rounds").await.unwrap().unwrap().input.as_deref(), Some("2"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn messages_of_other_executions_and_unknown_tasks_are_given_up() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(COLLECT, 1).instance_id("target").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let current = client.status("target").await.unwrap().unwrap().execution_id.unwrap();
        let stale = || EventKind::TaskCompleted { task_id: 0, result: None };
        let due = Timestamp::UNIX_EPOCH;
        put(&hub, message(&hub, InstanceRef::new("target", "another-execution"), stale())).await;
        put(&hub, message(&hub, InstanceRef::new("target", current.clone()), stale())).await;
        let timer = EventKind::TimerFired { timer_id: 3, fire_at: due };
        put(&hub, message(&hub, InstanceRef::new("target", current), timer)).await;
        quiet(&hub).await;
        client.raise("target", ITEM, &5).await.unwrap();
        assert_eq!(ended(&client, "target").await.output::<Vec<u32>>().unwrap(), [5]);
        let completions = client.history("target").await.unwrap().iter().filter(|e| e.kind.completes().is_some()).count();
        assert_eq!(completions, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_terminate_that_meets_a_continue_as_new_wins() {
    let hub = hub().await;
    let client = Client::new(&hub);
    client.start(ROUNDS, 0).instance_id("eternal").await.unwrap();
    acting(&hub, async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let both = async {
            client.raise("eternal", ITEM, &1).await.unwrap();
            client.terminate("eternal", "enough").await.unwrap();
        };
        both.await;
        let ended = ended(&client, "eternal").await;
        assert_eq!((ended.status, ended.output.as_deref()), (RuntimeStatus::Terminated, Some("enough")));
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_timer_of_an_execution_that_was_replaced_is_dropped_and_fires_nothing() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        // Each generation waits for an event or ten minutes, so each leaves a timer behind.
        client.start(PATIENT, 0).instance_id("patient").await.unwrap();
        for n in 0..3 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            client.raise("patient", ITEM, &n).await.unwrap();
        }
        let ended = ended(&client, "patient").await;
        assert_eq!(ended.output::<u32>().unwrap(), 3);
        tokio::time::sleep(Duration::from_secs(700)).await;
        quiet(&hub).await;
        let fired = client.history("patient").await.unwrap().iter().filter(|e| e.kind.completes().is_some()).count();
        assert_eq!(fired, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_messages_that_are_put_twice_each_is_applied_once() {
    let doubling = Faults { duplicate_put: 1.0, ..Faults::default() };
    let hub = faulty_hub(&Faulty::new(doubling, Rng::seeded(3))).await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start_named("Fan", 5).instance_id("fan").await.unwrap();
        client.start_named("Nap", 3).instance_id("nap").await.unwrap();
        for id in ["fan", "nap"] {
            assert_eq!(ended(&client, id).await.status, RuntimeStatus::Completed);
            let twice = crate::internals::completed_twice(&client.history(id).await.unwrap());
            assert!(twice.is_empty(), "{twice:?} of {id} completed twice");
        }
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_an_ended_execution_has_applied_does_not_reach_the_next_one() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(COLLECT, 2).instance_id("again").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        // A worker that dies after its commit leaves its inputs: they come again, here beside the next start.
        let event = message(&hub, InstanceRef::current("again"), raised("item", 1));
        let end = message(&hub, InstanceRef::current("again"), EventKind::ExecutionTerminated { reason: Some("enough".into()) });
        put(&hub, event.clone()).await;
        put(&hub, end.clone()).await;
        assert_eq!(ended(&client, "again").await.status, RuntimeStatus::Terminated);
        quiet(&hub).await;
        client.start(COLLECT, 1).instance_id("again").await.unwrap();
        put(&hub, event).await;
        put(&hub, end).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(status(&client, "again").await, RuntimeStatus::Running);
        client.raise("again", ITEM, &2).await.unwrap();
        assert_eq!(ended(&client, "again").await.output::<Vec<u32>>().unwrap(), [2]);
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_first_checkpoint_that_was_interrupted_waits_for_the_next_try() {
    let hub = hub().await;
    let torn = rows::Sentinel { execution_id: "x1".into(), ..rows::Sentinel::default() };
    let sentinel = TableOp::Insert(rows::sentinel_to_entity("torn", &torn));
    hub.0.storage.tables.write(&hub.0.names.history, &sentinel).await.unwrap();
    acting(&hub, async {
        let answer = EventKind::TaskCompleted { task_id: 0, result: None };
        put(&hub, message(&hub, InstanceRef::new("torn", "x1"), answer)).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let queue = hub.0.queues.name(hub.0.queues.of_instance("torn"));
        assert_eq!(hub.0.storage.queues.count(queue).await.unwrap(), 1, "whoever tries again may still decide to ask");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_drops_a_repeat_shows_everything_again_and_stores_no_large_input_twice() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(LADEN, "x".repeat(100_000)).instance_id("laden").await.unwrap();
        let first = message(&hub, InstanceRef::current("laden"), raised("item", 1));
        put(&hub, first.clone()).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = client.status("laden").await.unwrap().unwrap();
        let second = message(&hub, InstanceRef::current("laden"), raised("item", 2));
        tokio::join!(put(&hub, first), put(&hub, second));
        let ended = ended(&client, "laden").await;
        assert_eq!((ended.output::<u32>().unwrap(), ended.input), (3, before.input));
        quiet(&hub).await;
    })
    .await;
    let blobs = hub.0.storage.blobs.list(&hub.0.names.large_messages, "laden/", None).await.unwrap().names;
    let of_row = blobs.iter().filter(|name| name.contains("history--Input")).count();
    assert_eq!(of_row, 0, "{blobs:?}");
}
