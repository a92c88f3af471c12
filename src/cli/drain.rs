//! `taskhub drain`: no new instance of an orchestrator begins, and the command tells when the last has ended.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use taskhub::{Client, Drain, DrainProgress, Draining, Timestamp};

use super::failure::{Failure, Kind, Outcome};
use super::output::{Output, table};
use super::progress::Progress;
use super::{text, values};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// What to drain.
#[derive(Args, Debug)]
pub(crate) struct Command {
    /// The orchestrator; without it, what is drained is listed
    name: Option<String>,
    /// Only instances of this version; the empty text stands for those that have none
    #[arg(long, requires = "name")]
    version: Option<String>,
    /// Lets new instances begin again, those first that have waited
    #[arg(long, requires = "name")]
    lift: bool,
    /// Does not wait until the last instance has ended
    #[arg(long, requires = "name", conflicts_with = "lift")]
    no_wait: bool,
    /// Waits no longer than this, such as 90s or 10m [default: for ever]
    #[arg(long, value_name = "TIME", requires = "name", conflicts_with_all = ["lift", "no_wait"], value_parser = values::duration)]
    timeout: Option<Duration>,
}

impl Command {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        let Some(name) = self.name.clone() else {
            let all = client.draining().await?;
            return out.print(|| json!(all), || list(&all, client.now()));
        };
        let what = what(&name, self.version.as_deref());
        let lifting = lifting(&name, self.version.as_deref());
        let mut drain = client.drain(name);
        if let Some(version) = &self.version {
            drain = drain.version(version);
        }
        if self.lift {
            return lift(&drain, &what, out).await;
        }
        drain.begin().await?;
        if self.no_wait {
            let progress = drain.progress().await?;
            return out.print(|| progress_json(&progress), || format!("{what} is drained: {}.", in_words(&progress)));
        }
        let waiting = wait(&drain, &what, out);
        let progress = match self.timeout {
            None => waiting.await?,
            Some(limit) => match tokio::time::timeout(limit, waiting).await {
                Ok(progress) => progress?,
                Err(_) => {
                    let progress = drain.progress().await?;
                    let words = format!(
                        "{what} has not drained in {}: {}. It stays drained; `{lifting}` lets new instances begin again",
                        text::span(limit),
                        in_words(&progress)
                    );
                    return Err(Failure::new(Kind::Timeout, words));
                }
            },
        };
        out.print(
            || progress_json(&progress),
            || {
                let waiting = match progress.waiting {
                    0 => String::new(),
                    some => format!(" Waiting to begin: {}.", text::count(some, "instance")),
                };
                format!("{what} has drained: no instance is open.{waiting} New ones begin after `{lifting}`.")
            },
        )
    }
}

/// Tells how it goes on, until nothing is left.
async fn wait(drain: &Drain<'_>, what: &str, out: &Output) -> Result<DrainProgress, Failure> {
    let (mut told, shown) = (None, Progress::new(out, None));
    loop {
        let progress = drain.progress().await?;
        if progress.draining.is_none() {
            shown.end();
            return Err(Failure::new(Kind::Error, format!("{what} is no longer drained: somebody has lifted that")));
        }
        if progress.is_done {
            shown.end();
            return Ok(progress);
        }
        let so_far = (progress.open, progress.waiting);
        if told != Some(so_far) {
            shown.say(&format!("{what}: {}", in_words(&progress)));
            told = Some(so_far);
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The command that takes it back.
fn lifting(name: &str, version: Option<&str>) -> String {
    let version = version.map(|version| format!(" --version {}", text::shell_word(version))).unwrap_or_default();
    format!("taskhub drain {}{version} --lift", text::shell_word(name))
}

async fn lift(drain: &Drain<'_>, what: &str, out: &Output) -> Outcome {
    if !drain.lift().await? {
        return Err(Failure::new(Kind::NotFound, format!("{what} is not drained; `taskhub drain` lists what is")));
    }
    out.print(
        || json!({ "lifted": true }),
        || {
            format!(
                "{what}: new instances begin again; those that have waited within a minute, or longer where more than 600 wait."
            )
        },
    )
}

/// The lines of `taskhub hub status` about it, if there are any.
pub(crate) fn as_text(all: &[Draining], now: Timestamp) -> Option<String> {
    (!all.is_empty()).then(|| format!("Drained, so that no new instance begins (taskhub drain NAME --lift):\n{}", rows(all, now)))
}

fn list(all: &[Draining], now: Timestamp) -> String {
    if all.is_empty() { "Nothing is drained.".to_owned() } else { rows(all, now) }
}

fn rows(all: &[Draining], now: Timestamp) -> String {
    let row = |draining: &Draining| {
        let version = match draining.version.as_deref() {
            None => "every".to_owned(),
            Some("") => "none".to_owned(),
            Some(version) => text::line(version),
        };
        vec![text::line(&draining.name), version, text::span(now.since(draining.since))]
    };
    table(&["ORCHESTRATOR", "VERSION", "FOR"], &all.iter().map(row).collect::<Vec<_>>())
}

fn progress_json(progress: &DrainProgress) -> Value {
    json!({
        "draining": progress.draining,
        "openInstanceCount": progress.open,
        "waitingInstanceCount": progress.waiting,
        "isDone": progress.is_done,
    })
}

fn what(name: &str, version: Option<&str>) -> String {
    let name = text::line(name);
    match version {
        None => name,
        Some("") => format!("{name} without a version"),
        Some(version) => format!("{name} version \"{}\"", text::line(version)),
    }
}

fn in_words(progress: &DrainProgress) -> String {
    let open = match progress.open {
        0 => "no instance is open, and workers are given time to learn of it".to_owned(),
        some => format!("{} open", text::count(some, "instance")),
    };
    let waiting = match progress.waiting {
        0 => String::new(),
        some => format!(", {some} waiting to begin"),
    };
    format!("{open}{waiting}")
}
