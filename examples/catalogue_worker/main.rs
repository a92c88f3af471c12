//! A worker that hosts the catalogue of orchestrators by which .NET workers and this crate are compared on one hub.
#![allow(clippy::print_stderr, reason = "an example shows what happens")]

mod catalogue;
#[path = "../support/mod.rs"]
mod support;
mod versions;

use std::process::ExitCode;
use std::time::Duration;

use support::{Argument, Arguments, HUB, Outcome, STORAGE};
use taskhub::Worker;

const PARTITIONS: Argument = ("--partitions", "partitions of a hub that does not exist yet, 1 to 16; 4 unless set");
const WORKER_ID: Argument = ("--worker-id", "name under which partitions are owned; generated unless set");
const POLL_SECONDS: Argument = ("--poll-seconds", "longest wait between two looks at an idle queue; 30 unless set");
const BUILD: Argument = ("--build", "hosts an application that grows as its build 1, 2 or 3 does, and not the catalogue");
const LOCAL: Argument = ("--local", "runs short activities inside their turns");
const RUN_SECONDS: Argument = ("--run-seconds", "ends the worker after so long; without it: ctrl-c or SIGTERM");

#[tokio::main]
async fn main() -> ExitCode {
    support::log_to_stderr("info");
    match Arguments::with_switches(&[STORAGE, HUB, PARTITIONS, WORKER_ID, POLL_SECONDS, BUILD, RUN_SECONDS], &[LOCAL]) {
        Ok(arguments) => support::exit_code(run(&arguments).await),
        Err(code) => code,
    }
}

async fn run(arguments: &Arguments) -> Outcome {
    let seconds = arguments.number::<u64>(RUN_SECONDS)?;
    let (hub, is_shared) = support::open(arguments, "Catalogue", arguments.number(PARTITIONS)?).await?;
    if !is_shared {
        tracing::warn!("nobody can start anything in a hub that is in the memory of this process");
    }
    if arguments.has(LOCAL) {
        catalogue::run_local();
    }
    let mut worker = match arguments.number(BUILD)? {
        Some(build) => versions::register(Worker::builder(&hub), build),
        None => catalogue::register(Worker::builder(&hub)),
    };
    if let Some(id) = arguments.text(WORKER_ID) {
        worker = worker.worker_id(id);
    }
    if let Some(seconds) = arguments.number(POLL_SECONDS)? {
        worker = worker.max_poll_interval(Duration::from_secs(seconds));
    }
    let shutdown = async {
        let limit = async {
            match seconds {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = taskhub::shutdown_signal() => {}
            () = limit => {}
        }
    };
    Ok(worker.run(shutdown).await?)
}
