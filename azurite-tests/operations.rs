//! Every operation in every state of an instance, on Azurite.

mod table;

use taskhub::TaskHub;

use crate::harness::{azurite, unique_hub_name};

#[tokio::test]
async fn every_operation_does_in_every_state_what_the_table_says() {
    let hub = TaskHub::builder(azurite().storage(), unique_hub_name("Operations")).partitions(2).open().await.unwrap();
    table::check(&hub).await;
}
