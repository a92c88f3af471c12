//! Every row and message that a killed .NET worker left behind is understood.

use super::recording::{self, entity, entries, golden, list, read_json, text};
use super::rows::{event_again, sentinel_again};
use crate::hub::codec::{self, Incoming};
use crate::hub::{blob_names, gzip, instances, rows};
use crate::model::Message;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

#[test]
fn what_a_killed_dotnet_worker_left_is_understood() {
    let folders = ["handover", "handover-entities"];
    let files: Vec<_> =
        folders.iter().flat_map(|f| entries(&golden().join(f))).filter(|f| f.extension() == Some("json".as_ref())).collect();
    let (mut rows, mut instances, mut messages, mut blobs) = (0, 0, 0, 0);
    for file in &files {
        let snapshot = read_json(file);
        for members in list(&snapshot["tables"]["History"]) {
            let row = recording::entity(members.as_object().unwrap()).unwrap();
            rows += 1;
            if row.row_key == rows::SENTINEL {
                sentinel_again(&row);
            } else {
                event_again(&row);
            }
        }
        for members in list(&snapshot["tables"]["Instances"]) {
            instances += 1;
            instances::from_entity(&entity(members.as_object().unwrap()).unwrap()).unwrap();
        }
        let stored = snapshot["blobs"].clone();
        for message in list(&snapshot["messages"]) {
            messages += 1;
            if let Incoming::InBlob(name) = codec::decode(&text(&message["text"])).unwrap() {
                let found = stored.to_string().contains(&name);
                assert!(found, "{}: {name}", file.display());
            }
        }
        blobs += read_blobs(&stored);
    }
    println!("{} snapshots, {rows} rows, {instances} instances, {messages} messages, {blobs} blobs", files.len());
    assert!(files.len() > 101);
}

/// Reads every payload; message blobs must hold messages.
fn read_blobs(blobs: &serde_json::Value) -> usize {
    let mut count = 0;
    for blob in blobs.as_array().into_iter().flatten() {
        let name = text(&blob["name"]);
        let Some(body) = ["base64", "content", "body"].iter().find_map(|m| blob[*m].as_str()) else { continue };
        if !name.ends_with(".json.gz") {
            continue;
        }
        let payload = gzip::decompress(&STANDARD.decode(body).unwrap(), 1 << 24).unwrap();
        if name.contains("/message-") {
            let message = Message::from_json(&payload).unwrap();
            assert_eq!(message.to_json(), payload);
            assert!(codec::is_large(&payload));
            let event_type = message.event.kind.type_name();
            assert_eq!(blob_names::message_blob(&message.target.instance_id, message.activity_id, event_type), name);
        }
        count += 1;
    }
    count
}
