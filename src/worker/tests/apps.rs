//! Workers of one app and of several on one hub, on the memory store under paused time.

use std::time::Duration;

use super::handover::{Account, DO, Running, owned_by, seconds, worker};
use super::overheard::Overheard;
use crate::hub::app_lease::lease_id;
use crate::{Client, ErrorKind, TaskHub, WorkerBuilder};

fn of_app(hub: &TaskHub, id: &str, app: &str) -> WorkerBuilder {
    worker(hub, id).app_name(app)
}

/// Workers of which the first has the lease before the second comes.
async fn one_after_the_other([first, second]: [WorkerBuilder; 2]) -> [Running; 2] {
    let first = Running::start(first);
    seconds(1).await;
    [first, Running::start(second)]
}

#[tokio::test(start_paused = true)]
async fn workers_of_one_app_work_beside_each_other() {
    let account = Account::new();
    let (hub, other) = (account.hub(1).await, account.hub(2).await);
    let [a, b] = one_after_the_other([of_app(&hub, "a", "one"), of_app(&other, "b", "one")]).await;
    seconds(200).await;
    assert_eq!((owned_by(&hub, "a").await, owned_by(&hub, "b").await), (2, 2));
    let (info, _) = hub.0.app_lease.info().await.unwrap();
    assert_eq!((info.owner_id, info.desired_swap_id), (Some(lease_id("one")), None));
    // Whoever stops does not take the lease from the others.
    assert!(a.stop().await < Duration::from_secs(1));
    seconds(200).await;
    assert_eq!(owned_by(&hub, "b").await, 4);
    b.stop().await;
}

#[tokio::test(start_paused = true)]
async fn another_app_stands_by_until_the_lease_expires() {
    let account = Account::new();
    let (hub, other) = (account.hub(1).await, account.hub(2).await);
    let [a, b] = one_after_the_other([of_app(&hub, "a", "one"), of_app(&other, "b", "two")]).await;
    seconds(100).await;
    assert_eq!((owned_by(&hub, "a").await, owned_by(&hub, "b").await), (4, 0));
    a.crash();
    let id = Client::new(&hub).start(DO, 0).await.unwrap();
    // Renewed last at 80 seconds.
    seconds(35).await;
    assert_eq!(owned_by(&hub, "b").await, 0);
    assert_eq!(account.storage.queues.peek("test-workitems", 32).await.unwrap().len(), 0);
    seconds(40).await;
    assert_eq!(owned_by(&hub, "b").await, 4);
    assert!(Client::new(&hub).wait(&id, Duration::from_secs(40)).await.is_ok());
    b.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_swap_moves_all_work_to_the_other_app_and_back() {
    let account = Account::new();
    let (hub, other) = (account.hub(1).await, account.hub(2).await);
    let [a, b] = one_after_the_other([of_app(&hub, "a", "one"), of_app(&other, "b", "two")]).await;
    let client = Client::new(&hub);
    for (from, to, app) in [("a", "b", "two"), ("b", "a", "one")] {
        let long = client.start(DO, 120).await.unwrap();
        seconds(5).await;
        assert_eq!((owned_by(&hub, from).await, owned_by(&hub, to).await), (4, 0));
        assert!(hub.0.app_lease.request_swap(&lease_id(app)).await.unwrap());
        // At most a try of the waiting app, a renewal of the other, and a look at the table.
        seconds(75).await;
        assert_eq!((owned_by(&hub, from).await, owned_by(&hub, to).await), (0, 4), "{app}");
        let short = client.start(DO, 1).await.unwrap();
        assert!(client.wait(&short, Duration::from_secs(40)).await.is_ok());
        assert!(client.wait(&long, Duration::from_secs(160)).await.is_ok(), "what ran at the swap ends");
    }
    assert!(a.stop().await < Duration::from_secs(1));
    assert!(b.stop().await < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn who_stops_keeps_the_lease_for_its_app_unless_another_app_is_named_as_the_next() {
    let account = Account::new();
    let (hub, other) = (account.hub(1).await, account.hub(2).await);
    let [a, b] = one_after_the_other([of_app(&hub, "a", "one"), of_app(&other, "b", "two")]).await;
    seconds(100).await;
    a.stop().await;
    seconds(20).await;
    assert_eq!(owned_by(&hub, "b").await, 0, "a worker of the first app may be there that shows nowhere");
    let again = Running::start(of_app(&hub, "c", "one"));
    seconds(1).await;
    assert_eq!(owned_by(&hub, "c").await, 4, "its own app goes on at once");
    again.stop().await;
    Client::new(&hub).make_primary("two").await.unwrap();
    seconds(6).await;
    assert_eq!(owned_by(&hub, "b").await, 4);
    b.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_hub_whose_workers_have_stopped_can_be_deleted_although_the_app_lease_has_not_ended() {
    let account = Account::new();
    let (hub, other) = (account.hub(1).await, account.hub(2).await);
    let [a, b] = one_after_the_other([of_app(&hub, "a", "one"), of_app(&other, "b", "one")]).await;
    seconds(100).await;
    a.stop().await;
    let refused = account.hub(3).await.delete().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Mismatch, "the other works on: {refused}");
    seconds(60).await;
    assert_eq!(owned_by(&hub, "b").await, 4, "nothing was taken from it");
    b.stop().await;
    hub.delete().await.unwrap();
    assert!(TaskHub::list(&account.storage).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_hub_of_a_worker_that_was_killed_is_deleted_once_its_leases_have_ended_or_on_demand() {
    let account = Account::new();
    for wait in [false, true] {
        let hub = account.hub(1).await;
        let a = Running::start(of_app(&hub, "a", "one"));
        seconds(5).await;
        a.crash();
        let refused = account.hub(2).await.delete().await.unwrap_err();
        assert!(refused.to_string().contains("was killed less than a minute ago"), "{refused}");
        if wait {
            seconds(40).await;
            hub.delete().await.unwrap();
        } else {
            hub.delete_although_in_use().await.unwrap();
        }
        assert!(TaskHub::list(&account.storage).await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_lease_workers_ask_nobody() {
    let account = Account::new();
    let (hub, other) = (account.hub(1).await, account.hub(2).await);
    let a = Running::start(of_app(&hub, "a", "one"));
    seconds(1).await;
    let b = Running::start(worker(&other, "b").without_app_lease());
    seconds(30).await;
    assert_eq!((owned_by(&hub, "a").await, owned_by(&hub, "b").await), (2, 2));
    a.stop().await;
    b.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_app_says_whose_and_what_to_do_and_follows_it_within_seconds() {
    let account = Account::new();
    let (hub, other) = (account.hub(1).await, account.hub(2).await);
    let a = Running::start(of_app(&hub, "a", "one"));
    seconds(1).await;
    let heard = Overheard::default();
    let _listening = heard.listen();
    let b = Running::start(of_app(&other, "b", "two"));
    seconds(299).await;
    let warnings = heard.with("another app holds the app lease");
    assert_eq!(warnings.len(), 5, "at first, and then once a minute: {warnings:#?}");
    let holder = format!("holder={}", lease_id("one"));
    for words in [&*holder, "app=two", &lease_id("two"), "the same app name", "without the app lease"] {
        assert!(warnings.iter().all(|line| line.contains(words)), "{words} is not in: {warnings:#?}");
    }
    // Taken over within five seconds of its end: the lease of the app that works ends 60 s after its last renewal.
    let _ = a.stop().await;
    seconds(66).await;
    assert_eq!(owned_by(&hub, "b").await, 4);
    b.stop().await;
}
