//! What the compiler says to the usual slips: each file in `ui` begins with what must be in the error, behind `//~`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Where cargo has put the crate that this test was built with, and everything that it depends on.
fn dependencies() -> PathBuf {
    let program = env::current_exe().expect("the test knows where it is");
    program.parent().expect("it is in a folder").to_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    entries.map(|entry| entry.expect("an entry can be read").path()).collect()
}

/// Builds of the crate, the newest first: one of them is that of this test.
fn builds() -> Vec<PathBuf> {
    let is_build = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("libtaskhub-") && name.ends_with(".rlib")
    };
    let mut builds: Vec<_> = files(&dependencies()).into_iter().filter(is_build).collect();
    builds.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).and_then(|file| file.modified()).ok()));
    builds
}

/// What the compiler says to a file; nothing if it compiles.
fn errors(file: &Path, build: &Path) -> Option<String> {
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(compiler);
    command.args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "-o"]);
    command.arg(env::temp_dir().join(format!("taskhub-ui-{}.rmeta", std::process::id())));
    command.arg("--extern").arg(format!("taskhub={}", build.display()));
    command.arg("-L").arg(format!("dependency={}", dependencies().display())).arg(file);
    let output = command.output().expect("the compiler runs");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_usual_slips_are_told_in_words_that_help() {
    let slips = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("azurite-tests/ui"));
    assert!(slips.len() >= 7, "{slips:?}");
    // Of other features, or of a build that is only half there.
    let cannot_be_used = |build: &PathBuf| {
        errors(&slips[0], build).is_some_and(|said| ["E0463", "E0460", "E0786"].iter().any(|code| said.contains(code)))
    };
    let build = builds().into_iter().find(|build| !cannot_be_used(build)).expect("the crate is built beside this test");
    for slip in &slips {
        let text = fs::read_to_string(slip).unwrap();
        let said = errors(slip, &build).unwrap_or_else(|| panic!("{} compiles", slip.display()));
        for expected in text.lines().filter_map(|line| line.strip_prefix("//~ ")) {
            assert!(said.contains(expected), "{}: \"{expected}\" is missing in\n{said}", slip.display());
        }
    }
}
