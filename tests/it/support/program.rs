//! The program as a user runs it, against the stand-ins: its binary, a real kubeconfig, a clean environment.

use std::path::PathBuf;
use std::process::{Command, Output};

use capt_spot_standin::{Kubeconfig, Standin, World, scenario};
use serde_json::Value;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_kubectl-capt_spot");

/// What a run left behind.
#[derive(Debug)]
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// From a finished process.
    pub fn from(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout.clone()).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr.clone()).expect("stderr is UTF-8"),
        }
    }

    /// All that was said, on one line, however it was wrapped.
    pub fn said(&self) -> String {
        let all = format!("{} {}", self.stdout, self.stderr);
        all.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    /// The same without what differs between two runs over the same facts: when, and whether from a file.
    pub fn steady_json(&self) -> Value {
        let mut report = self.json();
        for key in ["generatedAt", "offline"] {
            report.as_object_mut().expect("an object").shift_remove(key);
        }
        report
    }

    /// The finding of one check in a JSON report.
    pub fn check(&self, id: &str) -> Value {
        let report = self.json();
        let checks = report["checks"].as_array().expect("checks");
        checks
            .iter()
            .find(|check| check["id"] == id)
            .unwrap_or_else(|| panic!("no check {id}"))
            .clone()
    }

    /// The status of one check in a JSON report.
    pub fn status(&self, id: &str) -> String {
        self.check(id)["status"].as_str().expect("a status").to_owned()
    }

    /// The message of one check in a JSON report.
    pub fn message(&self, id: &str) -> String {
        self.check(id)["message"].as_str().expect("a message").to_owned()
    }

    /// The findings of a group (or one check) of a JSON report for a snapshot: status, headline, message, fix.
    pub fn findings(&self, of: &str) -> String {
        let report = self.json();
        let mut told = String::new();
        for check in report["checks"].as_array().expect("checks") {
            if check["group"] != of && check["id"] != of {
                continue;
            }
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            told.push_str(&format!("{} {}\n", text(&check["status"]), text(&check["id"])));
            let good = check["status"] == "pass" || check["status"] == "skip";
            let headline = if good {
                String::new()
            } else {
                text(&check["headline"])
            };
            let message = text(&check["message"]);
            for line in [headline, message, text(&check["remedy"]["text"])] {
                if !line.is_empty() {
                    told.push_str(&format!("    {}\n", line.replace('\n', "\n    ")));
                }
            }
            for command in check["remedy"]["commands"].as_array().into_iter().flatten() {
                told.push_str(&format!("    $ {}\n", text(command)));
            }
            for snippet in check["remedy"]["snippets"].as_array().into_iter().flatten() {
                let snippet = text(&snippet["text"]).replace('\n', "\n    | ");
                told.push_str(&format!("    | {snippet}\n"));
            }
        }
        told
    }

    /// Asserts the exit code, showing everything when it is another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }
}

/// The stand-ins, a home folder with a kubeconfig, and the environment of a user.
pub struct Stage {
    /// The stand-ins.
    pub standin: Standin,
    /// The user's home.
    pub home: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Stage {
    /// Starts the stand-ins of this world, without a kubeconfig.
    pub fn without_kubeconfig(world: World) -> Self {
        let standin = Standin::start(world).expect("the stand-ins start");
        let env = standin.env();
        Self {
            home: tempfile::tempdir().expect("a home"),
            standin,
            env,
        }
    }

    /// Starts the stand-ins of this world; the kubeconfig is what `aws eks update-kubeconfig` writes.
    pub fn new(world: World) -> Self {
        let stage = Self::without_kubeconfig(world);
        stage.write_kubeconfig(&stage.standin.kubeconfig(scenario::CLUSTER));
        stage
    }

    /// A fresh account with Karpenter about to run on Fargate.
    pub fn fresh() -> Self {
        Self::new(scenario::fresh_account_karpenter_on_fargate())
    }

    /// The same after the role was made.
    pub fn healthy() -> Self {
        Self::new(scenario::healthy())
    }

    /// The same with a second kubeconfig in KUBECONFIG, whose context `second` leads to the same cluster.
    pub fn with_a_second_context() -> Self {
        let mut stage = Self::healthy();
        let first = stage.kubeconfig();
        let second = stage.home.path().join("second");
        let kubeconfig = stage.standin.kubeconfig(scenario::CLUSTER);
        std::fs::write(&second, kubeconfig.named("second", "second", "second").yaml()).expect("written");
        stage.set("KUBECONFIG", &format!("{}:{}", first.display(), second.display()));
        stage
    }

    /// Writes another kubeconfig.
    pub fn write_kubeconfig(&self, kubeconfig: &Kubeconfig) {
        std::fs::write(self.kubeconfig(), kubeconfig.yaml()).expect("the kubeconfig is written");
    }

    /// Writes any text as the kubeconfig.
    pub fn write_kubeconfig_text(&self, text: &str) {
        std::fs::write(self.kubeconfig(), text).expect("the kubeconfig is written");
    }

    /// Where the kubeconfig is.
    pub fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("kubeconfig")
    }

    /// Sets a variable for every later run.
    pub fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Takes a variable away from every later run.
    pub fn unset(&mut self, name: &str) {
        self.env.retain(|(known, _)| known != name);
    }

    /// The command, with nothing of this process's environment but PATH.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.kubeconfig())
            .env("LANG", "C.UTF-8")
            .envs(
                self.env
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            )
            .current_dir(self.home.path())
            .stdin(std::process::Stdio::null())
            .args(args);
        command
    }

    /// The environment as pairs, for a run that is not started by [`Stage::command`].
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut env = self.env.clone();
        env.push(("HOME".to_owned(), self.home.path().display().to_string()));
        env.push(("KUBECONFIG".to_owned(), self.kubeconfig().display().to_string()));
        env.push(("LANG".to_owned(), "C.UTF-8".to_owned()));
        env
    }

    /// Runs it.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::from(&self.command(args).output().expect("the program starts"))
    }

    /// Runs the preflight and reads its JSON.
    pub fn preflight(&self, more: &[&str]) -> Ran {
        let mut args = vec!["preflight", "-o", "json"];
        args.extend(more);
        self.run(&args)
    }

    /// How often the role was created.
    pub fn writes(&self) -> Vec<String> {
        self.standin
            .writes()
            .iter()
            .map(|call| call.action.clone())
            .collect()
    }
}
