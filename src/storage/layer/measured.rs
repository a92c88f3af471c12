//! Measures every request that reaches the account: how many of each kind, how long they take, how they fail, what they cost.

use tokio::time::Instant;

use super::billed::answered_kind;
use super::{Call, Layer, Reply};
use crate::metrics::{self, Counter, Gauge, Histogram, Sink};
use crate::storage::error::Result;
use crate::usage::CallKind;

/// Counts like [`Billed`](super::billed::Billed), but only what was waited for to its end.
pub(crate) struct Measured {
    sink: Sink,
    kinds: [Instruments; CallKind::ALL.len()],
}

/// Those of one kind of call.
struct Instruments {
    calls: Counter,
    duration: Histogram,
    cost: Gauge,
    price: f64,
}

impl Measured {
    pub(crate) fn new(sink: &Sink) -> Self {
        let prices = sink.metrics().map(|metrics| metrics.prices_of_calls().clone()).unwrap_or_default();
        let instruments = |kind: CallKind| {
            let labels = [("kind", kind.name())];
            Instruments {
                calls: sink.counter(&metrics::CALLS, &labels),
                duration: sink.histogram(&metrics::CALL_DURATION, &labels),
                cost: sink.gauge(&metrics::COST, &[("kind", kind.name()), ("currency", &prices.currency)]),
                price: prices.of(kind) / 10_000.0,
            }
        };
        Self { sink: sink.clone(), kinds: CallKind::ALL.map(instruments) }
    }
}

impl Layer for Measured {
    async fn run<T, F, Fut>(&self, call: &Call<'_>, attempt: F) -> Result<T>
    where
        T: Reply,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let begun = Instant::now();
        let reply = attempt().await;
        let kind = answered_kind(call, &reply);
        let Instruments { calls, duration, cost, price } = &self.kinds[kind as usize];
        calls.one_more();
        duration.record(begun.elapsed());
        cost.add(*price);
        if let Err(error) = &reply {
            let error = format!("{:?}", error.kind);
            self.sink.counter(&metrics::CALL_ERRORS, &[("kind", kind.name()), ("error", &error)]).one_more();
        }
        reply
    }
}
