//! The recorded exchanges of the Durable Functions extension, asked again of this API.

mod compare;
mod deviations;
mod exchange;
mod setup;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Router;

use super::world::{Answer, PREFIX, World, ask, send};
use compare::differences;
use deviations::{DEVIATIONS, LEFT_OUT, NOT_ASKED};
use exchange::Exchange;
use setup::{Step, WORLDS, world_of};

/// Between a request that changes something and the next one: the recorder waited too.
const SETTLES: Duration = Duration::from_secs(3);

/// A hub of the recordings, and what of it has other names here.
struct Played {
    world: World,
    /// As in front of the Functions host.
    front: Router,
    /// As on the loopback listener of language SDKs.
    local: Router,
    /// As behind a proxy that is trusted.
    forwarded: Router,
    /// As an app without the app lease.
    without_lease: Router,
    done: BTreeSet<&'static str>,
}

/// Recorded ids and continuation tokens, and ours in their places.
type Renamed = BTreeMap<String, String>;

impl Played {
    async fn new(hub: &str, begins: &str) -> Self {
        let world = World::new(hub, begins).await;
        let api = || world.builder().without_keys();
        let front = api().prefixes([PREFIX]).app_name("golden").build().unwrap().router();
        let local = api().prefixes(["/durabletask"]).build().unwrap().router();
        let forwarded = api().prefixes([PREFIX]).trust_forwarded_headers().build().unwrap().router();
        let without_lease = api().prefixes([PREFIX]).build().unwrap().router();
        Self { front, local, forwarded, without_lease, done: BTreeSet::new(), world }
    }

    fn router(&self, exchange: &Exchange) -> &Router {
        match exchange.group() {
            "localrpc" => &self.local,
            "forwarded" => &self.forwarded,
            _ if exchange.name.contains("no_app_lease") => &self.without_lease,
            _ => &self.front,
        }
    }

    /// What has to be there before an exchange, once each.
    async fn prepare(&mut self, exchange: &Exchange, all: &[&Exchange], renamed: &mut Renamed) {
        for (before, steps) in setup::STEPS {
            if exchange.name.starts_with(before) && self.done.insert(before) {
                for step in *steps {
                    // What the file has itself is not asked twice.
                    let is_there = |request: &str| all.iter().any(|other| is_request(other, request));
                    let is_asked = match step {
                        Step::Ask(request, ..) => is_there(request),
                        Step::Tell(told) => is_there(&format!("POST ~/instances/{told}")),
                        _ => false,
                    };
                    if !is_asked {
                        self.step(step, renamed).await;
                    }
                }
            }
        }
    }

    async fn step(&self, step: &Step, renamed: &mut Renamed) {
        let world = &self.world;
        match step {
            Step::Run(name, id, input) => {
                let input = serde_json::value::RawValue::from_string((*input).to_owned()).unwrap();
                world.client.start_named(*name, input).instance_id(*id).await.unwrap();
            }
            Step::Version(name, id, version) => {
                world.client.start_named(*name, 1).instance_id(*id).version(*version).await.unwrap();
            }
            Step::Many(prefix, count) => {
                for number in 0..*count {
                    world.client.start_named("Echo", number).instance_id(format!("{prefix}{number:03}")).await.unwrap();
                }
            }
            Step::Entity(id) => world.put_entity(id),
            Step::Child(recorded, parent) => {
                let query = crate::InstanceQuery { parent: Some((*parent).to_owned()), ..crate::InstanceQuery::default() };
                let children = world.client.list(&query).await.unwrap().instances;
                let child = children.iter().find(|child| child.instance_id.contains(':')).unwrap();
                renamed.insert((*recorded).to_owned(), child.instance_id.replace(':', "%3A"));
            }
            Step::Settle => tokio::time::sleep(SETTLES).await,
            Step::Until(time) => {
                let time = crate::Timestamp::parse(time).unwrap();
                tokio::time::sleep(time.since(world.clock.now())).await;
            }
            Step::Wipe => self.wipe().await,
            Step::Ask(request, body, recorded) => self.ask(request, *body, recorded, renamed).await,
            Step::Tell(told) => self.ask(&format!("POST ~/instances/{told}"), None, "", renamed).await,
        }
    }

    async fn ask(&self, request: &str, body: Option<&str>, recorded: &str, renamed: &mut Renamed) {
        let url = renamed_in(&request.replace('~', PREFIX), renamed);
        let answer = ask(&self.front, &url, &[("content-type", "application/json")], body).await;
        assert!(answer.status.is_success(), "{url}: {answer:?}");
        rename(renamed, recorded, &answer);
        if !request.starts_with("GET") {
            tokio::time::sleep(SETTLES).await;
        }
    }

    /// Leaves nothing, as the recorded purges by filter did.
    async fn wipe(&self) {
        let open = self.world.client.list(&crate::InstanceQuery::default()).await.unwrap().instances;
        for instance in open.iter().filter(|i| !i.status.is_terminal() && !i.instance_id.starts_with('@')) {
            self.world.client.instance(&instance.instance_id).terminate("wiped").await.unwrap();
        }
        tokio::time::sleep(SETTLES).await;
        self.world.client.purge(crate::InstanceQuery::default()).await.unwrap();
        for instance in open.iter().filter(|i| i.instance_id.starts_with('@')) {
            self.world.remove_entity(&instance.instance_id).await;
        }
    }
}

fn is_request(exchange: &Exchange, request: &str) -> bool {
    let is_first_page = !exchange.request.headers.contains_key("x-ms-continuation-token");
    is_first_page && format!("{} {}", exchange.request.method, exchange.request.url) == request.replace('~', PREFIX)
}

/// Notes what an answer calls by another name than the recording.
fn rename(renamed: &mut Renamed, recorded: &str, answer: &Answer) {
    let id = serde_json::from_str::<serde_json::Value>(&answer.body).ok().and_then(|body| body["id"].as_str().map(str::to_owned));
    if let Some(ours) = answer.header("x-ms-continuation-token").map(str::to_owned).or(id)
        && !recorded.is_empty()
    {
        renamed.insert(recorded.to_owned(), ours);
    }
}

fn renamed_in(text: &str, renamed: &Renamed) -> String {
    renamed.iter().fold(text.to_owned(), |text, (recorded, ours)| text.replace(recorded.as_str(), ours))
}

fn is_of(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |head| name.starts_with(head))
}

/// Asks an exchange again, and tells what is otherwise.
async fn play(played: &Played, exchange: &Exchange, renamed: &mut Renamed) -> (Answer, Vec<String>) {
    let request = format!("{} {}", exchange.request.method, renamed_in(&exchange.request.url, renamed));
    let headers: Vec<_> = exchange.request.headers.iter().filter(|(name, _)| *name != "Transfer-Encoding").collect();
    let tokens: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), renamed.get(*value).unwrap_or(*value).clone())).collect();
    let headers: Vec<_> = tokens.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = match exchange.name.as_str() {
        // Shown as Latin-1, because it is no UTF-8.
        "start/invalid_utf8" => {
            let bytes: Vec<u8> =
                exchange.request.body.iter().flat_map(|body| body.chars()).filter_map(|c| u8::try_from(c).ok()).collect();
            let (method, path) = request.split_once(' ').unwrap();
            let request = axum::http::Request::builder().method(method).uri(path).header("host", "localhost");
            send(played.router(exchange), request.body(bytes.into()).unwrap()).await
        }
        _ => ask(played.router(exchange), &request, &headers, exchange.request.body.as_deref()).await,
    };
    if let Some(recorded) = exchange.generated() {
        rename(renamed, &recorded, &answer);
    }
    let found = differences(exchange, &answer);
    (answer, found)
}

/// Plays the exchanges with these hubs, each with a worker but one.
async fn replay(hubs: &[&str]) {
    let (exchanges, _) = exchange::all();
    let asked = |exchange: &&Exchange| {
        let is_left_out = LEFT_OUT.iter().any(|(group, _)| *group == exchange.group());
        !is_left_out && !NOT_ASKED.iter().any(|(not, _)| is_of(not, &exchange.name))
    };
    let exchanges: Vec<_> = exchanges.iter().filter(|exchange| setup::session_of(exchange) == hubs).filter(asked).collect();
    let mut worlds = Vec::new();
    for (hub, begins) in WORLDS.iter().filter(|(hub, _)| hubs.contains(hub)) {
        worlds.push((*hub, Played::new(hub, begins).await));
    }
    let with_worker = worlds.iter().filter(|(hub, _)| *hub != setup::WITHOUT_WORKER);
    let workers: Vec<_> = with_worker.map(|(_, played)| played.world.worker()).collect();
    let stop = tokio_util::sync::CancellationToken::new();
    let working = futures::future::join_all(workers.into_iter().map(|worker| worker.run(stop.clone().cancelled_owned())));
    let (mut problems, mut deviated) = (Vec::new(), BTreeSet::new());
    let playing = async {
        let mut renamed = Renamed::new();
        for exchange in &exchanges {
            let hub = world_of(exchange);
            let (_, played) =
                worlds.iter_mut().find(|(name, _)| *name == hub).unwrap_or_else(|| panic!("{}: {hub}", exchange.name));
            played.prepare(exchange, &exchanges, &mut renamed).await;
            let (answer, found) = play(played, exchange, &mut renamed).await;
            let listed = DEVIATIONS.iter().find(|(name, ..)| is_of(name, &exchange.name));
            match listed {
                None if !found.is_empty() => problems.push(format!("{}: {}", exchange.name, found.join("; "))),
                Some((_, status, _)) if !found.is_empty() && *status != answer.status.as_u16() => {
                    problems.push(format!(
                        "{}: deviates otherwise than listed, with {}: {}",
                        exchange.name, answer.status, answer.body
                    ));
                }
                Some((name, ..)) if !found.is_empty() => drop(deviated.insert(*name)),
                _ => {}
            }
            if exchange.request.method != "GET" {
                tokio::time::sleep(SETTLES).await;
            }
        }
        stop.cancel();
    };
    let (ran, ()) = tokio::join!(working, playing);
    ran.into_iter().for_each(|ran| ran.unwrap());
    let met = |name: &str| exchanges.iter().any(|exchange| is_of(name, &exchange.name));
    let listed = DEVIATIONS.iter().map(|(name, ..)| *name).filter(|name| met(name) && !deviated.contains(name));
    problems.extend(listed.map(|name| format!("{name}: is listed and does not deviate")));
    assert!(problems.is_empty(), "{} of {}:\n{}", problems.len(), exchanges.len(), problems.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn starts_statuses_and_control_come_out_as_recorded_but_for_the_deviations_that_are_listed() {
    replay(&["FxHttp"]).await;
}

#[tokio::test(start_paused = true)]
async fn lists_and_purges_come_out_as_recorded_but_for_the_deviations_that_are_listed() {
    replay(&["FxList", "FxPend"]).await;
}

#[tokio::test(start_paused = true)]
async fn time_zones_and_pages_come_out_as_recorded_but_for_the_deviations_that_are_listed() {
    replay(&["FxTz"]).await;
}

#[tokio::test(start_paused = true)]
async fn odd_ids_come_out_as_recorded_but_for_the_deviations_that_are_listed() {
    replay(&["FxIdr"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_newer_versions_do_comes_out_as_recorded_but_for_the_deviations_that_are_listed() {
    replay(&["Fx3190"]).await;
}

#[test]
fn every_deviation_is_of_an_exchange_that_there_is() {
    let (exchanges, is_ours) = exchange::all();
    assert!(!is_ours || exchanges.len() > 600, "{}", exchanges.len());
    let names = DEVIATIONS.iter().map(|(name, ..)| name).chain(NOT_ASKED.iter().map(|(name, _)| name));
    for name in names.filter(|_| is_ours) {
        assert!(exchanges.iter().any(|exchange| is_of(name, &exchange.name)), "{name}");
    }
}
