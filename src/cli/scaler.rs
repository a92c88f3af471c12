//! `taskhub scaler`: an external scaler for KEDA as a process of its own.

use std::net::{IpAddr, SocketAddr};

use clap::Args;
use serde_json::json;
use taskhub::scaler::{Capacity, Scaler as KedaScaler};
use taskhub::shutdown_signal;

use super::Target;
use super::failure::{Failure, Kind, Outcome};
use super::output::Output;
use super::serve::bind;

/// Tells KEDA how many workers the hub needs, until it is told to stop.
#[derive(Args, Debug)]
pub(crate) struct Scaler {
    /// Address to listen on; KEDA asks from another pod, so it is 0.0.0.0 there. Whoever reaches it learns how long the queues are
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    address: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 50051, value_name = "PORT")]
    port: u16,
    /// Activities that one worker takes on, unless the scaled object says maxActivitiesPerWorker
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..), value_name = "COUNT")]
    max_activities: u32,
    /// Messages of orchestrations that one worker takes on, unless the scaled object says maxOrchestrationsPerWorker
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..), value_name = "COUNT")]
    max_orchestrations: u32,
}

impl Scaler {
    pub(super) async fn run(self, target: &Target, out: &Output) -> Outcome {
        // Before anybody can know that it is there, and stop it.
        let stop = shutdown_signal();
        let client = target.open(out).await?;
        let listener = bind(SocketAddr::new(self.address, self.port)).await?;
        let address = listener.local_addr()?;
        let hub = client.hub_name();
        out.print(|| json!({ "hub": hub, "address": address }), || format!("Serving KEDA for task hub {hub} on {address}"))?;
        let capacity = Capacity::new(self.max_activities, self.max_orchestrations);
        let served = KedaScaler::new(&client).capacity(capacity).serve(listener, stop).await;
        served.map_err(|error| Failure::new(Kind::Error, format!("KEDA is not served any more: {error}")))
    }
}
