//! Sub-orchestrations whose starts and events come again or out of order.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_child_start_that_dotnet_sends_again_under_another_execution_restarts_nothing() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let parent = ParentInstance { name: Some("P".into()), instance: InstanceRef::new("parent", "p1"), task_id: 4, version: None };
    acting(&hub, async {
        put(&hub, start_message(&hub, "child", "x1", "Collect", "1", Some(parent.clone()))).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        put(&hub, start_message(&hub, "child", "x2", "Collect", "1", Some(parent.clone()))).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(client.status("child").await.unwrap().unwrap().execution_id.as_deref(), Some("x1"));
        let other = ParentInstance { task_id: 5, ..parent };
        put(&hub, start_message(&hub, "child", "x3", "Collect", "1", Some(other))).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(client.status("child").await.unwrap().unwrap().execution_id.as_deref(), Some("x3"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_has_ended_answers_a_start_that_its_parent_sends_again() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let parent = ParentInstance { name: Some("P".into()), instance: InstanceRef::new("p", "p1"), task_id: 0, version: None };
    acting(&hub, async {
        // The parent's turn died between its messages and its history: it waits for nothing yet, and the answer is dropped.
        put(&hub, start_message(&hub, "quick", "x1", "Collect", "0", Some(parent.clone()))).await;
        quiet(&hub).await;
        assert_eq!(status(&client, "quick").await, RuntimeStatus::Completed);
        // Then it runs again, and sends the start again.
        put(&hub, start_message(&hub, "quick", "x1", "Collect", "0", Some(parent.clone()))).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let queue = hub.0.queue_name(hub.0.control_queue_of("p"));
        assert_eq!(hub.0.storage.queues.count(&queue).await.unwrap(), 1, "an answer is on its way");
        // Another parent's start of an execution that was replaced since gets no answer of this one.
        let other = ParentInstance { instance: InstanceRef::new("q", "q1"), ..parent };
        quiet(&hub).await;
        put(&hub, start_message(&hub, "quick", "x1", "Collect", "0", Some(other))).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let queue = hub.0.queue_name(hub.0.control_queue_of("q"));
        assert_eq!(hub.0.storage.queues.count(&queue).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_overtakes_the_start_of_a_child_waits_for_it() {
    let hub = hub().await;
    let client = Client::new(&hub);
    let parent = ParentInstance { name: Some("P".into()), instance: InstanceRef::new("p", "p1"), task_id: 0, version: None };
    acting(&hub, async {
        let sender = Sender { instance_id: "p".into(), execution_id: Some("p1".into()) };
        put(&hub, Message { sender, ..message(&hub, InstanceRef::current("kid"), raised("item", 4)) }).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        put(&hub, start_message(&hub, "kid", "x1", "Collect", "1", Some(parent))).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(ended(&client, "kid").await.output::<Vec<u32>>().unwrap(), [4]);
        quiet(&hub).await;
    })
    .await;
}
