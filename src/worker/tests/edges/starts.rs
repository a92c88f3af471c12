//! Starts: polled early, twice, together with their end, and those that come again for an id that has ended.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_start_that_is_polled_before_its_row_exists_runs_when_the_row_is_there() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        let start = start_message(&hub, "late-row", "x1", "Collect", "0", None);
        let EventKind::ExecutionStarted(event) = start.event.kind.clone() else { unreachable!() };
        let made = start.event.timestamp;
        put(&hub, start).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(client.history("late-row").await.unwrap().is_empty());
        let row = crate::hub::instances::pending("Test", &event, Some("0"), made, hub.0.now());
        hub.0.instances.write_pending(row, None).await.unwrap();
        assert_eq!(ended(&client, "late-row").await.status, RuntimeStatus::Completed);
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_client_died_before_the_row_is_given_up() {
    let hub = hub().await;
    acting(&hub, async {
        put(&hub, start_message(&hub, "no-row", "x1", "Collect", "0", None)).await;
        quiet(&hub).await;
        assert!(Client::new(&hub).history("no-row").await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_two_starts_of_one_id_one_runs_and_the_other_learns_it() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let start = || client.start(COLLECT, 1).instance_id("twin").into_future();
    let (first, second) = tokio::join!(start(), start());
    assert_eq!([&first, &second].iter().filter(|s| s.is_ok()).count(), 1, "{first:?} {second:?}");
    acting(&hub, async {
        client.raise("twin", ITEM, &1).await.unwrap();
        assert_eq!(ended(&client, "twin").await.output::<Vec<u32>>().unwrap(), [1]);
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_id_is_refused_while_it_runs_and_free_again_when_it_has_ended() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(COLLECT, 1).instance_id("again").await.unwrap();
        let refused = client.start(COLLECT, 1).instance_id("again").await.unwrap_err();
        assert_eq!(refused.kind(), crate::ErrorKind::AlreadyExists);
        client.raise("again", ITEM, &1).await.unwrap();
        let first = ended(&client, "again").await;
        client.start(COLLECT, 1).instance_id("again").await.unwrap();
        client.raise("again", ITEM, &2).await.unwrap();
        let second = ended(&client, "again").await;
        assert_eq!((first.generation, second.generation), (0, 1));
        assert_eq!(second.output::<Vec<u32>>().unwrap(), [2]);
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn start_and_terminate_in_one_batch_run_nothing() {
    let hub = hub().await;
    let client = Client::new(&hub);
    client.start(COLLECT, 1).instance_id("stillborn").await.unwrap();
    client.terminate("stillborn", "not wanted").await.unwrap();
    acting(&hub, async {
        let ended = ended(&client, "stillborn").await;
        assert_eq!((ended.status, ended.output.as_deref()), (RuntimeStatus::Terminated, Some("not wanted")));
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_terminated_while_it_waits_for_its_start_never_starts() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        let at = hub.0.now().plus(Duration::from_secs(60));
        client.start(COLLECT, 0).instance_id("scheduled").at(at).await.unwrap();
        client.terminate("scheduled", "cancelled").await.unwrap();
        assert_eq!(ended(&client, "scheduled").await.status, RuntimeStatus::Terminated);
        quiet(&hub).await;
        assert_eq!(status(&client, "scheduled").await, RuntimeStatus::Terminated);
        assert!(client.history("scheduled").await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_start_is_not_early_and_finds_the_events_that_came_before() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        let at = hub.0.now().plus(Duration::from_millis(30_300));
        client.start(COLLECT, 2).instance_id("later").at(at).await.unwrap();
        client.raise("later", ITEM, &1).await.unwrap();
        client.raise("later", ITEM, &2).await.unwrap();
        let mut items = ended(&client, "later").await.output::<Vec<u32>>().unwrap();
        items.sort_unstable();
        assert_eq!(items, [1, 2]);
        let history = client.history("later").await.unwrap();
        assert!(history[0].timestamp >= at, "started at {} instead of {at}", history[0].timestamp);
        quiet(&hub).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_orchestrator_fails_its_instance_and_says_so() {
    let hub = hub().await;
    let client = Client::new(&hub);
    with_worker(&hub, async {
        let id = client.start_named("NoSuchThing", ()).await.unwrap();
        let ended = ended(&client, id.id()).await;
        assert_eq!(ended.status, RuntimeStatus::Failed);
        assert!(ended.output.as_deref().unwrap_or_default().contains("NoSuchThing"), "{:?}", ended.output);
        assert!(Uuid::try_parse(id.id()).is_ok(), "a generated id is a GUID");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_second_start_of_an_ended_id_can_be_terminated_before_it_runs_and_finds_its_events() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        for id in ["ended", "twice"] {
            client.start(COLLECT, 0).instance_id(id).await.unwrap();
            assert_eq!(ended(&client, id).await.status, RuntimeStatus::Completed);
            let at = hub.0.now().plus(Duration::from_secs(60));
            client.start(COLLECT, 1).instance_id(id).at(at).await.unwrap();
        }
        client.terminate("ended", "not again").await.unwrap();
        client.raise("twice", ITEM, &9).await.unwrap();
        assert_eq!(ended(&client, "ended").await.output.as_deref(), Some("not again"));
        assert_eq!(ended(&client, "twice").await.output::<Vec<u32>>().unwrap(), [9]);
        quiet(&hub).await;
        assert_eq!(status(&client, "ended").await, RuntimeStatus::Terminated);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_id_can_be_started_again_and_again() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        for _ in 0..60 {
            client.start(COLLECT, 0).instance_id("often").await.unwrap();
            assert_eq!(ended(&client, "often").await.status, RuntimeStatus::Completed);
        }
        let sentinel = hub.0.histories.load("often").await.unwrap().sentinel;
        assert_eq!(sentinel.superseded.len(), crate::limits::REMEMBERED_EXECUTIONS_MAX);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_terminated_before_it_starts_cannot_be_started_by_a_slow_owner() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        let at = hub.0.now().plus(Duration::from_secs(60));
        client.start(COLLECT, 0).instance_id("late").at(at).await.unwrap();
        // A slow owner has loaded no history, and is about to commit the first turn.
        assert_eq!(hub.0.histories.load("late").await.unwrap().etag, None);
        client.terminate("late", "enough").await.unwrap();
        assert_eq!(ended(&client, "late").await.status, RuntimeStatus::Terminated);
        assert!(hub.0.histories.load("late").await.unwrap().etag.is_some(), "its insert of the sentinel is refused");
        assert!(client.history("late").await.unwrap().is_empty());
        quiet(&hub).await;
        // The id is free again.
        client.start(COLLECT, 0).instance_id("late").await.unwrap();
        assert_eq!(ended(&client, "late").await.status, RuntimeStatus::Completed);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_termination_before_the_first_checkpoint_is_whole_stops_whoever_writes_it() {
    let hub = hub().await;
    let client = Client::new(&hub);
    client.start(COLLECT, 1).instance_id("i").await.unwrap();
    // A worker that has become slow holds the start, and has stored a part of the checkpoint.
    let row = hub.0.instances.read("i", false).await.unwrap().unwrap().row;
    let queue = hub.0.queues.of_instance("i");
    let _held = hub.0.queues.receive(queue, 1, Duration::from_secs(600)).await.unwrap();
    let torn = rows::Sentinel { execution_id: row.execution_id.unwrap(), ..rows::Sentinel::default() };
    let insert = TableOp::Insert(rows::sentinel_to_entity("i", &torn));
    let loaded = hub.0.storage.tables.write(&hub.0.names.history, &insert).await.unwrap().unwrap();
    client.terminate("i", "enough").await.unwrap();
    let ended = acting(&hub, client.wait("i", Duration::from_secs(60))).await.unwrap();
    assert_eq!(ended.status, RuntimeStatus::Terminated);
    assert!(!hub.0.histories.bump_fence("i", &loaded).await.unwrap(), "the slow worker could still commit");
}
