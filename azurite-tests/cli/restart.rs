//! `taskhub restart` on Azurite.

use serde_json::json;

use super::World;

#[tokio::test]
async fn an_instance_is_restarted_under_its_id_and_under_others() {
    let world = World::new();
    world
        .with_worker(async {
            let large = format!("\"{}\"", "x".repeat(100_000));
            let path = std::env::temp_dir().join(format!("taskhub-restart-{}.json", std::process::id()));
            std::fs::write(&path, &large).expect("a file");
            world.run(&["start", "Greet", "--id", "a/1", &format!("@{}", path.display())]).await.ok();
            std::fs::remove_file(&path).expect("it was there");
            world.run(&["wait", "a/1"]).await.waited();
            assert_eq!(world.run(&["restart", "a/1"]).await.ok(), "a/1\n");
            world.run(&["wait", "a/1"]).await.waited();
            let again = world.json(&["show", "a/1"]).await;
            assert_eq!((again["input"].as_str().map(str::len), &again["runtimeStatus"]), (Some(100_000), &json!("Completed")));

            let started = world.json(&["restart", "a/1", "--new-id", "a/2"]).await;
            assert_eq!((&started["instanceId"], &started["restarted"]), (&json!("a/2"), &json!("a/1")));
            let third = world.run(&["restart", "a/2", "--new-id"]).await.ok();
            for id in ["a/2", third.trim()] {
                world.run(&["wait", id]).await.waited();
                assert_eq!(world.json(&["show", id]).await["output"], again["output"]);
            }
            world.run(&["start", "Approval", "--id", "open"]).await.ok();
            world.run(&["restart", "open"]).await.failed(4, "start it once more beside itself with --new-id");
            world.run(&["restart", "a/1", "--new-id", "open"]).await.failed(4, "use another --new-id");
            world.run(&["restart", "nobody"]).await.failed(3, "there is no instance \"nobody\"");
            world.run(&["restart", "@e@k"]).await.failed(2, "reserved for entities");
        })
        .await;
}
