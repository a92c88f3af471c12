//! `taskhub export` and `import` on Azurite: files that are not what they should be, and imports that were killed.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use taskhub::TaskHub;
use taskhub::internals::Snapshot;
use tokio::process::Command;

use super::World;
use crate::harness::azurite;

/// A file of this test process.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("a file can be written");
    path
}

/// A line with an instance that has ended.
async fn exported() -> String {
    let world = World::new();
    let started = async {
        world.run(&["start", "Greet", "\"\u{9b}\u{202e}Ada\"", "--id", "order"]).await.ok();
        world.run(&["wait", "order"]).await.waited();
    };
    world.with_worker(started).await;
    world.run(&["export", "order"]).await.ok()
}

async fn empty() -> World {
    let world = World::new();
    TaskHub::builder(azurite().storage(), &world.hub).open().await.expect("a hub");
    world
}

#[tokio::test]
async fn files_that_are_no_exports_are_refused_by_name_and_line() {
    let (line, world) = (exported().await, empty().await);
    assert!(!line.contains(['\u{9b}', '\u{202e}']) && line.contains("\\u202e"), "{line}");
    world.run(&["import", "/no/such/file"]).await.failed(2, "the file \"/no/such/file\" cannot be read: No such file");
    world.run(&["import", env!("CARGO_TARGET_TMPDIR")]).await.failed(2, "cannot be read: Is a directory");
    let half = &line[..300];
    let spoilt = file("spoilt", format!("\u{feff}{line}\n{half}").as_bytes());
    let spoilt = spoilt.to_str().expect("UTF-8");
    world.run(&["import", spoilt]).await.failed(2, "line 3 of ");
    world.run(&["import", spoilt]).await.failed(4, "--skip-existing leaves out such instances");
    let skipping = world.run(&["import", spoilt, "--skip-existing", "--skip-invalid"]).await;
    assert_eq!((skipping.code, skipping.out.as_str()), (0, "Imported 0 instances. Left out: 2 instances.\n"));
    assert!(skipping.error.starts_with("warning: line 3 of "), "{skipping:?}");
    let utf16 = file("utf16", b"\xff\xfe{\x00}\x00\n\x00");
    world.run(&["import", utf16.to_str().expect("UTF-8")]).await.failed(2, "line 1 of ");
    assert_eq!(world.json(&["show", "order"]).await["output"], "Hello, \u{9b}\u{202e}Ada!");
}

#[tokio::test]
async fn an_import_that_is_killed_time_and_again_is_finished_by_the_next() {
    let (line, world) = (exported().await, empty().await);
    let mut lines = String::new();
    for number in 0..60 {
        let mut instance: Value = serde_json::from_str(&line).expect("JSON");
        instance["instanceId"] = json!(format!("order-{number:02}"));
        let _ = writeln!(lines, "{instance}");
    }
    let archive = file("archive", lines.as_bytes());
    let archive = archive.to_str().expect("UTF-8");
    for patience in [150, 220, 290, 360] {
        let mut import = Command::new(env!("CARGO_BIN_EXE_taskhub"))
            .args(["import", archive, "--skip-existing", "--hub", &world.hub, "--storage", &world.storage])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the command can be run");
        tokio::time::sleep(Duration::from_millis(patience)).await;
        let _ = import.kill().await;
    }
    world.run(&["import", archive, "--skip-existing"]).await.ok();
    let again = world.json(&["import", archive, "--skip-existing"]).await;
    assert_eq!(again, json!({ "importedInstanceCount": 0, "skippedInstanceCount": 60 }));
    let back = world.run(&["export"]).await.out;
    let events = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["history"].as_array().map(Vec::len);
    assert_eq!(back.lines().map(events).collect::<Vec<_>>(), vec![events(&line); 60], "every history is whole");
}

#[tokio::test]
async fn an_instance_that_cannot_be_read_is_left_out_of_an_export() {
    let world = World::new();
    let instance = json!({
        "PartitionKey": "bad", "RowKey": "", "Name": "Greet", "ExecutionId": "e", "RuntimeStatus": "Completed",
        "CreatedTime@odata.type": "Edm.DateTime", "CreatedTime": "2026-01-01T00:00:00Z",
        "LastUpdatedTime@odata.type": "Edm.DateTime", "LastUpdatedTime": "2026-01-01T00:00:00Z"
    });
    let event =
        json!({ "PartitionKey": "bad", "RowKey": "0000000000000000", "EventType": "GenericEvent", "InputBlobName": "gone" });
    let snapshot = json!({
        "hub": "x", "partitions": 4, "instance": "", "orchestrator": "", "messages": [],
        "tables": { "Instances": [instance], "History": [event] }
    });
    let snapshot = Snapshot::parse(&snapshot.to_string()).expect("a snapshot");
    snapshot.load(&azurite().storage(), &world.hub).await.expect("rows are put");
    TaskHub::builder(azurite().storage(), &world.hub).open().await.expect("a hub");
    let good = file("good", exported().await.as_bytes());
    world.run(&["import", good.to_str().expect("UTF-8")]).await.ok();
    let export = world.run(&["export"]).await;
    assert_eq!((export.code, export.out.lines().count()), (12, 1), "{export:?}");
    assert!(export.error.contains("warning: instance \"bad\" is not exported: "), "{export:?}");
    assert!(export.error.ends_with("error: what cannot be read is left out: 1 instance\n"), "{export:?}");
}
