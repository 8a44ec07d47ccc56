//! An oracle: a program on somebody else's code that answers each line of JSON with one.

// Helpers of tests; what they say is for whoever runs them.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::testbed::Testbed;

/// The oracle's process, asked over its standard input.
pub struct Oracle {
    child: Child,
    requests: BufWriter<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    /// Starts the program that the variable names, else the test bed's component. None: it is not there, which the test bed
    /// has noted, or which it has failed for (CI).
    pub fn start(component: &str, variable: &str) -> Option<Self> {
        let path = match std::env::var_os(variable) {
            Some(path) => PathBuf::from(path),
            None => Testbed::require(&[component])?.path(component).to_owned(),
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
