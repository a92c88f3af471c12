//! Ids that are prefixes of each other, or of whose names blobs could be taken for another's.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{FAN, GO, LARGE, MINUTE, WAIT, World};
use crate::size;

/// Runs instances of all of these ids, with texts in blobs everywhere, and purges one after the other: the others keep everything.
async fn purge_one_by_one(ids: &[&str]) {
    let world = World::new().await;
    let client = &world.client;
    world
        .work(async {
            for (number, id) in ids.iter().enumerate() {
                if number % 2 == 0 {
                    client.start(WAIT, "i".repeat(LARGE)).tag("t", "t".repeat(LARGE)).instance_id(*id).await.unwrap();
                    client.raise(*id, GO, &"e".repeat(LARGE)).await.unwrap();
                } else {
                    client.start(FAN, (1, "i".repeat(LARGE))).instance_id(*id).await.unwrap();
                }
            }
            for id in ids {
                client.wait(*id, 10 * MINUTE).await.unwrap();
            }
            tokio::time::sleep(MINUTE).await;
        })
        .await;
    let blobs = || world.memory.all_blobs().remove("test-largemessages").unwrap_or_default();
    assert!(blobs().len() >= 2 * ids.len());
    for (number, id) in ids.iter().enumerate() {
        let report = client.instance(*id).purge().await.unwrap();
        assert!(report.instances == 1 && report.rows > 3 && report.blobs >= 2, "{id:?}: {report:?}");
        assert!(client.status(*id).await.unwrap().is_none() && client.history(*id).await.unwrap().is_empty(), "{id:?}");
        for other in &ids[number + 1..] {
            let status = client.status(*other).await.unwrap().unwrap();
            assert!(status.input.is_some_and(|input| input.len() > LARGE), "{other:?} after {id:?}");
            assert!(!client.history(*other).await.unwrap().is_empty(), "{other:?} after {id:?}");
            assert!(status.tags.is_empty() || status.tags["t"].len() == LARGE, "{other:?} after {id:?}");
        }
    }
    assert_eq!(blobs().into_keys().collect::<Vec<_>>(), [""; 0], "{ids:?}");
    assert!(world.memory.table_rows("TestHistory").is_empty() && world.memory.table_rows("TestInstances").is_empty());
}

fn run(ids: &[&str]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(purge_one_by_one(ids));
}

#[test]
fn an_id_that_begins_or_reads_like_another_takes_nothing_of_it() {
    run(&["order-1", "order-10", "order-1/x", "order-1/history-x", "order-1/message-1", "order", "order-1-"]);
    run(&["a/b", "a^0b", "a", "a^^0b", "a/b/", "a//b", "a^0^0b", "A", "a\\b", "a^1b"]);
    run(&[".", "..", "^\u{ee}", "a.", "a^\u{ee}", "a", "/lead", "trail/", "^0lead", "tab\there", "\u{ffff}", "100%"]);
}

#[test]
fn no_odd_id_takes_anything_of_another() {
    let id = "[\\\\/#?%.^ ab0-]{1,5}";
    let mut runner = TestRunner::new(Config { cases: size::of(15, 100), failure_persistence: None, ..Config::default() });
    let accepted = |id: &String| crate::ids::why_no_orchestration(id).is_none();
    let ids = prop::collection::btree_set(id.prop_filter("an id", accepted), 2..6);
    let outcome = runner.run(&ids, |ids| {
        run(&ids.iter().map(String::as_str).collect::<Vec<_>>());
        Ok(())
    });
    outcome.unwrap();
}
