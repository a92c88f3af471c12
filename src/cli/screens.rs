//! What the command shows, screen by screen, over a hub in a fixed state on virtual time. `TASKHUB_SCREENS=write` renews `screens.txt`: look at the difference.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Parser as _;
use taskhub::testing::TestHost;
use taskhub::{
    Activity, ActivityContext, Client, Event, Failure as Failed, OrchestrationContext, Orchestrator, RetryPolicy, Storage,
    WorkerBuilder,
};

use super::failure::{Failure, Outcome};
use super::output::Output;
use super::{Cli, Command, hub};

const SHIP: Orchestrator<u32, String> = Orchestrator::new("Ship");
const FULFIL: Orchestrator<u32, String> = Orchestrator::new("Fulfil");
const CHARGE: Activity<u32, String> = Activity::new("Charge");
const SLOW: Activity<u32, u32> = Activity::new("Slow");
const GO: Event<String> = Event::new("go");

/// What is typed first.
const STARTS: [&str; 9] = [
    "start Fulfil 700 --id order-7 --tag shop=north",
    "start Fulfil 0 --id order-8",
    "start Echo \"hello\" --id echo --version 2.0",
    "start Ship 1 --id parcel",
    "start Waits 1 --id waits",
    "start Fulfil 5 --id later --after 2d",
    "start Fulfil 5 --id past --at 2029-12-31",
    "start Fulfil 5 --id order-9 --at 2h",
    "start Fulfil 5 --id order-7",
];
/// What is typed a minute later.
const LOOKS: [&str; 31] = [
    "list",
    "list --tree --prefix order",
    "list --status failed",
    "show order-7",
    "show order-8",
    "show order-8 --full",
    "show parcel",
    "show waits",
    "show later",
    "show long",
    "show order-7 --json",
    "show order-8 --json",
    "show nobody",
    "history order-8",
    "history order-8 --timeline",
    "history order-7 --inputs",
    "history later",
    "raise order-7-parcel go \"ship\"",
    "raise nobody go",
    "suspend parcel --reason lunch",
    "resume waits --reason never_mind",
    "wait order-8",
    "wait order-8 --custom-status paid",
    "wait order-7 --custom-status paid --timeout 5s",
    "wait order-7 --custom-status shipping",
    "rewind order-8 --reason the_bank_is_back",
    "rewind echo",
    "restart order-8",
    "restart waits --new-id order-7",
    "terminate waits --reason enough",
    "terminate order-7 --recursive --reason cancelled",
];
/// What is typed another minute later.
const AFTERWARDS: [&str; 39] = [
    "show parcel",
    "show waits",
    "show order-7",
    "history order-8",
    "history order-8 --timeline",
    "watch long",
    "watch order-7-parcel --json",
    "watch nobody",
    "list --newest --top 3",
    "hub status",
    "drain Fulfil --no-wait",
    "drain",
    "drain Fulfil --lift",
    "drain Fulfil --lift",
    "poison list",
    "poison drop nothing --yes",
    "cost",
    "export order-7 --json",
    "export nobody",
    "import archive",
    "import archive --skip-existing",
    "purge order-7 --yes",
    "import archive",
    "import archive --skip-existing --skip-invalid",
    "import nothing",
    "serve --port 0",
    "serve --address 0.0.0.0",
    "hub list",
    "hub create --partitions 8 --hub Shop",
    "hub list",
    "hub delete --hub Shop",
    "hub delete --hub Shop --yes",
    "hub delete --hub Shop --yes",
    "purge --all --recursive --yes",
    "purge parcel --yes",
    "purge --all",
    "watch --for 3s",
    "list",
    "frobnicate",
];

async fn fulfil(ctx: OrchestrationContext, cents: u32) -> Result<String, Failed> {
    ctx.set_custom_status(&"charging");
    let receipt = ctx.call(CHARGE, cents).retry(RetryPolicy::fixed(2, Duration::from_secs(5))).await?;
    ctx.set_custom_status(&"shipping");
    let first = ctx.call(SHIP, cents).instance_id(format!("{}-parcel", ctx.instance_id()));
    let second = ctx.call(SHIP, cents + 1);
    Ok(format!("{receipt}: {}, {}", first.await?, second.await?))
}

async fn charge(ctx: ActivityContext, cents: u32) -> Result<String, Failed> {
    tokio::time::sleep(Duration::from_secs(2)).await;
    if cents == 0 && !ctx.instance_id().ends_with("mended") {
        return Err(Failed::new("Declined", "the bank says no").caused_by(Failed::new("Timeout", "no answer\nfrom the bank")));
    }
    Ok(format!("paid {cents}"))
}

fn register(worker: WorkerBuilder) -> WorkerBuilder {
    worker
        .worker_id("worker-1")
        .orchestrator(FULFIL, fulfil)
        .orchestrator(SHIP, async |ctx: OrchestrationContext, n: u32| Ok(format!("{n} by {}", ctx.wait_for_event(GO).await)))
        .orchestrator(Orchestrator::<String, String>::new("Echo"), async |_, text: String| Ok(text))
        .orchestrator(Orchestrator::<u32, u32>::new("Waits"), async |ctx: OrchestrationContext, n: u32| {
            let (call, timer) = (ctx.call(SLOW, n), ctx.timer(Duration::from_secs(3600)));
            timer.await;
            Ok(call.await?)
        })
        .activity(CHARGE, charge)
        .activity(SLOW, async |_: ActivityContext, n: u32| {
            std::future::pending::<()>().await;
            Ok(n)
        })
}

/// Characters of an exported instance that are shown.
const SCREEN_EXPORTED: usize = 100;

/// A shell in which the command is typed.
struct Shell<'a> {
    client: &'a Client,
    /// Where other hubs can be made.
    account: Storage,
    /// Where `archive` is, which is shown without it.
    folder: String,
    screens: String,
}

impl Shell<'_> {
    async fn type_all(&mut self, lines: &[&str]) {
        for line in lines {
            self.types(line).await;
        }
    }

    /// Types a command, and keeps what it shows.
    async fn types(&mut self, line: &str) {
        let words = line.split(' ').map(|word| match word {
            "archive" | "nothing" => format!("{}{word}", self.folder),
            _ => word.replace('_', " "),
        });
        let _ = writeln!(self.screens, "$ taskhub {}", line.replace('_', " "));
        let (out, screen) = Output::to_screen(line.ends_with("--json"));
        let ended = match Cli::try_parse_from(std::iter::once("taskhub".to_owned()).chain(words)) {
            Err(refused) => Err(Failure::from(refused)),
            Ok(cli) => self.run(cli, &out).await,
        };
        let mut shown = screen.lock().expect("nobody panics").clone();
        if line.starts_with("export") && ended.is_ok() {
            self.keep(&shown);
            shown = format!("{}…\n", shown.chars().take(SCREEN_EXPORTED).collect::<String>());
        }
        if let Err(Failure::Told(kind, words, _)) = ended {
            let _ = writeln!(shown, "error: {words}\n(exit code {})", kind as u8);
        }
        // Where the archive is, and which port was free, differs from run to run.
        let shown = shown.replace(&self.folder, "");
        let (before, port) = shown.split_once("http://127.0.0.1:").unwrap_or((&shown, ""));
        let port = if port.is_empty() { "" } else { "http://127.0.0.1:50123/\n" };
        let _ = writeln!(self.screens, "{before}{port}");
    }

    async fn run(&self, cli: Cli, out: &Output) -> Outcome {
        match cli.command {
            Command::Hub(hub::Command::Status) => hub::status(self.client, out).await,
            Command::Hub(command) => {
                command.in_account(self.account.clone(), || Ok(cli.target.hub.unwrap_or_default()), out).await
            }
            Command::Serve(serve) => serve.listen(self.client, None, out).await.map(drop),
            command => command.run(self.client, out).await,
        }
    }

    /// The archive: what was exported, the beginning of a line that was cut off, and nothing.
    fn keep(&self, exported: &str) {
        let half: String = exported.chars().take(300).collect();
        std::fs::write(format!("{}archive", self.folder), format!("\u{feff}{exported}\n{half}\n")).expect("a file");
    }
}

#[tokio::test]
async fn every_screen_is_as_it_was_looked_at() {
    let host = TestHost::builder(register).start().await;
    let client = host.client();
    let folder = std::env::temp_dir().join(format!("taskhub-screens-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let folder = format!("{}/", folder.display());
    let mut shell = Shell { client, account: Storage::in_memory(), folder, screens: String::new() };
    let pass = |seconds| host.pass_time(Duration::from_secs(seconds));

    shell.types("list").await;
    shell.types("hub status").await;
    shell.type_all(&STARTS).await;
    let long = serde_json::to_string(&"x".repeat(5000)).expect("a text");
    client
        .start_named("Echo", serde_json::value::RawValue::from_string(long).expect("JSON"))
        .instance_id("long")
        .await
        .expect("a start");
    pass(60).await;
    shell.type_all(&LOOKS).await;
    pass(60).await;
    shell.type_all(&AFTERWARDS).await;
    std::fs::remove_dir_all(&shell.folder).expect("the folder is there");
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/screens.txt");
    if std::env::var_os("TASKHUB_SCREENS").is_some() {
        std::fs::write(kept, &shell.screens).expect("the screens can be written");
    }
    let expected = std::fs::read_to_string(kept).unwrap_or_default();
    let mut both = shell.screens.split("\n$ ").zip(expected.split("\n$ "));
    if let Some((now, before)) = both.find(|(now, before)| now != before) {
        panic!("a screen has changed; TASKHUB_SCREENS=write renews src/cli/screens.txt\nnow:\n$ {now}\nbefore:\n$ {before}");
    }
    assert_eq!(shell.screens.len(), expected.len());
}
