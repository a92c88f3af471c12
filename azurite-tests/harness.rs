//! One Azurite for the test process: installed from the pinned package, on free ports, in memory, gone when the process is gone.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use taskhub::Storage;

const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
const REMEDY: &str = "the azurite tests need Node.js 18 or newer with npm on the PATH: install it from your system's packages, \
                      or run `cargo test --lib` to leave these tests out";
/// The account that every Azurite has, and its published key.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The Azurite of this process, started by the first caller.
///
/// # Panics
/// If it cannot be installed or started; the message names the remedy.
pub(crate) fn azurite() -> &'static Azurite {
    static AZURITE: OnceLock<Azurite> = OnceLock::new();
    AZURITE.get_or_init(Azurite::start)
}

/// A name for a task hub, queue, table or container that no other test of this process uses: letters and digits only.
pub(crate) fn unique_hub_name(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{:04}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A running Azurite.
#[derive(Debug)]
pub(crate) struct Azurite {
    /// Kept for its standard input: when that closes, Azurite ends.
    _child: Child,
    /// Blob, queue and table service, without the account.
    pub(crate) endpoints: [String; 3],
}

/// The connection string of Azurite's account behind these endpoints: its own, or those of somebody in between.
pub(crate) fn connection_string_at([blob, queue, table]: &[String; 3]) -> String {
    format!(
        "AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={blob}/{ACCOUNT};QueueEndpoint={queue}/{ACCOUNT};TableEndpoint={table}/{ACCOUNT}"
    )
}

impl Azurite {
    pub(crate) fn connection_string(&self) -> String {
        connection_string_at(&self.endpoints)
    }

    /// A new client. Each test takes its own, because pooled connections belong to the runtime of the test that opened them.
    pub(crate) fn storage(&self) -> Storage {
        Storage::connect(&self.connection_string()).expect("the connection string is well formed")
    }

    fn start() -> Self {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("azurite-tests");
        install(&home);
        let log = scratch(&format!("azurite-{}.log", std::process::id()));
        let out = File::create(&log).expect("the target directory is writable");
        let errors = out.try_clone().expect("a file handle can be duplicated");
        let mut child = Command::new("node")
            .arg("--require")
            .arg(home.join("no-gc.cjs"))
            .arg("--require")
            .arg(home.join("indexes.cjs"))
            .arg(home.join("node_modules/azurite/dist/src/azurite.js"))
            .args(["--blobPort", "0", "--queuePort", "0", "--tablePort", "0"])
            .args(["--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry"])
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("`node` cannot be started ({error}): {REMEDY}"));
        let endpoints = wait_until_ready(&mut child, &log);
        // An open file can be removed where files are unlinked; elsewhere it stays in the target directory.
        let _ = fs::remove_file(&log);
        Self { _child: child, endpoints }
    }
}

fn wait_until_ready(child: &mut Child, log: &Path) -> [String; 3] {
    let mut waited = Duration::ZERO;
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        let address = |service| {
            let marker = format!("Azurite {service} service is successfully listening at ");
            text.lines().find_map(|line| line.strip_prefix(&marker)).filter(|_| text.ends_with('\n')).map(str::to_owned)
        };
        if let (Some(blob), Some(queue), Some(table)) = (address("Blob"), address("Queue"), address("Table")) {
            return [blob, queue, table];
        }
        let ended = child.try_wait().expect("a child can be asked for its state");
        if ended.is_some() || waited >= READY_WITHIN {
            let _ = child.kill();
            panic!("Azurite did not get ready within {READY_WITHIN:?} (ended: {ended:?}). {REMEDY}. It said:\n{text}");
        }
        std::thread::sleep(POLL);
        waited += POLL;
    }
}

/// `npm ci`, unless what is installed is what the lock file says. One process at a time.
fn install(home: &Path) {
    let guard = File::create(scratch("azurite-install.lock")).expect("the target directory is writable");
    guard.lock().expect("a file of the target directory can be locked");
    let wanted = fs::read(home.join("package-lock.json")).expect("azurite-tests/package-lock.json is part of the sources");
    let stamp = home.join("node_modules/.installed-from");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return;
    }
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let output = Command::new(npm)
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        .current_dir(home)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("`npm` cannot be started ({error}): {REMEDY}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "`npm ci` failed in azurite-tests; it needs access to an npm registry once, so run it by hand there. It said:\n{said}"
    );
    fs::write(&stamp, wanted).expect("node_modules is writable");
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}
