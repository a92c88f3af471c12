//! Versions in the `taskhub` command, and what it says of instances that lack their code.

use std::time::Duration;

use serde_json::{Value, json};

use super::World;

#[tokio::test]
async fn versions_are_started_and_listed_and_what_lacks_its_code_says_so() {
    let world = World::new();
    let ids = |list: &Value| -> Vec<String> {
        let all = list["instances"].as_array().expect("an array").iter();
        all.map(|i| i["instanceId"].as_str().expect("an id").to_owned()).collect()
    };
    let help = world.run(&["start", "--help"]).await.ok();
    assert!(help.contains("<ORCHESTRATOR>") && help.contains("--hub <HUB>") && help.contains("--version <VERSION>"), "{help}");
    assert!(!help.contains("<NAME>"), "{help}");
    world
        .with_worker(async {
            world.run(&["start", "greet", "--id", "old", "--input", "\"Ada\""]).await.ok();
            world.run(&["wait", "old"]).await.waited();
            world.run(&["start", "Greet", "--version", "2.0", "--id", "new"]).await.ok();
            let shown = world.until(&["show", "new"], |i| i["awaits"] != Value::Null).await;
            assert_eq!(shown["version"], "2.0");
            assert_eq!(
                (&shown["awaits"]["kind"], &shown["awaits"]["name"], &shown["awaits"]["version"]),
                (&json!("orchestrator"), &json!("Greet"), &json!("2.0"))
            );
            assert_eq!(world.json(&["show", "old"]).await["awaits"], Value::Null);
            assert_eq!(world.json(&["history", "new"]).await["awaits"], shown["awaits"]);
        })
        .await;
    // It is told for three minutes, whether a worker runs or not.
    let lacks = "orchestrator \"Greet\" version \"2.0\", which the workers that were asked do not have; start a worker that registers it, this version \
                 or a fallback";
    let shown = world.run(&["show", "new"]).await.ok();
    assert!(shown.contains(&format!("\nWaits for      {lacks}\n")), "{shown}");
    let history = world.run(&["history", "new"]).await.ok();
    assert!(history.contains(&format!("has not run yet.\n\nIt waits for {lacks}.")), "{history}");
    let late = world.run(&["wait", "new", "--timeout", "1s"]).await.failed(7, "is still Pending");
    assert!(late.starts_with(&format!("instance \"new\" is Pending and waits for {lacks}\nerror: ")), "{late}");
    assert!(late.trim_end().ends_with(&format!("; it waits for {lacks}")), "{late}");
    let late = world.run(&["wait", "new", "--timeout", "0", "--json"]).await;
    let late: Value = serde_json::from_str(&late.error).expect("one JSON document");
    assert_eq!((&late["error"]["kind"], &late["error"]["awaits"]["name"]), (&json!("timeout"), &json!("Greet")));

    // In a list as far as it concerns what is listed.
    let heading = "Waiting for code that the workers which were asked do not have:\nKIND";
    let (all, old) = (world.run(&["list"]).await.ok(), world.run(&["list", "--prefix", "old"]).await.ok());
    assert!(all.contains(heading) && !old.contains("Waiting for"), "{all}{old}");
    assert!(all.starts_with("ID   NAME   VERSION  STATUS") && !old.contains("VERSION"), "{all}{old}");
    assert!(world.run(&["list", "--version", "2.0"]).await.ok().contains(heading));
    assert!(world.run(&["hub", "status"]).await.ok().contains(heading));
    let new = world.json(&["list", "--version", "2.0"]).await;
    assert_eq!((ids(&new), &new["instances"][0]["awaits"]["name"]), (vec!["new".to_owned()], &json!("Greet")));
    let old = world.json(&["list", "--version", ""]).await;
    assert_eq!((ids(&old), &old["awaited"]), (vec!["old".to_owned()], &json!([])));

    // Who starts another one is told at once.
    let started = world.run(&["start", "greet", "--version", "2.0", "--id", "new too"]).await;
    assert_eq!((started.code, &*started.out), (0, "new too\n"));
    assert_eq!(started.error, format!("warning: the instance will wait for {lacks}\n"));

    // Half of a surrogate pair is shown as it is stored.
    world.run(&["start", "Greet", "--id", "half", "--input", r#""ab\ud83d""#]).await.ok();
    for form in [&["show", "half"][..], &["show", "half", "--json"]] {
        let shown = world.run(form).await.ok();
        assert!(shown.contains(r#""ab\ud83d""#), "{shown}");
    }
}

#[tokio::test]
async fn a_drain_keeps_new_instances_waiting_and_tells_when_the_last_has_ended() {
    let world = World::new();
    world
        .with_worker(async {
            assert_eq!(world.run(&["drain"]).await.ok(), "Nothing is drained.\n");
            world.run(&["drain", "Greet", "--lift"]).await.failed(3, "Greet is not drained; `taskhub drain` lists what is");
            let begun = world.run(&["drain", "greet", "--no-wait"]).await.ok();
            assert_eq!(begun, "greet is drained: no instance is open, and workers are given time to learn of it.\n");
            assert!(world.run(&["drain"]).await.ok().starts_with("ORCHESTRATOR  VERSION  FOR\ngreet         every    "));
            // Until the worker has to read it anew.
            tokio::time::sleep(Duration::from_secs(26)).await;
            world.run(&["start", "Greet", "--id", "new", "--input", "\"Ada\""]).await.ok();
            let shown = world.until(&["show", "new"], |i| i["awaits"] != Value::Null).await;
            assert_eq!((&shown["awaits"]["kind"], &shown["runtimeStatus"]), (&json!("drain"), &json!("Pending")));
            let lacks = "Waits for      the end of a drain of the orchestrator \"Greet\"; `taskhub drain` lists what is drained, and lifts it";
            let shown = world.run(&["show", "new"]).await.ok();
            assert!(shown.contains(lacks), "{shown}");
            let list = world.run(&["list"]).await.ok();
            assert!(list.contains("Pending, drained") && !list.contains("Waiting for code"), "{list}");
            let status = world.run(&["hub", "status"]).await.ok();
            assert!(status.contains("Drained, so that no new instance begins (taskhub drain NAME --lift):\nORCHESTRATOR"), "{status}");
            let late = world.run(&["drain", "Greet", "--timeout", "0s"]).await;
            late.failed(7, "Greet has not drained in 0 s: no instance is open, and workers are given time to learn of it, 1 waiting to begin. It stays drained; `taskhub drain Greet --lift` lets new instances begin again");
            let done = world.run(&["drain", "Greet", "--timeout", "2m"]).await;
            let end = "Greet has drained: no instance is open. Waiting to begin: 1 instance. New ones begin after `taskhub drain Greet --lift`.\n";
            assert_eq!((done.code, &*done.out), (0, end));
            assert_eq!(world.run(&["drain", "Greet", "--lift"]).await.ok(), "Greet: new instances begin again; those that have waited within a minute, or longer where more than 600 wait.\n");
            world.run(&["wait", "new", "--timeout", "2m"]).await.waited();
        })
        .await;
}
