//! The command line: arguments, exit codes, and which group of commands does what. It uses the public API alone, and one reader of texts.

mod awaited;
mod children;
mod control;
mod cost;
mod drain;
mod events;
mod failed;
mod failure;
mod history;
mod hub;
mod instances;
mod json;
mod log;
mod output;
mod poison;
mod profile;
mod progress;
mod purge;
mod scaler;
#[cfg(all(test, feature = "testing"))]
mod screens;
mod serve;
mod shell;
mod show;
mod text;
mod timeline;
mod transfer;
mod values;
mod waits;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use taskhub::metrics::Metrics;
use taskhub::{Client, Storage, TaskHub, TaskHubBuilder};

use failure::{Failure, Kind, Outcome};
use output::Output;
use profile::Profile;

/// Looks at and steers Durable Task hubs on Azure Storage.
#[derive(Debug, Parser)]
#[command(name = "taskhub", version, max_term_width = 110, after_help = exit_codes())]
struct Cli {
    #[command(flatten)]
    target: Target,
    /// One JSON document on standard output instead of text, and one on standard error for an error
    #[arg(long, global = true, display_order = 100)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// How clap refuses who gives no command: by the help itself, or, where variables stand for arguments, by an error.
const NO_COMMAND: [clap::error::ErrorKind; 2] =
    [clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, clap::error::ErrorKind::MissingSubcommand];

/// What scripts need to know.
fn exit_codes() -> String {
    let row = |(kind, name, meaning): (Kind, &str, &str)| format!("\n  {:>2}  {name:<12} {meaning}", kind as u8);
    let rows: String = Kind::ALL.into_iter().map(row).collect();
    format!(
        "Exit codes, and with --json the kinds of errors:\n   0               done{rows}\n\n\
         RUST_LOG sets the log on standard error, such as RUST_LOG=taskhub=debug."
    )
}

#[derive(Args, Debug)]
struct Target {
    /// Connection string of the storage account [env: AzureWebJobsStorage, AZURE_STORAGE_CONNECTION_STRING]
    ///
    /// Other users of this machine can see the arguments of a command: prefer
    /// an environment variable. UseDevelopmentStorage=true is a local Azurite.
    #[arg(long, global = true, verbatim_doc_comment, value_name = "CONNECTION", help_heading = "Task hub")]
    storage: Option<String>,
    /// Name of the task hub
    #[arg(long, global = true, env = "TASKHUB_NAME", value_name = "HUB", help_heading = "Task hub")]
    hub: Option<String>,
    /// Account and hub of the file of profiles, where --storage and --hub do not say otherwise
    ///
    /// The file is ~/.config/taskhub/profiles.json, or that of the variable TASKHUB_PROFILES:
    /// {"default": "dev", "profiles": {"dev": {"storage": "UseDevelopmentStorage=true", "hub": "Shop"},
    /// "prod": {"storageVariable": "PROD_STORAGE", "hub": "Shop"}}}
    #[arg(long, global = true, env = "TASKHUB_PROFILE", verbatim_doc_comment, value_name = "PROFILE", help_heading = "Task hub")]
    profile: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The hub as a whole
    #[command(subcommand)]
    Hub(hub::Command),
    /// Lists instances
    List(instances::List),
    /// Shows one instance
    Show(show::One),
    /// Shows what happened in one instance, event by event
    History(history::History),
    /// Messages that workers have parked because they cannot be read or keep failing
    #[command(subcommand)]
    Poison(poison::Command),
    /// Starts an orchestration
    Start(control::Start),
    /// Starts again what an instance ran, with the same input
    Restart(control::Restart),
    /// Lets an instance that has failed go on from where it failed: what failed runs again, what has completed does not
    Rewind(control::Rewind),
    /// Raises an event to an instance
    Raise(control::Raise),
    /// Ends an instance; its sub-orchestrations go on, unless --recursive is given
    Terminate(control::Terminate),
    /// Pauses an instance
    Suspend(control::WithReason),
    /// Lets a suspended instance go on
    Resume(control::WithReason),
    /// Deletes instances that have ended, with their histories and payloads, for good
    Purge(purge::Purge),
    /// Shows the storage calls of the workers, by what they were made for, and their price
    Cost(cost::Cost),
    /// Lets no new instance of an orchestrator begin, and waits until the last one has ended
    Drain(drain::Command),
    /// Writes instances with their histories and payloads to standard output, one to a line of JSON
    Export(transfer::Export),
    /// Writes instances that were exported, and have ended, into the hub
    Import(transfer::Import),
    /// Shows what changes in the hub, or in one instance, as it happens
    Watch(watch::Watch),
    /// Prints the completions of a shell
    Completions(shell::Completions),
    /// Prints the man page: taskhub man | man -l -
    Man,
    /// Waits until an instance has ended; fails unless it completed
    Wait(control::Wait),
    /// Serves the HTTP API of the hub, which clients of Azure Durable Functions know, and a dashboard for browsers
    Serve(serve::Serve),
    /// Tells KEDA how many workers the hub needs, as an external scaler
    Scaler(scaler::Scaler),
}

/// Runs the command that the arguments name.
pub(crate) async fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refused) if refused.use_stderr() && (asks_for_json() || !NO_COMMAND.contains(&refused.kind())) => {
            return Failure::from(refused).report(asks_for_json());
        }
        Err(refused) if refused.use_stderr() => return help_instead(),
        // `--help` and `--version`, whose code is 0. If nobody reads, there is nothing to tell.
        Err(refused) => {
            let _ = refused.print();
            return ExitCode::from(u8::try_from(refused.exit_code()).unwrap_or(2));
        }
    };
    let as_json = cli.json;
    log::to_stderr(as_json);
    match cli.run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(as_json),
    }
}

/// The help for who gave no command, or no command of a group, beside the result that there is none of.
#[allow(clippy::print_stderr, reason = "the command speaks")]
fn help_instead() -> ExitCode {
    let arguments = std::env::args_os().chain(["-h".into()]);
    if let Err(help) = Cli::try_parse_from(arguments) {
        eprint!("{}", help.render());
    }
    ExitCode::from(Kind::Invalid as u8)
}

/// Whether JSON is asked for by arguments that make no sense otherwise.
fn asks_for_json() -> bool {
    std::env::args_os().any(|argument| argument == "--json")
}

impl Cli {
    async fn run(self) -> Outcome {
        let out = Output::new(self.json);
        match self.command {
            Command::Completions(completions) => completions.run(Self::command()),
            Command::Man => shell::man(Self::command()),
            Command::Hub(command) => command.run(&self.target, &out).await,
            Command::Serve(serve) => serve.run(&self.target, &out).await,
            Command::Scaler(scaler) => scaler.run(&self.target, &out).await,
            command => command.run(&self.target.open(&out).await?, &out).await,
        }
    }
}

impl Command {
    /// Does what is done in a hub.
    async fn run(self, client: &Client, out: &Output) -> Outcome {
        match self {
            Self::Completions(_) | Self::Man | Self::Hub(_) | Self::Serve(_) | Self::Scaler(_) => {
                unreachable!("they open what they need")
            }
            Self::List(list) => list.run(client, out).await,
            Self::Show(one) => one.show(client, out).await,
            Self::History(history) => history.run(client, out).await,
            Self::Poison(command) => command.run(client, out).await,
            Self::Start(start) => start.run(client, out).await,
            Self::Restart(restart) => restart.run(client, out).await,
            Self::Rewind(rewind) => rewind.run(client, out).await,
            Self::Raise(raise) => raise.run(client, out).await,
            Self::Terminate(terminate) => terminate.run(client, out).await,
            Self::Suspend(it) => it.run(control::Change::Suspend, client, out).await,
            Self::Resume(it) => it.run(control::Change::Resume, client, out).await,
            Self::Purge(purge) => purge.run(client, out).await,
            Self::Cost(cost) => cost.run(client, out).await,
            Self::Drain(drain) => drain.run(client, out).await,
            Self::Export(export) => export.run(client, out).await,
            Self::Import(import) => import.run(client, out).await,
            Self::Watch(watch) => watch.run(client, out).await,
            Self::Wait(wait) => wait.run(client, out).await,
        }
    }
}

/// Opens a hub; never creates one.
async fn open(hub: TaskHubBuilder, out: &Output) -> Result<Client, Failure> {
    let hub = patiently(hub.must_exist().open(), out).await?;
    if hub.is_run_with_blob_leases() {
        out.warn("the .NET workers of this hub manage its partitions by leases of blobs; a worker of taskhub would be refused");
    }
    Ok(Client::new(&hub))
}

impl Target {
    /// Opens the hub.
    async fn open(&self, out: &Output) -> Result<Client, Failure> {
        open(self.hub()?, out).await
    }

    /// Opens the hub, and measures what is done in it.
    async fn open_measured(&self, metrics: &Metrics, out: &Output) -> Result<Client, Failure> {
        open(self.hub()?.metrics(metrics), out).await
    }

    fn hub(&self) -> Result<TaskHubBuilder, Failure> {
        let profile = self.profile()?;
        Ok(TaskHub::builder(self.account(&profile)?, self.hub_name(&profile)?))
    }

    fn profile(&self) -> Result<Profile, Failure> {
        Profile::load(self.profile.as_deref().filter(|name| !name.trim().is_empty()))
    }

    /// A profile that is named goes before the variables, and the default one behind them.
    fn account(&self, profile: &Profile) -> Result<Storage, Failure> {
        let named = profile.storage.clone().filter(|_| self.profile.is_some());
        let connection = given(self.storage.clone())
            .or(named)
            .or_else(|| given(std::env::var("AzureWebJobsStorage").ok()))
            .or_else(|| given(std::env::var("AZURE_STORAGE_CONNECTION_STRING").ok()))
            .or_else(|| profile.storage.clone())
            .ok_or_else(|| {
                Failure::new(
                    Kind::Invalid,
                    "no storage account: set AzureWebJobsStorage or AZURE_STORAGE_CONNECTION_STRING to its connection string, or \
                     pass --storage (UseDevelopmentStorage=true is a local Azurite)",
                )
            })?;
        Storage::connect(&connection).map_err(|error| Failure::new(Kind::Invalid, error.to_string()))
    }

    fn hub_name(&self, profile: &Profile) -> Result<String, Failure> {
        let name = given(self.hub.clone()).or_else(|| profile.hub.clone());
        name.ok_or_else(|| Failure::new(Kind::Invalid, "no task hub: pass --hub HUB, or set TASKHUB_NAME"))
    }
}

/// How long nothing is said of an account that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for the first answers of an account, and says so if that takes longer: calls are tried again for up to a minute.
async fn patiently<T>(work: impl Future<Output = T>, out: &Output) -> T {
    let mut work = std::pin::pin!(work);
    match tokio::time::timeout(PATIENCE, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            out.say("the storage account has not answered yet; it is asked again for up to a minute");
            work.await
        }
    }
}

/// An empty variable is one that is not set.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    #[cfg(feature = "testing")]
    async fn of_an_account_that_does_not_answer_people_are_told() {
        for (seconds, as_json, said) in [(9, false, ""), (11, false, "the storage account has not answered yet"), (11, true, "")]
        {
            let (out, screen) = Output::to_screen(as_json);
            patiently(tokio::time::sleep(Duration::from_secs(seconds)), &out).await;
            let screen = screen.lock().unwrap();
            assert!(if said.is_empty() { screen.is_empty() } else { screen.starts_with(said) }, "{screen}");
        }
    }

    #[test]
    fn the_arguments_are_consistent_and_help_holds_no_value_of_the_environment() {
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("AzureWebJobsStorage") && help.contains("TASKHUB_NAME"), "{help}");
        assert!(help.contains("\n   3  notFound     no such hub, instance or message\n"), "{help}");
    }
}
