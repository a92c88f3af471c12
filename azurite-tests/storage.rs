//! The Azure implementation of the storage ports, fault by fault.

use std::net::TcpListener;

use taskhub::internals::azure_repairs::{self, blobs, queues, tables};

use crate::harness::{azurite, unique_hub_name};

type Outcome = Result<(), taskhub::StorageError>;

/// One service of each kind at the same address, with a key that is well formed.
fn account_at(address: &str) -> String {
    let endpoints = ["Blob", "Queue", "Table"].map(|service| format!("{service}Endpoint=http://{address}/me;")).concat();
    format!("AccountName=me;AccountKey=bm90IGEga2V5;{endpoints}")
}

#[tokio::test]
async fn table_values_and_keys_come_back() -> Outcome {
    tables::values_and_keys_come_back(&azurite().storage(), &unique_hub_name("values")).await
}

#[tokio::test]
async fn table_texts_come_back_exactly() -> Outcome {
    tables::texts_come_back_exactly(&azurite().storage(), &unique_hub_name("texts")).await
}

#[tokio::test]
async fn table_conditions_hold() -> Outcome {
    tables::conditions_hold(&azurite().storage(), &unique_hub_name("conditions")).await
}

#[tokio::test]
async fn a_refused_transaction_is_an_error() -> Outcome {
    tables::a_refused_transaction_is_an_error(&azurite().storage(), &unique_hub_name("refused")).await
}

#[tokio::test]
async fn table_pages_follow_each_other() -> Outcome {
    tables::pages_follow_each_other(&azurite().storage(), &unique_hub_name("pages")).await
}

#[tokio::test]
async fn queue_texts_come_back_exactly() -> Outcome {
    queues::texts_come_back_exactly(&azurite().storage(), &unique_hub_name("texts")).await
}

#[tokio::test]
async fn a_renewal_keeps_the_text() -> Outcome {
    queues::a_renewal_keeps_the_text(&azurite().storage(), &unique_hub_name("renewal")).await
}

#[tokio::test]
async fn a_message_never_expires() -> Outcome {
    queues::a_message_never_expires(&azurite().connection_string(), &unique_hub_name("expiry")).await
}

#[tokio::test]
async fn blobs_come_back() -> Outcome {
    blobs::blobs_come_back(&azurite().storage(), &unique_hub_name("blobs")).await
}

#[tokio::test]
async fn a_container_lease_has_one_holder() -> Outcome {
    blobs::a_container_lease_has_one_holder(&azurite().storage(), &unique_hub_name("lease")).await
}

#[tokio::test]
async fn a_wrong_key_is_denied_without_a_secret() -> Outcome {
    let key = "bm90IHRoZSByaWdodCBrZXk=";
    let right = azurite().connection_string();
    let wrong: Vec<String> = right
        .split(';')
        .map(|part| if part.starts_with("AccountKey=") { format!("AccountKey={key}") } else { part.to_owned() })
        .collect();
    azure_repairs::a_wrong_key_is_denied_without_a_secret(&wrong.join(";"), key).await
}

#[tokio::test]
async fn a_refused_connection_is_transient() -> Outcome {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("a bound address")
    };
    azure_repairs::a_refused_connection_is_transient(&account_at(&address.to_string())).await
}

#[tokio::test]
async fn a_hung_server_meets_the_time_limit() -> Outcome {
    // Connections are accepted by the system and never read.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    azure_repairs::a_hung_server_meets_the_time_limit(&account_at(&address.to_string())).await
}
