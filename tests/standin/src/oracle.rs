//! What the test bed (`tests/testbed/provision.py`) holds, and its oracles: programs on somebody else's code that answer each line of JSON
//! with one.

// Helpers of tests; what they say is for whoever runs them.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

fn target_testbed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/testbed")
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Component {
    There { path: PathBuf },
    Missing { missing: String },
}

/// Where the components are, by the names that `provision.py --list` prints, or `None` when one is not there; the calling test is
/// then written down in `target/testbed/not-run.txt`, which `make test` prints at its end.
///
/// # Panics
/// With `CI=true` in the environment when a component is missing: there, a test that was not run is a failure.
pub fn require(names: &[&str]) -> Option<BTreeMap<String, PathBuf>> {
    let why = match find(names) {
        Ok(paths) => return Some(paths),
        Err(why) => why,
    };
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let line = format!("{test}: not run: {why}\n");
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{line}");
    // The test harness hides what a passing test prints, so the note goes to a file as well. Straight to the handle: the harness
    // captures the print macros only.
    let _ = std::io::stderr().write_all(line.as_bytes());
    let noted = fs::create_dir_all(target_testbed()).and_then(|()| {
        let path = target_testbed().join("not-run.txt");
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?
            .write_all(line.as_bytes())
    });
    assert!(noted.is_ok(), "could not note that {test} was not run: {noted:?}");
    None
}

fn find(names: &[&str]) -> Result<BTreeMap<String, PathBuf>, String> {
    let list = target_testbed().join("testbed.json");
    let text = fs::read_to_string(&list)
        .map_err(|_| "nothing is provisioned (python3 tests/testbed/provision.py)".to_owned())?;
    let known: BTreeMap<String, Component> =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", list.display()))?;
    let wanted = names.iter().map(|name| match known.get(*name) {
        Some(Component::There { path }) if path.exists() => Ok(((*name).to_owned(), path.clone())),
        Some(Component::There { path }) => Err(format!("{name}: {} is gone", path.display())),
        Some(Component::Missing { missing }) => Err(format!("{name} is not provisioned: {missing}")),
        None => Err(format!("{name} is not provisioned")),
    });
    wanted.collect()
}

/// An oracle's process, asked over its standard input.
#[derive(Debug)]
pub struct Oracle {
    child: Child,
    requests: BufWriter<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    /// Starts the program that the variable names, else the test bed's component. None: it is not there, which is noted.
    ///
    /// # Panics
    /// As [`require`].
    pub fn start(component: &str, variable: &str) -> Option<Self> {
        let path = match std::env::var_os(variable) {
            Some(path) => PathBuf::from(path),
            None => require(&[component])?.remove(component)?,
        };
        let mut child = Command::new(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let requests = BufWriter::new(child.stdin.take().unwrap());
        let answers = BufReader::new(child.stdout.take().unwrap());
        Some(Self {
            child,
            requests,
            answers,
        })
    }

    /// Asks a batch. It may be larger than the pipes' buffers: answers are read while requests are written.
    pub fn ask<Request: Serialize + Sync, Answer: DeserializeOwned>(
        &mut self,
        batch: &[Request],
    ) -> Vec<Answer> {
        let (requests, answers) = (&mut self.requests, &mut self.answers);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for request in batch {
                    serde_json::to_writer(&mut *requests, request).unwrap();
                    requests.write_all(b"\n").unwrap();
                }
                requests.flush().unwrap();
            });
            batch
                .iter()
                .map(|_| {
                    let mut line = String::new();
                    answers.read_line(&mut line).unwrap();
                    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
                })
                .collect()
        })
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
