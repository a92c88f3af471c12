//! Worker programs as processes of their own, as they run in production: started, asked to stop, killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::Instant;

/// Ends a worker whose test has died.
const RUN_SECONDS_MAX: &str = "400";
const POLL: Duration = Duration::from_millis(50);

/// Where the workers of a test work.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) connection_string: String,
    pub(crate) hub: String,
}

/// A worker process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    child: Child,
    log: PathBuf,
}

impl Place {
    /// Starts a worker that hosts the catalogue.
    pub(crate) fn start(&self, id: &str) -> WorkerProcess {
        self.start_with(id, &[])
    }

    /// Starts a worker that hosts this build of the application that grows.
    pub(crate) fn start_build(&self, id: &str, build: u32) -> WorkerProcess {
        self.start_with(id, &["--build", &build.to_string()])
    }

    fn start_with(&self, id: &str, arguments: &[&str]) -> WorkerProcess {
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("worker-{}-{id}.log", self.hub));
        let child = Command::new(example("catalogue_worker"))
            .args(["--storage", &self.connection_string, "--hub", &self.hub, "--worker-id", id])
            .args(arguments)
            .args(["--poll-seconds", "1", "--run-seconds", RUN_SECONDS_MAX])
            .env("RUST_LOG", "info,taskhub::worker::orchestration=debug")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("the target directory is writable"))
            .spawn()
            .expect("the worker program can be started");
        WorkerProcess { child, log }
    }
}

impl WorkerProcess {
    /// Asks the worker to stop, and waits until it has. How long that took.
    pub(crate) async fn stop(mut self, limit: Duration) -> Duration {
        let begun = Instant::now();
        self.signal("TERM");
        let status = self.ended(limit).await;
        assert!(status.success(), "the worker ended with {status}; see {}", self.log.display());
        begun.elapsed()
    }

    /// Ends the worker where it stands.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the worker runs");
    }

    /// Stops the worker in mid-air, as a machine does that hangs: it keeps its connections and believes its leases.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a paused worker go on with what it was doing.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    /// Fails the test if the worker has ended by itself.
    pub(crate) fn assert_runs(&mut self) {
        let ended = self.child.try_wait().expect("a child can be asked for its state");
        assert!(ended.is_none(), "the worker ended by itself: {ended:?}; see {}", self.log.display());
    }

    /// Whether the worker has ended before it began to work, because storage failed.
    pub(crate) fn was_turned_away(&mut self) -> bool {
        let has_ended = self.child.try_wait().expect("a child can be asked for its state").is_some();
        has_ended
            && std::fs::read_to_string(&self.log).is_ok_and(|log| !log.contains("worker started") && log.contains("error: "))
    }

    /// By the system's command: the standard library sends SIGKILL only, and signals are unsafe calls of libc.
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "SIG{name} cannot be sent: does the worker run? {}",
            self.log.display()
        );
    }

    async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked for its state") {
                return status;
            }
            assert!(Instant::now() < deadline, "the worker has not stopped within {limit:?}; see {}", self.log.display());
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An example, which cargo builds beside the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let profile = test.ancestors().nth(2).expect("a test lies in target/<profile>/deps");
    let program = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(program.is_file(), "{} is missing: run `cargo build --examples`", program.display());
    program
}
