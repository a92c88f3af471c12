//! What every example needs beside its pattern: arguments, the storage that they name, a worker for as long as it runs.
#![allow(dead_code, reason = "each example uses its part")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what happens")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use taskhub::{Client, Storage, TaskHub, TaskHubBuilder, Worker, WorkerBuilder};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

/// Any error of an example: it is printed, and the exit code tells.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// An argument that takes a value: its name, and what the value is.
pub(crate) type Argument = (&'static str, &'static str);

/// Where to run; every example takes these two.
pub(crate) const STORAGE: Argument = (
    "--storage",
    "connection string; UseDevelopmentStorage=true is Azurite. Without it: that of the variable AzureWebJobsStorage or \
      AZURE_STORAGE_CONNECTION_STRING, else in memory",
);
pub(crate) const HUB: Argument = ("--hub", "name of the task hub, letters and digits");

/// Arguments by name.
#[derive(Debug)]
pub(crate) struct Arguments(BTreeMap<&'static str, String>);

impl Arguments {
    /// Reads the command line. `--help`, and what is not known, end the program with the list of what is.
    pub(crate) fn from_command_line(known: &[Argument]) -> Result<Self, ExitCode> {
        Self::with_switches(known, &[])
    }

    /// The same, with arguments that take no value.
    pub(crate) fn with_switches(known: &[Argument], switches: &[Argument]) -> Result<Self, ExitCode> {
        let mut words = std::env::args();
        let program = words.next().unwrap_or_default();
        Self::parse(known, switches, words).map_err(|problem| {
            let values = known.iter().map(|(name, meaning)| format!("\n  {name} <value>\n      {meaning}"));
            let switches = switches.iter().map(|(name, meaning)| format!("\n  {name}\n      {meaning}"));
            let list: String = values.chain(switches).collect();
            match problem {
                Some(problem) => {
                    eprintln!("{problem}\n\nusage: {program}{list}");
                    ExitCode::from(2)
                }
                None => {
                    println!("usage: {program}{list}");
                    ExitCode::SUCCESS
                }
            }
        })
    }

    /// `Err(None)` is a request for help.
    fn parse(known: &[Argument], switches: &[Argument], mut words: impl Iterator<Item = String>) -> Result<Self, Option<String>> {
        let mut values = BTreeMap::new();
        while let Some(word) = words.next() {
            if matches!(word.as_str(), "--help" | "-h") {
                return Err(None);
            }
            if let Some((name, _)) = switches.iter().find(|(name, _)| *name == word) {
                values.insert(*name, String::new());
                continue;
            }
            let (name, attached) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let Some((name, _)) = known.iter().find(|(known, _)| *known == name) else {
                return Err(Some(format!("unknown argument \"{name}\"")));
            };
            let value = attached.or_else(|| words.next()).filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| format!("{name} needs a value"))?;
            values.insert(*name, value);
        }
        Ok(Self(values))
    }

    /// Whether an argument was given.
    pub(crate) fn has(&self, (name, _): Argument) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn text(&self, (name, _): Argument) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A number; one that cannot be read is an error that names the argument.
    pub(crate) fn number<T: std::str::FromStr>(&self, (name, _): Argument) -> Outcome<Option<T>> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        let number = text.parse().map_err(|_| format!("{name} {text} is not a number that fits"))?;
        Ok(Some(number))
    }
}

/// Writes the log of the worker to standard error; the variable RUST_LOG says what of it, such as RUST_LOG=info.
pub(crate) fn log_to_stderr(usual: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal).init();
}

/// The variables that name an account where no argument does, as for the `taskhub` command.
const VARIABLES: [&str; 2] = ["AzureWebJobsStorage", "AZURE_STORAGE_CONNECTION_STRING"];

/// Whose connection string it is, and the string.
fn connection_string(arguments: &Arguments) -> Option<(&'static str, String)> {
    let given = || Some((STORAGE.0, arguments.text(STORAGE)?.to_owned()));
    let of_variable = |name: &'static str| Some((name, std::env::var(name).ok().filter(|text| !text.is_empty())?));
    given().or_else(|| VARIABLES.into_iter().find_map(of_variable))
}

/// Opens the hub that the arguments name, or one of this name, and says where it is. Also whether other processes can share it.
pub(crate) async fn open(arguments: &Arguments, name: &str, partitions: Option<u32>) -> Outcome<(TaskHub, bool)> {
    open_with(arguments, name, |builder| match partitions {
        Some(count) => builder.partitions(count),
        None => builder,
    })
    .await
}

/// The same, for a hub that is opened with more than its name.
pub(crate) async fn open_with(
    arguments: &Arguments,
    name: &str,
    configure: impl FnOnce(TaskHubBuilder) -> TaskHubBuilder,
) -> Outcome<(TaskHub, bool)> {
    let connection_string = connection_string(arguments);
    let storage = match &connection_string {
        Some((_, text)) => Storage::connect(text)?,
        None => Storage::in_memory(),
    };
    let name = arguments.text(HUB).unwrap_or(name);
    let hub = configure(TaskHub::builder(storage, name))
        .open()
        .await
        .map_err(|error| format!("the task hub \"{name}\" cannot be opened: {error}"))?;
    match &connection_string {
        Some((source, _)) => println!("Task hub \"{name}\" on the storage account of {source}.\n"),
        None => println!(
            "Task hub \"{name}\" in the memory of this process. To keep one, name a storage account by {} or {}.\n",
            STORAGE.0, VARIABLES[0]
        ),
    }
    Ok((hub, connection_string.is_some()))
}

/// Runs one pattern: a worker with what `register` registers, and `body` as its client. The exit code says whether it went well.
pub(crate) async fn run(
    hub: &str,
    register: impl FnOnce(WorkerBuilder) -> WorkerBuilder,
    body: impl AsyncFnOnce(Client) -> Outcome,
) -> ExitCode {
    log_to_stderr("error");
    let arguments = match Arguments::from_command_line(&[STORAGE, HUB]) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    exit_code(run_with(&arguments, hub, register, body).await)
}

async fn run_with(
    arguments: &Arguments,
    hub: &str,
    register: impl FnOnce(WorkerBuilder) -> WorkerBuilder,
    body: impl AsyncFnOnce(Client) -> Outcome,
) -> Outcome {
    let (hub, _) = open(arguments, hub, None).await?;
    // Nobody pays for the polls of an example, and it should answer at once.
    let worker = register(Worker::builder(&hub)).max_poll_interval(Duration::from_millis(500)).build()?;
    beside_worker(worker, body(Client::new(&hub))).await
}

/// Runs `body` while the worker works, and then stops the worker.
pub(crate) async fn beside_worker(worker: Worker, body: impl Future<Output = Outcome>) -> Outcome {
    let (done, until_done) = oneshot::channel::<()>();
    let working = worker.run(async { drop(until_done.await) });
    tokio::pin!(working);
    let outcome = tokio::select! {
        biased;
        ended = &mut working => {
            ended?;
            return Err("the worker ended before its work".into());
        }
        outcome = body => outcome,
    };
    drop(done);
    working.await?;
    outcome
}

/// Prints an error: one sentence, with the remedy where there is one.
pub(crate) fn exit_code(outcome: Outcome) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// An outcome that is wrong is an error.
#[allow(clippy::needless_pass_by_value, reason = "values read best at the call")]
pub(crate) fn expect<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Outcome {
    if found == expected { Ok(()) } else { Err(format!("found {found:?}, expected {expected:?}").into()) }
}
