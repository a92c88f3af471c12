//! House rules that neither the compiler nor clippy sees: layers, sizes of files, charters, biased selects, no ignored tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The longest file, tests included.
const LINES_MAX: usize = 500;

/// Plain data, time, randomness, and rules that tests break: level 0, which every layer may use.
const LEVEL_0: [&str; 13] = [
    "model",
    "ids",
    "bounds",
    "connections",
    "error",
    "clock",
    "rng",
    "limits",
    "window",
    "usage",
    "metrics",
    "traces",
    "sabotage",
];

/// Which modules a module may use, beside itself and level 0 (docs/architecture.md, Layers). A deeper path allows no more than
/// that path. A new arrow is a decision: it is written here and in the document, or it is not made.
const LAYERS: [(&str, &[&str]); 26] = [
    ("model", &[]),
    ("ids", &[]),
    ("bounds", &[]),
    ("connections", &[]),
    ("clock", &[]),
    ("rng", &[]),
    ("limits", &[]),
    ("window", &[]),
    ("usage", &[]),
    ("metrics", &[]),
    ("traces", &[]),
    ("sabotage", &[]),
    // An error of a client or worker gives out the storage error behind it.
    ("error", &["storage"]),
    ("storage", &[]),
    ("hub", &["storage"]),
    ("replay", &[]),
    ("authoring", &["replay"]),
    // Of storage only the plain data of its ports: versions, filters, limits.
    ("worker", &["hub", "replay", "authoring", "storage::queue", "storage::table"]),
    ("client", &["hub", "authoring", "storage::queue", "storage::table"]),
    // Of storage only what kind of failure it was.
    ("http", &["client", "storage::ErrorKind"]),
    ("dashboard", &["http"]),
    ("scaler", &["client"]),
    ("cli", &["client", "worker", "hub"]),
    ("testing", &["client", "worker", "hub", "authoring", "replay", "storage"]),
    // What tests of the package itself see.
    ("internals", EVERYTHING),
    ("simulation", EVERYTHING),
];
const EVERYTHING: &[&str] = &["*"];

/// Roots of modules that belong to no layer.
const ROOTS: [&str; 3] = ["lib", "main", "tidy"];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The module at the top of the tree that the file belongs to; nothing outside of `src`.
    fn module(&self) -> Option<String> {
        let first = self.path.strip_prefix("src").ok()?.components().next()?;
        Some(first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned())
    }

    /// Where modules that the file declares are sought.
    fn children(&self) -> PathBuf {
        if self.path.ends_with("mod.rs") || self.path.ends_with("lib.rs") {
            self.path.with_file_name("")
        } else {
            self.path.with_extension("")
        }
    }

    /// Code without comments, and without the tests at the end of the file.
    fn code(&self) -> impl Iterator<Item = &str> {
        let mut lines = self.text.lines().peekable();
        std::iter::from_fn(move || {
            let line = lines.next()?;
            let tests_follow = line.trim() == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.starts_with("mod tests {"));
            (!tests_follow).then_some(line)
        })
        .filter(|line| !line.trim_start().starts_with("//"))
    }
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["src", "examples", "azurite-tests"].map(PathBuf::from).to_vec();
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(root().join(&folder)).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for entry in entries.map(Result::unwrap) {
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                if entry.file_name() != "node_modules" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(root().join(&path)).unwrap();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn check(problems: &[String]) {
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The files of `src` that are in the product.
fn product() -> Vec<Source> {
    let mut sources = sources();
    let only = test_only(&sources);
    sources.retain(|source| source.path.starts_with("src") && !source.path.ancestors().any(|path| only.contains(path)));
    sources
}

/// Files and folders of modules that exist in tests only.
fn test_only(sources: &[Source]) -> BTreeSet<PathBuf> {
    let mut only = BTreeSet::new();
    for source in sources {
        let lines: Vec<_> = source.text.lines().map(str::trim).collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]") {
            let declared = pair[1].strip_suffix(';').and_then(|line| line.rsplit_once("mod "));
            if let Some((_, name)) = declared {
                only.insert(source.children().join(name));
                only.insert(source.children().join(format!("{name}.rs")));
            }
        }
    }
    only
}

/// The paths behind `crate::` in a line: `storage::table` of `use crate::storage::table::Etag;`.
fn paths(line: &str) -> impl Iterator<Item = String> {
    line.split("crate::").skip(1).map(|tail| {
        let end = tail.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').unwrap_or(tail.len());
        tail[..end].trim_end_matches(':').to_owned()
    })
}

fn is_allowed(from: &str, path: &str) -> bool {
    let first = path.split("::").next().unwrap_or_default();
    let uses = LAYERS.iter().find(|(module, _)| *module == from).map_or(&[] as &[&str], |(_, uses)| uses);
    let is_listed = uses.iter().any(|allowed| path == *allowed || path.starts_with(&format!("{allowed}::")));
    uses == EVERYTHING || first == from || LEVEL_0.contains(&first) || is_listed
}

#[test]
fn layers_use_only_what_is_below_them() {
    let sources = sources();
    let only = test_only(&sources);
    let mut problems = Vec::new();
    for source in sources.iter().filter(|s| !s.path.ancestors().any(|path| only.contains(path))) {
        let Some(from) = source.module().filter(|module| !ROOTS.contains(&module.as_str())) else { continue };
        if !LAYERS.iter().any(|(module, _)| *module == from) {
            problems.push(format!("{}: the module `{from}` is in no layer; put it into the table of src/tidy.rs", source.name()));
            continue;
        }
        for path in source.code().flat_map(paths).filter(|path| !is_allowed(&from, path)) {
            problems.push(format!("{}: `{from}` may not use `crate::{path}`", source.name()));
        }
    }
    check(&problems);
}

#[test]
fn files_have_a_charter_and_a_size_that_can_be_read() {
    let mut problems = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//! ") {
            problems.push(format!("{}: the first line must be its charter, `//! ...`", source.name()));
        }
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            problems.push(format!("{}: {lines} lines; cut it where the charter has an \"and\"", source.name()));
        }
    }
    check(&problems);
}

#[test]
fn selects_are_biased_and_no_test_is_ignored() {
    // Put together, so that this file does not find itself.
    let (select, ignore) = (concat!("select", "! {"), concat!("#[ig", "nore"));
    let mut problems = Vec::new();
    for source in sources() {
        let mut lines = source.text.lines().enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            if line.contains(select) && lines.peek().is_none_or(|(_, next)| next.trim() != "biased;") {
                problems.push(format!("{}:{}: `biased;` is missing: one seed must give one run", source.name(), number + 1));
            }
            if line.contains(ignore) {
                problems.push(format!("{}:{}: a test runs or does not exist", source.name(), number + 1));
            }
        }
    }
    check(&problems);
}

#[test]
fn documents_name_only_files_that_exist() {
    let mut documents = vec![PathBuf::from("README.md")];
    documents.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| Path::new("docs").join(entry.unwrap().file_name())));
    let mut problems = Vec::new();
    for document in documents.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"/._-".contains(c));
        let named =
            words.filter(|word| ["src/", "examples/", "docs/", "azurite-tests/"].iter().any(|folder| word.starts_with(folder)));
        for word in named.map(|word| word.trim_end_matches('.')).filter(|word| !root().join(word).exists()) {
            problems.push(format!("{}: {word} does not exist", document.display()));
        }
    }
    check(&problems);
}

/// What the comments of a file say, line by line as one text.
fn comments(text: &str) -> String {
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("//"));
    lines.map(|line| line.trim_start_matches(['/', '!']).trim()).collect::<Vec<_>>().join(" ")
}

/// Documents that a text cites, each with what follows its name: `docs/storage-layout.md, Keys` has `Keys`.
fn citations(text: &str) -> Vec<(&str, &str)> {
    text.match_indices("docs/")
        .filter_map(|(at, _)| {
            let (document, rest) = text[at..].split_once(".md")?;
            let is_name = document.chars().all(|c| c.is_ascii_alphanumeric() || "/_-".contains(c));
            is_name.then_some((&text[at..at + document.len() + 3], rest.strip_prefix(", ")?))
        })
        .collect()
}

/// Whether a text cites a section by its number, in parentheses: no document here numbers its sections.
fn cites_a_number(comment: &str) -> bool {
    let cited = comment.split('(').skip(1).filter_map(|tail| tail.split(')').next());
    let is_number = |word: &str| word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok());
    cited.filter_map(|cited| cited.split(',').next()?.split(' ').next_back()).any(is_number)
}

#[test]
fn comments_cite_documents_of_the_repository_by_their_headings() {
    let mut problems = Vec::new();
    for source in sources() {
        let comments = comments(&source.text);
        for (document, cited) in citations(&comments) {
            let text = fs::read_to_string(root().join(document)).unwrap_or_default();
            let mut headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
            if !headings.any(|heading| cited.starts_with(heading)) {
                let cited: String = cited.chars().take(40).collect();
                problems.push(format!("{}: {document} has no heading \"{cited}\"", source.name()));
            }
        }
        if cites_a_number(&comments) {
            problems.push(format!("{}: a citation by number; name a document of the repository and its heading", source.name()));
        }
    }
    check(&problems);
}

#[test]
fn every_file_of_the_hub_is_in_its_table() {
    let document = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let product = product();
    let of_hub = product.iter().filter(|source| source.path.starts_with("src/hub"));
    let missing = of_hub.map(Source::name).filter(|name| !document.contains(&format!("`{name}`")));
    check(&missing.map(|name| format!("{name} is not in docs/architecture.md, The hub")).collect::<Vec<_>>());
}

/// The longest product file.
const PRODUCT_LINES_MAX: usize = 400;

#[test]
fn every_product_file_is_short() {
    let product = product();
    let lines = product.iter().map(|source| (source.name(), source.text.lines().count()));
    let long = lines.filter(|(_, lines)| *lines > PRODUCT_LINES_MAX);
    check(
        &long.map(|(name, lines)| format!("{name}: {lines} lines; cut it where the charter has an \"and\"")).collect::<Vec<_>>(),
    );
}

#[test]
fn every_product_file_of_the_worker_has_its_place_in_the_document() {
    let document = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let mut problems = Vec::new();
    for source in sources() {
        let Ok(path) = source.path.strip_prefix("src/worker") else { continue };
        if path.starts_with("tests") {
            continue;
        }
        if !document.contains(&format!("`{}`", path.display())) {
            problems.push(format!("{}: docs/architecture.md, Where things stand in the worker, does not name it", source.name()));
        }
    }
    check(&problems);
}

#[test]
fn tests_of_the_worker_stand_in_their_folder() {
    let only = test_only(&sources());
    let stray = only.iter().filter(|path| path.starts_with("src/worker") && root().join(path).exists());
    let allowed = ["tests", "tests/mod.rs", "checkpoint/sabotaged.rs"].map(|path| Path::new("src/worker").join(path));
    let problems =
        stray.filter(|path| !allowed.contains(path)).map(|path| format!("{}: is a test among product files", path.display()));
    check(&problems.collect::<Vec<_>>());
}

/// The words of the log lines in a text, at info and above.
fn log_lines(text: &str) -> Vec<&str> {
    let calls = ["tracing::info!(", "tracing::warn!(", "tracing::error!("];
    calls.into_iter().flat_map(|call| text.split(call).skip(1)).filter_map(last_string).collect()
}

/// The last string of a call, of which this is the text behind the opening parenthesis.
fn last_string(call: &str) -> Option<&str> {
    let (mut open, mut string, mut last) = (1, None, None);
    let mut chars = call.char_indices();
    while let Some((at, c)) = chars.next() {
        match (c, string) {
            ('\\', Some(_)) => drop(chars.next()),
            ('"', Some(begin)) => (string, last) = (None, Some(&call[begin..at])),
            ('"', None) => string = Some(at + 1),
            ('(', None) => open += 1,
            (')', None) => open -= 1,
            _ => {}
        }
        if open == 0 {
            return last;
        }
    }
    None
}

/// What a line is known by: its words before the first comma, colon or value, but for a value that it begins with.
fn first_words(line: &str) -> &str {
    let line = if line.starts_with('{') { line.split_once('}').map_or(line, |(_, rest)| rest) } else { line };
    line.split([',', ':', ';', '{']).next().unwrap_or_default().trim()
}

#[test]
fn every_log_line_is_documented() {
    let document = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let mut problems = Vec::new();
    for source in product() {
        let code = source.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for line in log_lines(code).into_iter().filter(|line| !document.contains(first_words(line))) {
            problems.push(format!(
                "{}: \"{line}\" is not in docs/operations.md, What to watch: what does who reads it do?",
                source.name()
            ));
        }
    }
    check(&problems);
}

#[test]
fn the_rules_find_what_they_forbid() {
    assert_eq!(
        paths("use crate::storage::table::{Etag, Match}; crate::hub::keys").collect::<Vec<_>>(),
        ["storage::table", "hub::keys"]
    );
    let logs = r#"tracing::warn!(hub, "one \" (of two)"); tracing::info!(hub = x("a"), "two",); tracing::debug!("three")"#;
    assert_eq!(log_lines(logs), ["two", r#"one \" (of two)"#]);
    assert_eq!(["a b, so {c}", "{what} broke off: d"].map(first_words), ["a b", "broke off"]);
    assert!(is_allowed("worker", "storage::table") && is_allowed("hub", "storage::memory") && is_allowed("hub", "model"));
    assert!(!is_allowed("worker", "storage") && !is_allowed("worker", "storage::azure") && !is_allowed("replay", "hub"));
    assert!(!is_allowed("client", "worker") && !is_allowed("worker", "storage::tables"));
    let text = comments("//! a (docs/x.md,\n//! Y).\nlet x = \"docs/y.md, Z\"; // docs/y.md\n    // (6.1)");
    assert_eq!(
        citations(&text).iter().map(|(document, cited)| (*document, &cited[..1])).collect::<Vec<_>>(),
        [("docs/x.md", "Y")]
    );
    assert!(cites_a_number(&text) && cites_a_number("a (layout 3.2, 4)") && !cites_a_number("a (version 4), or (up to 2.5 s)"));
    let source = Source {
        path: "src/a/b.rs".into(),
        text: "//! x\nuse crate::hub;\n// crate::x\n#[cfg(test)]\nmod tests {\nuse crate::client;".into(),
    };
    assert_eq!(source.code().flat_map(paths).collect::<Vec<_>>(), ["hub"]);
    assert_eq!(test_only(&[Source { text: "#[cfg(test)]\nmod c;".into(), ..source }]).first().unwrap(), Path::new("src/a/b/c"));
}
