//! Blobs of history rows that checkpoints left which were cut off: the next step of the instance finds and removes them.
//!
//! Only blobs that were there before a new version of the sentinel are removed: whoever put one of them loaded an older version, so no
//! commit of his can ever refer to it.

use super::delivery::Delivery;
use super::partition::Partition;
use crate::error::Result;
use crate::hub::Hub;
use crate::hub::histories::History;

/// Whether a checkpoint of the instance may have been cut off: its messages come again then. Nobody looks for blobs otherwise.
pub(super) fn is_suspected<'a>(history: &History, mut messages: impl Iterator<Item = &'a &'a Delivery>) -> bool {
    history.is_torn() || messages.any(|held| held.dequeue_count > 1)
}

/// Removes those to which neither the kept rows of the history nor the instance row refer. The version of the sentinel has changed
/// since they were found.
pub(super) async fn remove(hub: &Hub, instance_id: &str, found: &[String], kept: impl Fn(&str) -> bool) -> Result<()> {
    let unkept: Vec<_> = found.iter().filter(|blob| !kept(blob)).collect();
    if unkept.is_empty() {
        return Ok(());
    }
    let shown = hub.instances.blobs(instance_id).await?;
    for blob in unkept.into_iter().filter(|blob| !shown.contains(blob)) {
        tracing::debug!(blob, "a blob of a checkpoint that was cut off is removed");
        hub.payloads.delete(blob).await?;
    }
    Ok(())
}

/// The same where no turn is run: its last checkpoint stands, and only inputs are left of it.
pub(super) async fn sweep(
    hub: &Hub,
    partition: &Partition,
    instance_id: &str,
    history: &History,
    messages: &[&Delivery],
) -> Result<()> {
    let beside = history.sentinel.remainder.iter().flat_map(|remainder| &remainder.blobs);
    let kept = |blob: &str| {
        let mut all = history.blobs.iter().map(|(_, known)| known).chain(beside.clone());
        all.any(|known| known == blob)
    };
    if !is_suspected(history, messages.iter()) {
        return Ok(());
    }
    let found = hub.histories.blobs(instance_id).await?;
    let Some(etag) = history.etag.as_ref().filter(|_| found.iter().any(|blob| !kept(blob))) else { return Ok(()) };
    if partition.may_commit() && hub.histories.bump_fence(instance_id, etag).await? {
        remove(hub, instance_id, &found, kept).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use crate::authoring::{Failure, OrchestrationContext, Orchestrator};
    use crate::storage::error::ErrorKind;
    use crate::worker::tests::poison::{GO, How, LARGE, MINUTE, WAIT, World};

    const ONCE_MORE: Orchestrator<String, String> = Orchestrator::new("OnceMore");

    async fn once_more(ctx: OrchestrationContext, input: String) -> Result<String, Failure> {
        if input.is_empty() {
            return Ok("x".repeat(LARGE));
        }
        ctx.wait_for_event(GO).await;
        ctx.continue_as_new(ONCE_MORE, String::new())
    }

    /// The blobs of rows that there are, and those to which history rows refer.
    fn blobs(world: &World) -> (BTreeSet<String>, BTreeSet<String>) {
        let all = world.memory.all_blobs().remove("test-largemessages").unwrap_or_default();
        let rows = world.memory.table_rows("TestHistory");
        let names =
            rows.iter().flat_map(|row| row.entity.properties.keys().filter(|c| c.ends_with("BlobName")).map(move |c| (row, c)));
        let referred = names.filter_map(|(row, column)| row.entity.text(column).map(str::to_owned)).collect();
        (all.into_keys().filter(|name| name.contains("/history-")).collect(), referred)
    }

    #[tokio::test(start_paused = true)]
    async fn blobs_of_checkpoints_that_were_cut_off_go_with_the_next_one() {
        let world = World::new().await;
        world.client.start(WAIT, "i".repeat(LARGE)).instance_id("i").await.unwrap();
        world.work(Duration::from_secs(5)).await;
        world.client.raise("i", GO, &"x".repeat(LARGE)).await.unwrap();
        world.sabotage.set("table.transact", "TestHistory/i", How::Refuse(ErrorKind::Denied));
        world.work(MINUTE).await;
        let (all, referred) = blobs(&world);
        assert!(referred.len() == 1 && all.len() > 3, "each try has put a blob: {all:#?}");
        world.sabotage.end();
        let ended = world.with_worker(world.client.wait("i", 60 * MINUTE)).await.unwrap();
        assert_eq!(ended.output.as_deref(), Some(&*format!("{}", 2 * LARGE)));
        let (all, referred) = blobs(&world);
        assert_eq!((all, referred.len()), (referred.clone(), 2), "input and event are there, and nothing else");
    }

    #[tokio::test(start_paused = true)]
    async fn blobs_of_a_replaced_execution_that_could_not_be_deleted_go_when_the_inputs_come_again() {
        let world = World::new().await;
        let worker = || world.worker().orchestrator(ONCE_MORE, once_more);
        world.client.start(ONCE_MORE, "i".repeat(LARGE)).instance_id("i").await.unwrap();
        World::beside(worker(), tokio::time::sleep(Duration::from_secs(5))).await;
        world.client.raise("i", GO, &String::new()).await.unwrap();
        world.sabotage.set("blob.delete", "test-largemessages/i/history-", How::Refuse(ErrorKind::Denied));
        World::beside(worker(), tokio::time::sleep(Duration::from_secs(20))).await;
        let (all, referred) = blobs(&world);
        assert!(all.len() > referred.len(), "{all:#?}");
        world.sabotage.end();
        World::beside(worker(), tokio::time::sleep(60 * MINUTE)).await;
        let (all, referred) = blobs(&world);
        assert_eq!((all, referred.len()), (referred.clone(), 1), "only the output of the last generation is left");
        let shown = world.status("i").await.output::<String>().unwrap();
        assert_eq!(shown.len(), LARGE);
        assert_eq!(world.memory.all_messages()["test-control-00"], []);
    }
}
