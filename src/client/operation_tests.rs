//! Every operation in every state of an instance, on the memory store; and that the document says the same.

#[path = "../../azurite-tests/operations/table.rs"]
mod table;

use crate::TaskHub;
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::rng::Rng;
use crate::storage::Storage;

#[tokio::test(start_paused = true)]
async fn every_operation_does_in_every_state_what_the_table_says() {
    let clock = Clock::paused(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let storage = Storage::memory(clock.clone(), Rng::seeded(1));
    let hub = TaskHub::builder(storage, "Test").partitions(2).clock(clock).rng(Rng::seeded(2)).open().await.unwrap();
    table::check(&hub).await;
}

#[test]
fn the_document_has_the_table() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/instances.md");
    let text = std::fs::read_to_string(path).unwrap();
    let cells = |line: &str| -> Vec<String> { line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect() };
    let all: Vec<_> = text.lines().filter(|line| line.starts_with('|')).map(cells).collect();
    let begin = all.iter().position(|row| row[0] == "operation").expect("the table");
    let expected = |first: &str, rest: &[&str]| -> Vec<String> { [first].iter().chain(rest).map(|s| (*s).to_owned()).collect() };
    assert_eq!(all[begin], expected("operation", &table::STATES));
    let rows: Vec<_> = table::TABLE.iter().map(|(operation, cells)| expected(operation, cells)).collect();
    assert_eq!(all[begin + 2..begin + 2 + rows.len()], rows);
}
