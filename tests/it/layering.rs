//! Who may import whom (docs/architecture.md): a folder imports what stands above it in [`ORDER`], never what stands below.

use std::fs;
use std::path::{Path, PathBuf};

/// From what everybody may use down to what nobody else does. A name is a folder of `src/`, or a file without `.rs`.
const ORDER: [&str; 18] = [
    "text",
    "model",
    "aws",
    "kube",
    "karpenter",
    "cluster",
    "facts",
    "checks",
    "report",
    "terminal",
    "spot_role",
    "trust",
    "access",
    "capt",
    "helm",
    "fleet",
    "cli",
    "commands",
];

/// `lib.rs` and `main.rs` put everything together.
const ROOTS: [&str; 2] = ["lib", "main"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The top-level modules that a file names as `crate::NAME`, in `use` lines, grouped ones too, and in paths.
fn named(text: &str) -> Vec<(usize, String)> {
    let word = |rest: &str| {
        rest.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut names = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for (at, _) in code.match_indices("crate::") {
            if code[..at].ends_with('$') {
                continue;
            }
            let rest = &code[at + "crate::".len()..];
            match rest.strip_prefix('{') {
                Some(group) => names.extend(group.split(',').map(|one| (n + 1, word(one.trim())))),
                None => names.push((n + 1, word(rest))),
            }
        }
    }
    names
}

#[test]
fn no_arrow_runs_back() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    files.sort();
    assert!(files.len() > 50, "these are not all sources: {}", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let inside = file.strip_prefix(&src).expect("a file of src");
        let first = inside.iter().next().expect("a name").to_string_lossy();
        let own = first.trim_end_matches(".rs");
        if ROOTS.contains(&own) {
            continue;
        }
        let Some(place) = ORDER.iter().position(|name| *name == own) else {
            wrong.push(format!("{}: {own} has no place in the order", inside.display()));
            continue;
        };
        for (line, name) in named(&fs::read_to_string(file).expect("a source")) {
            match ORDER.iter().position(|one| *one == name) {
                Some(other) if other > place => {
                    wrong.push(format!(
                        "{}:{line}: {own} imports {name}, which stands below it",
                        inside.display()
                    ));
                }
                Some(_) => {}
                None => wrong.push(format!(
                    "{}:{line}: {own} imports {name} of the root",
                    inside.display()
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
