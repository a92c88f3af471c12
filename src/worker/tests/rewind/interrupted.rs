//! A rewind that is cut off at every call, and one beside others who do something to the same instance at every call.

use futures::future::FutureExt as _;

use super::super::purge::Between;
use super::*;
use crate::size;
use crate::storage::layer::Layer;
use crate::storage::layer::faulty::{Faults, Faulty};

impl World {
    /// The same hub by calls that a layer sees.
    async fn through(&self, layer: impl Layer) -> TaskHub {
        open(self.memory.storage().layered(layer), &self.clock, 1, 8).await
    }

    /// Stops a rewind behind its `k`-th call. `false` if it did not make as many.
    pub(super) async fn is_cut_off(&self, k: u64) -> bool {
        let faulty = Faulty::new(Faults::default(), Rng::seeded(3));
        let client = Client::new(&self.through(faulty.clone()).await);
        let killed = faulty.dies_behind(k, |_| true);
        tokio::select! {
            biased;
            () = killed.notified() => true,
            rewound = async { client.instance("i").rewind("mended").await } => {
                assert!(rewound.is_ok(), "{rewound:?}");
                false
            }
        }
    }
}

/// What has failed, and what becomes of it.
const WAYS: [(&str, &[&str], &[&str], &str); 4] = [
    ("Grand", &["a", "b"], &["b", "p-own"], "own(a+b)"),
    ("Fan", &["a", "b", "c"], &["a", "c"], "a|b|c"),
    ("Retry", &["a"], &["a"], "a"),
    ("Parent", &["a"], &["a", "i-own"], "own(a)"),
];

async fn failed(way: usize) -> Dump {
    let (name, input, broken, _) = WAYS[way];
    let world = match name {
        "Retry" => World::failed(name, input[0], broken).await,
        _ => World::failed(name, input, broken).await,
    };
    world.memory.dump()
}

#[tokio::test(start_paused = true)]
async fn a_rewind_that_is_cut_off_at_any_call_goes_on_with_the_next_whether_or_not_a_worker_was_there_meanwhile() {
    for (way, (name, _, _, output)) in WAYS.iter().enumerate() {
        let dump = failed(way).await;
        for has_worked in [false, true] {
            for k in (1..).step_by(size::of(5, 1)) {
                let at = format!("{name}, cut off behind call {k}, worked meanwhile: {has_worked}");
                let world = World::like(&dump).await;
                let was_cut_off = world.is_cut_off(k).await;
                if has_worked {
                    world.work(MINUTE).await;
                }
                match world.client.instance("i").rewind("mended").await {
                    Ok(_) => {}
                    Err(error) => {
                        let has_gone_on = matches!(error.kind(), ErrorKind::Ended | ErrorKind::Open);
                        assert!(has_gone_on, "{at}: {error}");
                    }
                }
                world.work(5 * MINUTE).await;
                world.check(output, &at).await;
                let most = world.shop.0.lock().unwrap().1.values().copied().max();
                assert_eq!(most, Some(1), "{at}: {:?}", world.shop.0.lock().unwrap().1);
                if !was_cut_off {
                    assert!(k > 5, "only {k} calls");
                    break;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_restarts_or_purges_the_instance_at_any_call_of_a_rewind_gets_what_he_asked_for() {
    for way in [0, 1] {
        let dump = failed(way).await;
        for is_purged in [false, true] {
            for k in (1..).step_by(size::of(5, 1)) {
                let at = format!("{}, before call {k}, purged: {is_purged}", WAYS[way].0);
                let world = World::like(&dump).await;
                let client = world.client.clone();
                let between = Between::new(k, move || {
                    let client = client.clone();
                    async move {
                        // Once it is reopened it cannot be had any more.
                        let done = match is_purged {
                            true => client.instance("i").purge().await.map(drop),
                            false => client.instance("i").restart().await.map(drop),
                        };
                        assert!(done.is_ok() || done.unwrap_err().kind() == ErrorKind::Open);
                    }
                    .boxed()
                });
                let rewinding = Client::new(&world.through(between.clone()).await);
                between.count();
                let rewound = rewinding.instance("i").rewind("mended").await;
                let has_acted = between.has_acted();
                world.work(10 * MINUTE).await;
                match world.client.status("i").await.unwrap() {
                    None => assert!(is_purged, "{at}: {rewound:?}"),
                    Some(_) => world.check(WAYS[way].3, &at).await,
                }
                world.nothing_is_left(&at).await;
                if !has_acted {
                    assert!(k > 5, "only {k} calls");
                    break;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rewind_beside_a_worker_and_another_rewind_is_done_once() {
    for (way, (name, _, _, output)) in WAYS.iter().enumerate() {
        let world = World::like(&failed(way).await).await;
        let running = Running::start(worker(&world.hub, &world.shop));
        tokio::time::sleep(MINUTE).await;
        let rewind = || async { world.client.instance("i").rewind("mended").await };
        let (first, second) = tokio::join!(rewind(), rewind());
        assert!(first.is_ok() || second.is_ok(), "{name}: {first:?} {second:?}");
        tokio::time::sleep(10 * MINUTE).await;
        running.stop().await;
        world.check(output, name).await;
        let runs = world.shop.0.lock().unwrap().1.clone();
        assert!(runs.values().all(|runs| *runs == 1), "{name}: {runs:?}");
    }
}
