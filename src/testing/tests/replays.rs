//! Code that is not deterministic shows in its first test, with what it did.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "what users must not do")]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use super::*;

const SHIP: Activity<String, String> = Activity::new("Ship");
const CHILD: Orchestrator<String, ()> = Orchestrator::new("Child");
const FLAWED: Orchestrator<(), String> = Orchestrator::new("Flawed");

/// The failure of an orchestrator that is not deterministic.
async fn failure_of<R: Future<Output = Outcome<String>> + 'static>(
    code: impl Fn(OrchestrationContext) -> R + Send + Sync + 'static,
) -> String {
    let host = TestHost::builder(move |worker| worker.orchestrator(FLAWED, move |ctx, ()| code(ctx)))
        .on(SHIP, |_, to| Ok(to))
        .on(CHILD, |_, _| Ok(()))
        .start()
        .await;
    let error = host.run(FLAWED, ()).await.expect_err("it is not deterministic");
    let failure = error.failure().unwrap_or_else(|| panic!("{error}"));
    assert_eq!(failure.error_type, "NonDeterministicOrchestration", "{failure}");
    failure.error_message.clone()
}

#[tokio::test]
async fn the_order_of_a_hash_set_shows_in_the_inputs_of_calls() {
    let message = failure_of(async |ctx| {
        let towns: HashSet<String> = (0..20).map(|n| format!("town {n}")).collect();
        Ok(try_join_all(towns.iter().map(|town| ctx.call(SHIP, town))).await?.concat())
    })
    .await;
    assert!(message.contains("decided the activity \"Ship\" with [\"town "), "{message}");
    assert!(message.contains("a run of one turn decided") && message.contains("another run of it decided"), "{message}");
}

#[tokio::test]
async fn clocks_and_random_numbers_show() {
    let nanos = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    let message = failure_of(move |ctx| async move { Ok(ctx.call(SHIP, nanos().to_string()).await?) }).await;
    assert!(message.contains("the activity \"Ship\" with"), "{message}");
    let message = failure_of(move |ctx| async move {
        ctx.timer(Duration::from_secs(60 + u64::from(nanos()))).await;
        Ok(String::new())
    })
    .await;
    assert!(message.contains("decided a timer until 20"), "{message}");
    // Nothing replays the last turn of an instance, except here.
    let message = failure_of(move |_| async move { Ok(nanos().to_string()) }).await;
    assert!(message.contains("ended with") && message.contains("another run of it ended with"), "{message}");
    let message = failure_of(move |ctx| async move {
        ctx.set_custom_status(&nanos());
        Ok(String::new())
    })
    .await;
    assert!(message.contains("set the custom status"), "{message}");
    let message = failure_of(move |ctx| async move {
        ctx.call(CHILD, "x").instance_id(format!("child-{}", nanos())).await?;
        Ok(String::new())
    })
    .await;
    assert!(message.contains("the sub-orchestration \"Child\" with \"x\" under the id \"child-"), "{message}");
}

#[tokio::test]
async fn what_depends_on_whether_it_is_a_replay_shows() {
    let message = failure_of(async |ctx| {
        if !ctx.is_replaying() {
            ctx.call(SHIP, "only at first").await?;
        }
        Ok(String::new())
    })
    .await;
    assert!(message.contains("decided nothing there"), "{message}");
}

/// What changes between two turns only cannot be seen in one of them.
#[tokio::test]
async fn what_changes_between_turns_is_named_with_what_history_has() {
    for (kind, expected) in [
        (
            "activity",
            "decided the activity \"Ship\" as number 0, with another input than the code gives it now: history has [\"to 0\"], and the code now gives [\"to 1\"]",
        ),
        (
            "child",
            "decided the sub-orchestration \"Child\" as number 0, with another input than the code gives it now: history has \"to 0\", and the code now gives \"to 1\"",
        ),
        (
            "id",
            "decided the sub-orchestration \"Child\" as number 0, with another instance id than the code gives it now: history has to 0, and the code now gives to 1",
        ),
        (
            "event",
            "decided the sending of the event \"Approval\" as number 0, with another input than the code gives it now: history has false, and the code now gives true",
        ),
        (
            "target",
            "decided the sending of the event \"Approval\" as number 0, with another instance id than the code gives it now: history has to 0, and the code now gives to 1",
        ),
    ] {
        let shared = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&shared);
        let code = move |ctx: OrchestrationContext, ()| {
            let number = seen.load(Ordering::Relaxed);
            let to = format!("to {number}");
            async move {
                match kind {
                    "activity" => drop(ctx.call(SHIP, to)),
                    "child" => drop(ctx.start_orchestration(CHILD, to)),
                    "id" => drop(ctx.start_orchestration(CHILD, "x").instance_id(to)),
                    "event" => ctx.send_event("other", APPROVAL, number > 0),
                    _ => ctx.send_event(to, APPROVAL, true),
                }
                ctx.timer(DAY).await;
                Ok(String::new())
            }
        };
        let host = TestHost::builder(move |worker| worker.orchestrator(FLAWED, code))
            .on(SHIP, |_, to| Ok(to))
            .on(CHILD, |_, _| Ok(()))
            .start()
            .await;
        let instance = host.start(FLAWED, ()).await.unwrap();
        host.pass_time(HOUR).await;
        shared.store(1, Ordering::Relaxed);
        let error = instance.result().await.unwrap_err();
        assert!(error.to_string().contains(expected), "{kind}: {error}");
    }
}
