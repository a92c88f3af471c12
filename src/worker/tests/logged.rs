//! What a worker logs of instances at info and above: two lines for a normal one, each failure once, and no payload.

use std::time::Duration;

use super::harness::hub;
use super::overheard::Overheard;
use super::poison::{MINUTE, World};
use crate::authoring::{Activity, ActivityContext, Event, Failure, OrchestrationContext, Orchestrator};
use crate::{Client, RetryPolicy, Storage, TaskHub, Worker, WorkerBuilder};

const NORMAL: Orchestrator<u32, u32> = Orchestrator::new("Normal");
const CALLS: Orchestrator<String, u32> = Orchestrator::new("Calls");
const RETRIES: Orchestrator<u32, u32> = Orchestrator::new("Retries");
const PARENT: Orchestrator<String, u32> = Orchestrator::new("Parent");
const COUNTER: Orchestrator<u32, u32> = Orchestrator::new("Counter");
const WAIT: Orchestrator<(), ()> = Orchestrator::new("Wait");
const DOUBLE: Activity<u32, u32> = Activity::new("Double");
const FLAKY: Activity<u32, u32> = Activity::new("Flaky");
const GO: Event<u32> = Event::new("go");

/// Nothing of a payload may be in the log.
const SECRET: &str = "hunter2";

async fn normal(ctx: OrchestrationContext, number: u32) -> Result<u32, Failure> {
    ctx.timer(Duration::from_secs(1)).await;
    let doubled = ctx.call(DOUBLE, number).await?;
    Ok(doubled + ctx.call(DOUBLE, doubled).await?)
}

/// Three attempts, of which the third succeeds.
async fn retries(ctx: OrchestrationContext, _: u32) -> Result<u32, Failure> {
    let policy = RetryPolicy::exponential(5, Duration::from_secs(2));
    let done = ctx.call(FLAKY, 0).retry(policy).await?;
    // Turns behind the retries, which replay them.
    ctx.timer(Duration::from_secs(1)).await;
    Ok(done + ctx.call(DOUBLE, 1).await?)
}

/// Three generations.
async fn counter(ctx: OrchestrationContext, number: u32) -> Result<u32, Failure> {
    ctx.call(DOUBLE, number).await?;
    if number < 2 { ctx.continue_as_new(COUNTER, number + 1) } else { Ok(number) }
}

fn registered(worker: WorkerBuilder) -> WorkerBuilder {
    let attempts = std::sync::atomic::AtomicU32::new(0);
    worker
        .orchestrator(NORMAL, normal)
        .orchestrator(RETRIES, retries)
        .orchestrator(COUNTER, counter)
        .orchestrator(CALLS, async |ctx, name: String| Ok(ctx.call_named::<u32>(&name, &SECRET).await?))
        .orchestrator(PARENT, async |ctx, child: String| Ok(ctx.call_sub_orchestration_named::<u32>(&child, &"Panics").await?))
        .orchestrator(WAIT, async |ctx, ()| {
            ctx.wait_for_event(GO).await;
            Ok(())
        })
        .activity(DOUBLE, async |_: ActivityContext, number: u32| Ok(2 * number))
        .activity(FLAKY, move |_: ActivityContext, _| {
            let attempt = attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move { if attempt < 2 { Err(Failure::new("Busy", "line 1\nline 2\u{1b}[2J")) } else { Ok(7) } }
        })
        .activity(Activity::<String, u32>::new("Panics"), async |_: ActivityContext, _| panic!("no way out"))
        .activity(Activity::<String, u32>::new("Long"), async |_: ActivityContext, _| Err(Failure::new("Long", "x".repeat(9000))))
}

/// The lines about one instance, without the fields that are the same in all of them.
async fn lines_of(name: &str, input: &str) -> Vec<String> {
    let heard = Overheard::default();
    let _hears = heard.listen();
    let hub = hub().await;
    let client = Client::new(&hub);
    World::beside(registered(Worker::builder(&hub)), async {
        let id = client.start_json(name, Some(input.to_owned())).instance_id("the-id").await.unwrap();
        client.wait(&id, 10 * MINUTE).await.unwrap();
        // Whatever would come late, comes.
        tokio::time::sleep(MINUTE).await;
    })
    .await;
    let lines = heard.about_instances();
    assert!(!lines.iter().any(|line| line.contains(SECRET)), "{lines:?}");
    assert!(lines.iter().all(|line| line.contains(" hub=Test ") && line.contains(" execution=")), "{lines:?}");
    assert!(lines.iter().all(|line| line.contains(" partition=") || line.contains("activity")), "{lines:?}");
    lines.iter().map(|line| essence(line)).collect()
}

/// A line without ids that are drawn, and without the hub, the worker and the partition.
fn essence(line: &str) -> String {
    let is_same = |word: &&str| !["hub=", "worker=", "partition=", "execution="].iter().any(|field| word.starts_with(field));
    line.split(' ').filter(is_same).collect::<Vec<_>>().join(" ")
}

#[tokio::test(start_paused = true)]
async fn a_normal_instance_has_two_lines() {
    let expected = ["INFO instance started instance=the-id name=Normal", "INFO instance completed instance=the-id name=Normal"];
    assert_eq!(lines_of("Normal", "1").await, expected);
}

#[tokio::test(start_paused = true)]
async fn an_instance_of_many_generations_has_two_lines() {
    let expected = ["INFO instance started instance=the-id name=Counter", "INFO instance completed instance=the-id name=Counter"];
    assert_eq!(lines_of("Counter", "0").await, expected);
}

#[tokio::test(start_paused = true)]
async fn failed_attempts_are_warned_of_and_each_retry_is_told_once() {
    let failed = "WARN activity failed instance=the-id name=Flaky task";
    let again = "INFO a failed task will be tried again instance=the-id name=Flaky task";
    let expected = [
        "INFO instance started instance=the-id name=Retries".to_owned(),
        format!("{failed}=0 reason=Busy: line 1 line 2 [2J"),
        format!("{again}=0 attempt=2 pause=2s"),
        format!("{failed}=2 reason=Busy: line 1 line 2 [2J"),
        format!("{again}=2 attempt=3 pause=4s"),
        "INFO instance completed instance=the-id name=Retries".to_owned(),
    ];
    assert_eq!(lines_of("Retries", "1").await, expected);
}

#[tokio::test(start_paused = true)]
async fn an_activity_that_fails_or_panics_and_the_instance_that_fails_of_it_are_warned_of() {
    let lines = lines_of("Calls", "\"Panics\"").await;
    let panicked = "The activity \"Panics\" panicked: no way out";
    let expected = [
        "INFO instance started instance=the-id name=Calls".to_owned(),
        format!("WARN activity panicked instance=the-id name=Panics task=0 reason=Panic: {panicked}"),
        format!("WARN instance failed instance=the-id name=Calls reason=Panic: {panicked} (task \"Panics\" #0)"),
    ];
    assert_eq!(lines, expected);
    // The payload that does not fit is in the failure of the task, but not in the log.
    let lines = lines_of("Calls", "\"Double\"").await;
    let misfit = "The input of the activity \"Double\" does not fit the type u32 at line 1 column 10";
    let expected = [
        "INFO instance started instance=the-id name=Calls".to_owned(),
        format!("WARN activity failed instance=the-id name=Double task=0 reason=PayloadMismatch: {misfit}"),
        format!("WARN instance failed instance=the-id name=Calls reason=PayloadMismatch: {misfit}"),
    ];
    assert_eq!(lines, expected);
    let lines = lines_of("Calls", "\"Long\"").await;
    assert!(lines[1].ends_with("xxx…") && lines[1].len() < 600, "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_fails_is_told_of_beside_its_parent() {
    let lines = lines_of("Parent", "\"Calls\"").await;
    assert_eq!(lines.len(), 6, "{lines:?}");
    let child = lines[1].split(' ').find_map(|word| word.strip_prefix("instance=")).unwrap().to_owned();
    assert_eq!(lines[1], format!("INFO instance started instance={child} name=Calls parent=the-id"));
    assert!(lines[2].starts_with(&format!("WARN activity panicked instance={child} name=Panics")), "{lines:?}");
    assert!(lines[3].starts_with(&format!("WARN instance failed instance={child} name=Calls reason=")), "{lines:?}");
    let failed = format!("WARN sub-orchestration failed instance=the-id name=Calls task=0 child={child} reason=");
    assert!(lines[4].starts_with(&failed), "{lines:?}");
    assert!(lines[5].starts_with("WARN instance failed instance=the-id name=Parent reason="), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_steered_by_hand_is_told_with_its_reason() {
    let heard = Overheard::default();
    let _hears = heard.listen();
    let hub = hub().await;
    let client = Client::new(&hub);
    // Nobody has seen this one when it is terminated.
    client.start(WAIT, ()).instance_id("early").await.unwrap();
    client.terminate("early", "not needed").await.unwrap();
    World::beside(registered(Worker::builder(&hub)), async {
        client.wait("early", MINUTE).await.unwrap();
        client.start(WAIT, ()).instance_id("a").await.unwrap();
        tokio::time::sleep(MINUTE).await;
        client.suspend("a", "lunch").await.unwrap();
        tokio::time::sleep(MINUTE).await;
        client.resume("a", "back").await.unwrap();
        tokio::time::sleep(MINUTE).await;
        client.terminate("a", "enough").await.unwrap();
        client.wait("a", MINUTE).await.unwrap();
    })
    .await;
    let lines: Vec<_> = heard.about_instances().iter().map(|line| essence(line)).collect();
    let (early, a): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.contains("instance=early"));
    assert!(
        matches!(&early[..], [.., last] if last.starts_with("INFO instance terminated") && last.ends_with(" reason=not needed")),
        "{early:?}"
    );
    let expected = [
        "INFO instance started instance=a name=Wait",
        "INFO instance suspended instance=a reason=lunch",
        "INFO instance resumed instance=a reason=back",
        "INFO instance terminated instance=a name=Wait reason=enough",
    ];
    assert_eq!(a, expected);
}

#[tokio::test(start_paused = true)]
async fn what_the_code_logs_tells_whose_code_it_is() {
    let heard = Overheard::default();
    let _hears = heard.listen();
    let hub = hub().await;
    let client = Client::new(&hub);
    let worker = Worker::builder(&hub)
        .worker_id("w")
        .orchestrator(NORMAL, async |ctx: OrchestrationContext, number| {
            tracing::info!(number, "from the orchestrator");
            Ok(ctx.call(DOUBLE, number).await?)
        })
        .activity(DOUBLE, async |_: ActivityContext, number: u32| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            tracing::warn!("from the activity");
            Ok(2 * number)
        });
    World::beside(worker, async {
        let id = client.start(NORMAL, 4).instance_id("the-id").await.unwrap();
        client.wait(&id, MINUTE).await.unwrap();
    })
    .await;
    let [from_orchestrator] = &heard.with("from the orchestrator")[..] else { panic!("once, whatever is replayed") };
    let [from_activity] = &heard.with("from the activity")[..] else { panic!("it ran once") };
    assert_eq!(essence(from_orchestrator), "INFO from the orchestrator instance=the-id name=Normal number=4");
    assert_eq!(essence(from_activity), "WARN from the activity instance=the-id name=Double task=0");
    for line in [from_orchestrator, from_activity] {
        assert!(line.contains(" hub=Test worker=w ") && line.contains(" execution="), "{line}");
    }
}

/// Keeps this thread until the log has a line that begins so.
fn block_until(heard: &Overheard, line: &str) -> String {
    let begun = tokio::time::Instant::now();
    loop {
        if let Some(found) = heard.lines().into_iter().find(|heard| heard.starts_with(line)) {
            return found;
        }
        assert!(begun.elapsed() < MINUTE, "no line \"{line}\" in {:?}", heard.lines());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Real time and one thread: while the code blocks, nothing else of the worker runs.
#[tokio::test]
async fn code_that_blocks_the_only_thread_is_named_while_it_does() {
    let heard = Overheard::default();
    let _hears = heard.listen();
    let hub = TaskHub::open(Storage::in_memory(), "Test").await.unwrap();
    let client = Client::new(&hub);
    let (in_turn, in_activity) = (heard.clone(), heard.clone());
    let worker = Worker::builder(&hub)
        .orchestrator(NORMAL, move |ctx: OrchestrationContext, number| {
            let heard = in_turn.clone();
            async move {
                block_until(&heard, "WARN a turn does not end");
                Ok(ctx.call(DOUBLE, number).await?)
            }
        })
        .activity(DOUBLE, move |_: ActivityContext, number| {
            let heard = in_activity.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                block_until(&heard, "WARN an activity blocks its thread");
                Ok(2 * number)
            }
        });
    World::beside(worker, async {
        let id = client.start(NORMAL, 4).instance_id("the-id").await.unwrap();
        assert_eq!(client.wait(&id, MINUTE).await.unwrap().output::<u32>().unwrap(), 8);
    })
    .await;
    let turn = block_until(&heard, "WARN a turn does not end");
    assert!(
        turn.contains(" hub=Test worker=") && turn.contains(" partition=") && turn.ends_with(" name=Normal seconds=2"),
        "{turn}"
    );
    let activity = block_until(&heard, "WARN an activity blocks its thread");
    assert!(activity.contains(" instance=the-id ") && activity.ends_with(" name=Double task=0 seconds=2"), "{activity}");
}

/// A line without what is in all of them, and its message id.
fn warned(line: &str) -> (String, String) {
    let id = line.split(' ').find_map(|word| word.strip_prefix("message_id=")).expect("the message is named").to_owned();
    let (before, reason) = line.split_once(" reason=").expect("the reason is told");
    assert!(!reason.is_empty() && line.contains(" hub=Test "), "{line}");
    (essence(&before.replace(&format!(" message_id={id}"), "")), id)
}

#[tokio::test(start_paused = true)]
async fn what_will_be_parked_is_told_from_its_first_failed_receive() {
    let heard = Overheard::default();
    let _hears = heard.listen();
    let world = World::new().await;
    world.start_waiting("i", "").await;
    world.corrupt("i");
    let known = heard.lines().len();
    world.client.raise("i", super::poison::GO, &"now".to_owned()).await.unwrap();
    world.work(MINUTE).await;
    let lines: Vec<_> =
        heard.lines().split_off(known).iter().filter(|line| line.contains("message_id=")).map(|line| warned(line)).collect();
    let id = world.only_poison().await.id;
    let fails = "WARN a turn fails by itself; its messages are parked unless the cause is repaired instance=i event=EventRaised messages=1";
    let expected = [
        format!("{fails} receives=1 parked_at=3"),
        format!("{fails} receives=2 parked_at=3"),
        "ERROR a message that keeps failing is parked instance=i event=EventRaised receives=3".to_owned(),
    ];
    assert_eq!(lines, expected.map(|line| (line, id.clone())));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_told_from_its_first_receive() {
    let heard = Overheard::default();
    let _hears = heard.listen();
    let world = World::new().await;
    world.start_waiting("i", "").await;
    world.client.raise("i", super::poison::GO, &"x".repeat(super::poison::LARGE)).await.unwrap();
    world.lose_blobs("i/").await;
    let known = heard.lines().len();
    world.work(MINUTE).await;
    let lines: Vec<_> =
        heard.lines().split_off(known).iter().filter(|line| line.contains("message_id=")).map(|line| warned(line)).collect();
    let id = world.only_poison().await.id;
    let unread = "WARN a message cannot be read; it is parked unless another version of the worker takes it instance=i queue=test-control-00";
    let expected = [
        format!("{unread} receives=1 parked_at=3"),
        format!("{unread} receives=2 parked_at=3"),
        "ERROR a message that cannot be read is parked instance=i queue=test-control-00 receives=3".to_owned(),
    ];
    assert_eq!(lines, expected.map(|line| (line, id.clone())));
}
