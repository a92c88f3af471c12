//! Instances that somebody deletes from the tables while a worker works on them.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_instance_that_vanishes_from_the_tables_stalls_nobody() {
    let hub = hub().await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(COLLECT, 1).instance_id("purged").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        delete_rows(&hub).await;
        client.unchecked().raise("purged", ITEM, &1).await.unwrap();
        quiet(&hub).await;
        assert!(client.status("purged").await.unwrap().is_none());
        client.start(COLLECT, 0).instance_id("purged").await.unwrap();
        assert_eq!(ended(&client, "purged").await.status, RuntimeStatus::Completed);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_vanishes_under_an_open_turn_stalls_nobody() {
    let faulty = Faulty::new(Faults::default(), Rng::seeded(5));
    let hub = faulty_hub(&faulty).await;
    let client = Client::new(&hub);
    acting(&hub, async {
        client.start(COLLECT, 2).instance_id("gone").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        // The next commit hangs, and its instance is deleted meanwhile.
        let (hanging, delayed) = (Odds { delay_before: 1.0, ..Odds::default() }, Duration::from_secs(9));
        faulty.set_faults(Faults { once: hanging, delay_max: delayed, ..Faults::default() });
        client.raise("gone", ITEM, &1).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        delete_rows(&hub).await;
        assert!(faulty.injected().contains_key("delay_before"), "the commit hangs");
        tokio::time::sleep(Duration::from_secs(10)).await;
        faulty.set_faults(Faults::default());
        quiet(&hub).await;
        assert!(client.status("gone").await.unwrap().is_none());
        client.start(COLLECT, 0).instance_id("gone").await.unwrap();
        assert_eq!(ended(&client, "gone").await.status, RuntimeStatus::Completed);
    })
    .await;
}
