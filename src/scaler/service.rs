//! The four methods of KEDA's external scaler, and the one that tells Kubernetes whether it works.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::looks::Looks;
use super::protocol::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, HealthCheckRequest, HealthCheckResponse, IsActiveResponse,
    MetricSpec, MetricValue, ScaledObjectRef,
};
use super::rule::Capacity;
use crate::error::Error;

/// The one metric.
const METRIC: &str = "taskhub-work";
/// Between two looks for those who want to be told.
const LOOKS_APART: Duration = Duration::from_secs(10);
/// What the trigger of a scaled object may say, as for the scaler for .NET.
const HUB: &str = "taskHubName";
const ACTIVITIES: &str = "maxActivitiesPerWorker";
const ORCHESTRATIONS: &str = "maxOrchestrationsPerWorker";

/// `HealthCheckResponse.ServingStatus` of gRPC.
const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

/// One HTTP/2 service; its clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Service {
    looks: Looks,
    capacity: Capacity,
    /// Cancelled when the server ends, and streams with it.
    stopping: CancellationToken,
}

impl NamedService for Service {
    const NAME: &'static str = "externalscaler.ExternalScaler";
}

impl Service {
    pub(super) fn new(looks: Looks, capacity: Capacity, stopping: CancellationToken) -> Self {
        Self { looks, capacity, stopping }
    }

    /// What one worker takes on by the metadata of a trigger, which must be meant for this hub.
    fn capacity(&self, object: &ScaledObjectRef) -> Result<Capacity, Status> {
        let (served, metadata) = (self.looks.hub_name(), &object.scaler_metadata);
        if let Some(asked) = metadata.get(HUB).filter(|asked| !asked.eq_ignore_ascii_case(served)) {
            let words = format!("{HUB} is {asked:?}, but this scaler serves the task hub {served:?}");
            return Err(Status::invalid_argument(words));
        }
        let number =
            |name: &str, unless_set: u32| match metadata.get(name) {
                None => Ok(unless_set),
                Some(text) => text.trim().parse().ok().filter(|number| *number > 0).ok_or_else(|| {
                    Status::invalid_argument(format!("{name} is {text:?}; it must be a whole number of one or more"))
                }),
            };
        Ok(Capacity {
            activities: number(ACTIVITIES, self.capacity.activities)?,
            orchestrations: number(ORCHESTRATIONS, self.capacity.orchestrations)?,
        })
    }

    async fn is_active(&self, object: &ScaledObjectRef) -> Result<bool, Status> {
        self.capacity(object)?;
        Ok(!self.looks.look().await.map_err(|error| status(&error))?.is_empty())
    }

    fn specification(&self, object: &ScaledObjectRef) -> Result<MetricSpec, Status> {
        let target = self.capacity(object)?.activities;
        let (target_size, target_size_float) = (i64::from(target), f64::from(target));
        Ok(MetricSpec { metric_name: METRIC.to_owned(), target_size, target_size_float })
    }

    #[allow(clippy::cast_precision_loss, reason = "KEDA takes a float; queues are shorter than 2^53")]
    async fn value(&self, object: &ScaledObjectRef) -> Result<MetricValue, Status> {
        let capacity = self.capacity(object)?;
        let value = capacity.load(&self.looks.look().await.map_err(|error| status(&error))?);
        let metric_value = i64::try_from(value).unwrap_or(i64::MAX);
        Ok(MetricValue { metric_name: METRIC.to_owned(), metric_value, metric_value_float: value as f64 })
    }

    /// Whether there is anything to do, now and whenever that changes. A look that fails ends it; KEDA asks again.
    fn changes(self, object: ScaledObjectRef) -> BoxStream<'static, Result<IsActiveResponse, Status>> {
        let stopping = self.stopping.clone();
        let looked = futures::stream::unfold((self, object, true), |(service, object, is_first)| async move {
            if !is_first {
                tokio::time::sleep(LOOKS_APART).await;
            }
            let is_active = service.is_active(&object).await;
            Some((is_active, (service, object, false)))
        });
        let told = looked.scan((None, false), |(last, has_failed), is_active| {
            let next = match is_active {
                _ if *has_failed => None,
                Ok(is_active) if *last == Some(is_active) => Some(None),
                Ok(result) => {
                    *last = Some(result);
                    Some(Some(Ok(IsActiveResponse { result })))
                }
                Err(status) => {
                    *has_failed = true;
                    Some(Some(Err(status)))
                }
            };
            std::future::ready(next)
        });
        told.filter_map(std::future::ready).take_until(stopping.cancelled_owned()).boxed()
    }
}

fn status(error: &Error) -> Status {
    Status::unavailable(error.to_string())
}

/// The methods, each with its request and answer, for the codec.
#[derive(Debug)]
struct IsActive(Service);
#[derive(Debug)]
struct StreamIsActive(Service);
#[derive(Debug)]
struct GetMetricSpec(Service);
#[derive(Debug)]
struct GetMetrics(Service);
#[derive(Debug)]
struct Check(Service);

type Answer<T> = BoxFuture<'static, Result<Response<T>, Status>>;

impl UnaryService<ScaledObjectRef> for IsActive {
    type Response = IsActiveResponse;
    type Future = Answer<IsActiveResponse>;

    fn call(&mut self, request: Request<ScaledObjectRef>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            let result = service.is_active(request.get_ref()).await?;
            Ok(Response::new(IsActiveResponse { result }))
        })
    }
}

impl ServerStreamingService<ScaledObjectRef> for StreamIsActive {
    type Response = IsActiveResponse;
    type ResponseStream = BoxStream<'static, Result<IsActiveResponse, Status>>;
    type Future = Answer<Self::ResponseStream>;

    fn call(&mut self, request: Request<ScaledObjectRef>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(std::future::ready(Ok(Response::new(service.changes(request.into_inner())))))
    }
}

impl UnaryService<ScaledObjectRef> for GetMetricSpec {
    type Response = GetMetricSpecResponse;
    type Future = Answer<GetMetricSpecResponse>;

    fn call(&mut self, request: Request<ScaledObjectRef>) -> Self::Future {
        let answer = self.0.specification(request.get_ref());
        Box::pin(std::future::ready(answer.map(|spec| Response::new(GetMetricSpecResponse { metric_specs: vec![spec] }))))
    }
}

impl UnaryService<GetMetricsRequest> for GetMetrics {
    type Response = GetMetricsResponse;
    type Future = Answer<GetMetricsResponse>;

    fn call(&mut self, request: Request<GetMetricsRequest>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            let object = request.into_inner().scaled_object_ref.unwrap_or_default();
            let value = service.value(&object).await?;
            Ok(Response::new(GetMetricsResponse { metric_values: vec![value] }))
        })
    }
}

impl UnaryService<HealthCheckRequest> for Check {
    type Response = HealthCheckResponse;
    type Future = Answer<HealthCheckResponse>;

    fn call(&mut self, _: Request<HealthCheckRequest>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            let status = if service.looks.look().await.is_ok() { SERVING } else { NOT_SERVING };
            Ok(Response::new(HealthCheckResponse { status }))
        })
    }
}

impl tonic::codegen::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let method = request.uri().path().to_owned();
            Ok(match &*method {
                "/externalscaler.ExternalScaler/IsActive" => {
                    Grpc::new(ProstCodec::default()).unary(IsActive(service), request).await
                }
                "/externalscaler.ExternalScaler/StreamIsActive" => {
                    Grpc::new(ProstCodec::default()).server_streaming(StreamIsActive(service), request).await
                }
                "/externalscaler.ExternalScaler/GetMetricSpec" => {
                    Grpc::new(ProstCodec::default()).unary(GetMetricSpec(service), request).await
                }
                "/externalscaler.ExternalScaler/GetMetrics" => {
                    Grpc::new(ProstCodec::default()).unary(GetMetrics(service), request).await
                }
                "/grpc.health.v1.Health/Check" => Grpc::new(ProstCodec::default()).unary(Check(service), request).await,
                _ => Status::unimplemented("an external scaler of KEDA has no such method").into_http(),
            })
        })
    }
}
