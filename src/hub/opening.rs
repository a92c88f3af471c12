//! Opening a hub: the partition count is checked before anything is created, and a refusal names the remedy.

use crate::clock::Clock;
use crate::error::ErrorKind;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::memory::Memory;
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
