//! How the `taskhub` command takes payloads.

use std::path::Path;

use serde_json::{Value, json};
use taskhub::TaskHub;

use super::{World, run_with};
use crate::harness::azurite;

#[tokio::test]
async fn payloads_are_arguments_files_or_standard_input() {
    let world = World::new();
    TaskHub::builder(azurite().storage(), &world.hub).open().await.expect("a hub");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("payload-{}.json", std::process::id()));
    std::fs::write(&file, "{ \"from\": \"a file\" }\n").expect("a file can be written");
    let named = format!("@{}", file.display());
    let input = async |id: &str| world.json(&["show", id]).await["input"].clone();
    for (id, arguments, expected) in [
        ("last", &["-7"][..], json!(-7)),
        ("option", &["--input", "[1]"], json!([1])),
        ("file", &[&named], json!({ "from": "a file" })),
        ("file too", &["--input", &named], json!({ "from": "a file" })),
        ("none", &[], Value::Null),
    ] {
        world.run(&[&["start", "Greet", "--id", id], arguments].concat()).await.ok();
        assert_eq!(input(id).await, expected, "{id}");
    }
    let variables = [("AzureWebJobsStorage", world.storage.as_str()), ("TASKHUB_NAME", &world.hub)];
    run_with(&variables, &["start", "Greet", "--id", "stdin", "-"], "\"from a pipe\"\n").await.ok();
    assert_eq!(input("stdin").await, "from a pipe");
    run_with(&variables, &["raise", "stdin", "go", "--data", "-"], "no JSON").await.failed(2, "it is not JSON");
    for arguments in [&["go"][..], &["go", "1"], &["go", "--data", "1"], &["go", &named]] {
        world.run(&[&["raise", "stdin"], arguments].concat()).await.ok();
    }
    world.run(&["raise", "stdin", "go", "1", "--data", "1"]).await.failed(2, "cannot be used with");
    world.run(&["start", "Greet", "@/no/such/file"]).await.failed(2, "the file \"/no/such/file\" cannot be read");
    std::fs::remove_file(&file).expect("the file can be removed");
}
