//! The scaler as KEDA sees it, over a socket, and its rule.

use std::time::Duration;

use futures::StreamExt as _;
use proptest::prelude::*;
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::protocol::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, HealthCheckRequest, HealthCheckResponse, IsActiveResponse,
    ScaledObjectRef,
};
use super::{Capacity, Scaler};
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::layer::metered::Metered;
use crate::{Client, Clock, Orchestrator, QueueLengths, TaskHub, Timestamp};

const NOBODY: Orchestrator<(), ()> = Orchestrator::new("Nobody");

/// A hub of four partitions, how its calls are counted, and a scaler of it.
struct World {
    client: Client,
    storage: Storage,
    metered: Metered,
    keda: tonic::client::Grpc<Channel>,
    address: std::net::SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl World {
    async fn new() -> Self {
        let (clock, metered) = (Clock::paused(Timestamp::UNIX_EPOCH), Metered::default());
        let storage = Storage::memory(clock.clone(), Rng::seeded(1)).layered(metered.clone());
        let hub =
            TaskHub::builder(storage.clone(), "Orders").partitions(4).clock(clock).rng(Rng::seeded(2)).open().await.unwrap();
        let client = Client::new(&hub);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        #[allow(clippy::disallowed_methods, reason = "a server beside the test")]
        let served = tokio::spawn(Scaler::new(&client).serve(listener, async { drop(stopped.await) }));
        let keda = tonic::client::Grpc::new(Channel::from_shared(url).unwrap().connect().await.unwrap());
        Self { client, storage, metered, keda, address, stop, served }
    }

    async fn ask<Q, A>(&mut self, method: &'static str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.keda.ready().await.unwrap();
        let path = tonic::codegen::http::uri::PathAndQuery::from_static(method);
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        Ok(self.keda.unary(tonic::Request::new(request), path, codec).await?.into_inner())
    }

    async fn is_active(&mut self, object: ScaledObjectRef) -> Result<bool, Status> {
        let answer: IsActiveResponse = self.ask("/externalscaler.ExternalScaler/IsActive", object).await?;
        Ok(answer.result)
    }

    /// The target and the value, each as the two numbers that it is sent as.
    async fn metric(&mut self, object: ScaledObjectRef) -> [(i64, f64); 2] {
        let spec: GetMetricSpecResponse = self.ask("/externalscaler.ExternalScaler/GetMetricSpec", object.clone()).await.unwrap();
        let spec = &spec.metric_specs[0];
        let request = GetMetricsRequest { scaled_object_ref: Some(object), metric_name: spec.metric_name.clone() };
        let values: GetMetricsResponse = self.ask("/externalscaler.ExternalScaler/GetMetrics", request).await.unwrap();
        let value = &values.metric_values[0];
        assert_eq!(spec.metric_name, value.metric_name);
        [(spec.target_size, spec.target_size_float), (value.metric_value, value.metric_value_float)]
    }

    async fn listen(&mut self) -> tonic::Streaming<IsActiveResponse> {
        self.keda.ready().await.unwrap();
        let path = tonic::codegen::http::uri::PathAndQuery::from_static("/externalscaler.ExternalScaler/StreamIsActive");
        let codec: ProstCodec<ScaledObjectRef, IsActiveResponse> = ProstCodec::default();
        self.keda.server_streaming(tonic::Request::new(object(&[])), path, codec).await.unwrap().into_inner()
    }

    async fn start(&self, count: u32) {
        for _ in 0..count {
            self.client.start(NOBODY, ()).await.unwrap();
        }
    }
}

/// Lets so many seconds pass at once, for sockets too.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

fn object(metadata: &[(&str, &str)]) -> ScaledObjectRef {
    let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    ScaledObjectRef { name: "orders".to_owned(), namespace: "shop".to_owned(), scaler_metadata: metadata.collect() }
}

#[tokio::test]
async fn keda_learns_whether_and_how_much_there_is_to_do() {
    let mut world = World::new().await;
    assert!(!world.is_active(object(&[])).await.unwrap());
    pass(6).await;
    world.start(40).await;
    world.storage.queues.put("orders-workitems", "work", Duration::ZERO).await.unwrap();
    assert!(world.is_active(object(&[("taskHubName", "orders")])).await.unwrap());
    // Forty starts fill four partitions, each of which fills a worker.
    assert_eq!(world.metric(object(&[])).await, [(10, 10.0), (41, 41.0)]);
    let wide = object(&[("maxActivitiesPerWorker", "3"), ("maxOrchestrationsPerWorker", "100")]);
    assert_eq!(world.metric(wide).await, [(3, 3.0), (4, 4.0)]);
}

#[tokio::test]
async fn however_many_ask_at_once_each_queue_is_looked_at_once() {
    let mut world = World::new().await;
    let before = world.metered.snapshot();
    for _ in 0..5 {
        world.is_active(object(&[])).await.unwrap();
        world.metric(object(&[])).await;
    }
    assert_eq!(world.metered.since(&before).to_string(), "queue.count 5");
}

#[tokio::test]
async fn a_trigger_that_is_meant_for_another_hub_or_makes_no_sense_is_refused_by_name() {
    let mut world = World::new().await;
    for (name, value) in [
        ("taskHubName", "Payments"),
        ("maxActivitiesPerWorker", "0"),
        ("maxActivitiesPerWorker", "ten"),
        ("maxOrchestrationsPerWorker", "-1"),
        ("maxOrchestrationsPerWorker", "4294967296"),
    ] {
        let refused = world.is_active(object(&[(name, value)])).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(name) && refused.message().contains(value), "{refused:?}");
    }
    let unknown: Result<IsActiveResponse, _> = world.ask("/externalscaler.ExternalScaler/Close", object(&[])).await;
    assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn who_listens_is_told_at_once_of_every_change_and_of_what_ends_it() {
    let mut world = World::new().await;
    let mut told = world.listen().await.map(|answer| answer.map(|active| active.result).map_err(|status| status.code()));
    assert_eq!(told.next().await, Some(Ok(false)));
    world.start(1).await;
    pass(10).await;
    assert_eq!(told.next().await, Some(Ok(true)));
    TaskHub::open(world.storage.clone(), "Orders").await.unwrap().delete().await.unwrap();
    pass(10).await;
    assert_eq!((told.next().await, told.next().await), (Some(Err(Code::Unavailable)), None));
}

#[tokio::test]
async fn kubernetes_learns_whether_the_hub_can_be_read() {
    let mut world = World::new().await;
    let is_serving = async |world: &mut World| {
        let answer: HealthCheckResponse = world.ask("/grpc.health.v1.Health/Check", HealthCheckRequest {}).await.unwrap();
        answer.status
    };
    assert_eq!(is_serving(&mut world).await, 1);
    TaskHub::open(world.storage.clone(), "Orders").await.unwrap().delete().await.unwrap();
    pass(6).await;
    assert_eq!(is_serving(&mut world).await, 2);
}

#[tokio::test]
async fn a_scaler_that_is_told_to_stop_ends_streams_at_once_and_waits_for_nobody_who_says_nothing() {
    let mut world = World::new().await;
    let silent = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let mut told = world.listen().await;
    assert!(told.next().await.unwrap().is_ok());
    drop(world.stop);
    assert!(told.next().await.is_none());
    pass(5).await;
    tokio::time::timeout(Duration::from_secs(10), world.served).await.expect("it ends").unwrap().unwrap();
    drop(silent);
}

/// The fewest workers that a set of partitions can be given to: tries every choice.
fn fewest(loads: &[u64], room: u64) -> u64 {
    let all = (1_u32 << loads.len()) - 1;
    let fits = |set: u32| (0..loads.len()).filter(|at| set & 1 << at != 0).map(|at| loads[at].min(room)).sum::<u64>() <= room;
    let mut fewest = vec![0_u64; 1 << loads.len()];
    for set in 1..=all {
        let choices = (1..=set).filter(|part| part & !set == 0 && fits(*part));
        fewest[set as usize] = choices.map(|part| fewest[(set & !part) as usize] + 1).min().unwrap();
    }
    fewest[all as usize]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn workers_are_enough_for_every_partition_and_not_many_more_than_the_fewest(loads in prop::collection::vec(0_u64..9, 0..7), room in 1_u32..8) {
        let needed = Capacity::new(10, room).workers(&QueueLengths::new(loads.clone(), 0));
        let busy: Vec<_> = loads.into_iter().filter(|load| *load > 0).collect();
        let fewest = fewest(&busy, u64::from(room));
        // Filling one after the other is not always the best that can be.
        prop_assert!((fewest..=fewest + 1).contains(&needed) && needed <= busy.len() as u64, "{needed}, and {fewest} would do");
    }

    #[test]
    fn work_items_add_workers_and_nothing_overflows(loads in prop::collection::vec(any::<u64>(), 0..=16), items in any::<u64>(), activities in any::<u32>(), room in 1_u32..1000) {
        let (capacity, none) = (Capacity::new(activities, room), QueueLengths::new(loads.clone(), 0));
        let for_items = items.div_ceil(u64::from(activities.max(1)));
        let needed = capacity.workers(&QueueLengths::new(loads, items));
        prop_assert!(items > u64::from(u32::MAX) || needed == capacity.workers(&none) + for_items, "{needed}");
    }
}

/// Worked out by hand from the rule.
#[test]
fn workers_are_those_of_the_scaler_for_dotnet() {
    for (loads, room, workers) in [
        (&[0, 0, 0, 0][..], 5, 0),
        (&[1, 0, 0, 0], 5, 1),
        (&[1, 1, 1, 1], 5, 1),
        (&[2, 2, 3, 3], 5, 3),
        (&[3, 2, 2, 3], 5, 2),
        (&[9, 9, 9, 9], 5, 4),
        (&[5, 1, 4, 2], 5, 3),
        (&[1; 16], 5, 4),
        (&[100; 16], 1, 16),
    ] {
        let queues = QueueLengths::new(loads.to_vec(), 0);
        assert_eq!(Capacity::new(10, room).workers(&queues), workers, "{loads:?} in {room}");
    }
}
