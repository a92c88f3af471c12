//! Random programs of sequences, fan-outs, retries and children whose steps fail at random: rewound until nothing is broken, they end with the
//! right output, and no step that has completed has run twice.

use std::pin::Pin;

use super::*;
use crate::size;

/// A program, as JSON: a list is a sequence, `{"all": [..]}` runs at once, `{"child": ..}` is a child, `{"retry": key}` a step with two
/// attempts, `{"try": key}` a step whose failure is caught, and a text is a step.
const PROGRAM: Orchestrator<serde_json::Value, String> = Orchestrator::new("Program");

type Running<'a> = Pin<Box<dyn Future<Output = Result<String, Failure>> + 'a>>;

fn run<'a>(ctx: &'a OrchestrationContext, program: &'a serde_json::Value) -> Running<'a> {
    Box::pin(async move {
        if let Some(key) = program.as_str() {
            return Ok(ctx.call(STEP, key).await?);
        }
        if let Some(key) = program["retry"].as_str() {
            return Ok(ctx.call(STEP, key).retry(RetryPolicy::fixed(2, Duration::from_secs(3))).await?);
        }
        if let Some(key) = program["try"].as_str() {
            return Ok(ctx.call(STEP, key).await.map_or_else(|_| "caught".to_owned(), |_| "fine".to_owned()));
        }
        if let Some(child) = program.get("child") {
            return Ok(ctx.call(PROGRAM, child).await?);
        }
        if let Some(all) = program["all"].as_array() {
            let ended = join_all(all.iter().map(|one| run(ctx, one))).await;
            return Ok(ended.into_iter().collect::<Result<Vec<_>, _>>()?.join("|"));
        }
        let mut done = Vec::new();
        for one in program.as_array().unwrap() {
            done.push(run(ctx, one).await?);
        }
        Ok(format!("({})", done.join("+")))
    })
}

/// What it gives when nothing fails; what was caught may be either.
fn output(program: &serde_json::Value) -> String {
    let list = |all: &serde_json::Value| all.as_array().unwrap().iter().map(output).collect::<Vec<_>>();
    match program {
        serde_json::Value::String(key) => key.clone(),
        serde_json::Value::Array(_) => format!("({})", list(program).join("+")),
        _ if program.get("retry").is_some() => program["retry"].as_str().unwrap().to_owned(),
        _ if program.get("try").is_some() => "fine".to_owned(),
        _ if program.get("child").is_some() => output(&program["child"]),
        _ => list(&program["all"]).join("|"),
    }
}

/// Steps that run at once are whole: what failed beside one that goes on with other steps cannot be told from what was caught.
fn program(rng: &Rng, keys: &mut Vec<String>, depth: u32) -> serde_json::Value {
    let mut key = || {
        keys.push(format!("k{}", keys.len()));
        keys.last().unwrap().clone()
    };
    match if depth == 0 { rng.below(4) } else { rng.below(8) } {
        0 | 1 => serde_json::json!(key()),
        2 => serde_json::json!({ "retry": key() }),
        3 => serde_json::json!({ "try": key() }),
        4 => serde_json::json!({ "all": (0..1 + rng.below(4)).map(|_| key()).collect::<Vec<_>>() }),
        5 => {
            let children = (0..1 + rng.below(3)).map(|_| serde_json::json!({ "child": program(rng, keys, depth - 1) }));
            serde_json::json!({ "all": children.collect::<Vec<_>>() })
        }
        6 => serde_json::json!({ "child": program(rng, keys, depth - 1) }),
        _ => (0..1 + rng.below(4)).map(|_| program(rng, keys, depth - 1)).collect::<Vec<_>>().into(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_is_rewound_until_nothing_is_broken_ends_right_and_runs_no_completed_step_twice() {
    let mut rewinds = 0;
    for seed in 0..size::of(40, 800) {
        let rng = Rng::seeded(seed);
        let mut keys = Vec::new();
        let program = program(&rng, &mut keys, 3);
        let world = World::new().await;
        let completed = Shop::default();
        let steps = (world.shop.clone(), completed.clone());
        let worker = || {
            let (shop, completed) = steps.clone();
            Worker::builder(&world.hub)
                .max_poll_interval(Duration::from_secs(1))
                .activity(STEP, move |_: ActivityContext, key: String| {
                    std::future::ready(shop.run(key.clone()).inspect(|_| drop(completed.run(key))))
                })
                .orchestrator(PROGRAM, async |ctx: OrchestrationContext, program: serde_json::Value| run(&ctx, &program).await)
        };
        let running = super::Running::start(worker());
        world.client.start(PROGRAM, &program).instance_id("i").await.unwrap();
        for round in 0.. {
            let at = format!("seed {seed}, round {round}: {program}");
            let broken: Vec<_> = keys.iter().filter(|_| round < 6 && rng.below(3) == 0).map(String::as_str).collect();
            world.shop.breaks(&broken);
            if round > 0 {
                assert!(world.rewind("i").await > 0, "{at}");
                rewinds += 1;
            }
            let ended = world.client.wait("i", 60 * MINUTE).await.unwrap_or_else(|error| panic!("{at}: {error}"));
            if ended.status == RuntimeStatus::Completed {
                let (ended, expected) = (ended.output::<String>().unwrap(), output(&program));
                assert_eq!(ended.replace("caught", "fine"), expected, "{at}");
                break;
            }
            let told = ended.output.clone().unwrap_or_default();
            assert!(told.contains("Broken") || told.contains("broken"), "{at}: {told}");
        }
        tokio::time::sleep(MINUTE).await;
        running.stop().await;
        let twice: Vec<_> =
            completed.0.lock().unwrap().1.iter().filter(|(_, runs)| **runs > 1).map(|(key, _)| key.clone()).collect();
        assert!(twice.is_empty(), "seed {seed}: {twice:?} of {program}");
        world.nothing_is_left(&format!("seed {seed}")).await;
    }
    assert!(rewinds > size::of(20, 300), "only {rewinds} rewinds");
}
