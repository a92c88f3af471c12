//! `taskhub export` and `taskhub import`: instances with their histories and payloads, one to a line of JSON.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _};
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
    /// Leaves out lines that are damaged, and instances that cannot be imported, such as those that have not ended, and says which
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
        let (mut pages, progress) = (client.pages(query), Progress::new(out, None));
        // What is exported to a terminal shows by itself how far it is.
        let is_shown = io::stdout().is_terminal();
        let (mut count, mut damaged) = (0, 0);
        while let Some(page) = pages.next().await? {
            for instance in page {
                match client.export(&instance.instance_id).await {
                    Ok(exported) => write(&exported, out)?,
                    // It was purged meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) if error.kind() == ErrorKind::Corrupt => {
                        out.warn(&text::line(&format!("instance \"{}\" is not exported: {error}", instance.instance_id)));
                        damaged += 1;
                        continue;
                    }
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
        match damaged {
            0 => Ok(()),
            some => {
                Err(Failure::new(Kind::Corrupt, format!("what cannot be read is left out: {}", text::count(some, "instance"))))
            }
        }
    }
}

/// JSON in any case: it is for a file.
fn write(exported: &ExportedInstance, out: &Output) -> Outcome {
    out.line(&text::json(&serde_json::to_string(exported).map_err(io::Error::from)?))
}

/// How many instances an import has written, and how many it has left out.
#[derive(Debug, Default)]
struct Counts {
    imported: u64,
    skipped: u64,
}

impl Import {
    pub(crate) async fn run(self, client: &Client, out: &Output) -> Outcome {
        let (mut counts, progress) = (Counts::default(), Progress::new(out, None));
        let imported = self.lines(client, &mut counts, &progress, out).await;
        progress.end();
        imported?;
        let Counts { imported, skipped } = counts;
        let left_out = if skipped > 0 { format!(" Left out: {}.", text::count(skipped, "instance")) } else { String::new() };
        out.print(
            || json!({ "importedInstanceCount": imported, "skippedInstanceCount": skipped }),
            || format!("Imported {}.{left_out}", text::count(imported, "instance")),
        )
    }

    async fn lines(&self, client: &Client, counts: &mut Counts, progress: &Progress, out: &Output) -> Outcome {
        let mut lines = self.open()?;
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            if lines.read_until(b'\n', &mut line).map_err(|error| self.unread(&error))? == 0 {
                break;
            }
            // Shells of Windows write a mark of the byte order in front of the first line.
            let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line).trim_ascii();
            if line.is_empty() {
                continue;
            }
            match import(client, line).await {
                Ok(()) => counts.imported += 1,
                Err(refusal) => self.refused(refusal, number, counts, out)?,
            }
            progress.reach(counts.imported + counts.skipped);
        }
        Ok(())
    }

    fn open(&self) -> Result<Box<dyn BufRead>, Failure> {
        if self.file.as_os_str() == "-" {
            return Ok(Box::new(io::stdin().lock()));
        }
        let file = File::open(&self.file).map_err(|error| self.unread(&error))?;
        Ok(Box::new(BufReader::new(file)))
    }

    fn unread(&self, error: &io::Error) -> Failure {
        Failure::new(Kind::Invalid, format!("the file \"{}\" cannot be read: {error}", self.file.display()))
    }

    /// Leaves the instance of a line out, if that was asked for; otherwise the import ends there.
    fn refused(&self, refusal: Refusal, number: u64, counts: &mut Counts, out: &Output) -> Outcome {
        let at = |words: &dyn Display| format!("line {number} of {}: {words}", self.file.display());
        let so_far = text::count(counts.imported, "instance");
        let (kind, words, option) = match refusal {
            Refusal::Exists(_) if self.skip_existing => {
                counts.skipped += 1;
                return Ok(());
            }
            Refusal::Invalid(words) if self.skip_invalid => {
                counts.skipped += 1;
                out.warn(&text::line(&at(&words)));
                return Ok(());
            }
            Refusal::Exists(words) => (Kind::Exists, words, "; --skip-existing leaves out such instances"),
            Refusal::Invalid(words) => (Kind::Invalid, words, "; --skip-invalid leaves out such instances"),
            Refusal::Failed(error) => {
                (Kind::of(&error), error.to_string(), "; import the file again with --skip-existing to go on")
            }
        };
        Err(Failure::new(kind, at(&format!("{words} (imported before it: {so_far}{option})"))))
    }
}

/// Why an instance was not imported.
enum Refusal {
    Exists(String),
    Invalid(String),
    Failed(taskhub::Error),
}

/// Imports the instance of a line.
async fn import(client: &Client, line: &[u8]) -> Result<(), Refusal> {
    let exported: ExportedInstance = serde_json::from_slice(line).map_err(|error| {
        // It is the line of the file that counts.
        let words = error.to_string().replacen(" at line 1 column", " at column", 1);
        Refusal::Invalid(format!("no exported instance: {words}"))
    })?;
    client.import(&exported).await.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Refusal::Exists(error.to_string()),
        ErrorKind::Invalid => Refusal::Invalid(error.to_string()),
        _ => Refusal::Failed(error),
    })
}
