//! The worker processes of the benchmark, and what processes take of the machine, as Linux tells.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use taskhub::{Client, TaskHub};
use tokio::time::Instant;

use crate::harness::Azurite;
use crate::{Outcome, app, cpu};

/// A process by its id.
#[derive(Clone, Copy)]
pub(crate) struct Process(u32);

impl Process {
    /// The Azurite that this process has started.
    pub(crate) fn azurite() -> Outcome<Self> {
        let own = std::process::id();
        let is_it = |id: &u32| Self(*id).parent() == Some(own) && Self(*id).read("cmdline").contains("azurite.js");
        let ids = std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        Ok(Self(ids.into_iter().find(is_it).ok_or("Azurite is not among the processes of this system")?))
    }

    /// Seconds of processor time so far.
    pub(crate) fn cpu(self) -> f64 {
        cpu::cpu(&self.0.to_string())
    }

    fn parent(self) -> Option<u32> {
        self.status("PPid:")
    }

    fn peak_megabytes(self) -> u64 {
        self.status::<u64>("VmHWM:").unwrap_or(0) / 1024
    }

    /// A figure of its state by its name, memory in KiB.
    fn status<T: FromStr>(self, name: &str) -> Option<T> {
        self.read("status").lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
    }

    fn read(self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0)).unwrap_or_default()
    }
}

/// What all workers have taken so far.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) calls: u64,
    /// Seconds of processor time.
    pub(crate) cpu: f64,
}

/// One worker.
struct Running {
    child: Child,
    asking: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Worker processes.
pub(crate) struct Workers(Vec<Running>);

impl Workers {
    /// Starts so many.
    pub(crate) fn start(azurite: &Azurite, hub: &TaskHub, count: usize, is_local: bool) -> Outcome<Self> {
        let start = |_| {
            let mut command = Command::new(std::env::current_exe()?);
            command.env(app::STORAGE, azurite.connection_string()).env(app::HUB, hub.name());
            if is_local {
                command.env(app::LOCAL, "1");
            }
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let asking = child.stdin.take().ok_or("a worker without standard input")?;
            let answers = BufReader::new(child.stdout.take().ok_or("a worker without standard output")?);
            Ok(Running { child, asking, answers })
        };
        (0..count).map(start).collect::<Outcome<_>>().map(Self)
    }

    /// Waits until each has its share of the partitions.
    pub(crate) async fn until_they_share(&self, client: &Client) -> Outcome {
        let limit = Instant::now() + Duration::from_secs(60);
        loop {
            let partitions = client.hub_status().await?.partitions;
            let mut owners: Vec<_> = partitions.iter().filter_map(|partition| partition.owner.clone()).collect();
            let all_owned = owners.len() == partitions.len();
            owners.sort();
            if all_owned && owners.chunk_by(|one, other| one == other).all(|own| own.len() == partitions.len() / self.0.len()) {
                return Ok(());
            }
            if Instant::now() > limit {
                return Err("the workers do not share the partitions within a minute".into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What they have taken so far.
    pub(crate) async fn taken(&mut self) -> Outcome<Taken> {
        let mut taken = Taken::default();
        for worker in &mut self.0 {
            writeln!(worker.asking)?;
            worker.asking.flush()?;
            let mut answer = String::new();
            worker.answers.read_line(&mut answer)?;
            taken.calls += answer.trim().parse::<u64>()?;
            taken.cpu += Process(worker.child.id()).cpu();
        }
        Ok(taken)
    }

    /// Peaks of memory count from now on, where the system lets them.
    pub(crate) fn forget_peaks(&self) {
        for worker in &self.0 {
            drop(std::fs::write(format!("/proc/{}/clear_refs", worker.child.id()), "5"));
        }
    }

    /// The highest peak of memory among them.
    pub(crate) fn peak_megabytes(&self) -> u64 {
        self.0.iter().map(|worker| Process(worker.child.id()).peak_megabytes()).max().unwrap_or(0)
    }

    /// Asks them to stop, and waits until they have.
    pub(crate) async fn stop(self) -> Outcome {
        for Running { mut child, asking, answers } in self.0 {
            drop((asking, answers));
            let ended = tokio::task::spawn_blocking(move || child.wait()).await??;
            if !ended.success() {
                return Err(format!("a worker ended with {ended}").into());
            }
        }
        Ok(())
    }
}
