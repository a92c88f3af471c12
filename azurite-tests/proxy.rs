//! A proxy between workers and storage that refuses, slows and cuts: a seed and a number give each request of a service its fate.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long a slow request waits, in milliseconds.
const SLOW: std::ops::Range<u64> = 20..1500;
/// Longer than a worker waits for one answer.
const HANG: Duration = Duration::from_secs(12);
/// Azurite closes idle connections after about six seconds; a request on a dying one would be one more fault.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// What becomes of requests in general.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// All are forwarded.
    Clear,
    /// Some are spoiled.
    Stormy,
    /// None gets through.
    Outage,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    Forwarded,
    /// Answered by 503 without being forwarded.
    Refused,
    /// Forwarded after a while.
    Slow,
    /// The connection is closed without an answer; the request has no effect.
    CutBefore,
    /// The connection is closed without an answer; the request has had its effect.
    CutAfter,
    /// As the last, but long after everybody has stopped waiting.
    Hung,
}

/// A running proxy with a listener for each service. Dropping it closes all its connections.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Blob, queue and table service, without the account.
    pub(crate) endpoints: [String; 3],
    sky: Arc<Mutex<Sky>>,
    _serving: JoinSet<()>,
}

#[derive(Debug)]
struct Sky {
    weather: Weather,
    fates: BTreeMap<Fate, usize>,
}

/// The way to one service.
#[derive(Debug)]
struct Way {
    /// Host and port of the service.
    to: String,
    client: Client<HttpConnector, Full<Bytes>>,
    rng: Mutex<fastrand::Rng>,
    sky: Arc<Mutex<Sky>>,
}

impl Proxy {
    /// Listens before each of the services; clear until told otherwise.
    pub(crate) async fn start(services: &[String; 3], seed: u64) -> Self {
        let sky = Arc::new(Mutex::new(Sky { weather: Weather::Clear, fates: BTreeMap::new() }));
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .build::<_, Full<Bytes>>(connector);
        let mut serving = JoinSet::new();
        let mut endpoints = [const { String::new() }; 3];
        for ((number, service), endpoint) in (0_u64..).zip(services).zip(&mut endpoints) {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            *endpoint = format!("http://{}", listener.local_addr().expect("a bound address"));
            let way = Way {
                to: service.strip_prefix("http://").expect("Azurite speaks HTTP").to_owned(),
                client: client.clone(),
                rng: Mutex::new(fastrand::Rng::with_seed(seed.wrapping_mul(3).wrapping_add(number))),
                sky: Arc::clone(&sky),
            };
            serving.spawn(listen(listener, Arc::new(way)));
        }
        Self { endpoints, sky, _serving: serving }
    }

    pub(crate) fn set(&self, weather: Weather) {
        lock(&self.sky).weather = weather;
    }

    /// How many requests have met each fate.
    pub(crate) fn fates(&self) -> BTreeMap<Fate, usize> {
        lock(&self.sky).fates.clone()
    }
}

async fn listen(listener: TcpListener, way: Arc<Way>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, Arc::clone(&way)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection. It ends when its worker closes it, or with the first request that is cut.
async fn serve(stream: TcpStream, way: Arc<Way>) {
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let way = Arc::clone(&way);
        async move { way.answer(request).await }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

impl Way {
    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (fate, wait) = self.draw();
        // The whole request first: half of one is a fault that a service does not apply.
        let (mut head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        match fate {
            Fate::Refused => return Ok(refusal()),
            Fate::CutBefore => return Err(cut()),
            Fate::Slow => tokio::time::sleep(wait).await,
            Fate::Forwarded | Fate::CutAfter | Fate::Hung => {}
        }
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = Uri::builder().scheme("http").authority(&*self.to).path_and_query(path).build().map_err(io::Error::other)?;
        head.headers.remove(CONNECTION);
        head.headers.remove(TRANSFER_ENCODING);
        let answer = self.client.request(Request::from_parts(head, Full::new(body))).await.map_err(io::Error::other)?;
        let (mut head, body) = answer.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        head.headers.remove(CONNECTION);
        head.headers.remove(TRANSFER_ENCODING);
        match fate {
            Fate::CutAfter => Err(cut()),
            Fate::Hung => {
                tokio::time::sleep(HANG).await;
                Err(cut())
            }
            Fate::Forwarded | Fate::Refused | Fate::Slow | Fate::CutBefore => Ok(Response::from_parts(head, Full::new(body))),
        }
    }

    /// The fate of the next request, and its wait if it is slow. Drawn in any weather, so that a number keeps its draw.
    fn draw(&self) -> (Fate, Duration) {
        let (draw, wait) = {
            let mut rng = lock(&self.rng);
            (rng.u32(0..2000), Duration::from_millis(rng.u64(SLOW)))
        };
        let mut sky = lock(&self.sky);
        let fate = match (sky.weather, draw) {
            (Weather::Clear, _) => Fate::Forwarded,
            (Weather::Outage, 0..1000) => Fate::CutBefore,
            (Weather::Outage, _) => Fate::Refused,
            (Weather::Stormy, 0) => Fate::Hung,
            (Weather::Stormy, 1..30) => Fate::CutAfter,
            (Weather::Stormy, 30..40) => Fate::CutBefore,
            (Weather::Stormy, 40..80) => Fate::Refused,
            (Weather::Stormy, 80..140) => Fate::Slow,
            (Weather::Stormy, _) => Fate::Forwarded,
        };
        *sky.fates.entry(fate).or_default() += 1;
        (fate, wait)
    }
}

/// As a service answers that is too busy.
fn refusal() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert("x-ms-error-code", hyper::header::HeaderValue::from_static("ServerBusy"));
    response
}

/// A service that fails makes its connection close.
fn cut() -> io::Error {
    io::Error::other("cut")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
