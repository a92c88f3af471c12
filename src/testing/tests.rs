//! What a test host promises, shown with it.

mod replays;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::{Either, select, try_join_all};

use super::*;
use crate::RetryPolicy;
use crate::authoring::{Activity, ActivityContext, Elapsed, Event, Failure, OrchestrationContext};

type Outcome<T> = std::result::Result<T, Failure>;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const CHARGE: Activity<u32, String> = Activity::new("Charge");
const REMIND: Activity<(), ()> = Activity::new("Remind");
const BILL: Orchestrator<u32, String> = Orchestrator::new("Bill");
const BILLS: Orchestrator<Vec<u32>, Vec<String>> = Orchestrator::new("Bills");
const APPROVAL: Event<bool> = Event::new("Approval");

async fn bill(ctx: OrchestrationContext, cents: u32) -> Outcome<String> {
    ctx.timer(3 * DAY).await;
    let retry = RetryPolicy::exponential(5, HOUR).only_if(|failure| failure.error_type != "CardDeclined");
    Ok(ctx.call(CHARGE, cents).retry(retry).await?)
}

async fn bills(ctx: OrchestrationContext, all: Vec<u32>) -> Outcome<Vec<String>> {
    Ok(try_join_all(all.iter().map(|cents| ctx.call(BILL, cents))).await?)
}

async fn charge(_: ActivityContext, cents: u32) -> Outcome<String> {
    Ok(format!("paid {cents}"))
}

fn registered(worker: WorkerBuilder) -> WorkerBuilder {
    worker.orchestrator(BILL, bill).orchestrator(BILLS, bills).activity(CHARGE, charge)
}

#[tokio::test]
async fn a_timer_of_three_days_takes_three_days_of_virtual_time() {
    let host = TestHost::builder(registered).start().await;
    assert_eq!(host.run(BILL, 250).await.unwrap(), "paid 250");
    assert_eq!(host.elapsed(), 3 * DAY);
    assert_eq!(host.now(), host.beginning.plus(3 * DAY));
}

#[tokio::test]
async fn a_script_answers_call_by_call_and_stands_for_what_is_registered() {
    let host = TestHost::builder(registered)
        .on(CHARGE, |call, cents| match call {
            1 | 2 => Err(Failure::new("Busy", "later")),
            _ => Ok(format!("receipt {call} for {cents}")),
        })
        .start()
        .await;
    assert_eq!(host.run(BILL, 250).await.unwrap(), "receipt 3 for 250");
    assert_eq!(host.calls(CHARGE), [250, 250, 250]);
    // Two pauses of the policy.
    assert_eq!(host.elapsed(), 3 * DAY + HOUR + 2 * HOUR);
    let calls: Vec<_> = host.all_calls().iter().map(|call| format!("{} {call}", call.at.as_secs() / 3600)).collect();
    let expected =
        ["0 timer of 3 days", "72 Charge(250)", "72 timer of 1 hour", "73 Charge(250)", "73 timer of 2 hours", "75 Charge(250)"];
    assert_eq!(calls, expected);
}

#[tokio::test]
async fn a_failure_of_a_script_is_that_of_the_activity() {
    let host = TestHost::builder(registered).on(CHARGE, |_, _| Err(Failure::new("CardDeclined", "no money"))).start().await;
    let error = host.run(BILL, 1).await.unwrap_err();
    assert_eq!(error.failure().unwrap().root_cause().error_type, "CardDeclined");
    assert_eq!(host.calls(CHARGE).len(), 1);
}

const PATIENT: Orchestrator<u32, String> = Orchestrator::new("Patient");

/// Gives up on the bank after a day.
async fn patient(ctx: OrchestrationContext, cents: u32) -> Outcome<String> {
    match select(ctx.call(CHARGE, cents), ctx.timer(DAY)).await {
        Either::Left((receipt, _)) => Ok(receipt?),
        Either::Right(_) => Ok("the bank is closed".to_owned()),
    }
}

#[tokio::test]
async fn answers_come_late_or_never() {
    for (answer, expected, elapsed) in
        [(Some(2 * HOUR), "late", 2 * HOUR), (Some(2 * DAY), "the bank is closed", DAY), (None, "the bank is closed", DAY)]
    {
        let host = TestHost::builder(|worker| worker.orchestrator(PATIENT, patient))
            .on(CHARGE, move |_, _| answer.map_or(Answer::never(), |time| Answer::after(time, Ok("late".to_owned()))))
            .start()
            .await;
        assert_eq!(host.run(PATIENT, 1).await.unwrap(), expected);
        assert_eq!(host.elapsed(), elapsed);
    }
}

#[tokio::test]
async fn children_are_real_or_scripted() {
    let host = TestHost::builder(registered).start().await;
    assert_eq!(host.run(BILLS, vec![1, 2]).await.unwrap(), ["paid 1", "paid 2"]);
    assert_eq!((host.calls(BILL), host.calls(CHARGE)), (vec![1, 2], vec![1, 2]));

    let host = TestHost::builder(registered)
        .on(
            BILL,
            |call, cents| if cents == 2 { Err(Failure::new("CardDeclined", "no money")) } else { Ok(format!("bill {call}")) },
        )
        .start()
        .await;
    let error = host.run(BILLS, vec![1, 2]).await.unwrap_err();
    assert_eq!(error.failure().unwrap().root_cause().error_type, "CardDeclined", "{error}");
    assert_eq!(host.run(BILLS, vec![1, 3]).await.unwrap(), ["bill 3", "bill 4"]);
    assert_eq!((host.calls(BILL), host.calls(CHARGE)), (vec![1, 2, 1, 3], vec![]));
    let calls: Vec<_> = host.all_calls().iter().map(ToString::to_string).collect();
    assert_eq!(calls, ["Bill(1)", "Bill(2)", "Bill(1)", "Bill(3)"]);
    assert_eq!(host.elapsed(), Duration::ZERO);
}

const ASK: Orchestrator<(), String> = Orchestrator::new("Ask");

async fn ask(ctx: OrchestrationContext, (): ()) -> Outcome<String> {
    let begun = ctx.now();
    Ok(match ctx.wait_for_event(APPROVAL).within(3 * DAY).await {
        Ok(is_approved) => format!("{is_approved} after {} hours", ctx.now().since(begun).as_secs() / 3600),
        Err(Elapsed) => "nobody answered".to_owned(),
    })
}

#[tokio::test]
async fn events_come_at_chosen_moments() {
    let host = TestHost::builder(|worker| worker.orchestrator(ASK, ask)).start().await;
    let (asked, forgotten) = (host.start(ASK, ()).await.unwrap(), host.start(ASK, ()).await.unwrap());
    host.pass_time(2 * DAY).await;
    assert!(!asked.status().await.unwrap().status.is_terminal());
    asked.raise(APPROVAL, true).await.unwrap();
    assert_eq!(asked.result().await.unwrap(), "true after 48 hours");
    assert_eq!(host.elapsed(), 2 * DAY);
    assert_eq!(forgotten.result().await.unwrap(), "nobody answered");
    assert_eq!(host.elapsed(), 3 * DAY);
}

#[tokio::test]
async fn a_wait_for_what_never_comes_fails_and_says_what_is_waited_for() {
    let host = TestHost::builder(registered).on(CHARGE, |_, _| Answer::never()).start().await;
    let error = host.run(BILL, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let said = error.to_string();
    assert!(
        said.ends_with("is still Running after 3650 days of virtual time; it waits for the activity \"Charge\" (#1)"),
        "{said}"
    );
    assert_eq!(host.elapsed(), PATIENCE);

    let waits = |worker: WorkerBuilder| {
        worker.orchestrator(ASK, async |ctx: OrchestrationContext, ()| Ok(ctx.wait_for_event(APPROVAL).await.to_string()))
    };
    let host = TestHost::builder(waits).patience(DAY).start().await;
    let error = host.run(ASK, ()).await.unwrap_err();
    assert!(error.to_string().ends_with("it waits for an event that nobody has raised"), "{error}");
    assert_eq!(host.elapsed(), DAY);
}

#[tokio::test]
async fn real_activities_may_sleep_and_block() {
    let blocks = Activity::<(), u32>::new("Blocks");
    let code = async |ctx: OrchestrationContext, ()| {
        let blocks = Activity::<(), u32>::new("Blocks");
        let call = ctx.call(blocks, ());
        match select(call, ctx.timer(DAY)).await {
            Either::Left((number, _)) => Ok(number?.to_string()),
            Either::Right(_) => Ok("time went on".to_owned()),
        }
    };
    let host = TestHost::builder(move |worker| {
        worker.orchestrator(ASK, code).activity(blocks, async |_: ActivityContext, ()| {
            tokio::time::sleep(HOUR).await;
            #[allow(clippy::disallowed_methods, reason = "it is what users do")]
            let blocking = tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(20)));
            blocking.await.unwrap();
            Ok(7)
        })
    });
    let host = host.start().await;
    assert_eq!(host.run(ASK, ()).await.unwrap(), "7");
    assert_eq!(host.elapsed(), HOUR);
}

#[tokio::test(start_paused = true)]
async fn time_may_be_paused_already_and_hosts_may_follow_each_other() {
    for _ in 0..2 {
        let host = TestHost::builder(registered).beginning(Timestamp::UNIX_EPOCH).start().await;
        assert_eq!(host.run(BILL, 1).await.unwrap(), "paid 1");
        assert_eq!((host.elapsed(), host.now()), (3 * DAY, Timestamp::UNIX_EPOCH.plus(3 * DAY)));
    }
}

/// The words of a panic.
async fn panic_of(future: impl Future<Output = TestHost>) -> String {
    let caught = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(future)).await;
    let panic = caught.expect_err("it panics");
    panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_threads_are_refused_with_the_remedy() {
    let panic = panic_of(TestHost::builder(registered).start()).await;
    assert!(panic.contains("one thread") && panic.contains("`#[tokio::test] async fn ...`, without a flavor"), "{panic}");
}

#[test]
fn no_runtime_is_refused_with_the_remedy() {
    let panic = futures::executor::block_on(panic_of(TestHost::builder(registered).start()));
    assert!(panic.contains("needs a runtime") && panic.contains("#[tokio::test]"), "{panic}");
}

#[tokio::test]
async fn what_cannot_be_registered_is_told() {
    let twice = |worker: WorkerBuilder| registered(worker).activity(CHARGE, charge);
    let panic = panic_of(TestHost::builder(twice).start()).await;
    assert!(panic.contains("activity \"Charge\" (no version) is registered more than once"), "{panic}");
}

#[tokio::test]
async fn a_script_whose_name_is_a_slip_is_told_with_what_is_registered() {
    const CHRAGE: Activity<u32, String> = Activity::new("Chrage");
    const BILS: Orchestrator<u32, String> = Orchestrator::new("bils");
    let panic = panic_of(TestHost::builder(registered).on(CHRAGE, |_, _| Answer::never()).start()).await;
    let words =
        "a script answers for the activity \"Chrage\", which is not registered; registered are: Charge. Did you mean \"Charge\"?";
    assert!(panic.contains(words), "{panic}");
    let panic = panic_of(TestHost::builder(registered).on(BILS, |_, _| Answer::never()).start()).await;
    assert!(
        panic.contains("the orchestrator \"bils\"") && panic.contains("registered are: Bill, Bills. Did you mean"),
        "{panic}"
    );
    // One that is like another script, and one in another case, are none.
    let host = TestHost::builder(|worker| worker.orchestrator(BILL, bill))
        .on(CHARGE, |_, _| Ok("scripted".to_owned()))
        .on(CHRAGE, |_, _| Answer::never());
    let host = host.on(Orchestrator::<u32, String>::new("BILL"), |_, _| Ok("scripted".to_owned())).start().await;
    assert_eq!(host.run(BILL, 1).await.unwrap(), "scripted");
}

#[tokio::test]
async fn what_is_neither_scripted_nor_registered_fails_with_the_remedy() {
    let host = TestHost::builder(|worker| worker.orchestrator(BILL, bill)).on(REMIND, |_, ()| Ok(())).start().await;
    let error = host.run(BILL, 1).await.unwrap_err();
    let failure = error.failure().unwrap().root_cause();
    assert_eq!(failure.error_type, "ActivityTaskNotFound");
    assert_eq!(
        failure.error_message,
        "This worker has no activity \"Charge\"; registered are: Remind. Script it in this test, `.on(HANDLE, |call, input| ..)`, or \
         register it."
    );
}

#[tokio::test]
async fn a_retry_that_passes_continue_as_new_is_one_count() {
    static LOOKS: Activity<u32, bool> = Activity::new("Looks");
    const MONITOR: Orchestrator<u32, u32> = Orchestrator::new("Monitor");
    let monitor = async |ctx: OrchestrationContext, looks: u32| {
        if ctx.call(LOOKS, looks).await? {
            return Ok(looks);
        }
        ctx.timer(DAY).await;
        ctx.continue_as_new(MONITOR, looks + 1)
    };
    let host = TestHost::builder(move |worker| worker.orchestrator(MONITOR, monitor));
    let host = host.on(LOOKS, |call, _| Ok(call == 30)).start().await;
    assert_eq!(host.run(MONITOR, 1).await.unwrap(), 30);
    assert_eq!(host.calls(LOOKS), (1..=30).collect::<Vec<_>>());
    assert_eq!(host.elapsed(), 29 * DAY);
}

static RUNS: AtomicU32 = AtomicU32::new(0);

#[tokio::test]
async fn an_activity_runs_once_although_turns_run_often() {
    let counts = |worker: WorkerBuilder| {
        worker
            .orchestrator(BILL, bill)
            .activity(CHARGE, async |_: ActivityContext, _| Ok(RUNS.fetch_add(1, Ordering::Relaxed).to_string()))
    };
    let host = TestHost::builder(counts).start().await;
    assert_eq!(host.run(BILL, 1).await.unwrap(), "0");
    assert_eq!(RUNS.load(Ordering::Relaxed), 1);
}
