//! Our worker and a .NET worker that share the partitions of a hub: the recorded one against ours, in both parts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::handover::{Account, DO, Running, owned_by, rows, seconds, worker};
use super::manners;
use super::scripted::{Move, Scripted, Shape, moves_of, shapes, written};
use crate::Client;
use crate::authoring::{Event, OrchestrationContext, Orchestrator};
use crate::hub::golden::ownership::{Recorded, recorded};
use crate::hub::instances;
use crate::model::{EventKind, ExecutionStarted, HistoryEvent, InstanceRef, Message, Sender};
use crate::storage::layer::tapped::{Effect, Tap};
use crate::storage::table::{Entity, Value};

/// Of the recording: A starts at 0.04 s and B at 0.17 s; A is told to leave at 6.8 s, and B to stop at 11 s.
const A_STARTS: Duration = Duration::from_millis(40);
const B_STARTS: Duration = Duration::from_millis(168);
const B_STOPS: Duration = Duration::from_secs(11);

pub(super) fn two_workers() -> Recorded {
    recorded("63-TwoWorkers")
}

pub(super) fn dotnet(account: &Account, role: &'static str) -> Scripted {
    let clock = account.clock();
    Scripted { storage: account.storage.clone(), id: "dotnet", role, now: Box::new(move || clock.now()) }
}

/// What one worker did to each row, renewals apart, and whether it is as the recorded workers did it.
fn moves(tap: &Tap, me: &str) -> BTreeMap<String, Vec<Move>> {
    let mut known: BTreeMap<Move, Vec<Shape>> = BTreeMap::new();
    moves_of(&two_workers()).into_iter().for_each(|shape| known.entry(shape.0).or_default().push(shape));
    let rows: Vec<Entity> = written(&tap.seen()).into_iter().map(|(_, row)| row).collect();
    let mut moves: BTreeMap<String, Vec<Move>> = BTreeMap::new();
    for (queue, shapes) in shapes(rows.iter()) {
        let mut owner = None;
        for ((kind, changed, types), row) in shapes {
            let mine = match kind {
                Move::Want => row.text("NextOwner") == Some(me),
                Move::Release => owner == Some(me),
                _ => row.text("CurrentOwner") == Some(me),
            };
            owner = row.text("CurrentOwner");
            if !mine {
                continue;
            }
            // Ours releases without a drain of its own when it leaves, so it may change less than .NET does.
            let as_recorded = known[&kind].iter().any(|(_, columns, recorded)| {
                (changed == *columns || kind == Move::Release && changed.is_subset(columns)) && types == *recorded
            });
            assert!(as_recorded, "{kind:?} of {queue} changes {changed:?} and leaves {types:?}: {row:?}");
            if kind != Move::Renew {
                moves.entry(queue.clone()).or_default().push(kind);
            }
        }
    }
    moves
}

/// What a recorded worker did to each row, renewals apart.
fn recorded_moves(role: &str) -> BTreeMap<String, Vec<Move>> {
    let all = two_workers();
    let mut moves: BTreeMap<String, Vec<Move>> = BTreeMap::new();
    for ((by, row), (kind, ..)) in all.rows().zip(moves_of(&all)) {
        if by == role && kind != Move::Renew {
            moves.entry(row.row_key.rsplit('-').next().unwrap().to_owned()).or_default().push(kind);
        }
    }
    moves
}

fn without(moves: &BTreeMap<String, Vec<Move>>, what: &[Move]) -> BTreeMap<String, Vec<Move>> {
    let kept = |all: &Vec<Move>| all.iter().copied().filter(|kind| !what.contains(kind)).collect();
    moves.iter().map(|(queue, all)| (queue.clone(), kept(all))).collect()
}

/// Starts instances until every partition has some.
async fn backlog(client: &Client) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..16 {
        ids.push(client.start(DO, 1).await.unwrap().into_id());
    }
    ids
}

async fn wait_all(client: &Client, ids: &[String], limit: u64) {
    for id in ids {
        client.wait(id, Duration::from_secs(limit)).await.unwrap_or_else(|e| panic!("{id}: {e}"));
    }
}

#[tokio::test(start_paused = true)]
async fn ours_joins_a_dotnet_owner_gets_its_share_and_takes_over_when_that_leaves() {
    let (account, tap) = Account::tapped();
    let (hub, plain) = (account.hub(1).await, account.hub(2).await);
    let net = dotnet(&account, "golden-a");
    let recording = two_workers();
    let script = net.play(&recording, A_STARTS, B_STOPS);
    let acting = async {
        tokio::time::sleep(B_STARTS - A_STARTS).await;
        assert_eq!(owned_by(&plain, "dotnet").await, 4);
        let ours = Running::start(worker(&hub, "ours").max_poll_interval(Duration::from_secs(1)));
        let ids = backlog(&Client::new(&plain)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let wanted: Vec<_> = rows(&plain).await.into_iter().map(|row| (row.current_owner, row.next_owner)).collect();
        let asked = (Some("dotnet".to_owned()), Some("ours".to_owned()));
        let kept = (Some("dotnet".to_owned()), None);
        assert_eq!(wanted, [asked.clone(), asked, kept.clone(), kept], "asked for as by the recorded worker");
        // The owner drains at 3.06 s and releases at 4.06 s.
        seconds(5).await;
        assert_eq!((owned_by(&plain, "dotnet").await, owned_by(&plain, "ours").await), (2, 2));
        seconds(6).await;
        assert_eq!(owned_by(&plain, "ours").await, 4, "the owner that left is followed");
        wait_all(&Client::new(&plain), &ids, 10).await;
        ours.stop().await;
    };
    let ((), ()) = tokio::join!(script, acting);
    manners::check_calls(&tap, "Test", &["ours", "dotnet"], "ours joins");
    let (ours, recorded) = (moves(&tap, "ours"), recorded_moves("golden-b"));
    for queue in ["00", "01"] {
        assert_eq!(without(&ours, &[Move::Drain])[queue], without(&recorded, &[Move::Drain])[queue], "{queue}");
    }
    // What the owner left lay free when the recorded worker came by; ours may come earlier, and ask.
    for queue in ["02", "03"] {
        assert_eq!(without(&ours, &[Move::Want, Move::Drain])[queue], without(&recorded, &[Move::Drain])[queue], "{queue}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dotnet_worker_joins_ours_gets_its_share_and_takes_over_when_ours_leaves() {
    let (account, tap) = Account::tapped();
    let (hub, plain) = (account.hub(1).await, account.hub(2).await);
    let ours = Running::start(worker(&hub, "ours").max_poll_interval(Duration::from_secs(1)));
    tokio::time::sleep(B_STARTS).await;
    let client = Client::new(&plain);
    let long = client.start(DO, 4).await.unwrap();
    let net = dotnet(&account, "golden-b");
    let recording = two_workers();
    let script = net.play(&recording, B_STARTS, B_STOPS);
    let acting = async {
        // Asked for at 0.2 s; ours looks when it renews.
        seconds(15).await;
        assert_eq!((owned_by(&plain, "dotnet").await, owned_by(&plain, "ours").await), (2, 2));
        let released = account.now();
        assert!(client.wait(&long, Duration::from_secs(30)).await.is_ok(), "what ran at the hand-over ends");
        seconds(1).await;
        assert!(ours.stop().await < Duration::from_secs(1));
        assert_eq!(owned_by(&plain, "ours").await, 0);
        released
    };
    let ((), released) = tokio::join!(script, acting);
    assert_eq!(owned_by(&plain, "dotnet").await, 4);
    manners::check_calls(&tap, "Test", &["ours", "dotnet"], "dotnet joins");
    let (ours, recorded) = (moves(&tap, "ours"), recorded_moves("golden-a"));
    for queue in ["00", "01"] {
        assert_eq!(ours[queue], recorded[queue], "{queue}: claimed, drained, released");
    }
    for queue in ["02", "03"] {
        assert_eq!(ours[queue], without(&recorded, &[Move::Drain])[queue], "{queue}: released when it leaves");
    }
    // Unlike .NET, ours does not receive from a queue that it has released.
    let polled: BTreeSet<String> = tap
        .seen()
        .into_iter()
        .filter(|seen| seen.at >= released)
        .filter_map(|seen| match seen.effect {
            Effect::Received { queue, .. } if queue.contains("control") => Some(queue),
            _ => None,
        })
        .collect();
    assert_eq!(polled.into_iter().collect::<Vec<_>>(), ["test-control-02", "test-control-03"]);
}

#[tokio::test(start_paused = true)]
async fn a_dotnet_owner_that_died_is_followed_after_its_lease_and_the_margin() {
    let (account, tap) = Account::tapped();
    let (hub, plain) = (account.hub(1).await, account.hub(2).await);
    // It claims all, and is killed before it renews.
    let net = dotnet(&account, "golden-a");
    net.play(&two_workers(), A_STARTS, B_STARTS).await;
    let ours = Running::start(worker(&hub, "ours"));
    let ids = backlog(&Client::new(&plain)).await;
    seconds(34).await;
    assert_eq!(owned_by(&plain, "ours").await, 0);
    seconds(4).await;
    assert_eq!(owned_by(&plain, "ours").await, 4);
    wait_all(&Client::new(&plain), &ids, 60).await;
    ours.stop().await;
    let mut expires = BTreeMap::new();
    for (at, row) in written(&tap.seen()) {
        if row.text("CurrentOwner") == Some("ours")
            && let Some(expired) = expires.remove(&row.row_key)
        {
            assert!(at >= expired && at.since(expired) >= Duration::from_secs(5), "{at} is too early");
            assert!(at.since(expired) < Duration::from_secs(6), "{at} is too late");
        } else if row.text("CurrentOwner") == Some("dotnet") {
            expires.insert(row.row_key.clone(), row.time("ExpiresAt").unwrap());
        }
    }
    assert!(expires.is_empty(), "{expires:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leaving_dotnet_owner_is_asked_and_followed_although_the_balance_does_not_call_for_it() {
    let (account, tap) = Account::tapped();
    let (hub, plain) = (account.hub(1).await, account.hub(2).await);
    let net = dotnet(&account, "golden-a");
    net.play(&two_workers(), A_STARTS, B_STARTS).await;
    let ours = Running::start(worker(&hub, "ours"));
    seconds(1).await;
    // Its share is handed over; the two that are left are drained because it leaves.
    for (queue, column) in [("test-control-00", "IsDraining"), ("test-control-01", "IsDraining")] {
        net.change(queue, &[("CurrentOwner", Value::Null), (column, Value::Bool(false))]).await;
    }
    seconds(2).await;
    assert_eq!(owned_by(&plain, "ours").await, 2);
    for queue in ["test-control-02", "test-control-03"] {
        let now = account.now();
        let times =
            [("LastRenewal", now), ("ExpiresAt", now.plus(Duration::from_secs(30)))].map(|(n, t)| (n, Value::DateTime(t)));
        net.change(queue, &[times.as_slice(), &[("IsDraining", Value::Bool(true))]].concat()).await;
    }
    seconds(3).await;
    for row in rows(&plain).await.iter().skip(2) {
        assert_eq!(
            (row.current_owner.as_deref(), row.next_owner.as_deref(), row.is_draining),
            (Some("dotnet"), Some("ours"), true)
        );
    }
    // Its release keeps who waits; ours claims at its next look.
    for queue in ["test-control-02", "test-control-03"] {
        net.change(queue, &[("CurrentOwner", Value::Null), ("IsDraining", Value::Bool(false))]).await;
    }
    seconds(1).await;
    assert_eq!(owned_by(&plain, "ours").await, 4);
    ours.stop().await;
    manners::check_calls(&tap, "Test", &["ours", "dotnet"], "leaving");
    moves(&tap, "ours");
}

#[tokio::test(start_paused = true)]
async fn a_dotnet_worker_that_asks_after_ours_gets_the_partition_and_is_followed_if_it_never_comes() {
    let (account, _tap) = Account::tapped();
    let (hub, plain) = (account.hub(1).await, account.hub(2).await);
    let net = dotnet(&account, "golden-a");
    net.play(&two_workers(), A_STARTS, B_STARTS).await;
    let ours = Running::start(worker(&hub, "ours"));
    seconds(1).await;
    // .NET lets a third worker ask over ours; the owner then releases to that one, which has died.
    net.change("test-control-00", &[("NextOwner", Value::string("third"))]).await;
    net.change("test-control-00", &[("CurrentOwner", Value::Null)]).await;
    seconds(20).await;
    let row = &rows(&plain).await[0];
    assert_eq!((row.current_owner.as_deref(), row.next_owner.as_deref()), (None, Some("third")), "it is not ours to take");
    seconds(20).await;
    assert_eq!(rows(&plain).await[0].current_owner.as_deref(), Some("ours"));
    ours.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_of_ours_is_withdrawn_when_it_leaves_and_dotnet_keeps_its_partition() {
    let (account, tap) = Account::tapped();
    let (hub, plain) = (account.hub(1).await, account.hub(2).await);
    let net = dotnet(&account, "golden-a");
    net.play(&two_workers(), A_STARTS, B_STARTS).await;
    let ours = Running::start(worker(&hub, "ours"));
    seconds(1).await;
    assert_eq!(rows(&plain).await.iter().filter(|row| row.next_owner.as_deref() == Some("ours")).count(), 2);
    ours.stop().await;
    assert_eq!(owned_by(&plain, "dotnet").await, 4);
    manners::check_calls(&tap, "Test", &["ours", "dotnet"], "withdrawn");
}

#[tokio::test(start_paused = true)]
async fn a_request_of_dotnet_that_comes_while_ours_leaves_stays() {
    let (account, tap) = Account::tapped();
    let (hub, plain) = (account.hub(1).await, account.hub(2).await);
    let ours = Running::start(worker(&hub, "ours"));
    seconds(1).await;
    let net = dotnet(&account, "golden-b");
    net.change("test-control-01", &[("NextOwner", Value::string("dotnet"))]).await;
    ours.stop().await;
    let owners: Vec<_> = rows(&plain).await.into_iter().map(|row| (row.current_owner, row.next_owner)).collect();
    assert_eq!(owners, [(None, None), (None, Some("dotnet".to_owned())), (None, None), (None, None)]);
    manners::check_calls(&tap, "Test", &["ours", "dotnet"], "a late request");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_for_long_is_renewed_in_time_and_never_hidden_for_more_than_five_minutes() {
    let (account, tap) = Account::tapped();
    let (hub, plain) = (account.hub(1).await, account.hub(2).await);
    let ours = Running::start(worker(&hub, "ours").max_poll_interval(Duration::from_secs(1)));
    let client = Client::new(&plain);
    let id = client.start(DO, 3600).await.unwrap();
    client.wait(&id, Duration::from_secs(4000)).await.unwrap();
    ours.stop().await;
    let (mut until, mut renewals) = (None, 0);
    for seen in tap.seen() {
        match seen.effect {
            Effect::Put { queue, id, .. } if queue == "test-workitems" => {
                until = Some((id, seen.at.plus(Duration::from_secs(30))))
            }
            Effect::Received { queue, messages, hidden } if queue == "test-workitems" && !messages.is_empty() => {
                assert!(until.is_none() && hidden <= Duration::from_secs(300), "received once, hidden for {hidden:?}");
                until = Some((messages[0].id.clone(), seen.at.plus(hidden)));
            }
            Effect::Hidden { queue, id, hidden } if queue == "test-workitems" => {
                let (held, at) = until.take().unwrap();
                assert!(
                    held == id && seen.at < at && hidden <= Duration::from_secs(300),
                    "renewed at {} for {hidden:?}",
                    seen.at
                );
                until = Some((held, seen.at.plus(hidden)));
                renewals += 1;
            }
            Effect::Deleted { queue, id } if queue == "test-workitems" => {
                let (held, at) = until.take().unwrap();
                assert!(held == id && seen.at < at);
            }
            _ => {}
        }
    }
    assert!(until.is_none() && renewals > 100, "{renewals} renewals");
}

#[derive(serde::Deserialize)]
struct Item {
    value: u32,
}

/// Functions 3.x starts without a version and may give GUIDs with hyphens; an entity answers without an execution id in its first
/// turn; payloads name their .NET type.
#[tokio::test(start_paused = true)]
async fn starts_and_events_in_every_form_of_dotnet_are_run() {
    const TAKE: Orchestrator<Item, u32> = Orchestrator::new("Take");
    const ITEM: Event<Item> = Event::new("item");
    let (account, _tap) = Account::tapped();
    let (hub, plain) = (account.hub(1).await, account.hub(2).await);
    let take = async |ctx: OrchestrationContext, first: Item| Ok(first.value + ctx.wait_for_event(ITEM).await.value);
    let ours = Running::start(worker(&hub, "ours").orchestrator(TAKE, take));
    let payload = |value: u32| Some(format!("{{\"$type\":\"Golden.Item, Golden\",\"value\":{value}}}"));
    let started = ExecutionStarted {
        instance: InstanceRef::new("i", "0f3a6c6f-6f6c-4b0f-9c3b-8a1d2e4f5a6b"),
        name: "Take".to_owned(),
        version: None,
        input: payload(3),
        generation: Some(0),
        ..ExecutionStarted::default()
    };
    let send = async |event: EventKind, target: InstanceRef, sender: Sender| {
        let message = Message {
            sender,
            ..Message::from_client(uuid::Uuid::from_u128(7), HistoryEvent::arriving(account.now(), event), target)
        };
        let queue = plain.0.queues.of_instance("i");
        plain.0.queues.send(queue, message, Duration::ZERO).await.unwrap();
    };
    let row = instances::pending("Test", &started, started.input.as_deref(), account.now(), account.now());
    send(EventKind::ExecutionStarted(Box::new(started.clone())), started.instance.clone(), Sender::client()).await;
    plain.0.instances.write_pending(row, None).await.unwrap();
    let raised = EventKind::EventRaised { name: "item".to_owned(), input: payload(4), trace: None };
    let entity = Sender { instance_id: "@counter@a".to_owned(), execution_id: None };
    send(raised, InstanceRef::current("i"), entity).await;
    let ended = Client::new(&plain).wait("i", Duration::from_secs(60)).await.unwrap();
    assert_eq!(ended.output.as_deref(), Some("7"));
    ours.stop().await;
}
