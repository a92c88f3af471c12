//! Opening a hub: the partition count is checked before anything is created, and a refusal names the remedy.

use crate::clock::Clock;
use crate::error::ErrorKind;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::memory::Memory;
use crate::storage::table::{Entity, Match, TableOp, Value};
use crate::{Error, TaskHub};

fn memory() -> Memory {
    Memory::new(Clock::paused(Timestamp::UNIX_EPOCH), Rng::seeded(1))
}

async fn open(storage: Storage, name: &str, partitions: Option<u32>) -> Result<TaskHub, Error> {
    let builder = TaskHub::builder(storage, name);
    match partitions {
        Some(count) => builder.partitions(count).open().await,
        None => builder.open().await,
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_hub_has_four_partitions_and_every_count_from_one_to_sixteen_is_kept() {
    assert_eq!(open(memory().storage(), "Default", None).await.unwrap().partitions(), 4);
    for count in 1..=16 {
        let memory = memory();
        assert_eq!(open(memory.storage(), "Counted", Some(count)).await.unwrap().partitions(), count);
        assert_eq!(open(memory.storage(), "Counted", None).await.unwrap().partitions(), count);
        assert_eq!(open(memory.storage(), "Counted", Some(count)).await.unwrap().partitions(), count);
    }
}

#[tokio::test(start_paused = true)]
async fn another_count_than_the_stored_one_is_refused_with_the_remedy_and_changes_nothing() {
    let memory = memory();
    open(memory.storage(), "Test", Some(3)).await.unwrap();
    let before = format!("{:?}", memory.dump());
    for count in [1, 2, 4, 16] {
        let error = open(memory.storage(), "Test", Some(count)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        let text = error.to_string();
        assert!(text.contains("has 3 partitions") && text.contains("open it with 3, or without a count"), "{text}");
    }
    assert_eq!(format!("{:?}", memory.dump()), before);
}

#[tokio::test(start_paused = true)]
async fn a_count_or_name_that_storage_cannot_take_is_refused_before_anything_is_created() {
    let memory = memory();
    let empty = format!("{:?}", memory.dump());
    for (name, count) in [("Test", Some(0)), ("Test", Some(17)), ("", None), ("1st", None), ("a-b", None)] {
        let error = open(memory.storage(), name, count).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name:?} {count:?}: {error}");
    }
    assert_eq!(format!("{:?}", memory.dump()), empty);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_must_exist_is_not_created() {
    let memory = memory();
    let empty = format!("{:?}", memory.dump());
    let error = TaskHub::builder(memory.storage(), "Nowhere").must_exist().open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("\"Nowhere\""), "{error}");
    assert_eq!(format!("{:?}", memory.dump()), empty);
}

/// A hub of three partitions whose table lost and gained these rows.
async fn changed(lost: &[&str], gained: &[&str]) -> (Memory, Result<TaskHub, Error>) {
    let memory = memory();
    open(memory.storage(), "Test", Some(3)).await.unwrap();
    for key in lost {
        let op = TableOp::Delete { partition_key: String::new(), row_key: (*key).to_owned(), condition: Match::Any };
        memory.storage().tables.write("TestPartitions", &op).await.unwrap();
    }
    for key in gained {
        memory.insert_row("TestPartitions", Entity::new("", *key).with("IsDraining", Value::Bool(false)));
    }
    let opened = open(memory.storage(), "Test", None).await;
    (memory, opened)
}

#[tokio::test(start_paused = true)]
async fn only_rows_of_partitions_without_a_gap_are_counted_and_any_other_is_named_with_the_remedy() {
    for (lost, gained, odd, remedy) in [
        (&[][..], &["other"][..], "\"other\"", "delete the row"),
        (&[], &["test-control-7"], "\"test-control-7\"", "delete the row"),
        (&[], &["test-control-003"], "\"test-control-003\"", "delete the row"),
        (&[], &["TEST-control-03"], "\"TEST-control-03\"", "delete the row"),
        (&[], &["test2-control-03"], "\"test2-control-03\"", "delete the row"),
        (&[], &["test-control-16"], "\"test-control-16\"", "delete the row"),
        (&[], &["test-control-04"], "\"test-control-04\"", "row \"test-control-03\" is missing"),
        (&["test-control-01"], &[], "\"test-control-02\"", "row \"test-control-01\" is missing"),
        (&["test-control-00"], &[], "\"test-control-01\"", "row \"test-control-00\" is missing"),
    ] {
        let (memory, opened) = changed(lost, gained).await;
        let error = opened.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Mismatch, "{text}");
        assert!(text.contains(odd) && text.contains(remedy) && text.contains("TestPartitions"), "{text}");
        // With the right count too: .NET workers would serve the row.
        let before = format!("{:?}", memory.dump());
        assert_eq!(open(memory.storage(), "Test", Some(3)).await.unwrap_err().kind(), ErrorKind::Mismatch);
        assert_eq!(format!("{:?}", memory.dump()), before, "nothing is created or changed");
    }
    // What looks as if the hub had been created with four.
    assert_eq!(changed(&[], &["test-control-03"]).await.1.unwrap().partitions(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_info_blob_of_the_blob_lease_managers_that_cannot_be_is_corrupt() {
    for info in ["{\"PartitionCount\":0}", "{\"PartitionCount\":17}", "{\"PartitionCount\":-1}", "{}", "no JSON"] {
        let memory = memory();
        memory.insert_blob("test-leases", "taskhub.json", info.into());
        let error = open(memory.storage(), "Test", None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{info}: {error}");
        assert!(error.to_string().contains("test-leases/taskhub.json"), "{error}");
    }
}
