//! Somebody at a shell on which everything is real: kubectl finds the program under test as its plugin.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::program::{BINARY, Ran};
use super::testbed::{REGION, Testbed, output};

/// Longer than any run takes that ends by itself: a run that doesn't is ended, and its test fails instead of hanging.
const LIMIT: Duration = Duration::from_secs(300);

/// The context, as `aws eks update-kubeconfig` names it: the cluster's ARN tells everything about the target.
pub fn cluster_arn(account: &str) -> String {
    format!("arn:aws:eks:{REGION}:{account}:cluster/demo")
}

/// A home, a kubeconfig, a few variables, and a PATH of two programs: real kubectl and `kubectl-capt_spot`. There is no
/// `aws` on it, so a token of an exec entry can only have been made by the program itself.
pub struct Shell {
    home: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Shell {
    /// A shell with this kubeconfig and these variables.
    pub fn new<N: Into<String>, V: Into<String>>(
        bed: &Testbed,
        kubeconfig: &str,
        environment: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let bin = home.path().join("bin");
        fs::create_dir(&bin).expect("a directory");
        symlink(bed.path("kubectl"), bin.join("kubectl")).expect("a link");
        symlink(BINARY, bin.join("kubectl-capt_spot")).expect("a link");
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let own = [
            ("HOME", text(home.path())),
            ("PATH", text(&bin)),
            ("KUBECONFIG", text(&home.path().join("kubeconfig"))),
            ("LANG", "C.UTF-8".to_owned()),
        ];
        let mut this = Self {
            home,
            environment: own.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        };
        for (name, value) in environment {
            this.set(&name.into(), &value.into());
        }
        this.write_kubeconfig(kubeconfig);
        this
    }

    /// Replaces the kubeconfig.
    pub fn write_kubeconfig(&self, text: &str) {
        fs::write(self.kubeconfig_path(), text).expect("a temporary file");
    }

    fn kubeconfig_path(&self) -> PathBuf {
        self.home.path().join("kubeconfig")
    }

    /// Where its files are.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The whole environment.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// `kubectl ARGUMENTS`
    pub fn kubectl(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(self.home.path().join("bin/kubectl"));
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.home.path())
            .args(arguments);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        let pid = child.id();
        let (send, ended) = mpsc::channel();
        thread::spawn(move || send.send(child.wait_with_output()));
        let out = match ended.recv_timeout(LIMIT) {
            Ok(out) => out.expect("a child of ours can be waited for"),
            Err(_) => {
                // kubectl became the plugin, so this is the plugin.
                let mut kill = Command::new("sh");
                kill.arg("-c").arg(format!("kill -KILL {pid}"));
                output(kill);
                panic!("kubectl {arguments:?} did not end within {LIMIT:?}");
            }
        };
        Ran::from(&out)
    }

    /// `kubectl capt-spot ARGUMENTS`
    pub fn capt_spot(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["capt-spot"];
        all.extend(arguments);
        self.kubectl(&all)
    }

    /// `kubectl capt-spot preflight -o json -v ARGUMENTS`, which must end with this exit code; every finding must keep the
    /// contract, whatever the test looks at.
    #[track_caller]
    pub fn preflight(&self, code: i32, arguments: &[&str]) -> Report {
        let mut all = vec!["preflight", "-o", "json", "-v"];
        all.extend(arguments);
        let ran = self.capt_spot(&all).expect(code);
        let report = Report {
            json: ran.json(),
            calls: calls(&ran.stderr),
        };
        let verdict = match code {
            0 => "ready",
            1 => "not-ready",
            3 => "undecided",
            other => panic!("a report with the exit code {other}"),
        };
        assert_eq!(report.json["verdict"], verdict, "{}", ran.stdout);
        report
    }
}

/// A report, and the calls it rests on.
#[derive(Debug)]
pub struct Report {
    /// The document.
    pub json: Value,
    /// What `-v` shows: each call and its answer.
    calls: BTreeMap<String, String>,
}

impl Report {
    /// One finding.
    #[track_caller]
    pub fn check(&self, id: &str) -> &Value {
        let checks = self.json["checks"].as_array().expect("checks");
        checks
            .iter()
            .find(|check| check["id"] == id)
            .unwrap_or_else(|| panic!("no check {id}: {:#}", self.json))
    }

    /// Its status.
    #[track_caller]
    pub fn status(&self, id: &str) -> &str {
        self.check(id)["status"].as_str().expect("a status")
    }

    /// Its message.
    #[track_caller]
    pub fn message(&self, id: &str) -> &str {
        self.check(id)["message"].as_str().expect("a message")
    }

    /// The ids of the findings of this status.
    pub fn ids(&self, status: &str) -> Vec<&str> {
        let checks = self.json["checks"].as_array().expect("checks");
        let of_status = checks.iter().filter(|check| check["status"] == status);
        of_status.filter_map(|check| check["id"].as_str()).collect()
    }

    /// What the call whose text begins so was answered.
    #[track_caller]
    pub fn answer(&self, call: &str) -> &str {
        let found = self.calls.iter().find(|(made, _)| made.starts_with(call));
        found.map_or_else(
            || panic!("no call {call}: {:#?}", self.calls),
            |(_, answer)| answer.as_str(),
        )
    }

    /// Asserts that a check is unknown for this reason.
    #[track_caller]
    pub fn expect_unknown(&self, id: &str, reason: &str) {
        assert_eq!(self.status(id), "unknown", "{:#}", self.check(id));
        assert!(self.message(id).contains(reason), "{:#}", self.check(id));
    }

    /// Asserts the status of a check.
    #[track_caller]
    pub fn expect_status(&self, id: &str, status: &str) {
        assert_eq!(self.status(id), status, "{:#}", self.check(id));
    }
}

fn calls(stderr: &str) -> BTreeMap<String, String> {
    let lines = stderr
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once(" -> "));
    lines
        .map(|(call, answer)| (call.to_owned(), answer.to_owned()))
        .collect()
}
