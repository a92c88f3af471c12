//! Code that breaks the rules, and what the failure says.

use std::time::Duration;

use super::play::{Play, done, failed, fired, raised, start};
use crate::authoring::{
    Activity, ActivityTask, Code, Event, Failure, OrchestrationContext, Orchestrator, Registry, RegistryBuilder, Serves,
};
use crate::model::{EventKind, FailureDetails, HistoryEvent};
use crate::replay::RetryPolicy;

const HELLO: Activity<String, String> = Activity::new("Hello");
const CHILD: Orchestrator<String, String> = Orchestrator::new("Child");
const MAIN: Orchestrator<u64, String> = Orchestrator::new("Main");
const GO: Event<u64> = Event::new("go");
const NOTHING: [&str; 0] = [];

fn play<R>(code: impl Fn(OrchestrationContext, u64) -> R + Send + Sync + 'static) -> Play
where
    R: Future<Output = Result<String, Failure>> + 'static,
{
    Play::new(Registry::builder().orchestrator(MAIN, code))
}

/// Starts `before`, and goes on with `after` as if the code had changed.
fn changed<A, B>(
    before: impl Fn(OrchestrationContext, u64) -> A + Send + Sync + 'static,
    after: impl Fn(OrchestrationContext, u64) -> B + Send + Sync + 'static,
) -> FailureDetails
where
    A: Future<Output = Result<String, Failure>> + 'static,
    B: Future<Output = Result<String, Failure>> + 'static,
{
    let mut old = play(before);
    old.start("Main", Some("0"));
    let mut new = play(after);
    new.history = old.history;
    new.custom_status = Some("7".into());
    assert_eq!(new.turn([done(0, "\"A\"")]), ["failed NonDeterministicOrchestration"], "nothing but the failure");
    assert_eq!(new.custom_status.as_deref(), Some("7"));
    new.failure()
}

async fn hello(ctx: OrchestrationContext, _: u64) -> Result<String, Failure> {
    Ok(ctx.call(HELLO, "x").await?)
}

#[test]
fn changed_code_is_reported_readably() {
    let other = changed(hello, async |ctx: OrchestrationContext, _| Ok(ctx.call_named::<String>("Other", &1).await?));
    let message = other.error_message;
    assert!(message.contains("orchestrator \"Main\"") && message.contains("event 2 of its history"), "{message}");
    assert!(message.contains("the activity \"Hello\" as number 0"), "{message}");
    assert!(message.contains("asks for the activity \"Other\""), "{message}");

    let timer = changed(hello, async |ctx: OrchestrationContext, _| {
        ctx.timer(Duration::ZERO).await;
        Ok(String::new())
    });
    assert!(timer.error_message.contains("asks for a timer"), "{timer}");
    let nothing = changed(hello, async |ctx: OrchestrationContext, _| Ok(ctx.wait_for_event(GO).await.to_string()));
    assert!(nothing.error_message.contains("has not asked for anything"), "{nothing}");
    let child = changed(hello, async |ctx: OrchestrationContext, _| Ok(ctx.call(CHILD, "x").await?));
    assert!(child.error_message.contains("the sub-orchestration \"Child\""), "{child}");
    let ended = changed(hello, async |ctx: OrchestrationContext, _| {
        ctx.set_custom_status("another");
        Ok(String::new())
    });
    assert!(ended.error_message.contains("has not asked for anything"), "{ended}");
}

#[test]
fn names_may_differ_in_case() {
    let mut old = play(hello);
    old.start("Main", Some("0"));
    let mut new = play(async |ctx: OrchestrationContext, _| Ok(ctx.call_named::<String>("HELLO", &"y").await?));
    new.history = old.history;
    assert_eq!(new.turn([done(0, "\"A\"")]), ["completed \"A\""]);
}

#[tokio::test(start_paused = true)]
async fn an_await_that_is_not_durable_fails_the_execution() {
    let mut sleeps = play(async |_, _| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(String::new())
    });
    assert_eq!(sleeps.start("Main", Some("0")), ["failed NonDurableAwait"]);
    assert!(sleeps.failure().error_message.contains("\"Main\"") && sleeps.failure().error_message.contains("sleep"));

    let mut stops = play(async |_, _| std::future::pending().await);
    assert_eq!(stops.start("Main", Some("0")), ["failed NonDurableAwait"]);
}

#[tokio::test]
async fn timers_sockets_and_tasks_of_the_runtime_fail_the_execution_wherever_they_are_hidden() {
    const SECOND: Duration = Duration::from_secs(1);
    let mut sleep = play(async |ctx: OrchestrationContext, _| {
        let (_, answer) = futures::future::join(tokio::time::sleep(SECOND), ctx.call(HELLO, "x")).await;
        Ok(answer?)
    });
    let mut timeout = play(async |ctx: OrchestrationContext, _| {
        Ok(tokio::time::timeout(SECOND, ctx.wait_for_event(GO)).await.map_or(0, |n| n).to_string())
    });
    let mut socket = play(async |ctx: OrchestrationContext, _| {
        let _hello = ctx.call(HELLO, "x");
        Ok(tokio::net::TcpStream::connect(("127.0.0.1", 9)).await.is_ok().to_string())
    });
    for play in [&mut sleep, &mut timeout, &mut socket] {
        assert_eq!(play.start("Main", Some("0")), ["failed NonDurableAwait"], "and decides nothing");
        let message = play.failure().error_message;
        assert!(message.starts_with("The orchestrator \"Main\" used a timer or socket of the runtime."), "{message}");
    }
    let mut task = play(async |ctx: OrchestrationContext, _| {
        tokio::runtime::Handle::current().spawn(async {});
        Ok(ctx.call(HELLO, "x").await?)
    });
    assert_eq!(task.start("Main", Some("0")), ["failed NonDurableAwait"]);
    assert!(task.failure().error_message.contains("\"Main\" spawned a task"));
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// A limit: what is of no runtime, and hidden beside something durable, passes until that is answered.
#[test]
fn an_await_that_is_hidden_beside_a_durable_one_fails_when_that_is_answered() {
    let mut play = play(async |ctx: OrchestrationContext, _| {
        let (_sender, receiver) = futures::channel::oneshot::channel::<()>();
        let (_, answer) = futures::future::join(receiver, ctx.call(HELLO, "x")).await;
        Ok(answer?)
    });
    assert_eq!(play.start("Main", Some("0")), ["#0 Hello([\"x\"])"]);
    assert_eq!(play.turn([done(0, "\"A\"")]), ["failed NonDurableAwait"]);
    assert!(play.failure().error_message.contains("\"Main\""));
}

#[test]
fn a_wake_from_another_thread_fails_the_execution() {
    let mut play = play(async |ctx: OrchestrationContext, _| {
        let _durable = ctx.call(HELLO, "x");
        std::future::poll_fn(|cx| {
            let waker = cx.waker().clone();
            std::thread::scope(|scope| scope.spawn(move || waker.wake()).join().unwrap());
            std::task::Poll::<()>::Pending
        })
        .await;
        Ok(String::new())
    });
    assert_eq!(play.start("Main", Some("0")), ["failed NonDurableAwait"]);
    assert!(play.failure().error_message.contains("another thread"));
}

#[test]
fn code_that_never_settles_is_stopped() {
    let mut play = play(async |_, _| {
        std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            std::task::Poll::<()>::Pending
        })
        .await;
        Ok(String::new())
    });
    assert_eq!(play.start("Main", Some("0")), ["failed NonDurableAwait"]);
}

#[test]
fn a_panic_is_a_failure() {
    let mut play = play(async |ctx: OrchestrationContext, n: u64| {
        ctx.call(HELLO, "x").await?;
        assert!(n > 0, "n is {n}");
        Ok(String::new())
    });
    play.start("Main", Some("0"));
    assert_eq!(play.turn([done(0, "\"A\"")]), ["failed Panic"]);
    assert_eq!(play.failure().error_message, "The orchestrator \"Main\" panicked: n is 0");
}

#[test]
fn destructors_of_code_under_way_change_nothing() {
    struct Noisy(OrchestrationContext);
    impl Drop for Noisy {
        fn drop(&mut self) {
            self.0.send_event("other", GO, 1);
            drop(self.0.call(HELLO, "late"));
            self.0.set_custom_status("dropped");
            panic!("in a destructor");
        }
    }
    let mut play = play(async |ctx: OrchestrationContext, _| {
        let _noisy = Noisy(ctx.clone());
        Ok(ctx.call(HELLO, "x").await?)
    });
    assert_eq!(play.start("Main", Some("0")), ["#0 Hello([\"x\"])"]);
    assert_eq!(play.custom_status, None);
}

#[test]
fn payloads_that_do_not_fit_are_named() {
    let mut input = play(hello);
    assert_eq!(input.start("Main", Some("{\"a\":1}")), ["failed PayloadMismatch"]);
    let message = input.failure().error_message;
    assert!(message.contains("The input of the orchestrator \"Main\"") && message.contains("u64"), "{message}");
    assert!(message.contains("line 1 column"), "{message}");

    let mut event = play(async |ctx: OrchestrationContext, _| Ok(ctx.wait_for_event(GO).await.to_string()));
    event.start("Main", Some("0"));
    assert_eq!(event.turn([raised("go", "\"text\"")]), ["failed PayloadMismatch"]);
    let message = event.failure().error_message;
    assert!(message.contains("event \"go\"") && message.contains("u64"), "{message}");

    let mut output = play(async |ctx: OrchestrationContext, _| {
        let error = ctx.call(HELLO, "x").await.unwrap_err();
        Ok(format!("{} {}", error.task_name(), error.details().error_type))
    });
    output.start("Main", Some("0"));
    assert_eq!(output.turn([done(0, "[]")]), ["completed \"Hello PayloadMismatch\""]);
}

#[test]
fn a_call_that_cannot_be_is_refused_and_takes_no_id() {
    let mut play = play(async |ctx: OrchestrationContext, _| {
        for (id, why) in [("@counter@a", "entities"), ("abc", "itself"), ("", "empty"), (&"/".repeat(257), "holds 512")] {
            let details = ctx.call(CHILD, "x").instance_id(id).await.unwrap_err().details().clone();
            assert!(details.error_type == "InvalidInstanceId" && details.is_non_retriable, "{details}");
            assert!(details.error_message.contains(why) && details.error_message.len() < 300, "{details}");
        }
        let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(ctx.call_named::<()>("Any", &keys).await.unwrap_err().to_string().contains("JSON"));
        Ok(ctx.call(HELLO, "x").await?)
    });
    assert_eq!(play.start("Main", Some("0")), ["#0 Hello([\"x\"])"]);
}

#[test]
fn a_detached_child_with_a_wrong_id_fails_the_orchestrator() {
    let mut play = play(async |ctx: OrchestrationContext, n: u64| {
        let id = if n == 1 { "@".to_owned() } else { "x".repeat(usize::try_from(n)?) };
        ctx.start_orchestration(CHILD, "x").instance_id(id);
        Ok(String::new())
    });
    for length in ["0", "1", "513"] {
        play.history.clear();
        assert_eq!(play.start("Main", Some(length)), ["failed InvalidInstanceId"], "and starts none under another id");
    }
}

#[test]
fn an_event_for_an_id_that_cannot_be_fails_the_orchestrator() {
    let mut play = play(async |ctx: OrchestrationContext, n: u64| {
        ctx.send_event("x".repeat(usize::try_from(n)?), GO, 1);
        Ok(String::new())
    });
    assert_eq!(play.start("Main", Some("512")).len(), 2);
    for length in ["0", "513"] {
        play.history.clear();
        assert_eq!(play.start("Main", Some(length)), ["failed InvalidInstanceId"]);
    }
}

#[test]
fn an_unknown_orchestrator_fails_and_names_the_known() {
    let mut play = play(hello);
    assert_eq!(play.start("Nobody", None), ["failed OrchestratorTaskNotFound"]);
    let failure = play.failure();
    assert!(failure.is_non_retriable && failure.error_message.contains("Main"), "{failure}");
}

#[test]
fn failures_of_dotnet_are_understood() {
    let mut play = play(async |ctx: OrchestrationContext, _| {
        let error = ctx.call(HELLO, "x").await.unwrap_err();
        Ok(error.details().to_string())
    });
    play.start("Main", Some("0"));
    let (reason, details) = (Some("bad".to_owned()), Some("{\"ClassName\":\"System.InvalidOperationException\"}".to_owned()));
    let failed = EventKind::TaskFailed { task_id: 0, reason, details, failure: None };
    assert_eq!(play.turn([failed]), ["completed \"System.InvalidOperationException: bad\""]);
}

#[test]
fn an_answer_to_a_decision_that_was_dropped_answers_nothing() {
    let mut play = play(async |ctx: OrchestrationContext, _| {
        ctx.wait_for_event(GO).await;
        Ok(ctx.call(HELLO, "x").await?)
    });
    play.start("Main", Some("0"));
    assert_eq!(play.turn([raised("go", "1"), done(0, "\"of another decision\"")]), ["#0 Hello([\"x\"])"]);
    assert_eq!(play.turn([done(0, "\"mine\"")]), ["completed \"mine\""]);
}

#[test]
fn a_final_failure_is_not_tried_again() {
    let mut play = play(async |ctx: OrchestrationContext, _| {
        let policy = RetryPolicy::fixed(9, Duration::ZERO).only_if(|failure| failure.error_message == "again");
        Ok(ctx.call(HELLO, "x").retry(policy).await?)
    });
    play.start("Main", Some("0"));
    assert_eq!(play.turn([failed(0, "again")]), ["#1 timer 0s"]);
    assert_eq!(play.turn([fired(1)]), ["#2 Hello([\"x\"])"]);
    assert_eq!(play.turn([failed(2, "enough")]), ["failed DurableTask.Core.Exceptions.TaskFailedException"]);
}

#[test]
fn a_history_without_a_start_decides_nothing() {
    let mut play = play(hello);
    assert_eq!(play.turn([done(0, "1"), raised("go", "1")]), NOTHING);
    assert_eq!(play.turn([start("Main", Some("0"))]), ["#0 Hello([\"x\"])"]);
    assert!(play.history.contains(&HistoryEvent::arriving(play.history[0].timestamp, EventKind::OrchestratorStarted)));
}

#[tokio::test]
async fn activities_fail_clearly() {
    let registry = Registry::builder()
        .activity(HELLO, async |_, name: String| match name.as_str() {
            "panic" => panic!("at the disco"),
            "error" => Err("x".parse::<u8>().unwrap_err().into()),
            _ => Ok(name),
        })
        .build()
        .unwrap();
    let run = async |name: &str, input: &str| {
        let task = ActivityTask { task_id: 1, ..super::play::task(name, Some(input.to_owned())) };
        registry.run_activity(task).await
    };
    assert_eq!(run("hello", "[\"x\"]").await.unwrap().as_deref(), Some("\"x\""));
    assert_eq!(run("Hello", "\"bare\"").await.unwrap().as_deref(), Some("\"bare\""));
    assert_eq!(run("Hello", "[\"panic\"]").await.unwrap_err().error_message, "The activity \"Hello\" panicked: at the disco");
    assert_eq!(run("Hello", "[\"error\"]").await.unwrap_err().error_type, "ParseIntError");
    let unknown = run("Other", "[1]").await.unwrap_err();
    assert!(unknown.is_non_retriable && unknown.error_type == "ActivityTaskNotFound", "{unknown}");
    let misfit = run("Hello", "[1]").await.unwrap_err();
    assert!(misfit.error_message.contains("activity \"Hello\"") && misfit.error_message.contains("String"), "{misfit}");
}

#[test]
fn what_nobody_can_ask_for_is_not_registered() {
    let said = |builder: RegistryBuilder| builder.build().unwrap_err().to_string();
    let twice = Registry::builder().orchestrator(MAIN, hello).orchestrator(Orchestrator::new("MAIN"), hello);
    assert_eq!(said(twice), "orchestrator \"MAIN\" (no version) is registered more than once");
    let nameless = Registry::builder().activity(Activity::new(""), async |_, name: String| Ok(name));
    assert_eq!(
        said(nameless.orchestrator(Orchestrator::new(""), hello)),
        "the name of an activity is empty; the name of an orchestrator is empty"
    );
    let version = "v".repeat(2049);
    let long = said(Registry::builder().host(Code::orchestrator(MAIN, hello), Serves::Version(&version)));
    assert!(long.starts_with("the version of orchestrator \"Main\" \"vvv") && long.contains("is too long"), "{long}");
}

#[test]
fn what_has_no_name_cannot_be_called() {
    let mut play = play(async |ctx: OrchestrationContext, _| {
        let activity = ctx.call(Activity::<(), String>::new(""), ()).await.unwrap_err().details().clone();
        let child = ctx.call(Orchestrator::<(), String>::new(""), ()).await.unwrap_err().details().clone();
        Ok(format!("{activity} {child}"))
    });
    let expected = "completed \"NoName: The activity \\\"\\\" cannot be called: its name is empty. \
                    NoName: The orchestrator \\\"\\\" cannot be called: its name is empty.\"";
    assert_eq!(play.start("Main", Some("0")), [expected]);
}
