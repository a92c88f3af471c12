//! `taskhub export` and `taskhub import`: instances with their histories and payloads, one to a line of JSON.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use taskhub::{Client, ErrorKind, ExportedInstance, InstanceQuery, RuntimeStatus};

use super::failure::{Failure, Kind, Outcome, of_instance};
use super::instances::Which;
use super::output::Output;
use super::progress::Progress;
use super::{text, values};

/// Rows of one request.
const PAGE_ROWS: usize = 1000;

/// What to export.
#[derive(Args, Debug)]
pub(crate) struct Export {
    /// One instance, by its id; otherwise all that match the options
    id: Option<String>,
    /// Only instances of this status; may be given several times
    #[arg(long, value_parser = values::status)]
    status: Vec<RuntimeStatus>,
    #[command(flatten)]
    which: Which,
}

/// What to import.
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// The file that was exported; - is standard input
    file: PathBuf,
    /// Leaves out instances that are there already, instead of stopping at the first
    #[arg(long)]
    skip_existing: bool,
    /// Leaves out instances that cannot be imported, such as those that have not ended, and says which
    #[arg(long)]
    skip_invalid: bool,
}

impl Export {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        if let Some(id) = &self.id {
            return write(&client.export(id).await.map_err(|error| of_instance(client, id, error))?, out);
        }
        let query = InstanceQuery {
            id_prefix: self.which.prefix,
            name: self.which.name,
            version: self.which.version,
            statuses: self.status,
            exclude_entities: true,
            with_payloads: false,
            page_size: PAGE_ROWS,
            ..InstanceQuery::default()
        };
        let (mut pages, mut count, progress) = (client.pages(query), 0, Progress::new(out, None));
        // What is exported to a terminal shows by itself how far it is.
        let is_shown = io::stdout().is_terminal();
        while let Some(page) = pages.next().await? {
            for instance in page {
                match client.export(&instance.instance_id).await {
                    Ok(exported) => write(&exported, out)?,
                    // It was purged meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(error.into()),
                }
                count += 1;
                if !is_shown {
                    progress.reach(count);
                }
            }
        }
        progress.end();
        out.say(&format!("Exported {}.", text::count(count, "instance")));
        Ok(())
    }
}

/// JSON in any case: it is for a file.
fn write(exported: &ExportedInstance, out: &Output) -> Outcome {
    out.line(&serde_json::to_string(exported).map_err(io::Error::from)?)
}

impl Import {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        let path = self.file.display().to_string();
        let lines: Box<dyn io::BufRead> = match &*path {
            "-" => Box::new(io::stdin().lock()),
            _ => {
                let file = std::fs::File::open(&self.file);
                Box::new(io::BufReader::new(file.map_err(|error| Failure::new(Kind::Invalid, format!("{path}: {error}")))?))
            }
        };
        let (mut imported, mut skipped, progress) = (0, 0, Progress::new(out, None));
        for (number, line) in lines.lines().enumerate() {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            let at = |words: &str| format!("line {} of {path}: {words}", number + 1);
            let exported: ExportedInstance = serde_json::from_str(&line)
                .map_err(|error| Failure::new(Kind::Invalid, at(&format!("no exported instance: {error}"))))?;
            progress.reach(imported + skipped);
            match client.import(&exported).await {
                Ok(()) => imported += 1,
                Err(error) if error.kind() == ErrorKind::AlreadyExists && self.skip_existing => skipped += 1,
                Err(error) if error.kind() == ErrorKind::Invalid && self.skip_invalid => {
                    out.warn(&at(&error.to_string()));
                    skipped += 1;
                }
                Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::Invalid) => {
                    let kind = if error.kind() == ErrorKind::Invalid { Kind::Invalid } else { Kind::Exists };
                    let so_far = text::count(imported, "instance");
                    let option = if kind == Kind::Invalid { "--skip-invalid" } else { "--skip-existing" };
                    return Err(Failure::new(
                        kind,
                        at(&format!("{error} (imported before it: {so_far}; {option} leaves out such instances)")),
                    ));
                }
                Err(error) => return Err(error.into()),
            }
        }
        progress.end();
        let left_out = if skipped > 0 { format!(" Left out: {}.", text::count(skipped, "instance")) } else { String::new() };
        out.print(
            || json!({ "importedInstanceCount": imported, "skippedInstanceCount": skipped }),
            || format!("Imported {}.{left_out}", text::count(imported, "instance")),
        )
    }
}
